"""Three witnesses, one verdict: what a job's state is, from the live queue, the accounting and the job's own files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from signal import SIGKILL, SIGTERM

from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, exit_words, is_signal, signal_name
from dagster_hpc.engine.ledger import Change, JobRow
from dagster_hpc.engine.observe.sentinel import Sentinel
from dagster_hpc.engine.target import Patience

_BEFORE_THE_START = {  # exit codes of the script itself, where it could not even say so in a file
    72: "its node could not enter the job's directory: is that on a file system which compute nodes share?",
    73: "its node could not write into the job's directory: is the disk full, or the file system read-only?",
}
_CLOCKS_DIFFER_S = 60.0  # between a node and the scheduler's host
# What the scheduler did to a job; the job's own exit code does not tell these apart from a failure of its own.
_DONE_TO_IT = (JobState.TIMEOUT, JobState.OOM, JobState.NODE_FAIL, JobState.PREEMPTED, JobState.CANCELLED)


@dataclass(frozen=True)
class Evidence:
    """What is known of one job after one poll. None: that source does not show the job."""

    sentinel: Sentinel
    queue: JobStatus | None = None
    history: JobStatus | None = None
    asked: bool = True  # False: the scheduler did not answer, so an absence proves nothing
    denied: bool = True  # False: the queue does not show the job, and has not said either that there is none
    queue_heard: bool = True  # False: the queue was not asked, or did not answer: the job may have been requeued
    history_heard: bool = True  # False: the accounting did not answer
    has_history: bool = True  # False: there is no accounting here to wait for
    forgets_deleted: bool = False  # True: a job that was deleted while it waited is nowhere to be found


def judge(row: JobRow, evidence: Evidence, now: float, patience: Patience) -> Change | None:
    """What to write into the ledger; None to leave the row as it is."""
    queue, history = evidence.queue, evidence.history
    row = _began_anew(row, queue, now)
    sentinel = _of_this_run(evidence.sentinel, queue, history)
    final = next((status for status in (history, queue) if status and status.state.is_final), None)
    ending_since = _seen_to_end(row, final, now)
    waited = now - ending_since

    if final and queue and not final.reason and queue.state is final.state:
        final = replace(final, reason=queue.reason)  # accounts are often silent about why
    in_queue = queue is not None and not queue.state.is_final
    requeued = queue is not None and queue.state in (JobState.PENDING, JobState.HELD)  # after an end that was none
    late = sentinel.exit_code is not None and waited >= patience.epilogue_s and not requeued
    if queue and in_queue and not late and not (queue.state is JobState.UNKNOWN and final):
        return _active(row, queue, sentinel, now)
    if sentinel.unreadable:
        return None  # a witness that cannot be heard: neither an end nor an absence is concluded without it
    if final is None and sentinel.exit_code is None:
        return _absent(row, evidence, now, patience)

    grace_s = patience.accounting_delay_s  # the accounts of a job that is over come a moment later
    gone = evidence.asked and evidence.queue_heard and evidence.denied and queue is None
    # Who has never been shown may not be shown yet. If others told it to end, it may be back in the queue for its next run.
    badly = sentinel.exit_code != 0
    never_shown = badly and row.state is JobState.PENDING
    told_to_end = sentinel.signal is not None or sentinel.exit_code == 128 + SIGTERM
    sent_back = never_shown and told_to_end and not row.cancel_requested
    told_all = gone and not never_shown and not evidence.has_history
    ending = _ending(row, ending_since, sent_back)
    if final is None and not told_all and waited < (grace_s if evidence.asked else patience.epilogue_s):
        return ending
    # What has ended by its own word may have been requeued: only the scheduler can tell, and its accounts come late.
    unheard = not evidence.queue_heard and (badly or sentinel.signal is not None or evidence.asked)
    accounts_s = patience.epilogue_s if evidence.history_heard else patience.unavailable_s
    unheard |= badly and (evidence.has_history or sent_back) and waited < accounts_s
    # Nor does an answer that leaves it out say that it has left the queue.
    unheard |= queue is None and not evidence.denied and waited < patience.epilogue_s
    if final is None and unheard:
        return ending
    unaccounted = evidence.has_history and not (history and history.state.is_final)
    # What the queue says was done to it nobody else may know by the time that silent accounts are heard again.
    only_now = final is not None and final.state in _DONE_TO_IT and not evidence.asked
    if unaccounted and waited < grace_s and not only_now:
        return ending
    # Its last file may still be on its way through the file system; that of an earlier run is seen until then.
    unseen = final is not None and final.state is JobState.LOST and sentinel.exit_code is None
    unseen |= final is not None and final.state.is_success and badly
    if unseen and waited < patience.file_delay_s:
        return ending

    state, reason = _verdict(sentinel, final)
    # Some systems do not say how a job ended: then our own order explains a job that did not run to its own end.
    silent = final is None or final.state is JobState.LOST or final.signal == SIGKILL
    unsaid = silent and (sentinel.exit_code is None or sentinel.signal)
    if row.cancel_requested and (state is JobState.CANCELLED or (unsaid and not state.is_success)):
        state, reason = _cancelled(row, now, patience)
    exit_code = sentinel.exit_code if sentinel.exit_code is not None else final.exit_code if final else None
    metrics = _all_metrics(row, evidence, sentinel)
    return Change(row.token, state, reason, exit_code, metrics)


def _began_anew(row: JobRow, queue: JobStatus | None, now: float) -> JobRow:
    """An end that was noted before the queue says that it began was that of an earlier run: this one ends now, if at all."""
    began = queue.metrics.started_at if queue and queue.state is JobState.RUNNING else None
    if row.ending_since is None or began is None or began <= row.ending_since + _CLOCKS_DIFFER_S:
        return row
    return replace(row, ending_since=now)


def _seen_to_end(row: JobRow, final: JobStatus | None, now: float) -> float:
    """Since when this run is known to have ended: what was noted before the scheduler dates its end was another's."""
    noted = min(row.ending_since or now, now)
    ended_at = final.metrics.ended_at if final else None
    if ended_at is None or not noted < ended_at <= now + _CLOCKS_DIFFER_S:
        return noted
    return min(ended_at, now)


