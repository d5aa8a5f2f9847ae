"""Waiting for jobs without burdening the scheduler.

Every process that waits looks at its own job's files, which costs the scheduler nothing. One of them at a time, whoever
holds the target's poll lease, asks the scheduler once for all live jobs of the target and writes the answers into the
ledger for everybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dagster_hpc.engine.errors import WaitTimeout
from dagster_hpc.engine.job import JobState, JobStatus
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.logs import LogFollower
from dagster_hpc.engine.owner import this_process
from dagster_hpc.engine.schedulers.base import Call, Report
from dagster_hpc.engine.sentinel import has_ended, read_sentinel
from dagster_hpc.engine.target import Listener, Target
from dagster_hpc.engine.verdict import Evidence, judge

_LEASE_S = 90.0  # longer than a query may take; a holder that died delays the others by this much at most
_GLANCE_S, _SLOW_GLANCE_S = 0.05, 0.25  # between two looks at a job's own files, at first and later
_TOO_YOUNG_S = 1.0  # a job submitted a moment ago: its own files tell soon enough how it does
_FIRST_NUDGE_S = 0.1  # between a job's own end and the first question about it: the scheduler sees it end later
_FEW = 2  # so many live jobs may be asked about as often as each deserves


@dataclass
class Haste:
    """How soon to ask again about jobs that are known to have ended.

    One job at a time is asked about at once, then ever less eagerly. Where many end together, a few quick questions
    cover most of them; then the usual interval holds, however many there are.
    """

    credit: float = 6.0
    counted_at: float = field(default_factory=time.monotonic)

    def gap_s(self, live: int, times: int, interval_s: float) -> float:
        if live <= _FEW:
            return float(min(0.2 * 1.5**times, interval_s))
        now = time.monotonic()
        self.credit = min(6.0, self.credit + (now - self.counted_at) / interval_s)
        self.counted_at = now
        return min(0.8, interval_s) if self.credit >= 1 else interval_s

    def spend(self) -> None:
        self.credit -= 1


@dataclass
class Watcher:
    """Watches the jobs of one target. One per process is enough; any number, on any host, share the work."""

    target: Target
    ledger: Ledger
    recover: Callable[[JobRow], None]  # settles a submission that nobody finished (see submit.py)
    listener: Listener = field(default_factory=Listener)
    _has_history: bool = True
    _complained: str = ""
    _haste: Haste = field(default_factory=Haste)

    def wait(self, token: str, *, timeout_s: float | None = None, listener: Listener | None = None) -> JobRow:
        """Return the job's row when it is over. `WaitTimeout` after `timeout_s`: the job itself goes on."""
        listener = listener or self.listener
        began = time.monotonic()
        glance_s = _GLANCE_S
        row = self.ledger.job(token)
        shown: tuple[JobState, str] | None = None
        logs = LogFollower(self.target.host, row, listener)
        ended_at: float | None = None
        nudges = 0
        while True:
            if (row.state, row.reason) != shown and not _still_submitting(row, shown):
                shown = (row.state, row.reason)
                listener.on_state(row.handle(), row.state, row.reason)
            logs.follow()
            if row.state.is_final:
                logs.finish()
                return row
            waited = time.monotonic() - began
            if timeout_s is not None and waited > timeout_s:
                raise WaitTimeout(row.handle(), row.state, timeout_s)
            if row.state is JobState.SUBMITTING:
                self.recover(row)
            elif ended_at is None and has_ended(self.target.host, row.work_dir):
                ended_at, glance_s = time.monotonic(), _GLANCE_S
            if ended_at is not None and time.monotonic() - ended_at >= _FIRST_NUDGE_S:
                nudges += self._nudge(nudges)
            elif time.time() - row.created_at > _TOO_YOUNG_S:
                self.tick()
            row = self.ledger.job(token)
            if not row.state.is_final:
                time.sleep(glance_s)
                glance_s = min(glance_s * 1.05, _SLOW_GLANCE_S)

    def tick(self) -> bool:
        """Ask the scheduler for all live jobs if that is due and nobody else is at it. True if it was done here."""
        return self._poll(early_after_s=None)

    def _nudge(self, times: int) -> bool:
        """A job is known to have ended: ask before the next poll is due, if the scheduler can bear it."""
        live = self.ledger.live_count(self.target.name)
        gap_s = self._haste.gap_s(live, times, self.target.poll_interval_s)
        asked = self._poll(early_after_s=gap_s, ended_only=True)
        if asked and live > _FEW:
            self._haste.spend()
        return asked

    def _poll(self, *, early_after_s: float | None, ended_only: bool = False) -> bool:
        name, holder = self.target.name, this_process()
        interval_s = self.ledger.take_poll_lease(name, holder, ttl_s=_LEASE_S, early_after_s=early_after_s)
        if interval_s is None:
            return False
        try:
            interval_s = self._ask(interval_s, ended_only)
        finally:
            self.ledger.release_poll_lease(name, holder, interval_s=interval_s)
        return True

    def _ask(self, interval_s: float, ended_only: bool) -> float:
        """One round of questions; returns how long to wait before the next."""
        rows = [row for row in self.ledger.jobs(live=True, target=self.target.name) if row.job_id]
        if ended_only and self._has_history:
            rows = [row for row in rows if has_ended(self.target.host, row.work_dir)]
        if not rows:
            return self.target.poll_interval_s
        queue = Report()
        if not (ended_only and self._has_history):
            queue = self._query(rows, self.target.scheduler.queue, self.target.scheduler.read_queue)
        settled = [row for row in rows if not _is_active(queue, row)]
        history = self._history(settled)
        failed = queue.failed or history.failed
        self._complain(failed)

        patience = self.target.patience
        changes = []
        for row in rows:
            evidence = Evidence(
                sentinel=read_sentinel(self.target.host, row.work_dir),
                queue=_of_this_job(queue, row),
                history=_of_this_job(history, row),
                asked=not failed,
                has_history=self._has_history,
            )
            change = judge(row, evidence, time.time(), patience)
            if change:
                changes.append((row, change))
        self.ledger.record(change for _, change in changes)
        changed = any((row.state, row.reason) != (change.state, change.reason) for row, change in changes)
        for row, change in changes:
            if change.stuck_since and time.time() - change.stuck_since > patience.stuck_after_s:
                self._give_up_stuck(row, change.reason)
        if ended_only:
            return interval_s
        return self.target.poll_interval_s if changed else min(max(interval_s, 1.0) * 1.5, patience.slowest_poll_s)

    def _history(self, rows: Sequence[JobRow]) -> Report:
        if not (self._has_history and rows):
            return Report()
        report = self._query(rows, self.target.scheduler.history, self.target.scheduler.read_history)
        self._has_history = not report.disabled
        return report

    def _query(
        self, rows: Sequence[JobRow], ask: Callable[[Sequence[str]], Call | None], read: Callable[..., Report]
    ) -> Report:
        """One question for all of these jobs, in as few commands as the length of a command line allows."""
        ids = list(dict.fromkeys(self.target.scheduler.array_id(row.job_id) for row in rows if row.job_id))
        merged = Report()
        size = self.target.scheduler.ids_per_call
        for start in range(0, len(ids), size):
            call = ask(ids[start : start + size])
            if call is None:
                return Report(disabled=True)
            try:
                report = read(self.target.host.run(call))
            except FileNotFoundError:
                report = Report(failed=f"`{call.argv[0]}` is not installed on {self.target.host.name}")
            merged = Report(
                {**merged.jobs, **report.jobs}, merged.failed or report.failed, merged.disabled or report.disabled
            )
        return merged

    def _give_up_stuck(self, row: JobRow, reason: str) -> None:
        """Cancel a job that can never start, so that nobody waits for ever."""
        self.target.host.run(self.target.scheduler.cancel([row.job_id or ""]))
        self.ledger.settle(row.token, JobState.FAILED, f"it {reason}; cancelled after it had waited in vain")

    def _complain(self, words: str) -> None:
        """Tell once that the scheduler does not answer, and once that it does again."""
        if words and not self._complained:
            self.listener.on_warning(
                f"{self.target.name} cannot be asked just now; jobs go on meanwhile. It says: {words}"
            )
        elif self._complained and not words:
            self.listener.on_warning(f"{self.target.name} answers again.")
        self._complained = words


def _still_submitting(row: JobRow, shown: tuple[JobState, str] | None) -> bool:
    return row.state is JobState.SUBMITTING and shown is None


def _of_this_job(report: Report, row: JobRow) -> JobStatus | None:
    """The status under this id, if it is this job: ids come round again, the token in the name does not."""
    status = report.jobs.get(row.job_id or "")
    if status and status.job_name and not status.job_name.endswith(row.batch):
        return None
    return status


def _is_active(report: Report, row: JobRow) -> bool:
    status = _of_this_job(report, row)
    return status is not None and not status.state.is_final
