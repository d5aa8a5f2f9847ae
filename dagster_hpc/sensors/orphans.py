"""Jobs whose run died, and that nobody asks for again: they are reported, or cancelled, or left as they are."""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG, WILL_RETRY_TAG

from dagster_hpc.engine.ledger.reports import Asked
from dagster_hpc.engine.report import reports_of
from dagster_hpc.engine.runner import Runner
from dagster_hpc.resources.deployment import deployment_of
from dagster_hpc.resources.step import received_in


def settle_orphans(
    engine: Runner, instance: dg.DagsterInstance, assets: Collection[str], *, after_s: float, cancel: bool
) -> int:
    """Owe a report of all jobs whose run has been over for so long. How many were found.

    `assets`: those that the sensor can report. `cancel`: those that are live are cancelled, and reported as that.
    """
    ours = deployment_of(instance)
    asked = [one for one in engine.ledger.reports.unowed(engine.target.key) if one.asset_key in assets]
    dead = [one for one in asked if one.deployment in ("", ours) and _is_dead(one, engine, instance, ours, after_s)]
    found = 0
    for step in dead:
        rows = [row for row in engine.ledger.jobs(run_id=step.run_id) if row.step_key == step.step_key]
        reports = [report for report in reports_of(rows, ours) if report.asset_key in assets]
        if cancel:
            live = {row.token for row in rows if not row.is_over}
            reports = [report for report in reports if not live.isdisjoint(report.tokens)]
            engine.ledger.observations.request_cancel(sorted(live))  # whoever polls sends it, until the job is gone
        found += len(engine.ledger.reports.add(reports))
    return found


def _is_dead(step: Asked, engine: Runner, instance: dg.DagsterInstance, ours: str, after_s: float) -> bool:
    """Whether the run of this step has been over for so long, did not come to its end, and nobody retries it."""
    record = instance.get_run_record_by_id(step.run_id)
    if record is None:
        return step.deployment == ours != ""  # it was deleted; else it is the run of another Dagster
    run = record.dagster_run
    if run.status not in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        return False
    over_at = record.end_time or record.update_timestamp.timestamp()
    if engine.ledger.now() - over_at < after_s or received_in(instance)(step.run_id, step.step_key):
        return False
    return not _is_retried(run, instance)


def _is_retried(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Whether a later run of the same root is under way, or is still to come."""
    root = run.tags.get(ROOT_RUN_ID_TAG, run.run_id)
    under_way = dg.RunsFilter(tags={ROOT_RUN_ID_TAG: root}, statuses=NOT_FINISHED_STATUSES)
    if instance.get_runs_count(under_way):
        return True
    if run.tags.get(WILL_RETRY_TAG) != "true":
        return False
    return not instance.get_runs_count(dg.RunsFilter(tags={PARENT_RUN_ID_TAG: run.run_id}))