def _of_this_run(sentinel: Sentinel, queue: JobStatus | None, history: JobStatus | None) -> Sentinel:
    """What the files say of this run of the job: a requeued job leaves the exit code of its earlier run behind."""
    if sentinel.ended_at is None:
        return sentinel
    runs_since = queue.metrics.started_at if queue and queue.state is JobState.RUNNING else None
    earlier = runs_since is not None and sentinel.ended_at < runs_since
    if history and history.metrics.started_at is not None:
        # Clocks differ and are set: a file is called old only where it also contradicts the accounts.
        contradicts = not history.state.is_final or (sentinel.exit_code == 0) != history.state.is_success
        earlier |= contradicts and sentinel.ended_at < history.metrics.started_at - _CLOCKS_DIFFER_S
    return replace(sentinel, exit_code=None, ended_at=None, signal=None, failure="") if earlier else sentinel


def _verdict(sentinel: Sentinel, final: JobStatus | None) -> tuple[JobState, str]:
    code = sentinel.exit_code
    if final and final.state in _DONE_TO_IT:
        ended_before = code == 0 and sentinel.signal is None and final.state is not JobState.OOM
        if ended_before:
            return JobState.COMPLETED, f"the scheduler says {final.state}, but the job had ended well before that"
        return final.state, _with_start(final.reason, sentinel)
    if final and final.state is JobState.LOST and code != 0:
        if sentinel.signal:
            return JobState.CANCELLED, f"was told to end (SIG{sentinel.signal}), and {final.reason}"
        if code is None and sentinel.started_at is not None:
            return JobState.FAILED, f"its script did not run to the end, and {final.reason}"
    if code is None:
        if final and final.exit_code in _BEFORE_THE_START:
            return JobState.FAILED, _BEFORE_THE_START[final.exit_code]
        if final and not final.state.is_success:
            return final.state, _with_start(final.reason or _signal_words(final.signal), sentinel)
        return JobState.FAILED, _with_start("its script did not run to the end", sentinel)
    if code == 0:
        if final and final.state is JobState.FAILED:
            return JobState.FAILED, f"the scheduler says FAILED ({final.reason}), although its script ended with 0"
        return JobState.COMPLETED, final.reason if final and final.state is not JobState.LOST else ""
    if sentinel.failure:
        return JobState.FAILED, sentinel.failure
    if is_signal(code - 128):
        return JobState.FAILED, f"its program was {_signal_words(code - 128)}"
    return JobState.FAILED, exit_words(code)


def _signal_words(number: int | None) -> str:
    return f"killed by signal {number} ({signal_name(number)})" if number else ""


