"""Asking the scheduler: one status command for all live jobs of a target, by one process at a time.

Whoever holds the target's poll lease, a row in the ledger, asks and writes what is new into the ledger for everybody,
in this process, in others and on other hosts. The load on a scheduler does not grow with the number of those who wait.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import replace

from dagster_hpc.engine import jobdir, lock
from dagster_hpc.engine.job import JobState, JobStatus
from dagster_hpc.engine.ledger import Change, JobRow
from dagster_hpc.engine.ledger.leases import Lease
from dagster_hpc.engine.ledger.ledger import Watched
from dagster_hpc.engine.observe.questions import Questions
from dagster_hpc.engine.observe.sentinel import Sentinel, read_sentinel, read_statistics
from dagster_hpc.engine.observe.verdict import Evidence, judge
from dagster_hpc.engine.process import new_owner
from dagster_hpc.engine.retry import End, next_attempt
from dagster_hpc.engine.schedulers.base import Report
from dagster_hpc.engine.workplace import Workplace

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_END_OF_LOG = 16 * 1024  # bytes, in which a system says what it did to a job
_LATE_S = 10.0  # a poll may be late by this, as those who wait look less and less often
_OVERDUE_S = 2.5  # accounts that are not in after this long are not waited for without asking the queue too


class Poller:
    """Asks one target's scheduler on behalf of all who wait for its jobs."""

    def __init__(self, work: Workplace) -> None:
        self._work = work
        self._holder = new_owner()
        self._ask = Questions(work, self._holder)
        self._last = Lease(False)  # as it was before this poll: when somebody asked last, and how often was agreed

    def poll(self, *, hurry: bool = False) -> Lease:
        """Ask if that is due and nobody else is at it. With `hurry` also earlier, about jobs known to have ended."""
        leases, key = self._work.ledger.leases, self._work.target.key
        lease = leases.take(key, self._holder, hurry=hurry)
        if not lease.taken:
            return lease
        interval_s, self._last = lease.interval_s, lease
        self._ask.begin()
        try:
            self._work.clock.point("poll: with the lease")
            if lease.early:
                self._ask_ended()
            else:
                interval_s = self._ask_all(interval_s)
        finally:
            heard = self._ask.heard
            interval_s = max(interval_s, 0.0 if heard else self._work.target.poll_interval_s)
            leases.release(key, self._holder, interval_s=interval_s, due=not lease.early, heard=heard)
        return replace(lease, due_in_s=interval_s)

    def _ask_all(self, interval_s: float) -> float:
        """The usual round: the queue for all, the accounting for those that the queue shows no more as active."""
        jobs = [job for job in self._work.ledger.watched(self._work.target.key) if job.job_id]
        if not jobs:
            return self._work.target.poll_interval_s
        queue = self._ask.queue(jobs)
        news = [job for job in jobs if not _is_as_known(job, _of_this_job(queue, job))]
        history = self._ask.history([job for job in news if not _is_active(queue, job)])
        if self._record(news, queue, history):
            return self._work.target.poll_interval_s
        return min(max(interval_s, 1.0) * 1.5, self._work.target.patience.slowest_poll_s)

    def _ask_ended(self) -> None:
        """The short round: the accounting for those whose own files say that they have ended.

        Others may have ended well, and nobody has looked: many who are waited for one after the other are told together.
        """
        watched = [job for job in self._work.ledger.watched(self._work.target.key) if job.job_id]
        ended = [job for job in watched if job.ending_since is not None]
        others = [job for job in watched if job.ending_since is None and job.token == job.batch]
        others = others[: self._ask.scheduler.history_ids_beside] if ended else []
        history = self._ask.history([*ended, *others])
        unaccounted = [job for job in ended if not _is_final(history, job)]
        now = self._work.ledger.now()
        # A job whose accounts are overdue may not be over at all: a requeued one leaves an exit code behind.
        overdue = any(now - (job.ending_since or now) >= _OVERDUE_S for job in unaccounted)
        asks_queue = bool(unaccounted) and (bool(history.failed) or not self._ask.has_history or overdue)
        queue = self._ask.queue(ended) if asks_queue else Report()
        # A bad end of the others is told once the queue was asked about them: they may be about to run again.
        well = [job for job in others if _has_succeeded(history, job)]
        self._record([*ended, *well], queue, history, queue_asked=asks_queue)

    def _record(self, jobs: Sequence[Watched], queue: Report, history: Report, *, queue_asked: bool = True) -> bool:
        """Judge each job by what was found and write down what is new. True if anything is."""
        work, changes = self._work, []
        # Read anew: a cancellation that these answers already show was asked for after the question had begun.
        rows = work.ledger.rows([job.token for job in jobs])
        now = work.ledger.now() if rows else 0.0  # by which what was noted is dated, on whichever host
        for row in rows:
            sentinel = self._sentinel(row, queue)
            self._ask.complain(f"the directory {row.work_dir}", sentinel.unreadable)
            if sentinel.job_id and _is_another(sentinel.job_id, row.job_id):
                self._follow(row, sentinel.job_id)  # who has written that it began has the lock
                continue
            silent = bool(queue.failed)
            if queue_asked and self._is_in_doubt(row, sentinel, queue, history, now):
                silent = not self._ask.may_ask_alone  # its turn comes
                if not silent:
                    alone = self._ask.queue_alone(row)
                    queue = replace(queue, jobs={**queue.jobs, **alone.jobs}, unknown=queue.unknown | alone.unknown)
                    silent = bool(alone.failed)
            evidence = Evidence(
                sentinel=sentinel,
                queue=_of_this_job(queue, row),
                history=_of_this_job(history, row),
                denied=self._is_denied(row, sentinel, queue),
                asked=not (silent or history.failed),
                queue_heard=queue_asked and not silent,
                history_heard=not history.failed,
                has_history=self._ask.has_history,
                forgets_deleted=self._ask.scheduler.forgets_deleted,
            )
            change = judge(self._as_watched(row, now), evidence, now, work.target.patience)
            if change and self._needs_accounts(change, evidence):
                if not self._ask.may_ask_alone:
                    continue
                alone = self._ask.history_alone(row)
                found, heard = _of_this_job(alone, row), not alone.failed
                evidence = replace(evidence, history=found, history_heard=heard, asked=evidence.asked and heard)
                change = judge(self._as_watched(row, now), evidence, now, work.target.patience)
            if change and _may_be_told_in_log(change, evidence) and (told := self._told_in_log(row)):
                change = judge(self._as_watched(row, now), replace(evidence, history=told), now, work.target.patience)
            if change is None or (change.state.is_final and not self._is_whole_story(row, evidence)):
                continue
            if change.state.is_final:
                change = _with_next_attempt(row, self._with_statistics(row, change), sentinel)
            if _is_new(row, change):
                changes.append((row, change))
        work.clock.point("poll: before the record")
        work.ledger.observations.record(change for _, change in changes)
        return any((row.state, row.reason) != (change.state, change.reason) for row, change in changes)

    def _as_watched(self, row: JobRow, now: float) -> JobRow:
        """Patience counts only while somebody looks: not over a pause of all polls, or a clock that was set."""
        last, lost_after_s = self._last, self._work.target.patience.lost_after_s
        usual_s = 2 * last.interval_s + _LATE_S
        if last.idle_s > max(lost_after_s / 2, usual_s):
            row = replace(row, absent_since=None)
        if row.ending_since is not None and (last.idle_s > usual_s or row.ending_since > last.polled_at):
            row = replace(row, ending_since=now)  # this is the first question since its end
        return row

    def _sentinel(self, row: JobRow, queue: Report) -> Sentinel:
        """What the job says of itself; nothing is asked of one that the queue shows and nobody has seen end."""
        if _is_active(queue, row) and row.ending_since is None:
            return Sentinel()
        return read_sentinel(self._work.target.host, row.work_dir)

    def _is_denied(self, row: JobRow, sentinel: Sentinel, queue: Report) -> bool:
        """Whether the queue says that there is no such job; that it is merely not shown does not say so.

        Of a job that has begun and not ended, a list of others is not proof enough: it must be named.
        """
        job_id = row.job_id or ""
        if job_id in queue.jobs:
            return _of_this_job(queue, row) is None  # its id belongs to another by now
        named = bool(queue.unknown & {job_id, self._ask.scheduler.array_id(job_id)})
        runs = sentinel.started_at is not None and sentinel.exit_code is None
        return named or (queue.whole and not runs)

    def _is_in_doubt(self, row: JobRow, sentinel: Sentinel, queue: Report, history: Report, now: float) -> bool:
        """Whether this job is in neither answer, is not denied either, and something is to be concluded from that."""
        heard = not (queue.failed or history.failed or sentinel.unreadable)
        seen = _of_this_job(queue, row) is not None or _is_final(history, row)
        if not heard or seen or row.state is JobState.LOST or self._is_denied(row, sentinel, queue):
            return False
        if row.absent_since is None or sentinel.exit_code is not None:
            return True
        patience = self._work.target.patience
        return now - row.absent_since >= (patience.file_delay_s if row.cancel_requested else patience.lost_after_s)

    @staticmethod
    def _needs_accounts(change: Change, evidence: Evidence) -> bool:
        """Whether a bad end is to be told of which the accounting, when it was asked about many, has said nothing."""
        return _is_unexplained(change, evidence) and evidence.has_history and evidence.history_heard

    def _told_in_log(self, row: JobRow) -> JobStatus | None:
        """What the system has written into the job's own log: without a history of jobs, only that says why it ended."""
        scheduler = self._ask.scheduler
        try:
            end = self._work.target.host.tail(scheduler.log_of(row.work_dir, row.array_index), _END_OF_LOG)
        except OSError:
            return None  # the reason is not worth waiting for
        return scheduler.read_log(end.decode("utf-8", "replace"))

    def _is_whole_story(self, row: JobRow, evidence: Evidence) -> bool:
        """Whether the job that ended is the one that ran: a submission taken twice runs once, as its lock says.

        The copy that came second stops with an exit code of its own, or is cancelled while it waits. The job is then
        asked for under the id of the copy that has the lock.
        """
        codes = [status.exit_code for status in (evidence.queue, evidence.history) if status]
        is_copy = jobdir.DUPLICATE_EXIT_CODE in codes
        began = evidence.sentinel.started_at is not None
        doubtful = is_copy or row.attempts > 1 or row.copies
        if began and not doubtful:
            return True
        host = self._work.target.host
        try:
            # Of what never began, no copy shall begin later: it would run after its end was told.
            runs_as = lock.holder(host, row.work_dir) if began or is_copy else lock.close(host, row.work_dir)
        except OSError as error:
            # Where nothing can be written, no copy can take the lock either; in doubt that is seen again later.
            return error.errno in _NO_ROOM and not doubtful
        if runs_as in ("", jobdir.CLOSED) or not _is_another(runs_as, row.job_id) or len(runs_as.split()) != 1:
            # No lock yet to be seen, though a copy has found one: it will appear.
            return not (is_copy and runs_as == "")
        self._follow(row, runs_as)
        return False

    def _follow(self, row: JobRow, runs_as: str) -> None:
        """Ask for this job under the id of the copy that runs."""
        self._work.listener.on_warning(
            f"{row.name} was taken twice, as jobs {row.job_id} and {runs_as}; only the latter runs, and is followed"
        )
        copies = [one for one in row.ids if one != runs_as]
        self._work.ledger.observations.follow(row.token, runs_as, copies)

    def _with_statistics(self, row: JobRow, change: Change) -> Change:
        """The figures that the system leaves in a file beside a job that is over come before the job's own."""
        figures = read_statistics(self._work.target.host, self._work.target.scheduler, row.work_dir, row.array_index)
        return replace(change, metrics=figures.or_else(change.metrics).derived())


