"""The next attempt at a job that ended badly: made by whoever polls, once, whether or not anybody waits for it.

What an attempt needs lies beside the one before it, written before that was submitted. Its row takes that one's place,
and its identity, in one transaction; so no equal request comes between. Its files are written after that, by whoever
gets to it: should that process die, the next one writes them.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.errors import ConfigurationError, SchedulerUnavailable
from dagster_hpc.engine.job import JobSpec, JobState, Own, Request, RetryPlan
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.ledger.rows import encode_rows
from dagster_hpc.engine.process import new_owner
from dagster_hpc.engine.script import encode, render_script, script_files
from dagster_hpc.engine.workplace import Workplace

_CLOCK_WAS_SET_S = 90.0  # what lies in the future by more than this was written before a clock was set back


def first_plan(request: Request, user: str) -> RetryPlan:
    """What the first attempt's row says of what it was given, and of further ones."""
    spec = request.spec
    return RetryPlan(
        request.retry, request.resume, spec.walltime_s, spec.memory_per_node_mib, spec.exclude_nodes,
        profile=request.profile, user=user,
        nodes=spec.nodes, ranks_per_node=spec.ranks_per_node, cores_per_node=spec.cores_per_node,
    )  # fmt: skip


def kept_files(request: Request, own: Sequence[Own], plan: RetryPlan | None, template: str | None) -> dict[str, bytes]:
    """What a further attempt needs to be made: the request, and the inputs as they are now.

    One that is resumed goes on with the files as they are then. Where no rule asks for further attempts, a person may:
    but inputs, which may be large, are not kept twice for that.
    """
    has_inputs = bool(request.inputs) or any(one.inputs for one in own)
    if plan is None or (has_inputs and not plan.has_rules):
        return {}
    shared = {} if plan.resume else request.inputs
    each = [{} if plan.resume else one.inputs for one in own]
    text = {
        "spec": request.spec.to_dict(), "template": template, "inputs": sorted(shared), "own": [sorted(one) for one in each],
    }  # fmt: skip
    files = {_kept_input("", name): content for name, content in shared.items()}
    for place, inputs in enumerate(each):
        files |= {_kept_input(str(place), name): content for name, content in inputs.items()}
    return files | {jobdir.protocol_path("", jobdir.REQUEST): json.dumps(text).encode()}


def try_again(work: Workplace) -> tuple[bool, float | None]:
    """Make the attempts that are due: whether there was any, and the seconds until the next one is."""
    waiting = work.ledger.to_be_tried_again(work.target.key)
    if not waiting:
        return False, None
    now = work.ledger.now()
    due = [row for row in waiting if _is_due(row, now)]
    for rows in _made_together(due):
        try:
            _make(rows, work)
        except SchedulerUnavailable as error:  # its files are late, or cannot be seen: whoever polls next tries it
            work.listener.on_warning(error.message)
    later = [row.again_at - now for row in waiting if row.again_at is not None and not _is_due(row, now)]
    return bool(due), min(later, default=None)


def write(rows: Sequence[JobRow], owner: str, work: Workplace) -> bool:
    """Write the files of an attempt whose row is there, and say so. False: it is in somebody else's hands, or refused."""
    try:
        return _place(rows, _prepared(rows, _before(rows, work), work), owner, work)
    except ConfigurationError as error:
        work.ledger.claims.refuse(rows[0].batch, owner, error.message)
        work.listener.on_warning(f"{rows[0].name} is not tried again: {error.message}")
        return False


@dataclass(frozen=True)
class _Prepared:
    """All that an attempt's directory is to hold."""

    files: dict[str, bytes]
    folders: list[str]
    script: bytes


def _is_due(row: JobRow, now: float) -> bool:
    return (row.again_at or 0.0) <= now or now < row.updated_at - _CLOCK_WAS_SET_S


def _made_together(due: Sequence[JobRow]) -> list[list[JobRow]]:
    """Elements of one array that are tried again with the same are a smaller array; what is resumed is so alone."""
    groups: dict[object, list[JobRow]] = {}
    for row in sorted(due, key=lambda row: row.array_index or 0):
        alone = row.token if row.array_index is None or (row.again and row.again.resume) else row.batch
        groups.setdefault((alone, row.again), []).append(row)
    return list(groups.values())


def _make(before: Sequence[JobRow], work: Workplace) -> None:
    unwanted = [row.token for row in before if row.cancel_requested]
    if unwanted:
        work.ledger.observations.give_up(unwanted, "cancelled before that")
        return  # the others are made at the next look
    rows = _rows_after(before, work)
    try:
        prepared = _prepared(rows, before, work)
    except ConfigurationError as error:
        work.ledger.observations.give_up([row.token for row in before], f"it is not: {error.message}")
        return
    work.clock.point("retry: before the rows")
    if not work.insist(lambda: work.ledger.claims.take_place(rows, [row.token for row in before])):
        return
    work.clock.point("retry: after the rows")
    _place(rows, prepared, rows[0].owner, work)


