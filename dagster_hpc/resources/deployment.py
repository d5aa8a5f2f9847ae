"""The Dagster that a step belongs to, as others see it: which one it is, and how far the steps of its runs have come."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import dagster as dg
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from dagster_hpc.engine.ledger import Recipient, Report
from dagster_hpc.engine.report import Standing
from dagster_hpc.resources.received import materialized_by
from dagster_hpc.resources.step import received_in


def deployment_of(instance: dg.DagsterInstance) -> str:
    """A name for this Dagster that is the same in all its processes: two that share a ledger are told apart by it."""
    storage = instance.run_storage
    return storage.get_run_storage_id() if isinstance(storage, SqlRunStorage) else ""


def standing_in(instance: dg.DagsterInstance) -> Callable[[Recipient, Report], Standing]:
    """How far a step has come, by the event log of this instance. Each run is looked up once."""
    received = cache(received_in(instance))
    run_of = cache(instance.get_run_by_id)
    partitions_of = cache(lambda run_id, key: materialized_by(instance, run_id, [key]))

    def standing(step: Recipient, report: Report) -> Standing:
        run = run_of(step.run_id)
        if run is None:
            return Standing.UNKNOWN
        if run.is_success or received(*step):
            return Standing.RECEIVED
        if report.partition_key in partitions_of(step.run_id, dg.AssetKey.from_user_string(report.asset_key)):
            return Standing.RECEIVED  # of a range, some may be materialized though the step fails
        return Standing.OVER if run.is_finished else Standing.UNDER_WAY

    return standing
