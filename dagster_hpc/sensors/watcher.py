"""Under which name the ledger keeps what a sensor has heard of."""

from __future__ import annotations

import dagster as dg

from dagster_hpc.resources.deployment import deployment_of


def watcher_of(context: dg.SensorEvaluationContext) -> str:
    """A name for this sensor that no other has: of this Dagster and this code location."""
    origin = context.code_location_origin
    location = origin.location_name if origin is not None else ""
    return f"{deployment_of(context.instance)}/{location}/{context.sensor_name}"
