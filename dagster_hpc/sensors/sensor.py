"""`build_hpc_job_sensor`: reports the jobs that no run waits for."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import dagster as dg

from dagster_hpc.engine.report import Reported
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.sensors.orphans import settle_orphans
from dagster_hpc.sensors.reporting import DagsterReports

Orphans = Literal["materialize", "cancel", "leave"]

_POLL_S = 15.0  # Dagster gives an evaluation 60 s
_REPORT_S = 25.0


def build_hpc_job_sensor(
    name: str = "hpc_jobs",
    *,
    runner: str = "hpc",
    orphans: Orphans = "materialize",
    orphan_after_s: float = 900.0,
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """A sensor that reports the jobs of detached assets when they are over, each once: also after a crash.

    Args:
        name: Of the sensor.
        runner: Resource key of the `HPCJobRunner` whose jobs it reports.
        orphans: What becomes of jobs whose run died and was not retried: they are reported as if they were detached,
            they are cancelled, or they are left to the next run that asks for the same.
        orphan_after_s: So long ago the run must have ended.
        minimum_interval_seconds: Between two looks.
        default_status: Whether it is switched on when it is first seen.

    Example:
        @hpc_asset(profile="small", detached=True)
        def trajectory() -> Command:
            return Command("dynamics")

        defs = dg.Definitions(assets=[trajectory], sensors=[build_hpc_job_sensor()], resources={"hpc": hpc})
    """

    @dg.sensor(
        name=name,
        required_resource_keys={runner},
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description="Reports the jobs that no run waits for: materializations, checks and failures.",
    )
    def report_jobs(context: dg.SensorEvaluationContext, **resources: Any) -> dg.SkipReason:
        repository = context.repository_def
        if repository is None:
            raise dg.DagsterInvariantViolationError("the sensor was evaluated without the definitions of its code location")
        hpc: HPCJobRunner = getattr(context.resources, runner)
        addressee = DagsterReports(context.instance, repository.assets_defs_by_key)
        engine = hpc.polled(_POLL_S)
        if not engine.is_identified:
            return dg.SkipReason(f"{engine.target.name} does not say yet which cluster it is")
        found = 0
        if orphans != "leave":
            ours, cancel = addressee.asset_keys, orphans == "cancel"
            found = settle_orphans(engine, context.instance, ours, after_s=orphan_after_s, cancel=cancel)
        said = engine.report(addressee, within_s=_REPORT_S)
        return dg.SkipReason(_sentence(said, found))

    return report_jobs


def _sentence(said: Reported, orphans: int) -> str:
    parts = [f"{orphans} of runs that died are taken up"] if orphans else []
    parts += [f"{count} reported as {outcome}" for outcome, count in Counter(said.outcomes.values()).items()]
    parts += [f"{count} left: {why}" for why, count in Counter(said.left.values()).items()]
    return "; ".join([*parts, f"{said.live} detached under way"])
