"""Submitting a job once: claim it in the ledger, place its files, run the submit command, settle what is uncertain."""

from __future__ import annotations

import hashlib
import posixpath
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from dagster_hpc.engine.errors import (
    CapacityReached,
    ConfigurationError,
    HPCError,
    SchedulerUnavailable,
    SubmitRefused,
)
from dagster_hpc.engine.job import JobState, Request
from dagster_hpc.engine.jobdir import folders, script_name, script_path
from dagster_hpc.engine.ledger import Change, JobRow, Ledger
from dagster_hpc.engine.process import process_lives, this_process
from dagster_hpc.engine.schedulers import to_json
from dagster_hpc.engine.script import PROTOCOL_DIR, encode, render_script, script_files
from dagster_hpc.engine.target import Listener, Target, script_stem

_STILLBORN = "the process that submitted it died before its files were written"


def submit(request: Request, target: Target, ledger: Ledger, listener: Listener) -> list[JobRow]:
    """The rows of this job (one per array element): newly submitted, or taken over from an equal request."""
    identity = None if request.reuse == "never" else request.identity
    while True:
        if identity and (found := _existing(identity, request, target, ledger)):
            return found
        rows, script = _claim(request, identity, target, ledger)
        if rows:
            break
    with _written_down(rows, ledger):
        _place(request, rows, script, target)
        _send(rows, target, ledger, listener)
    return ledger.jobs(batch=rows[0].batch)


def recover(row: JobRow, target: Target, ledger: Ledger, listener: Listener) -> None:
    """Settle a submission whose process died in the middle of it; nothing to do while that process lives."""
    lives = process_lives(row.owner)
    # From another host one cannot tell: give it the time that its submit command may take.
    if lives or (lives is None and time.time() - row.updated_at < target.patience.unavailable_s):
        return
    if not ledger.take_over(row, this_process()):
        return
    rows = ledger.jobs(batch=row.batch)
    listener.on_warning(f"the process that was submitting {row.name} has died; looking for its job")
    if not _is_placed(rows, target):
        _refuse(rows, ledger, _STILLBORN)
        return
    with _written_down(rows, ledger):
        if not _adopt(rows, target, ledger, listener):
            _send(rows, target, ledger, listener)


@contextmanager
def _written_down(rows: list[JobRow], ledger: Ledger) -> Iterator[None]:
    """However a submission breaks off, the ledger says so: it is refused, or open for the next attempt to settle."""
    try:
        yield
    except HPCError as error:
        if isinstance(error, SchedulerUnavailable):
            ledger.abandon(rows[0].batch)
        else:
            _refuse(rows, ledger, error.message)
        raise
    except BaseException:  # an interrupt: whether the scheduler took the job is open
        ledger.abandon(rows[0].batch)
        raise


def revoke(row: JobRow, target: Target) -> list[str]:
    """Undo a submission of which no id is known: the ids to cancel, if the scheduler took it after all.

    A copy that turns up even later finds its directory locked, and stops at once.
    """
    target.host.place(row.work_dir, {f"{PROTOCOL_DIR}/lock": b"that was cancelled\n"})
    return find(target.scheduler.job_name(row.name, row.batch), target)


def _existing(identity: str, request: Request, target: Target, ledger: Ledger) -> list[JobRow] | None:
    live = ledger.live_job(identity)
    if live:
        rows = ledger.jobs(batch=live.batch)
        return None if _is_stillborn(rows, target, ledger) else rows
    if request.reuse == "succeeded":
        done = ledger.finished_job(identity)
        if done:
            rows = ledger.jobs(batch=done.batch)
            whole = all(row.state.is_success and _has_outputs(row, target) for row in rows)
            return rows if whole else None
    return None


def _is_stillborn(rows: list[JobRow], target: Target, ledger: Ledger) -> bool:
    """Whether the process that claimed it died before its files were written: then it is refused, in nobody's way."""
    first = rows[0]
    if first.state is not JobState.SUBMITTING or process_lives(first.owner) is not False or _is_placed(rows, target):
        return False
    if not ledger.take_over(first, this_process()):
        return False  # somebody else is settling it
    _refuse(rows, ledger, _STILLBORN)
    return True


def _is_placed(rows: list[JobRow], target: Target) -> bool:
    """Whether all files are there: the script is the last of them, and whole."""
    script = target.host.read(_script_path(rows, target))
    return script is not None and hashlib.sha256(script).hexdigest() == rows[0].script_sha256


def _has_outputs(row: JobRow, target: Target) -> bool:
    paths = [posixpath.join(row.work_dir, path) for path in row.outputs.values()]
    return target.host.size(row.work_dir) is not None and all(target.host.size(path) is not None for path in paths)


def _claim(request: Request, identity: str | None, target: Target, ledger: Ledger) -> tuple[list[JobRow], str]:
    """Insert the rows of a new job; none if an equal one was quicker."""
    spec, token = request.spec, ledger.new_token()
    directory = posixpath.join(request.work_root, script_stem(spec.name), token)
    script = render_script(spec, target.scheduler, directory=directory, token=token, template=target.template)
    row = JobRow(
        token=token,
        batch=token,
        name=spec.name,
        target=target.name,
        scheduler=to_json(target.scheduler),
        work_dir=directory,
        state=JobState.SUBMITTING,
        created_at=time.time(),
        identity=identity,
        queue=spec.queue,
        project=spec.project,
        script_sha256=hashlib.sha256(encode(script)).hexdigest(),
        outputs=dict(spec.outputs),
        asset_key=request.asset_key,
        partition_key=request.partition_key,
        run_id=request.run_id,
        owner=this_process(),
    )
    rows = [_element(row, index) for index in range(len(spec.elements))] if spec.is_array else [row]
    return (rows if ledger.claim(rows) else []), script


