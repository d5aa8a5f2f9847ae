"""Submissions that nobody is at any more: of processes that died, were cancelled, or had no room."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.errors import ConfigurationError, HPCError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.ledger.rooms import Route, route_of
from dagster_hpc.engine.process import NOBODY, new_owner, process_lives
from dagster_hpc.engine.submit import again
from dagster_hpc.engine.submit.room import WHILE_TIGHT_S, room_on
from dagster_hpc.engine.submit.send import adopt, give_up, send
from dagster_hpc.engine.workplace import Workplace

_STILLBORN = "the process that submitted it died before its files were written"
_PURGED = "its directory is gone, and the scheduler does not know it"
_UNKNOWN = "the scheduler does not know it and it never began: it was found in its directory, and is not submitted again"
_CANCELLED = "cancelled before the scheduler had taken it"


def settle(row: JobRow, work: Workplace) -> None:
    """Go on with a submission (or a job that waits for room) whose owner is gone. Nothing happens while he is at it.

    A submission that can still not be settled stays open for the next who comes; that is told, and no error.
    """
    if row.state not in (JobState.SUBMITTING, JobState.READY) or not _is_orphan(row, work):
        return
    if row.state is JobState.READY and row.owner == NOBODY:
        return  # it waits for room, as it should; see `submit_ready`, which also finds that it was cancelled
    owner = new_owner()
    if not work.insist(lambda: work.ledger.claims.take_over(row, owner)):
        return
    work.clock.point("recover: after the take-over")
    rows = work.insist(lambda: work.ledger.jobs(batch=row.batch))
    _quietly(lambda: _settle(rows, owner, work), rows, owner, work)


def is_being_written(row: JobRow, work: Workplace) -> bool:
    """Whether its process writes its files just now. If that died over it, the submission is refused here.

    Nobody joins such a job: only its process knows what the files were to say. True either way: look again.
    What a further attempt was to say everybody knows; that one is joined, and written by whoever comes.
    """
    if row.state not in (JobState.SUBMITTING, JobState.READY) or _is_whole(row) or row.retry_number:
        return False
    owner = new_owner()
    if _is_orphan(row, work) and work.insist(lambda: work.ledger.claims.take_over(row, owner)):
        work.insist(lambda: work.ledger.claims.refuse(row.batch, owner, _STILLBORN))
    return True


def submit_ready(work: Workplace) -> None:
    """Submit what waits in the ledger for room on this target, in its order, as far as there is room."""
    admitted: list[tuple[list[JobRow], str]] = []
    full: set[Route] = set()
    while rows := work.ledger.claims.next_ready(work.target.key, full):
        if rows[0].owner != NOBODY:
            settle(rows[0], work)  # its process writes its files just now, or died while it did
            if work.ledger.job(rows[0].token).owner != NOBODY:
                break
            continue
        if not work.ledger.claims.fits(rows, work.target.max_jobs):
            break  # whoever came first goes first: smaller ones would overtake a large array for ever
        route, owner = route_of(rows[0]), new_owner()
        known = room_on(route, work, within_s=WHILE_TIGHT_S)
        admit = partial(work.ledger.claims.admit, rows, owner, room=work.target.max_jobs, known=known)
        if not work.insist(admit):
            full.add(route)  # those who want another queue need not wait behind it
            continue
        work.clock.point("ready: after the admission")
        admitted.append((work.insist(partial(work.ledger.jobs, batch=rows[0].batch)), owner))
        if len(admitted) >= work.target.parallel_submissions:
            _send_side_by_side(admitted, work)
            admitted = []
    _send_side_by_side(admitted, work)


def send_all(submissions: Sequence[Sequence[JobRow]], work: Workplace) -> None:
    """Send these new submissions, a few at a time where the target allows that. Raises the first error, after all."""
    count = min(work.target.parallel_submissions, len(submissions))
    if count <= 1:
        for rows in submissions:
            send(rows, rows[0].owner, work)
        return
    with ThreadPoolExecutor(count, thread_name_prefix="dagster_hpc-submit") as pool:
        for outcome in [pool.submit(send, rows, rows[0].owner, work) for rows in submissions]:
            outcome.result()


def _send_side_by_side(admitted: Sequence[tuple[list[JobRow], str]], work: Workplace) -> None:
    def one(each: tuple[list[JobRow], str]) -> None:
        rows, owner = each
        _quietly(lambda: _settle(rows, owner, work), rows, owner, work)

    if len(admitted) == 1:
        one(admitted[0])
    elif admitted:
        with ThreadPoolExecutor(len(admitted), thread_name_prefix="dagster_hpc-submit") as pool:
            list(pool.map(one, admitted))


def _settle(rows: list[JobRow], owner: str, work: Workplace) -> None:
    unwanted = all(row.cancel_requested for row in rows)
    if rows[0].retry_number and not _is_whole(rows[0]) and not unwanted:
        if not again.write(rows, owner, work) or rows[0].state is JobState.READY:
            return
        rows = work.ledger.jobs(batch=rows[0].batch)
    first = rows[0]
    if not _is_whole(first):
        # Its files were never whole, so no submit command can have been given them.
        state, why = (JobState.CANCELLED, _CANCELLED) if unwanted else (JobState.REFUSED, _STILLBORN)
        work.ledger.claims.refuse(first.batch, owner, why, state)
        return
    if unwanted or not _is_there(first, work):
        if not (first.attempts and adopt(rows, owner, work)):
            gone = _PURGED if first.script_sha256 else _UNKNOWN
            why, state = (_CANCELLED, JobState.CANCELLED) if unwanted else (gone, JobState.REFUSED)
            give_up(rows, owner, work, why, state)
        return
    if first.state is JobState.READY:
        work.ledger.claims.let_go(first.batch, owner)
        return
    if first.attempts:
        work.listener.on_warning(f"nobody is submitting {first.name} any more; looking for its job")
    send(rows, owner, work)


def _is_whole(row: JobRow) -> bool:
    """Whether all its files were written. What was adopted has no script to submit, and may have been submitted."""
    return bool(row.script_sha256 or row.attempts)


def _is_there(row: JobRow, work: Workplace) -> bool:
    """Whether its script can be submitted: as it was written, and to be seen from here. Not one that was adopted."""
    if not row.script_sha256:
        return False
    path = jobdir.script_path(row.batch_dir, work.target.scheduler.suffix)
    try:
        script = work.target.host.read(path)
    except OSError as error:
        raise SchedulerUnavailable(f"the script {path} cannot be read: {error}") from error
    if script is not None and hashlib.sha256(script).hexdigest() == row.script_sha256:
        return True
    if work.ledger.now() - row.updated_at < work.target.patience.file_delay_s:
        raise SchedulerUnavailable(f"the script {path} is not to be seen yet")  # written on another host just now
    return False


def _is_orphan(row: JobRow, work: Workplace) -> bool:
    """Whether nobody is at it: its process is gone, or has given no sign of life for longer than any command takes."""
    lives = process_lives(row.owner)
    if lives is False:
        return True
    return work.ledger.now() - row.heartbeat_at > work.target.patience.owner_silent_s


def _quietly(action: Callable[[], None], rows: Sequence[JobRow], owner: str, work: Workplace) -> None:
    """Whoever settles a submission for others does not die of it: the row says how it ended."""
    try:
        action()
    except (SubmitRefused, ConfigurationError) as error:
        work.listener.on_warning(f"{rows[0].name} was refused: {error.message}")
    except HPCError as error:
        work.insist(lambda: work.ledger.claims.let_go(rows[0].batch, owner))
        work.listener.on_warning(error.message)
