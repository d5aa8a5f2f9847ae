"""Values of assets through their IO managers, one partition at a time: by a step, and by a sensor, which has no step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg


def store(io_manager: dg.IOManager, context: dg.OutputContext, value: Any) -> dict[str, dg.MetadataValue]:
    """Hand the value to the IO manager. What it tells about it belongs to the materialization."""
    said = io_manager.handle_output(context, value)
    if isinstance(said, Iterable) and not isinstance(said, Mapping):
        for _ in said:  # a generator has stored nothing before it is asked
            pass
    return dict(context.consume_logged_metadata())


def store_value(
    io_manager: dg.IOManager,
    value: Any,
    *,
    definition: dg.AssetsDefinition,
    asset_key: dg.AssetKey,
    partition_key: str | None,
    instance: dg.DagsterInstance,
    run_id: str | None = None,
    resources: Mapping[str, Any] | None = None,
) -> dict[str, dg.MetadataValue]:
    """Store the value of an asset, or of one of its partitions, without a step.

    `resources`: those that the IO manager itself asks for by name. `run_id`: of the run that asked for the value.
    """
    spec, output = definition.get_asset_spec(asset_key), definition.get_output_name_for_asset_key(asset_key)
    partitions = spec.partitions_def if partition_key is not None else None
    key = _with_dimensions(partitions, partition_key)
    context = dg.build_output_context(
        step_key=definition.node_def.name,
        name=output,
        definition_metadata=dict(spec.metadata),
        run_id=run_id,
        dagster_type=definition.op.output_def_named(output).dagster_type,
        op_def=definition.op,
        asset_key=asset_key,
        partition_key=key,
        asset_partitions_def=partitions,
        asset_partition_key_range=dg.PartitionKeyRange(key, key) if key is not None else None,
        instance=instance,
        asset_spec=spec,
        resources=resources,
    )
    return store(io_manager, context, value)


def _with_dimensions(partitions: dg.PartitionsDefinition[Any] | None, key: str | None) -> str | None:
    """The key as Dagster knows it: that of several dimensions is told by each of them."""
    if key is None or not isinstance(partitions, dg.MultiPartitionsDefinition):
        return key
    return partitions.get_partition_key_from_str(key)
