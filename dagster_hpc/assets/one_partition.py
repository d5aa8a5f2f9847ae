"""A step that covers several partitions, as it looks to one of them.

Dagster derives all that a step says of its partitions from the tags of its run. A copy of the step whose run has the
tags of one partition is this step for that partition alone: to the user's function, to IO managers, and to Dagster's
own code that makes materializations. What is not about partitions (log, resources, run id, config) is the real step's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.definition.asset_spec import AssetExecutionType
from dagster._core.definitions.partitions.utils import MultiPartitionKey
from dagster._core.definitions.partitions.utils.multi import get_tags_from_multi_partition_key
from dagster._core.execution.context.data_version_cache import DataVersionCache
from dagster._core.execution.context.metadata_logging import OutputMetadataAccumulator
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.execution.plan.execute_step import _get_output_asset_events, do_type_check
from dagster._core.execution.plan.objects import TypeCheckData
from dagster._core.execution.plan.outputs import StepOutputData, StepOutputHandle
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from dagster_hpc.assets.collected import Collected
from dagster_hpc.assets.storing import store

_OF_A_RANGE = (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)


class OnePartition:
    """One partition of a step that covers several."""

    def __init__(self, context: dg.AssetExecutionContext, key: str) -> None:
        self.key = str(key)
        self._whole = _step_of(context)
        self._step = _narrowed(self._whole, key)
        self._op = dg.OpExecutionContext(self._step)
        self.context = dg.AssetExecutionContext(self._op)  # the step's, as it would be for this partition alone

    def upstream(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The values of upstream assets, of which this partition gets those that its partition mapping names."""
        return {name: self._value(name, value) for name, value in arguments.items() if name in self._inputs}

    def note_versions(self) -> None:
        """Note which versions of its upstream assets this partition is made from, before they change."""
        self._step.fetch_external_input_asset_version_info()

    def materialized(self, found: Collected) -> Iterator[Any]:
        """Store the value, and tell Dagster of this partition what it tells of a step's only one."""
        output = self._step.op_def.output_def_named(self._output_name)
        metadata = {**found.metadata, **(self._step.get_output_metadata(output.name) or {})}
        stored = self._stored(found, metadata) if found.has_value and not output.dagster_type.is_nothing else {}
        made = dg.Output(
            None, output_name=output.name, metadata=metadata, data_version=found.data_version, tags=found.tags
        )
        kind = AssetExecutionType.MATERIALIZATION
        yield from self._op.consume_events()
        yield from _get_output_asset_events(
            self.context.asset_key, [self._step.partition_key], made, output, stored, self._step, kind
        )

    def evaluated(self, check: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
        """The result of an asset check, on this partition."""
        return check.to_asset_check_evaluation(self._step)

    @property
    def _output_name(self) -> str:
        return str(self.context.assets_def.get_output_name_for_asset_key(self.context.asset_key))

    @property
    def _inputs(self) -> Mapping[str, Any]:
        return {each.name: each for each in self._step.step.step_inputs}

    def _stored(self, found: Collected, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        handle = StepOutputHandle(self._step.step.key, self._output_name)
        context = self._step.get_output_context(handle, metadata)
        checked = do_type_check(self._step.for_type(context.dagster_type), context.dagster_type, found.value)
        if not checked.success:
            raise dg.Failure(
                f"the value of partition {self.key!r} is no {context.dagster_type.display_name}: {checked.description}",
                metadata=checked.metadata,
            )
        return store(self._step.get_io_manager(handle), context, found.value)

    def _value(self, name: str, value: Any) -> Any:
        """Dagster's file IO managers load several partitions as a dict, key → value; others are asked again for this one."""
        if not self._whole.has_asset_partitions_for_input(name):
            return value
        of_all = list(self._whole.asset_partitions_subset_for_input(name).get_partition_keys())
        if len(of_all) < 2:
            return value
        keys = [str(key) for key in self._step.asset_partitions_subset_for_input(name).get_partition_keys()]
        if isinstance(value, Mapping) and set(value) <= {str(key) for key in of_all}:
            if len(keys) == 1:
                return value.get(keys[0])
            return {key: value[key] for key in keys if key in value}
        source, definition = self._inputs[name].source, self._step.op_def.input_def_named(name)
        loaded = [one for one in source.load_input_object(self._step, definition) if not isinstance(one, dg.DagsterEvent)]
        return loaded[0]


def given_out(context: dg.AssetExecutionContext) -> Iterator[dg.DagsterEvent]:
    """Say that the step's output is there: steps downstream may load it. Its partitions were stored one by one."""
    step = _step_of(context)
    name = context.assets_def.get_output_name_for_asset_key(context.asset_key)
    step.observe_output(name)
    well = TypeCheckData(success=True, label=name)  # type: ignore[no-untyped-call]
    yield dg.DagsterEvent.step_output_event(step, StepOutputData(StepOutputHandle(step.step.key, name), well))


def check_given_out(context: dg.AssetExecutionContext, key: dg.AssetCheckKey) -> Iterator[dg.Output[None]]:
    """The same of an asset check, where it is part of this run."""
    if key in context.assets_def.check_keys:
        name = _step_of(context).job_def.asset_layer.get_op_output_name(key)
        if name is not None:
            yield dg.Output(None, output_name=name)


def _step_of(context: dg.AssetExecutionContext) -> StepExecutionContext:
    return context.op_execution_context.get_step_execution_context()


def _narrowed(step: StepExecutionContext, key: str) -> StepExecutionContext:
    one, run = copy(step), step.dagster_run
    tags = {name: value for name, value in run.tags.items() if name not in _OF_A_RANGE}
    tags[PARTITION_NAME_TAG] = str(key)
    if isinstance(key, MultiPartitionKey):
        tags.update(get_tags_from_multi_partition_key(key))
    one._plan_data = step.plan_data._replace(dagster_run=run.with_tags(tags))
    one._metadata_accumulator = OutputMetadataAccumulator.empty()
    one._data_version_cache = DataVersionCache(one)
    return one
