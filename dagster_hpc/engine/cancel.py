"""Cancelling: the wish is durable before any command is sent, and is sent again until the job is gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.ledger.ledger import Watched
from dagster_hpc.engine.submit.recover import settle
from dagster_hpc.engine.submit.send import cancel_ids
from dagster_hpc.engine.workplace import Workplace

_OBEYED_S = 60.0  # within which a system has ended a job that it was told to end


def cancel(tokens: Sequence[str], work: Workplace) -> None:
    """Have these jobs cancelled. What cannot be told to the scheduler now is told by whoever polls next."""
    tokens = work.insist(lambda: work.ledger.observations.request_cancel(tokens))
    work.clock.point("cancel: after the wish")
    rows = [row for row in work.insist(lambda: work.ledger.rows(tokens)) if not row.state.is_final]
    for row in _one_of_each_batch(rows):
        if row.state in (JobState.READY, JobState.SUBMITTING):
            settle(row, work)  # where its process lives, it cancels the job itself as soon as it has the id
    submitted = [row for row in rows if row.job_id]
    if not submitted:
        return
    try:
        _send(submitted, work)
    except SchedulerUnavailable as error:
        raise SchedulerUnavailable(
            error.message,
            advice="the wish is in the ledger: whoever polls next sends it again, until the job is gone.",
        ) from error


def resend(jobs: Sequence[Watched], work: Workplace) -> None:
    """Tell the scheduler once more of all jobs that were to be cancelled and are still there.

    An order that it took needs its time: PBS shows a job for ten seconds and more until it is gone.
    """
    wanted = [job for job in jobs if job.cancel_requested and job.job_id and not JobState(job.state).is_final]
    if wanted:
        now = work.ledger.now()
        due = [job.token for job in wanted if job.cancel_sent_at is None or now - job.cancel_sent_at >= _OBEYED_S]
        if due:
            _send(work.ledger.rows(due), work)


def _send(rows: Sequence[JobRow], work: Workplace) -> None:
    cancel_ids(_ids(rows, work), work)
    work.insist(lambda: work.ledger.observations.sent_cancel([row.token for row in rows]))


def _ids(rows: Sequence[JobRow], work: Workplace) -> list[str]:
    """The ids to cancel, copies too. An array is named as a whole only where that means no element that is over.

    Some systems overwrite how an element ended when the array that it was part of is deleted.
    """
    meant = {row.token for row in rows}
    batches = {row.batch for row in rows if row.array_index is not None}
    whole = {batch for batch in batches if meant.issuperset(_members(batch, work))}
    ids = [work.target.scheduler.array_id(one) if row.batch in whole else one for row in rows for one in row.ids]
    return list(dict.fromkeys(ids))


def _members(batch: str, work: Workplace) -> list[str]:
    return [row.token for row in work.insist(lambda: work.ledger.jobs(batch=batch))]


def _one_of_each_batch(rows: Iterable[JobRow]) -> list[JobRow]:
    return list({row.batch: row for row in rows}.values())
