"""Partitions in a `defs.yaml`: what Dagster's own components take, and beside them monthly and dynamic ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias

import dagster as dg
from dagster.components.resolved.core_models import (
    DailyPartitionsDefinitionModel,
    HourlyPartitionsDefinitionModel,
    StaticPartitionsDefinitionModel,
    TimeWindowPartitionsDefinitionModel,
    WeeklyPartitionsDefinitionModel,
    resolve_partitions_def,
)


class MonthlyPartitionsModel(dg.Model):
    """One partition a month."""

    type: Literal["monthly"]
    start_date: str
    end_date: str | None = None
    timezone: str | None = None


class DynamicPartitionsModel(dg.Model):
    """Partitions that are added while the deployment runs, in the UI or by a sensor."""

    type: Literal["dynamic"]
    name: str


def _resolved(context: dg.ResolutionContext, given: Any) -> dg.PartitionsDefinition[Any] | None:
    if isinstance(given, MonthlyPartitionsModel):
        return dg.MonthlyPartitionsDefinition(given.start_date, end_date=given.end_date, timezone=given.timezone)
    if isinstance(given, DynamicPartitionsModel):
        return dg.DynamicPartitionsDefinition(name=given.name)
    return resolve_partitions_def(context, given)


Partitions: TypeAlias = Annotated[
    dg.PartitionsDefinition[Any] | None,
    dg.Resolver(
        _resolved,
        model_field_type=StaticPartitionsDefinitionModel
        | HourlyPartitionsDefinitionModel
        | DailyPartitionsDefinitionModel
        | WeeklyPartitionsDefinitionModel
        | MonthlyPartitionsModel
        | TimeWindowPartitionsDefinitionModel
        | DynamicPartitionsModel,
        description="The partitions of the asset. A run that covers several is one array job.",
        examples=[
            {"type": "static", "partition_keys": ["h2", "lih"]},
            {"type": "daily", "start_date": "2026-01-01", "timezone": "Asia/Tokyo"},
            {"type": "dynamic", "name": "molecules"},
        ],
    ),
]


def distinct(given: Iterable[Partitions]) -> list[dg.PartitionsDefinition[Any]]:
    """Each of these once, without the places where there is none."""
    found: list[dg.PartitionsDefinition[Any]] = []
    for each in given:
        if each is not None and each not in found:
            found.append(each)
    return found
