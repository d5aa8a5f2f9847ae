"""`build_job_ended_sensor`: starts something when jobs end, whoever has submitted them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.events import CoercibleToAssetKey

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import Subject
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.sensors.ended_job import EndedJob, Wanted
from dagster_hpc.sensors.watcher import watcher_of

_POLL_S = 15.0  # Dagster gives an evaluation 60 s
_AT_ONCE = 50  # run requests of one evaluation; the others come at the next


def build_job_ended_sensor(
    name: str = "hpc_job_ended",
    *,
    target: Any,
    runner: str = "hpc",
    assets: Sequence[CoercibleToAssetKey] | None = None,
    names: Sequence[str] | None = None,
    states: Sequence[JobState | str] | None = None,
    request: Callable[[EndedJob], dg.RunRequest] = lambda job: dg.RunRequest(),
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """A sensor that asks for one run for each job that ends: also for those of scripts and other code locations.

    It reads the ledger, and hears of each end once, however long it was switched off. What was over before it was
    switched on for the first time is no news. An array is one job, and has ended with its last element.

    Args:
        name: Of the sensor.
        target: The Dagster job, or the assets, to run.
        runner: Resource key of the `HPCJobRunner` whose jobs it hears of.
        assets: Only jobs of these assets.
        names: Only jobs with such names, as in `md-*`.
        states: Only jobs that ended so, as in `["COMPLETED"]`.
        request: What is asked for; the job is in its tags anyway (`dagster_hpc/token`, `…/state`, `…/work_dir`).
        minimum_interval_seconds: Between two looks.
        default_status: Whether it is switched on when it is first seen.

    Example:
        @dg.asset
        def overview() -> None: ...

        refresh = build_job_ended_sensor(target=overview, names=["md-*"], states=["COMPLETED"])
    """
    wanted = Wanted.of(assets, names, states)

    @dg.sensor(
        name=name,
        target=target,
        required_resource_keys={runner},
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description="Asks for a run for each HPC job that ends.",
    )
    def job_ended(context: dg.SensorEvaluationContext, **resources: Any) -> dg.SensorResult | dg.SkipReason:
        hpc: HPCJobRunner = getattr(context.resources, runner)
        engine = hpc.polled(_POLL_S)
        if not engine.is_identified:
            return dg.SkipReason(f"{engine.target.name} does not say yet which cluster it is")
        notices, watcher, key = engine.ledger.notices, watcher_of(context), engine.target.key
        if notices.begin(watcher, key):
            return dg.SkipReason(f"hears of the jobs of {key} that end from now on")
        # Dagster has kept the cursor together with the requests of the last evaluation: those are safe now.
        notices.note(watcher, _subjects(context.cursor))
        now = engine.ledger.now()
        ended = [job for rows in notices.ended(watcher, key) if not (job := EndedJob(tuple(rows))).may_change(now)]
        notices.note(watcher, [subject for job in ended if not wanted.wants(job) for subject in job.subjects])
        news = [job for job in ended if wanted.wants(job)][:_AT_ONCE]
        cursor = json.dumps([subject for job in news for subject in job.subjects]) if news else ""
        if not news:
            context.update_cursor(cursor)
            return dg.SkipReason(f"no job of {key} has ended since the last look")
        return dg.SensorResult(run_requests=[_for(job, request) for job in news], cursor=cursor)

    return job_ended


def _for(job: EndedJob, request: Callable[[EndedJob], dg.RunRequest]) -> dg.RunRequest:
    asked = request(job)
    return asked.with_replaced_attrs(run_key=job.token, tags={**asked.tags, **job.tags})


def _subjects(cursor: str | None) -> list[Subject]:
    return [Subject(*each) for each in json.loads(cursor or "[]")]
