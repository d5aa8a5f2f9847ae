"""The submit command: run until the scheduler has the job, has refused it, or has no room for it.

Why no job runs twice, in four steps:

1. The row was durable before this begins (claim.py), and each command is counted in it before it starts.
2. A command whose answer was lost is *doubtful*. After a doubtful command nothing is concluded, and nothing is
   submitted again, before queue and history were asked for the job's token; what is found is adopted.
3. Only the owner of the row writes the outcome. One who was overtaken hands the id that he got to the row as a copy.
4. Should the scheduler hold two copies after all, the lock in the job's directory lets only the first of them run.
   A submission is refused or cancelled only once that lock is closed, so that no copy can start later.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dagster_hpc.engine import jobdir, lock
from dagster_hpc.engine.errors import (
    CapacityReached,
    ConfigurationError,
    HPCError,
    LedgerUnavailable,
    SchedulerUnavailable,
    SubmitRefused,
)
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.workplace import Workplace

_FIND_PAUSE_S = 5.0


def send(rows: Sequence[JobRow], owner: str, work: Workplace) -> None:
    """Submit what this owner has claimed. However it breaks off, the ledger says so.

    `SubmitRefused` or `ConfigurationError` when there will be no job; `SchedulerUnavailable` when that is still open.
    """
    batch = rows[0].batch
    try:
        _send(rows, owner, work)
    except (SchedulerUnavailable, LedgerUnavailable):  # the scheduler may have the job, and the ledger not its id
        work.insist(lambda: work.ledger.claims.let_go(batch, owner))
        raise
    except HPCError as error:
        words = error.message
        refused = work.insist(lambda: work.ledger.claims.refuse(batch, owner, words))
        if not refused and work.insist(lambda: work.ledger.job(rows[0].token)).state is not JobState.REFUSED:
            work.listener.on_warning(f"{rows[0].name} is in another process's hands; here it was refused: {words}")
            return
        raise
    except BaseException:  # an interrupt: whether the scheduler took the job is open
        work.insist(lambda: work.ledger.claims.let_go(batch, owner))
        raise


def _send(rows: Sequence[JobRow], owner: str, work: Workplace) -> None:
    claims, patience = work.ledger.claims, work.target.patience
    batch, doubtful = rows[0].batch, rows[0].attempts > 0
    deadline = work.clock.monotonic() + patience.unavailable_s
    while True:
        if doubtful and adopt(rows, owner, work):
            return
        if not work.insist(lambda: claims.begin_attempt(batch, owner)):
            if work.ledger.job(rows[0].token).owner == owner:
                give_up(rows, owner, work, "cancelled before the scheduler had taken it", JobState.CANCELLED)
            return  # cancelled, or overtaken by somebody who settles it
        work.clock.point("send: before the command")
        try:
            job_id = _try(rows, work)
        except CapacityReached as error:
            work.clock.point("send: after the command")
            # This command was refused for certain; an earlier one may fill the very limit that it met.
            if doubtful and adopt(rows, owner, work):
                return
            pause_s, why = patience.capacity_retry_s, f"waits for room: {error.message}"
            if why != rows[0].reason:  # not at each attempt
                work.listener.on_warning(f"{rows[0].name} waits in the ledger: {error.message}")
            work.insist(partial(claims.give_back, batch, owner, why, after_s=pause_s, certain=not doubtful))
            return
        except (SubmitRefused, ConfigurationError) as error:
            work.clock.point("send: after the command")
            if doubtful and adopt(rows, owner, work):
                return
            if doubtful and not give_up(rows, owner, work, error.message, JobState.REFUSED):
                return
            raise
        except SchedulerUnavailable as error:
            work.clock.point("send: after the command")
            work.listener.on_warning(f"looking whether {rows[0].name} was taken: {error.message}")
            doubtful, problem = True, error
        else:
            work.clock.point("send: after the command")
            store(rows, [job_id], owner, work)
            return
        if work.clock.monotonic() > deadline:
            raise _unsettled(rows, work, problem)


def adopt(rows: Sequence[JobRow], owner: str, work: Workplace) -> bool:
    """Look for a job that may have been taken: in queue and history, twice, because both learn of it late."""
    name = work.target.scheduler.job_name(rows[0].name, rows[0].batch)
    for attempt in (1, 2):
        found = _find_patiently(name, rows, owner, work)
        if found:
            work.listener.on_warning(f"{rows[0].name} was taken after all, as job {found[0]}")
            store(rows, found, owner, work)
            return True
        if attempt == 1:
            work.clock.sleep(work.target.patience.recheck_s)
    return _adopt_by_lock(rows, owner, work)


def _adopt_by_lock(rows: Sequence[JobRow], owner: str, work: Workplace) -> bool:
    """What queue and history have forgotten may have begun all the same: its own directory says so."""
    for row in rows:
        try:
            runs_as = lock.holder(work.target.host, row.work_dir)
        except OSError as error:
            raise SchedulerUnavailable(
                f"whether {row.name} has begun cannot be seen: {error}", work_dir=row.work_dir
            ) from error
        if runs_as not in ("", jobdir.CLOSED):
            store(rows, [work.target.scheduler.array_id(runs_as)], owner, work)
            return True
    return False


def store(rows: Sequence[JobRow], job_ids: Sequence[str], owner: str, work: Workplace) -> None:
    """Give the rows their ids; an array's elements are named after the array. Further ids are copies."""
    ids = [_ids_of(rows, job_id, work) for job_id in job_ids]
    claims, first, soon = work.ledger.claims, rows[0], min(2.0, work.target.poll_interval_s)
    work.clock.point("send: before the id is stored")
    stored = work.insist(lambda: claims.submitted(ids[0], owner, first.target, poll_within_s=soon))
    work.clock.point("send: after the id is stored")
    extra = ids[1:] if stored else ids
    if extra:
        copies = {row.token: [more[row.token] for more in extra] for row in rows}
        work.insist(lambda: claims.add_copies(copies))
    now = work.insist(lambda: work.ledger.jobs(batch=first.batch))
    unwanted = [row.token for row in now if row.cancel_requested or (not stored and row.state.is_final)]
    if unwanted:
        # They were cancelled (or given up) while the command ran: these ids must not live on.
        named = [more[token] for more in ids for token in unwanted]
        if len(unwanted) == len(now):
            named = [work.target.scheduler.array_id(one) for one in named]  # all of an array in one word
        try:
            cancel_ids(named, work)
            work.insist(lambda: work.ledger.observations.sent_cancel(unwanted))
        except SchedulerUnavailable as error:  # whoever polls next sends it again
            work.listener.on_warning(f"{first.name} is not cancelled yet: {error.message}")