def _with_start(reason: str, sentinel: Sentinel) -> str:
    if sentinel.started_at is not None or sentinel.exit_code is not None:
        return reason
    return f"{reason}; it never began to run" if reason else "it never began to run"


def _active(row: JobRow, queue: JobStatus, sentinel: Sentinel, now: float) -> Change:
    stuck_since = (row.stuck_since or now) if queue.stuck else None
    if row.cancel_requested and row.stuck_since is not None and not queue.stuck:
        queue = replace(queue, reason=row.reason)  # it is being deleted for this
        stuck_since = row.stuck_since
    is_completing = sentinel.exit_code is not None and queue.state is JobState.RUNNING
    ending_since = row.ending_since if is_completing else None  # a requeued job has not ended
    return Change(
        row.token,
        queue.state,
        queue.reason,
        metrics=queue.metrics,
        ending_since=ending_since,
        stuck_since=stuck_since,
    )


def _cancelled(row: JobRow, now: float, patience: Patience) -> tuple[JobState, str]:
    """What it is called when our own order ended it: a job that could never start has failed."""
    limit_s, since = patience.stuck_after_s, row.stuck_since
    if limit_s is not None and since is not None and now - since >= limit_s:
        return JobState.FAILED, f"it {row.reason}; cancelled after it had waited in vain"
    return JobState.CANCELLED, "cancelled through dagster_hpc"


def _ending(row: JobRow, ending_since: float, sent_back: bool) -> Change:
    waits = sent_back or row.state is JobState.HELD  # a requeued job is held for a while
    state = row.state if waits else JobState.RUNNING
    stuck_since = row.stuck_since if row.cancel_requested else None
    return Change(
        row.token, state, row.reason, metrics=row.metrics, ending_since=ending_since, stuck_since=stuck_since
    )


def _absent(row: JobRow, evidence: Evidence, now: float, patience: Patience) -> Change | None:
    if not (evidence.asked and evidence.denied):
        return None
    since = row.absent_since or now
    if row.state is JobState.LOST:
        return None  # still no trace of it
    deleted_unseen = evidence.forgets_deleted and evidence.sentinel.started_at is None
    if now - since < patience.lost_after_s:
        if evidence.history:  # not in the queue any more, and not yet final in the accounting
            return Change(row.token, evidence.history.state, evidence.history.reason, absent_since=since)
        no_record = deleted_unseen or not evidence.has_history
        if row.cancel_requested and no_record and now - since >= patience.file_delay_s:
            state, reason = _cancelled(row, now, patience)
            return Change(row.token, state, reason, metrics=row.metrics)
        return replace(_unchanged(row), absent_since=since)
    if deleted_unseen:
        why = "left the queue without a record and never began to run: it was deleted while it waited"
        return Change(row.token, JobState.CANCELLED, why, metrics=row.metrics)
    return Change(
        row.token,
        JobState.LOST,
        f"no trace of it in queue, accounting or its own directory for {now - since:.0f} s",
        metrics=row.metrics,
    )


def _unchanged(row: JobRow) -> Change:
    return Change(row.token, row.state, row.reason, row.exit_code, row.metrics, stuck_since=row.stuck_since)


def _all_metrics(row: JobRow, evidence: Evidence, sentinel: Sentinel) -> JobMetrics:
    """The accounting's figures first, then the queue's, then the job's own.

    Of the two times the larger is right: a system takes samples, or counts whole seconds, and misses the end; the
    job's own script misses what ran on other nodes. What was sampled while it ran is the time of no job that is over.
    """
    statuses = [status for status in (evidence.history, evidence.queue) if status]
    over = [status.metrics for status in statuses if status.state.is_final]
    sampled = [status.metrics for status in statuses if not status.state.is_final]
    own = sentinel.metrics.derived()
    metrics = JobMetrics(
        elapsed_s=_largest(one.elapsed_s for one in (own, *over)),
        cpu_time_s=_largest(one.cpu_time_s for one in (own, *over)),
    )
    timeless = [replace(one, elapsed_s=None, cpu_time_s=None) for one in (*sampled, row.metrics)]
    for source in (*over, own, *timeless, JobMetrics(submitted_at=row.created_at)):
        metrics = metrics.or_else(replace(source, cpu_efficiency=None, node_hours=None))
    return metrics.derived()


def _largest(figures: Iterable[float | None]) -> float | None:
    return max((figure for figure in figures if figure is not None), default=None)
