"""What anybody who looks does for everybody: ask the scheduler, and go on with what nobody is at.

Each of these may be done by any process at any time, and twice: that is what makes all effects happen in the end.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from dagster_hpc.engine.cancel import resend
from dagster_hpc.engine.cluster import identified
from dagster_hpc.engine.collect import take_in_late_figures
from dagster_hpc.engine.errors import ConfigurationError, LedgerUnavailable, SchedulerUnavailable
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.observe.poll import Poller
from dagster_hpc.engine.submit.again import try_again
from dagster_hpc.engine.submit.recover import settle, submit_ready
from dagster_hpc.engine.target import Listener
from dagster_hpc.engine.workplace import Workplace

_LOOK_AGAIN_S = 1.0
_ASK_AGAIN_S = 30.0
_FIGURES_EVERY_S = 60.0
_KEEP_EVERY_S = 0.5
_WAITING = (JobState.READY.value, JobState.SUBMITTING.value)


class Upkeep:
    """The upkeep of one target. Any number of processes may be at it."""

    def __init__(self, work: Workplace) -> None:
        self.listener = work.listener  # whoever waits just now
        self._work = work = replace(work, listener=Listener(on_warning=lambda words: self.listener.on_warning(words)))
        self._poller = Poller(work)
        self._is_our_cluster = False
        self._busy = threading.Lock()
        self._told = ""
        self._figures_at = self._keep_at = 0.0

    def tick(self, *, hurry: bool = False) -> float:
        """Do what is due, if nobody else is at it. The seconds after which it is worth while to come again."""
        if not self._busy.acquire(blocking=False):
            return _LOOK_AGAIN_S  # a tick that a waiter would not wait for goes on in the background
        try:
            return self._tick(hurry)
        except LedgerUnavailable:
            return _LOOK_AGAIN_S  # told by whoever waits, and reads in the ledger himself
        except (SchedulerUnavailable, ConfigurationError) as error:
            # A witness that is silent changes nothing, and ends nobody's wait. It is told once.
            if error.message != self._told:
                self._told = error.message
                self._work.listener.on_warning(error.message)
            return _ASK_AGAIN_S if isinstance(error, ConfigurationError) else _LOOK_AGAIN_S
        finally:
            self._busy.release()

    def _tick(self, hurry: bool) -> float:
        work = self._work
        if not self._is_our_cluster:
            # A host whose commands reach another cluster would find no trace of these jobs.
            identified(work.target)
            self._is_our_cluster = True
        lease = self._poller.poll(hurry=hurry)
        if not lease.taken:
            return lease.due_in_s
        jobs = work.ledger.watched(work.target.key)
        unsubmitted = {job.batch: job.token for job in jobs if job.state in _WAITING}
        for row in work.ledger.rows(list(unsubmitted.values())):
            settle(row, work)
        is_made, due_in_s = try_again(work)
        if is_made or any(job.state == JobState.READY.value for job in jobs):
            submit_ready(work)
        resend(jobs, work)
        due_in_s = _sooner(due_in_s, self._keep())
        self._cancel_stuck()
        if work.clock.monotonic() >= self._figures_at:
            self._figures_at = work.clock.monotonic() + _FIGURES_EVERY_S
            take_in_late_figures(work)
        self._told = ""
        if due_in_s is not None and due_in_s < lease.due_in_s:
            work.ledger.leases.hurry(work.target.key, due_in_s)
            return due_in_s
        return lease.due_in_s

    def _keep(self) -> float | None:
        """See to what this target keeps beside its jobs, not at every look of one who waits for the end of a job."""
        work, now = self._work, self._work.clock.monotonic()
        if work.target.keep is None or now < self._keep_at:
            return None
        self._keep_at = now + _KEEP_EVERY_S
        return work.target.keep(work)

    def _cancel_stuck(self) -> None:
        """Where the target says so, cancel the jobs that can never start, so that nobody waits for ever."""
        work, limit_s = self._work, self._work.target.patience.stuck_after_s
        if limit_s is None:
            return
        now = work.clock.now()
        stuck = [
            job.token
            for job in work.ledger.watched(work.target.key)
            if job.stuck_since is not None and now - job.stuck_since > limit_s and not job.cancel_requested
        ]
        if stuck:
            work.ledger.observations.request_cancel(stuck)
            resend([job._replace(cancel_requested=True) for job in work.ledger.watched(work.target.key)
                    if job.token in stuck], work)  # fmt: skip


def _sooner(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)
