"""A step that submits and ends. The sensor reports what becomes of its jobs: see sensors/."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from dagster_hpc.assets.partition_failures import Failures
from dagster_hpc.assets.partitions import covers_several, shares_of, submit_partitions
from dagster_hpc.assets.recipe import Launch
from dagster_hpc.engine.job import JobHandle
from dagster_hpc.resources.deployment import deployment_of
from dagster_hpc.resources.step import asset_key_of, op_of, partition_key_of, step_of


def submit_detached(launch: Launch) -> Iterator[dg.Output[Any]]:
    """Submit, note in the ledger what is to be reported, and leave. Each partition is a report of its own."""
    context = launch.context
    if covers_several(context):
        _submit_partitions(launch)
    else:
        wanted = launch.wanted()
        handles = launch.submit(wanted.commands)
        _owe(launch, [Owed(context, handles, partition_key_of(context), wanted.single)])
    yield from _checks_left_open(context)


def refuse_detached(launch: Launch) -> None:
    """Of a check, and of several assets at once, no sensor reports."""
    if launch.detached:
        raise dg.Failure(
            f"{launch.recipe.name!r} was launched with detached: true, and only a job of one hpc_asset can be reported by a "
            "sensor: leave it out",
            allow_retries=False,
        )


@dataclass(frozen=True)
class Owed:
    """Jobs that were asked for together, and what they are to Dagster. `context`: as for this partition alone."""

    context: dg.AssetExecutionContext
    handles: Sequence[JobHandle]
    partition_key: str | None
    single: bool


def _submit_partitions(launch: Launch) -> None:
    """All partitions as one array job. Those for which there is no job fail the step once the others are submitted."""
    failures = Failures()
    shares = shares_of(launch, failures)
    handles = iter(submit_partitions(launch, shares))
    owed = [
        Owed(share.one.context, [next(handles) for _ in share.commands], share.one.key, single=share.single)
        for share in shares
    ]
    _owe(launch, owed)
    if failures:
        raise failures.as_failure([], launch.context.partition_keys)


def _owe(launch: Launch, owed: Sequence[Owed]) -> None:
    """Note that these jobs are to be reported without a run."""
    from dagster_hpc.engine.ledger import Report

    context, step = launch.context, step_of(launch.context)
    if step is None or not owed:
        return  # called by hand: nobody is owed anything
    deployment = deployment_of(op_of(context).instance)
    reports = [
        Report(
            tokens=tuple(handle.token for handle in each.handles),
            single=each.single,
            target=each.handles[0].target,
            deployment=deployment,
            asset_key=asset_key_of(context) or "",
            partition_key=each.partition_key,
            run_id=step.run_id,
            step_key=step.step_key,
            tags=_provenance(each.context),
        )
        for each in owed
    ]
    added = launch.hpc.owe(reports)
    context.log.info(_sentence([handle for each in owed for handle in each.handles], len(added)))


def _provenance(context: dg.AssetExecutionContext) -> dict[str, str]:
    """The versions of the code and of the inputs as they are now, in the tags that Dagster gives to a materialization."""
    step, key = context.get_step_execution_context(), context.asset_key
    asset = step.job_def.asset_layer.get(key)
    tags = {CODE_VERSION_TAG: asset.code_version or context.run.run_id}
    for parent in asset.parent_keys:
        known = step.maybe_fetch_and_get_input_asset_version_info(parent)
        version = known.data_version if known and known.data_version else DEFAULT_DATA_VERSION
        tags[get_input_data_version_tag(parent)] = version.value
        tags[get_input_event_pointer_tag(parent)] = str(known.storage_id) if known else NULL_EVENT_POINTER
    return tags


def _sentence(handles: Sequence[JobHandle], added: int) -> str:
    names = ", ".join(handle.job_id or handle.token for handle in handles[:3])
    names += f" and {len(handles) - 3} more" if len(handles) > 3 else ""
    told = "" if added else " It was to be reported already, and will be once."
    return (
        f"job {names}: this step ends now and does not wait. When the job is over, the sensor that build_hpc_job_sensor "
        f"makes reports the materialization, or the failure; it has to be switched on.{told}"
    )


def _checks_left_open(context: dg.AssetExecutionContext) -> Iterator[dg.Output[Any]]:
    """Dagster wants an output for each check; the evaluation itself comes with the report."""
    selected = context.selected_asset_check_keys
    for name, spec in context.assets_def.node_check_specs_by_output_name.items():
        if spec.key in selected:
            yield dg.Output(None, output_name=name)
