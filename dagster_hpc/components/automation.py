"""WHEN in a `defs.yaml`: conditions by their names, and a schedule for all jobs of a file."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from pydantic import Field

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean

Partitions = dg.PartitionsDefinition[Any]

_CONDITIONS = {"eager": dg.AutomationCondition.eager, "on_missing": dg.AutomationCondition.on_missing}


class OnCron(dg.Model):
    """Once after each tick, when everything upstream has been updated since."""

    on_cron: str = Field(description="A cron expression, or @daily and its like.", examples=["0 6 * * *"])
    timezone: str = Field(default="UTC", description="Time zone of the expression.", examples=["Asia/Tokyo"])


def _condition(context: dg.ResolutionContext, given: Any) -> dg.AutomationCondition[Any] | None:
    if given is None or isinstance(given, dg.AutomationCondition):
        return given
    if isinstance(given, OnCron):
        return dg.AutomationCondition.on_cron(given.on_cron, cron_timezone=given.timezone)
    if given not in _CONDITIONS:
        raise ConfigurationError(
            f"there is no automation condition {given!r}: {did_you_mean(given, list(_CONDITIONS))}",
            advice='for others write "{{ dg.AutomationCondition.… }}", or {on_cron: "0 6 * * *"}.',
        )
    return _CONDITIONS[given]()


Condition: TypeAlias = Annotated[
    dg.AutomationCondition[Any] | None,
    dg.Resolver(
        _condition,
        model_field_type=OnCron | str,
        description="When the asset is made without a schedule: eager (something upstream has changed), on_missing, or "
        "on_cron; any other of Dagster's as a template.",
        examples=["eager", {"on_cron": "0 6 * * *"}, "{{ dg.AutomationCondition.any_deps_updated() }}"],
    ),
]


@dataclass(frozen=True)
class Schedule(dg.Resolvable):
    """When all jobs of the file run, one after the other as they depend on each other."""

    cron: Annotated[
        str, dg.Resolver.default(description="A cron expression, or @daily and its like.", examples=["0 6 * * 1-5"])
    ]
    timezone: Annotated[
        str, dg.Resolver.default(description="Time zone of the expression.", examples=["Asia/Tokyo"])
    ] = "UTC"
    status: Annotated[
        Literal["running", "stopped"],
        dg.Resolver.default(
            description="running: it is switched on when it is first loaded; stopped: you switch it on in the UI."
        ),
    ] = "stopped"

    def definition(
        self, name: str, keys: Sequence[dg.AssetKey], partitions: Partitions | None
    ) -> dg.ScheduleDefinition:
        """The schedule of these assets, and of all or the newest of their partitions."""

        @dg.schedule(
            name=name,
            cron_schedule=self.cron,
            execution_timezone=self.timezone,
            target=dg.AssetSelection.assets(*keys),
            default_status=dg.DefaultScheduleStatus[self.status.upper()],
        )
        def run_all(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
            if partitions is None:
                return dg.RunRequest()
            due = due_partitions(context, partitions)
            return request_for(due) if due else dg.SkipReason("there is no partition yet")

        return run_all


def due_partitions(context: dg.ScheduleEvaluationContext, partitions: Partitions) -> Sequence[str]:
    """The newest window that is complete; where partitions are no windows of time, all of them."""
    known = partitions.get_partition_keys(
        current_time=context.scheduled_execution_time, dynamic_partitions_store=context.instance
    )
    return known[-1:] if isinstance(partitions, dg.TimeWindowPartitionsDefinition) else known


def request_for(keys: Sequence[str]) -> dg.RunRequest:
    """One run: of one partition, or of several, which are then one array job."""
    if len(keys) == 1:
        return dg.RunRequest(partition_key=keys[0])
    return dg.RunRequest(tags={ASSET_PARTITION_RANGE_START_TAG: keys[0], ASSET_PARTITION_RANGE_END_TAG: keys[-1]})


def _schedule(context: dg.ResolutionContext, given: Any) -> Schedule | None:
    if isinstance(given, str):
        return Schedule(cron=given)
    return None if given is None else Schedule.resolve_from_model(context, given)


ScheduleField: TypeAlias = Annotated[
    Schedule | None,
    dg.Resolver(
        _schedule,
        model_field_type=Schedule.model() | str,
        description="When all jobs of this file run: a cron expression, or one with its time zone.",
        examples=["0 6 * * *", {"cron": "0 6 * * *", "timezone": "Asia/Tokyo", "status": "running"}],
    ),
]