def _rows_after(before: Sequence[JobRow], work: Workplace) -> list[JobRow]:
    """The rows of the attempt that follows these."""
    token, owner, now = work.ledger.claims.new_token(), new_owner(), work.clock.now()
    directory = posixpath.join(posixpath.dirname(before[0].batch_dir), token)  # beside it: `../` stays what it was
    rows = []
    for place, row in enumerate(before):
        plan, is_element = row.again or RetryPlan(), row.array_index is not None
        if plan.resume:
            plan = replace(plan, runs_in=row.runs_in)
        outputs = {name: posixpath.join(plan.runs_in, path) for name, path in row.outputs.items()}
        rows.append(
            JobRow(
                token=f"{token}.{place}" if is_element else token,
                batch=token,
                name=row.name,
                target=row.target,
                scheduler=row.scheduler,
                work_dir=jobdir.element_directory(directory, place) if is_element else directory,
                state=JobState.READY,
                created_at=now,
                array_index=place if is_element else None,
                identity=row.identity,
                held_identity=row.held_identity,
                cluster=row.cluster,
                queue=row.queue,
                project=row.project,
                outputs=outputs,
                asset_key=row.asset_key,
                partition_key=row.partition_key,
                run_id=row.run_id,
                step_key=row.step_key,
                together=row.together,
                deployment=row.deployment,
                owner=owner,
                retry=plan,
                retry_number=row.retry_number + 1,
                first_token=row.chain,
            )
        )
    return rows


def _before(rows: Sequence[JobRow], work: Workplace) -> list[JobRow]:
    """The attempts whose places these rows have taken."""
    chains = work.ledger.attempts([row.chain for row in rows])
    found = {before.next_token: before for attempts in chains.values() for before in attempts}
    if missing := [row.token for row in rows if row.token not in found]:
        raise ConfigurationError(f"the ledger knows no attempt before {', '.join(missing)}")
    return [found[row.token] for row in rows]


def _prepared(rows: Sequence[JobRow], before: Sequence[JobRow], work: Workplace) -> _Prepared:
    """`ConfigurationError` if it cannot be made, `SchedulerUnavailable` if its files cannot be seen now."""
    plan = rows[0].retry or RetryPlan()

    def read(path: str) -> bytes:
        return _kept(path, before[0], work)

    kept = json.loads(read(jobdir.protocol_path("", jobdir.REQUEST)))
    spec, places = JobSpec.from_dict(kept["spec"]), [row.array_index for row in before if row.array_index is not None]
    # What it depended on is over, or it would not have begun; a system may have forgotten the id by now.
    spec = replace(
        spec.part(places) if places else spec, walltime_s=plan.walltime_s, memory_per_node_mib=plan.memory_mib,
        exclude_nodes=plan.excluded, working_directory=plan.runs_in, dependencies=(),
    )  # fmt: skip
    shared = {name: read(_kept_input("", name)) for name in kept["inputs"]}
    own = [Own(inputs={name: read(_kept_input(str(at), name)) for name in kept["own"][at]}) for at in places]
    scheduler, token, template = work.target.scheduler, rows[0].batch, kept["template"]
    script = encode(render_script(spec, scheduler, directory=rows[0].batch_dir, token=token, template=template))
    secrets = jobdir.protocol_path("", jobdir.ENVIRONMENT)
    files = {
        **shared,
        **{f"{place}/{name}": content for place, one in enumerate(own) for name, content in one.inputs.items()},
        **script_files(spec),
        **kept_files(Request(spec, "", shared), own, plan, template),
        **({secrets: read(secrets)} if spec.secret_environment else {}),
        jobdir.protocol_path("", jobdir.ROW): encode_rows(rows),
        jobdir.script_name(scheduler.suffix): script,
    }
    return _Prepared(files, jobdir.folders(len(places)), script)


def _place(rows: Sequence[JobRow], prepared: _Prepared, owner: str, work: Workplace) -> bool:
    first = rows[0]
    try:
        work.target.host.place(first.batch_dir, prepared.files, prepared.folders)
    except OSError as error:
        work.insist(lambda: work.ledger.claims.let_go(first.batch, owner))
        raise SchedulerUnavailable(f"the files of {first.name} cannot be written just now: {error}") from error
    work.clock.point("retry: after the files")
    sha256 = hashlib.sha256(prepared.script).hexdigest()
    ready = first.state is JobState.READY
    return work.insist(lambda: work.ledger.claims.placed(first.batch, owner, sha256, ready=ready))


def _kept_input(element: str, name: str) -> str:
    return posixpath.join(jobdir.protocol_path(element, jobdir.INPUTS), name)


def _kept(path: str, row: JobRow, work: Workplace) -> bytes:
    """A file that was kept beside this attempt; late on a network file system, or gone."""
    whole = posixpath.join(row.batch_dir, path)
    try:
        content = work.target.host.read(whole)
    except OSError as error:
        raise SchedulerUnavailable(f"{row.name} is tried again once {whole} can be read: {error}") from error
    if content is None:
        if work.ledger.now() - row.updated_at < work.target.patience.file_delay_s:
            raise SchedulerUnavailable(f"{row.name} is tried again once {whole} is to be seen")
        raise ConfigurationError(f"{whole} is gone")
    return content