def give_up(rows: Sequence[JobRow], owner: str, work: Workplace, reason: str, state: JobState) -> bool:
    """Say that there will be no job, once no copy of it can start any more. False: one has started, and is adopted."""
    started = close(rows, work)
    if started:
        store(rows, [work.target.scheduler.array_id(started)], owner, work)
        return False
    work.insist(lambda: work.ledger.claims.refuse(rows[0].batch, owner, reason, state))
    return True


def close(rows: Sequence[JobRow], work: Workplace) -> str | None:
    """Take the lock of each job, so that no copy can start from now on. The id of one that has it already, if any."""
    for row in rows:
        try:
            holder = lock.close(work.target.host, row.work_dir)
        except OSError as error:
            raise SchedulerUnavailable(
                f"whether {row.name} has begun cannot be seen: {error}", work_dir=row.work_dir
            ) from error
        if holder != jobdir.CLOSED:
            return holder
    return None


def find(name: str, work: Workplace) -> list[str]:
    """The ids under which queue or history know a job of this name."""
    for call in work.target.scheduler.find(name):
        try:
            found = work.target.scheduler.read_found(work.target.host.run(call))
        except FileNotFoundError as error:
            raise SchedulerUnavailable(f"`{call.argv[0]}` is not on PATH on {work.target.host.name}") from error
        if found:
            return list(dict.fromkeys(found))  # a history that does not answer matters only for what has left the queue
    return []