def _with_next_attempt(row: JobRow, change: Change, sentinel: Sentinel) -> Change:
    """What ended badly is tried again where its rules say so; why, or why not, is part of how it ended."""
    if row.retry is None or row.cancel_requested or row.next_token:
        return change
    began = sentinel.started_at is not None or sentinel.exit_code is not None
    found = next_attempt(row.retry, End(change.state, change.exit_code, began, change.metrics.node_list))
    words = found if isinstance(found, str) else found.words
    change = replace(change, reason="; ".join(part for part in (change.reason, words) if part))
    return change if isinstance(found, str) else replace(change, again=found.plan, delay_s=found.delay_s)


def _is_another(told: str | None, known: str | None) -> bool:
    """Whether two ids name two jobs. One system spells an id in several ways; the number in front stays the same."""
    if told is None or known is None or told == known:
        return False
    for kind in (r"\d+", r"[fƒ]\w+"):  # a number; or Flux's letters, with or without their sign
        one, other = re.match(kind, told, re.ASCII), re.match(kind, known, re.ASCII)
        if one and other:
            return one[0].lstrip("fƒ") != other[0].lstrip("fƒ")
    return False  # two spellings that cannot be compared


def _of_this_job(report: Report, job: Watched | JobRow) -> JobStatus | None:
    """The status under this id, if it is this job: ids come round again, the token in the name does not."""
    status = report.jobs.get(job.job_id or "")
    if status and status.job_name and not status.job_name.endswith(job.batch):
        return None
    return status


