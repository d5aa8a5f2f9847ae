"""A Dagster step as the runner sees it: who asks for the job, where its news go, what its failure is to Dagster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import dagster as dg

from dagster_hpc.dagster_values import code, failure
from dagster_hpc.engine.errors import ConfigurationError, SubmitRefused
from dagster_hpc.engine.job import JobFailed, JobHandle, JobState, Progress
from dagster_hpc.engine.target import Listener
from dagster_hpc.metadata import TAG_JOB_ID, TAG_TARGET, job_metadata
from dagster_hpc.python_calls.log_lines import logged
from dagster_hpc.python_calls.outcome import CallFailed
from dagster_hpc.resources.command import Command

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import Recipient
    from dagster_hpc.engine.runner import Runner

_MOST_LOGGED = 1000  # lines of its functions that one wait puts into the event log, a row of a database each

Context = dg.AssetExecutionContext | dg.OpExecutionContext | dg.AssetCheckExecutionContext


def op_of(context: Context) -> dg.OpExecutionContext:
    """The same step as an op: what assets, checks and ops have in common."""
    return context if isinstance(context, dg.OpExecutionContext) else context.op_execution_context


def user_terminated(context: Context | None) -> bool:
    """Outside a run, Ctrl-C is the user. In one, only a run that is being cancelled is."""
    step = step_of(context)
    if context is None or step is None:
        return True
    run = op_of(context).instance.get_run_by_id(step.run_id)
    return run is not None and run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


@contextmanager
def as_dagster_failure(context: Context | None) -> Iterator[None]:
    """Inside a step, a failed job is a `dg.Failure` with the job's metadata; a refused one is not worth a retry."""
    try:
        yield
    except JobFailed as error:
        if context is None:
            raise
        traceback = {"remote_traceback": code(error.traceback)} if isinstance(error, CallFailed) else {}
        raise failure(error, {**job_metadata(error.result), **traceback}) from error
    except (SubmitRefused, ConfigurationError) as error:
        if context is None:
            raise
        raise failure(error) from error


def listener_of(context: Context | None, *, array: str = "") -> Listener:
    """State changes into the event log, the job's output line by line into the step's compute logs.

    What a function logs by its context stands in both. `array`: how several jobs together are called; then it is told how
    far they are, and which have failed.
    """
    if context is None:
        return Listener()
    log = context.log
    room = {"below WARNING": count(_MOST_LOGGED, -1), "from WARNING on": count(_MOST_LOGGED, -1)}

    def on_state(handle: JobHandle, state: JobState, reason: str) -> None:
        if array and (state.is_success or not state.is_final):
            return  # thousands of elements would bury what matters: those that failed
        log.info(f"job {handle.job_id or handle.token}: {state}{f', {reason}' if reason else ''}")

    def on_output(handle: JobHandle, stream: str, line: str) -> None:
        index = f"[{handle.token.partition('.')[2] or handle.job_id}] " if array else ""
        print(f"{index}{line}", file=sys.stderr if stream == "stderr" else sys.stdout, flush=True)
        if stream == "stderr" and (said := logged(line)):
            level, words = said
            which = "below WARNING" if level in ("DEBUG", "INFO") else "from WARNING on"
            left = next(room[which])
            if left > 0:
                log.log(level, f"{index}{words}")
            elif left == 0:
                here = f"{_MOST_LOGGED} lines of context.log {which} stand here"
                log.warning(f"{here}; all further ones in the step's stderr")

    def on_progress(progress: Progress) -> None:
        log.info(f"{array}: {progress}")

    return Listener(on_state, on_output, log.warning, on_progress)


def job_name(command: Command, context: Context | None) -> str:
    """What the queue shows: the command's own name if it has one, else the asset's."""
    asset = (asset_key_of(context) or "").split(",")[0]
    return command.name or asset.rpartition(":")[2].rpartition("/")[2] or command.job_name


def asset_key_of(context: Context | None) -> str | None:
    """The assets that this step makes, by commas; of a check, the asset and behind a colon its name."""
    if context is None or not op_of(context).has_assets_def:
        return None
    definition = op_of(context).assets_def
    if isinstance(context, dg.AssetCheckExecutionContext):
        return ",".join(sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in definition.check_keys)) or None
    keys = definition.keys if step_of(context) is None else op_of(context).selected_asset_keys
    return ",".join(sorted(key.to_user_string() for key in keys)) or None


def partition_key_of(context: Context | None) -> str | None:
    """The partition, where the step makes only one; a range may be of one, too."""
    if context is None:
        return None
    op = op_of(context)
    if not has_partitions(context):
        return None
    if op.has_partition_key:
        return op.partition_key
    if step_of(context) is None or not op.has_partition_key_range:
        return None
    start, end = op.partition_key_range
    return start if start == end else None


def has_partitions(context: Context) -> bool:
    """Whether the partitions of the run are about this step: its run may have other assets, which have partitions."""
    op = op_of(context)
    if step_of(context) is None or not op.has_assets_def:
        return True
    specs = list(op.assets_def.specs)
    return not specs or any(spec.partitions_def is not None for spec in specs)


@dataclass(frozen=True)
class Step:
    """A step of a Dagster run: where its definition lies, and which of its like it is."""

    run_id: str
    step_key: str  # with the mapping key of a dynamic step
    path: str  # of its definition in its job, with the mapping key
    retry_number: int
    job_name: str
    code_location: str


def step_of(context: Context | None) -> Step | None:
    """The step that this context belongs to; None outside a run, as in a unit test that calls an asset's function."""
    if context is None:
        return None
    op = op_of(context)
    try:
        run = op.run
    except dg.DagsterError:
        return None
    mapping_key = op.get_mapping_key()
    return Step(
        run_id=run.run_id,
        step_key=op.get_step_execution_context().step.key,
        path=f"{op.op_handle}[{mapping_key}]" if mapping_key else str(op.op_handle),
        retry_number=op.retry_number,
        job_name=run.job_name,
        code_location=run.remote_job_origin.location_name if run.remote_job_origin else "",
    )


def recipient_of(context: Context | None) -> Recipient | None:
    """The step that a result is returned to; None where it is delivered by being returned."""
    from dagster_hpc.engine.ledger import Recipient

    step = step_of(context)
    return Recipient(step.run_id, step.step_key) if step else None


def received_by(context: Context | None) -> Callable[[str, str], bool | None]:
    """Whether a step of a run has succeeded, by the event log of this instance; None where it does not know the run."""
    if context is None:
        return lambda run_id, step_key: None
    return received_in(op_of(context).instance)


def received_in(instance: dg.DagsterInstance) -> Callable[[str, str], bool | None]:
    """The same by the event log of any instance."""

    def received(run_id: str, step_key: str) -> bool | None:
        if instance.get_run_by_id(run_id) is None:
            return None
        stats = instance.get_run_step_stats(run_id, [step_key])
        return any(step.status is not None and step.status.value == "SUCCESS" for step in stats)

    return received


def tag_run(context: Context, engine: Runner) -> None:
    """The ids of all jobs of this run, read from the ledger: steps of one run do not overwrite each other's."""
    step = step_of(context)
    if step is None:
        return
    rows = engine.ledger.jobs(run_id=step.run_id)
    ids = sorted(
        {
            engine.target.scheduler.array_id(row.job_id)
            for row in rows
            if row.job_id and row.target == engine.target.key
        }
    )
    tags = {TAG_JOB_ID: ",".join(ids), TAG_TARGET: engine.target.key}
    op_of(context).instance.add_run_tags(step.run_id, tags)
