"""Runs of several partitions, and what Dagster knows of each afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from dagster_hpc import HPCJobRunner


def run_range(
    assets: Sequence[Any], hpc: HPCJobRunner, instance: dg.DagsterInstance, start: str, end: str, **more: Any
) -> dg.ExecuteInProcessResult:
    """One run from one partition to another, as a backfill with `BackfillPolicy.single_run()` launches it."""
    tags = {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}
    resources = {"hpc": hpc, **more.pop("resources", {})}
    return dg.materialize(
        assets, instance=instance, resources=resources, tags=tags, raise_on_error=False, **more
    )


def materializations(
    instance: dg.DagsterInstance, key: str, run_id: str | None = None
) -> dict[str, list[dg.AssetMaterialization]]:
    """Partition → its materializations, oldest first."""
    found: dict[str, list[dg.AssetMaterialization]] = {}
    for record in reversed(instance.fetch_materializations(dg.AssetKey(key), limit=1000).records):
        made = record.asset_materialization
        assert made is not None
        if run_id in (None, record.run_id):
            found.setdefault(str(made.partition), []).append(made)
    return found


def metadata_of(made: dg.AssetMaterialization) -> dict[str, Any]:
    return {name: value.value for name, value in made.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult, step: str) -> Any:
    """The user's failure in which this step ended."""
    (event,) = [e for e in result.all_node_events if e.event_type_value == "STEP_FAILURE" and e.step_key == step]
    return event.step_failure_data


def arrays(hpc: HPCJobRunner) -> list[list[str]]:
    """The partitions of each submission, the oldest submission first."""
    batches: dict[str, list[str]] = {}
    for row in sorted(hpc.jobs(limit=None), key=lambda row: (row.created_at, row.batch, row.array_index or 0)):
        batches.setdefault(row.batch, []).append(str(row.partition_key))
    return list(batches.values())