def _is_unexplained(change: Change, evidence: Evidence) -> bool:
    """Whether a bad end is to be told that only the job's own files speak of."""
    known = any(status and status.state.is_final for status in (evidence.queue, evidence.history))
    return change.state.is_final and not change.state.is_success and not known


def _may_be_told_in_log(change: Change, evidence: Evidence) -> bool:
    """Whether only the job's own log may say why it ended, or whether its bad end is one that others waited for."""
    waits_for_more = change.ending_since is not None and bool(evidence.sentinel.exit_code)
    return _is_unexplained(change, evidence) or (waits_for_more and not evidence.has_history)


def _is_final(report: Report, job: Watched | JobRow) -> bool:
    status = _of_this_job(report, job)
    return status is not None and status.state.is_final


def _has_succeeded(report: Report, job: Watched | JobRow) -> bool:
    status = _of_this_job(report, job)
    return status is not None and status.state.is_success


def _is_active(report: Report, job: Watched | JobRow) -> bool:
    status = _of_this_job(report, job)
    return status is not None and not status.state.is_final


def _is_as_known(job: Watched, status: JobStatus | None) -> bool:
    """Whether the queue says of this job what the ledger says already; thousands of such need no further look."""
    return (
        status is not None
        and status.state.value == job.state
        and not status.state.is_final
        and status.reason == job.reason
        and status.stuck == (job.stuck_since is not None)
        and not status.stuck
        and job.absent_since is None
        and job.ending_since is None
    )


def _is_new(row: JobRow, change: Change) -> bool:
    known = (row.state, row.reason, row.exit_code, row.absent_since, row.ending_since, row.stuck_since)
    told = (change.state, change.reason, change.exit_code, change.absent_since, change.ending_since, change.stuck_since)
    return known != told
