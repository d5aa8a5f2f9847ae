"""A Dagster step as the runner sees it: who asks for the job, where its news go, what its failure is to Dagster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from dagster_hpc.dagster_values import failure
from dagster_hpc.engine.errors import ConfigurationError, SubmitRefused
from dagster_hpc.engine.job import JobFailed, JobHandle, JobState
from dagster_hpc.engine.target import Listener
from dagster_hpc.metadata import TAG_JOB_ID, TAG_TARGET, job_metadata
from dagster_hpc.resources.command import Command

if TYPE_CHECKING:
    from dagster_hpc.engine.runner import Runner

Context = dg.AssetExecutionContext | dg.OpExecutionContext


def user_terminated(context: Context | None) -> bool:
    """Without Dagster, Ctrl-C is the user. With it, only a run that is being cancelled is."""
    if context is None:
        return True
    run = context.instance.get_run_by_id(context.run.run_id)
    return run is not None and run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


@contextmanager
def as_dagster_failure(context: Context | None) -> Iterator[None]:
    """Inside a step, a failed job is a `dg.Failure` with the job's metadata; a refused one is not worth a retry."""
    try:
        yield
    except JobFailed as error:
        if context is None:
            raise
        raise failure(error, job_metadata(error.result)) from error
    except (SubmitRefused, ConfigurationError) as error:
        if context is None:
            raise
        raise failure(error) from error


def listener_of(context: Context | None, *, array: bool = False) -> Listener:
    """State changes into the event log, the job's output line by line into the step's compute logs."""
    if context is None:
        return Listener()

    def on_state(handle: JobHandle, state: JobState, reason: str) -> None:
        if array and (state.is_success or not state.is_final):
            return  # thousands of elements would bury what matters: those that failed
        context.log.info(f"job {handle.job_id or handle.token}: {state}{f', {reason}' if reason else ''}")

    def on_output(handle: JobHandle, stream: str, line: str) -> None:
        index = f"[{handle.token.partition('.')[2] or handle.job_id}] " if array else ""
        print(f"{index}{line}", file=sys.stderr if stream == "stderr" else sys.stdout, flush=True)

    return Listener(on_state, on_output, context.log.warning)


def job_name(command: Command, context: Context | None) -> str:
    """What the queue shows: the command's own name if it has one, else the asset's."""
    return command.name or (asset_key_of(context) or "").rpartition("/")[2] or command.job_name


def asset_key_of(context: Context | None) -> str | None:
    if context is None or not context.has_assets_def:
        return None
    keys = sorted(key.to_user_string() for key in context.selected_asset_keys)
    return ",".join(keys) or None


def partition_key_of(context: Context | None) -> str | None:
    return context.partition_key if context is not None and context.has_partition_key else None


@dataclass(frozen=True)
class Step:
    """A step of a Dagster run: where its definition lies, and which of its like it is."""

    run_id: str
    step_key: str  # with the mapping key of a dynamic step
    path: str  # of its definition in its job, with the mapping key
    job_name: str
    code_location: str


def step_of(context: Context) -> Step:
    """The step that this context belongs to."""
    op = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
    origin = context.run.remote_job_origin
    mapping_key = op.get_mapping_key()
    return Step(
        run_id=context.run.run_id,
        step_key=op.get_step_execution_context().step.key,
        path=f"{op.op_handle}[{mapping_key}]" if mapping_key else str(op.op_handle),
        job_name=context.run.job_name,
        code_location=origin.location_name if origin else "",
    )


def received_by(context: Context | None) -> Callable[[str, str], bool | None]:
    """Whether a step of a run has succeeded, by the event log of this instance; None where it does not know the run."""
    if context is None:
        return lambda run_id, step_key: None
    instance = context.instance

    def received(run_id: str, step_key: str) -> bool | None:
        if instance.get_run_by_id(run_id) is None:
            return None
        stats = instance.get_run_step_stats(run_id, [step_key])
        return any(step.status is not None and step.status.value == "SUCCESS" for step in stats)

    return received


def tag_run(context: Context, engine: Runner) -> None:
    """The ids of all jobs of this run, read from the ledger: steps of one run do not overwrite each other's."""
    rows = engine.ledger.jobs(run_id=context.run.run_id)
    ids = sorted(
        {
            engine.target.scheduler.array_id(row.job_id)
            for row in rows
            if row.job_id and row.target == engine.target.key
        }
    )
    tags = {TAG_JOB_ID: ",".join(ids), TAG_TARGET: engine.target.key}
    context.instance.add_run_tags(context.run.run_id, tags)
