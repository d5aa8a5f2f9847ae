"""Runs of a few assets in this process, and what their event log says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from dagster_hpc import HPCJobRunner


def materialize(
    assets: Sequence[Any], hpc: HPCJobRunner, *, instance: dg.DagsterInstance | None = None, **more: Any
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        assets,
        instance=instance or dg.DagsterInstance.ephemeral(),
        resources={"hpc": hpc},
        raise_on_error=False,
        **more,
    )


def metadata_of(result: dg.ExecuteInProcessResult, key: str) -> dict[str, Any]:
    """Of the one materialization of this asset in this run."""
    (found,) = [
        node.step_materialization_data.materialization
        for node in result.all_node_events
        if node.is_step_materialization and node.asset_key == dg.AssetKey.from_user_string(key)
    ]
    return {name: value.value for name, value in found.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult, step: str) -> str:
    """The words of the step's failure."""
    (event,) = [e for e in result.all_node_events if e.event_type_value == "STEP_FAILURE" and e.step_key == step]
    data = event.step_failure_data
    return (data.user_failure_data.description if data.user_failure_data else None) or str(data.error)


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}