def _element(row: JobRow, index: int) -> JobRow:
    directory = posixpath.join(row.work_dir, str(index))
    return replace(row, token=f"{row.batch}.{index}", array_index=index, work_dir=directory)


def _place(request: Request, rows: list[JobRow], script: str, target: Target) -> None:
    """Write the job's directory: script, inputs, and what the script reads."""
    directory = _directory(rows)
    files = {
        **request.inputs,
        **script_files(request.spec),
        script_name(target.scheduler.suffix): encode(script),
    }
    place(directory, files, target, folders(len(request.spec.elements)))


def place(directory: str, files: Mapping[str, bytes], target: Target, folders: Sequence[str] = ()) -> None:
    """Write these files for a job. What prevents that is for the user to correct."""
    try:
        target.host.place(directory, files, folders)
    except OSError as error:
        raise ConfigurationError(
            f"the job's files cannot be written on {target.host.name}: {error}",
            advice="check that work_root is writable and not full, and that the names of the inputs make legal paths.",
            work_dir=directory,
        ) from error


def _send(rows: list[JobRow], target: Target, ledger: Ledger, listener: Listener) -> None:
    """Run the submit command until the job is in, refused, or not to be settled within the target's patience."""
    deadline = time.monotonic() + target.patience.unavailable_s
    while True:
        try:
            job_id = _try(rows, target)
        except CapacityReached as error:
            listener.on_warning(f"waiting to submit {rows[0].name}: {error.message}")
            problem: SchedulerUnavailable = error
            time.sleep(target.patience.capacity_retry_s)
        except SchedulerUnavailable as error:
            listener.on_warning(f"looking whether {rows[0].name} was taken: {error.message}")
            problem = error
            if _adopt(rows, target, ledger, listener):
                return
        else:
            _store(rows, job_id, target, ledger)
            return
        if time.monotonic() > deadline:
            raise _unsettled(rows, target, problem)


def _unsettled(rows: list[JobRow], target: Target, problem: SchedulerUnavailable) -> SchedulerUnavailable:
    return SchedulerUnavailable(
        f"{rows[0].name} could not be submitted for {target.patience.unavailable_s:g} s: {problem.message}",
        advice="once the scheduler answers, run the same again: this submission is then settled first.",
        work_dir=_directory(rows),
    )


def _try(rows: list[JobRow], target: Target) -> str:
    call = target.scheduler.submit(_script_path(rows, target))
    try:
        answer = target.host.run(call)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"`{call.argv[0]}` is not on PATH on {target.host.name}, so nothing can be submitted to {target.name}",
            advice="run where the scheduler's commands are, or choose another target; `dagster-hpc doctor` checks it.",
            work_dir=_directory(rows),
        ) from error
    try:
        return target.scheduler.read_submit(answer)
    except SubmitRefused as error:
        raise SubmitRefused(error.message, advice=error.advice, work_dir=_directory(rows)) from error


def _adopt(rows: list[JobRow], target: Target, ledger: Ledger, listener: Listener) -> bool:
    """Look for a job that may have been taken: in queue and history, twice, because both learn of it late."""
    name = target.scheduler.job_name(rows[0].name, rows[0].batch)
    for attempt in (1, 2):
        try:
            found = _find_patiently(name, target)
        except SchedulerUnavailable as error:
            raise _unsettled(rows, target, error) from error
        if found:
            listener.on_warning(f"{rows[0].name} was taken after all, as job {found[0]}")
            _store(rows, found[0], target, ledger)
            return True
        if attempt == 1:
            time.sleep(target.patience.recheck_s)
    return False


def find(name: str, target: Target) -> list[str]:
    """The ids under which queue or history know a job of this name."""
    for call in target.scheduler.find(name):
        try:
            found = target.scheduler.read_found(target.host.run(call))
        except FileNotFoundError as error:
            raise SchedulerUnavailable(f"`{call.argv[0]}` is not on PATH on {target.host.name}") from error
        if found:
            return found  # a history that does not answer matters only for a job that has left the queue
    return []


def _find_patiently(name: str, target: Target) -> list[str]:
    """The same, waiting out a scheduler that cannot be asked."""
    deadline = time.monotonic() + target.patience.unavailable_s
    while True:
        try:
            return find(name, target)
        except SchedulerUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(min(target.patience.recheck_s, 5.0))


def _store(rows: list[JobRow], job_id: str, target: Target, ledger: Ledger) -> None:
    """Give the rows their ids; an array's elements are named after the array."""
    scheduler = target.scheduler
    ids = {
        row.token: job_id if row.array_index is None else scheduler.element_id(job_id, row.array_index) for row in rows
    }
    ledger.submitted(ids, target.name, poll_within_s=min(2.0, target.poll_interval_s))


def _refuse(rows: list[JobRow], ledger: Ledger, reason: str) -> None:
    ledger.record(Change(row.token, JobState.REFUSED, reason) for row in rows)


def _directory(rows: list[JobRow]) -> str:
    """Where script and inputs lie; an array's elements have folders of their own below it."""
    return rows[0].work_dir if rows[0].array_index is None else posixpath.dirname(rows[0].work_dir)


def _script_path(rows: list[JobRow], target: Target) -> str:
    return script_path(_directory(rows), target.scheduler.suffix)