def cancel_ids(ids: Sequence[str], work: Workplace) -> None:
    """Tell the scheduler to cancel these jobs. `SchedulerUnavailable` if it was not told."""
    scheduler, host = work.target.scheduler, work.target.host
    ids = list(dict.fromkeys(ids))
    for start in range(0, len(ids), scheduler.ids_per_call):
        call = scheduler.cancel(ids[start : start + scheduler.ids_per_call])
        work.clock.point("cancel: before the command")
        try:
            scheduler.read_cancel(host.run(call))
        except FileNotFoundError as error:
            raise SchedulerUnavailable(f"`{call.argv[0]}` is not on PATH on {host.name}") from error
        work.clock.point("cancel: after the command")


def _try(rows: Sequence[JobRow], work: Workplace) -> str:
    target, directory = work.target, rows[0].batch_dir
    path = jobdir.script_path(rows[0].batch_dir, target.scheduler.suffix)
    _refuse_if_not_private(rows[0], path, work)
    call = target.scheduler.submit(path)
    try:
        answer = target.host.run(call)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"`{call.argv[0]}` is not on PATH on {target.host.name}, so nothing can be submitted to {target.name}",
            advice="run where the scheduler's commands are, or choose another target; `dagster-hpc doctor` checks it.",
            work_dir=directory,
        ) from error
    try:
        return target.scheduler.read_submit(answer)
    except SubmitRefused as error:
        raise SubmitRefused(error.message, advice=error.advice, work_dir=directory) from error


def _refuse_if_not_private(row: JobRow, script: str, work: Workplace) -> None:
    """What others may write, they may make run as this user."""
    for path in (script, jobdir.protocol_path(row.batch_dir, "")):
        try:
            private = work.target.host.is_private(path)
        except OSError as error:
            raise SchedulerUnavailable(f"the script {path} cannot be seen: {error}", work_dir=row.batch_dir) from error
        if not private:
            raise ConfigurationError(
                f"{path} may be written by others, who could change what runs as you",
                advice="take the rights of group and others away (chmod go-w), or choose another work_root.",
                work_dir=row.batch_dir,
            )


def _find_patiently(name: str, rows: Sequence[JobRow], owner: str, work: Workplace) -> list[str]:
    """The same, waiting out a scheduler that cannot be asked."""
    deadline = work.clock.monotonic() + work.target.patience.unavailable_s
    while True:
        if not work.insist(lambda: work.ledger.claims.beat(rows[0].batch, owner)):
            raise SchedulerUnavailable(f"{rows[0].name} is being settled by another process")
        try:
            return find(name, work)
        except SchedulerUnavailable as error:
            if work.clock.monotonic() > deadline:
                raise _unsettled(rows, work, error) from error
            work.clock.sleep(min(work.target.patience.recheck_s, _FIND_PAUSE_S))


def _ids_of(rows: Sequence[JobRow], job_id: str, work: Workplace) -> dict[str, str]:
    scheduler = work.target.scheduler
    return {
        row.token: job_id if row.array_index is None else scheduler.element_id(job_id, row.array_index) for row in rows
    }


def _unsettled(rows: Sequence[JobRow], work: Workplace, problem: SchedulerUnavailable) -> SchedulerUnavailable:
    return SchedulerUnavailable(
        f"{rows[0].name} could not be submitted for {work.target.patience.unavailable_s:g} s: {problem.message}",
        advice="once the scheduler answers, whoever polls next (or runs the same again) settles this submission first.",
        work_dir=rows[0].batch_dir,
    )
