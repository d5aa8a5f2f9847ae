"""Which partitions Dagster has received, by its own event log: a step that fails may have materialized many before."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache, partial

import dagster as dg
from dagster._core.storage.tags import ASSET_RESUME_RETRY_TAG, RESUME_RETRY_TAG

from dagster_hpc.resources.step import Context, op_of, received_in, step_of

_PAGE = 1000


def materialized_by(instance: dg.DagsterInstance, run_id: str, keys: Collection[dg.AssetKey]) -> set[str]:
    """The partitions of which this run has materialized all of these assets."""
    found: dict[dg.AssetKey, set[str]] = {key: set() for key in keys}
    kind, cursor, more = dg.DagsterEventType.ASSET_MATERIALIZATION, None, True
    while more:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=kind, limit=_PAGE)
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event is not None and event.asset_key in found and event.partition is not None:
                found[event.asset_key].add(str(event.partition))
        cursor, more = page.cursor, page.has_more
    return set.intersection(*found.values()) if found else set()


def partitions_received(context: Context) -> Callable[[str], Callable[[str, str], bool | None]]:
    """For each partition: whether a step of a run has received it; None where this instance does not know the run."""
    instance, keys = op_of(context).instance, op_of(context).selected_asset_keys
    step_received = received_in(instance)
    of_run = cache(lambda run_id: materialized_by(instance, run_id, keys))

    def received(partition_key: str, run_id: str, step_key: str) -> bool | None:
        as_a_whole = step_received(run_id, step_key)
        return partition_key in of_run(run_id) if as_a_whole is False else as_a_whole

    return lambda partition_key: partial(received, partition_key)


def partitions_done(context: Context) -> set[str]:
    """The partitions that this step has materialized already: earlier in its run, or in the run that this one goes on with.

    A run goes on with another one if it runs again what has failed there. One that runs everything again begins anew.
    """
    op, step = op_of(context), step_of(context)
    run, done = op.run, set[str]()
    while step is not None:
        done |= materialized_by(op.instance, run.run_id, op.selected_asset_keys)
        resumes = any(run.tags.get(tag) == "true" for tag in (RESUME_RETRY_TAG, ASSET_RESUME_RETRY_TAG))
        parent = op.instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
        if parent is None or not (resumes or run.step_keys_to_execute):
            break
        if received_in(op.instance)(parent.run_id, step.step_key):
            break  # it had succeeded there, and somebody wants it once more
        run = parent
    return done
