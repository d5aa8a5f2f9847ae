"""Asking the scheduler: one status command for all live jobs of a target, by one process at a time.

Whoever holds the target's poll lease, a row in the ledger, asks and writes the answers into the ledger for everybody,
in this process, in others and on other hosts. The load on a scheduler does not grow with the number of those who wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobState, JobStatus
from dagster_hpc.engine.ledger import Change, JobRow, Ledger
from dagster_hpc.engine.observe.sentinel import Sentinel, has_ended, lock_holder, read_sentinel, read_statistics
from dagster_hpc.engine.observe.verdict import Evidence, judge
from dagster_hpc.engine.process import this_process
from dagster_hpc.engine.schedulers.base import Report, Scheduler
from dagster_hpc.engine.script import DUPLICATE_EXIT_CODE
from dagster_hpc.engine.target import Listener, Patience, Target

_LEASE_S = 90.0  # longer than a query may take; a holder that died delays the others by this much at most
_FEW = 2  # so many other live jobs do not keep from asking as often as one job deserves
CROWD = 20  # more jobs than this that end together do not all wait for their accounts
_CREDIT = 6.0  # so many quick questions in a row while many jobs are live


@dataclass(frozen=True)
class _Question:
    """The queue's or the accounting's, to whichever scheduler."""

    call: Callable[[Scheduler, Sequence[str]], Call | None]
    read: Callable[[Scheduler, Answer], Report]
    ids_per_call: Callable[[Scheduler], int]


_QUEUE = _Question(
    lambda scheduler, ids: scheduler.queue(ids),
    lambda scheduler, answer: scheduler.read_queue(answer),
    lambda scheduler: scheduler.ids_per_call,
)
_HISTORY = _Question(
    lambda scheduler, ids: scheduler.history(ids),
    lambda scheduler, answer: scheduler.read_history(answer),
    lambda scheduler: scheduler.history_ids_per_call,
)


@dataclass
class Poller:
    """Asks one target's scheduler on behalf of all who wait for its jobs."""

    target: Target
    ledger: Ledger
    listener: Listener = field(default_factory=Listener)
    _has_history: bool = True
    _silent: set[str] = field(default_factory=set)  # which of queue and history did not answer when last asked
    _credit: float = _CREDIT
    _counted_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._scheduler = self.target.scheduler

    def tick(self, listener: Listener | None = None) -> bool:
        """Ask for all live jobs, if that is due and nobody else is at it. True if it was done here."""
        return self._with_lease(None, self._ask_all, listener)

    def nudge(self, times: int, ended: int, listener: Listener | None = None) -> bool:
        """Ask before that is due, about jobs that are known to have ended: `ended` of them, for the n-th time.

        Where they are all that is live, at once and then ever less eagerly. Where many more are live, a few quick
        questions cover most of those that end together; then the usual interval holds, however many there are.
        """
        interval_s = self.target.poll_interval_s
        others = self.ledger.live_count(self.target.name) - ended
        if others <= _FEW:
            return self._with_lease(min(0.2 * 1.5**times, interval_s), self._ask_ended, listener)
        now = time.monotonic()
        self._credit = min(_CREDIT, self._credit + (now - self._counted_at) / interval_s)
        self._counted_at = now
        asked = self._with_lease(min(0.5, interval_s) if self._credit >= 1 else interval_s, self._ask_ended, listener)
        self._credit -= asked
        return asked

    def _with_lease(
        self, early_after_s: float | None, ask: Callable[[float, Listener], float], listener: Listener | None
    ) -> bool:
        name, holder = self.target.name, this_process()
        interval_s = self.ledger.take_poll_lease(name, holder, ttl_s=_LEASE_S, early_after_s=early_after_s)
        if interval_s is None:
            return False
        try:
            interval_s = ask(interval_s, listener or self.listener)
        finally:
            self.ledger.release_poll_lease(name, holder, interval_s=interval_s)
        return True

    def _ask_all(self, interval_s: float, listener: Listener) -> float:
        """The usual round: the queue for all, the accounting for those that the queue shows no more as active."""
        rows = self._live()
        if not rows:
            return self.target.poll_interval_s
        queue = self._queue(rows, listener)
        history = self._history([row for row in rows if not _is_active(queue, row)], listener)
        if self._record(rows, queue, history, listener):
            return self.target.poll_interval_s
        return min(max(interval_s, 1.0) * 1.5, self.target.patience.slowest_poll_s)

    def _ask_ended(self, interval_s: float, listener: Listener) -> float:
        """The short round: the accounting for those whose own files say that they have ended."""
        rows = [row for row in self._live() if has_ended(self.target.host, row.work_dir)]
        history = self._history(rows, listener)
        unaccounted = [row for row in rows if not _is_final(history, row)]
        queue = Report()
        # Of a crowd the queue's word is enough, and a job whose accounts are overdue may not be over at all.
        if unaccounted and (
            history.failed or not self._has_history or len(rows) > CROWD or self._is_overdue(unaccounted)
        ):
            queue = self._queue(rows, listener)
        self._record(rows, queue, history, listener)
        return interval_s

    def _is_overdue(self, rows: Sequence[JobRow]) -> bool:
        """Whether accounts ought to be in by now. A requeued job leaves an exit code of its first run, and none come."""
        since = min((row.ending_since for row in rows if row.ending_since is not None), default=None)
        return since is not None and time.time() - since >= self.target.patience.accounting_grace_s / 2

    def _patience(self, row: JobRow, crowd: int) -> Patience:
        """The accounts of many jobs that end together come slowly, and are worth a twentieth of the jobs' time."""
        patience = self.target.patience
        if crowd <= CROWD:
            return patience
        worth_s = 0.05 * (time.time() - row.created_at)
        return replace(patience, accounting_grace_s=min(patience.accounting_grace_s, worth_s))

    def _live(self) -> list[JobRow]:
        return [row for row in self.ledger.jobs(live=True, target=self.target.name) if row.job_id]

    def _record(self, rows: Sequence[JobRow], queue: Report, history: Report, listener: Listener) -> bool:
        """Judge each job by what was found and write that down. True if anything is new."""
        changes: list[tuple[JobRow, Change]] = []
        # Read anew: a cancellation that these answers already show was asked for after the question had begun.
        for row in self.ledger.rows([row.token for row in rows]):
            evidence = Evidence(
                sentinel=self._sentinel(row, queue),
                queue=_of_this_job(queue, row),
                history=_of_this_job(history, row),
                asked=not (queue.failed or history.failed),
                has_history=self._has_history,
                forgets_deleted=self._scheduler.forgets_deleted,
            )
            change = judge(row, evidence, time.time(), self._patience(row, len(rows)))
            if change and not self._is_copy(row, evidence, listener):
                changes.append((row, self._with_statistics(row, change)))
        self.ledger.record(change for _, change in changes)
        for row, change in changes:
            if change.stuck_since and time.time() - change.stuck_since > self.target.patience.stuck_after_s:
                self._give_up_stuck(row, change.reason, listener)
        return any((row.state, row.reason) != (change.state, change.reason) for row, change in changes)

    def _sentinel(self, row: JobRow, queue: Report) -> Sentinel:
        """What the job says of itself; of one that runs, only whether it has ended: there may be thousands."""
        if _is_active(queue, row) and not has_ended(self.target.host, row.work_dir):
            return Sentinel()
        return read_sentinel(self.target.host, row.work_dir)

    def _with_statistics(self, row: JobRow, change: Change) -> Change:
        """The figures that the system leaves in a file beside a job that is over come before the job's own."""
        if not change.state.is_final:
            return change
        figures = read_statistics(self.target.host, self.target.scheduler, row.work_dir, row.array_index)
        return replace(change, metrics=figures.or_else(change.metrics).derived())

    def _is_copy(self, row: JobRow, evidence: Evidence, listener: Listener) -> bool:
        """A submission that was taken twice runs once, as the copy that came first: that one is asked for from now on."""
        codes = [status.exit_code for status in (evidence.queue, evidence.history) if status]
        if row.array_index is not None or DUPLICATE_EXIT_CODE not in codes:
            return False
        runs_as = lock_holder(self.target.host, row.work_dir)
        if len(runs_as.split()) != 1 or runs_as == row.job_id:
            return False
        listener.on_warning(f"{row.name} was taken twice, as jobs {row.job_id} and {runs_as}; only the latter runs")
        self.ledger.goes_by(row.token, runs_as)
        return True

    def _queue(self, rows: Sequence[JobRow], listener: Listener) -> Report:
        if not rows:
            return Report()
        report = self._query(rows, _QUEUE)
        self._complain(self.target.name, report.failed, listener)
        return report

    def _history(self, rows: Sequence[JobRow], listener: Listener) -> Report:
        if not (self._has_history and rows):
            return Report()
        report = self._query(rows, _HISTORY)
        self._has_history = not report.disabled
        self._complain(f"the accounting of {self.target.name}", report.failed, listener)
        return report

    def _query(self, rows: Sequence[JobRow], question: _Question) -> Report:
        """One question for all of these jobs, in as few commands as the system allows."""
        ids = list(dict.fromkeys(self._scheduler.array_id(row.job_id) for row in rows if row.job_id))
        merged = Report()
        for start in range(0, len(ids), size := question.ids_per_call(self._scheduler)):
            report = self._ask(ids[start : start + size], question)
            merged = Report(
                {**merged.jobs, **report.jobs}, merged.failed or report.failed, merged.disabled or report.disabled
            )
        return merged

    def _ask(self, ids: Sequence[str], question: _Question) -> Report:
        call = question.call(self._scheduler, ids)
        if call is None:
            return Report(disabled=True)
        try:
            report = question.read(self._scheduler, self.target.host.run(call))
        except FileNotFoundError:
            return Report(failed=f"`{call.argv[0]}` is not on PATH on {self.target.host.name}")
        if report.instead:
            self._scheduler = report.instead
            return self._ask(ids, question)
        if report.reasons:
            better = question.read(self._scheduler, self.target.host.run(report.reasons)).jobs
            told = {
                job_id: replace(status, reason=better[job_id].reason)
                for job_id, status in report.jobs.items()
                if status.stuck and job_id in better
            }
            return replace(report, jobs={**report.jobs, **told})
        return report

    def _give_up_stuck(self, row: JobRow, reason: str, listener: Listener) -> None:
        """Cancel a job that can never start, so that nobody waits for ever."""
        scheduler = self.target.scheduler
        try:
            scheduler.read_cancel(self.target.host.run(scheduler.cancel([row.job_id or ""])))
        except (HPCError, FileNotFoundError) as error:
            listener.on_warning(f"{row.name} can never start, and could not be cancelled: {error}")
            return  # the next poll tries again
        self.ledger.settle(row.token, JobState.FAILED, f"it {reason}; cancelled after it had waited in vain")

    def _complain(self, source: str, words: str, listener: Listener) -> None:
        """Tell once that this source does not answer, and once that it does again."""
        if words and source not in self._silent:
            self._silent.add(source)
            listener.on_warning(f"{source} cannot be asked just now, and jobs go on meanwhile. It says: {words}")
        elif not words and source in self._silent:
            self._silent.remove(source)
            listener.on_warning(f"{source} answers again.")


def _of_this_job(report: Report, row: JobRow) -> JobStatus | None:
    """The status under this id, if it is this job: ids come round again, the token in the name does not."""
    status = report.jobs.get(row.job_id or "")
    if status and status.job_name and not status.job_name.endswith(row.batch):
        return None
    return status


def _is_final(report: Report, row: JobRow) -> bool:
    status = _of_this_job(report, row)
    return status is not None and status.state.is_final


def _is_active(report: Report, row: JobRow) -> bool:
    status = _of_this_job(report, row)
    return status is not None and not status.state.is_final
