"""When the pipeline runs by itself: every day with new samples, and for each file of samples that somebody drops.

Both are off until somebody turns them on in the UI (or with `dagster schedule start`, `dagster sensor start`).
DAGSTER_HPC_CRON sets another time for the schedule.
"""

import json
import os
import time

import dagster as dg

from definitions.bitcount import GROUP, SamplesConfig
from definitions.targets import inbox

SETTLED_S = 2.0  # a file that was written so recently may not be complete

bitcount_pipeline = dg.define_asset_job(
    "bitcount_pipeline",
    selection=dg.AssetSelection.groups(GROUP),
    description="Samples, their counts from the cluster, and the picture.",
)


def daily_samples() -> dg.ScheduleDefinition:
    """Draws new samples each morning and counts them."""

    @dg.schedule(
        name="daily_samples",
        cron_schedule=os.environ.get("DAGSTER_HPC_CRON", "0 6 * * *"),
        target=bitcount_pipeline,
        description="Draws new samples each morning and counts them.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        seed = int(context.scheduled_execution_time.timestamp())
        return _request(SamplesConfig(seed=seed))

    return schedule


@dg.sensor(
    target=bitcount_pipeline,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Runs the pipeline for each *.txt file that is new or changed in the inbox (DAGSTER_HPC_INBOX).",
)
def samples_in_inbox(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One run for each version of each file. The cursor holds the versions that have had theirs."""
    folder = inbox(os.environ)
    done: dict[str, str] = json.loads(context.cursor or "{}")
    now, versions, requests = time.time(), {}, []
    for path in sorted(folder.glob("*.txt")):
        status = path.stat()
        version = f"{status.st_size}-{status.st_mtime_ns}"
        if done.get(path.name) == version:
            versions[path.name] = version
        elif now - status.st_mtime > SETTLED_S:
            versions[path.name] = version
            requests.append(_request(SamplesConfig(input_file=str(path)), run_key=f"{path}:{version}"))
    if not requests:
        return dg.SkipReason(f"nothing new in {folder}" if folder.is_dir() else f"there is no folder {folder} yet")
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(versions))


def _request(config: SamplesConfig, run_key: str | None = None) -> dg.RunRequest:
    return dg.RunRequest(run_key=run_key, run_config=dg.RunConfig(ops={"samples": config}))
