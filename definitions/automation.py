"""When the pipeline runs by itself: every day with new samples, and for each file of samples that somebody drops.

Both are off until somebody turns them on in the UI (or with `dagster schedule start`, `dagster sensor start`).
DAGSTER_HPC_CRON sets another time for the schedule.
"""

import json
import os
import time
from pathlib import Path

import dagster as dg

from definitions.bitcount import GROUP, SamplesConfig
from definitions.targets import inbox

SETTLED_S = 2.0  # a file that was written so recently may not be complete
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

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
        return _request(SamplesConfig(seed=int(context.scheduled_execution_time.timestamp())))

    return schedule


@dg.sensor(
    target=bitcount_pipeline,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Runs the pipeline for each *.txt file that is new or changed in the inbox (DAGSTER_HPC_INBOX).",
)
def samples_in_inbox(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One run for each version of each file; the cursor holds the versions that have had theirs.

    One at a time, because all runs write the same assets: a second run would change them under the first one's feet.
    """
    folder = inbox(os.environ)
    versions = {str(path): _version(path) for path in sorted(folder.glob("*.txt"))}
    done: dict[str, str] = {
        path: version for path, version in json.loads(context.cursor or "{}").items() if path in versions
    }
    new = [path for path, version in versions.items() if version and version != done.get(path)]
    if not new:
        return dg.SkipReason(f"nothing new in {folder}" if folder.is_dir() else f"there is no folder {folder} yet")
    if context.instance.get_runs_count(dg.RunsFilter(job_name=bitcount_pipeline.name, statuses=UNDER_WAY)):
        return dg.SkipReason(f"{len(new)} new in {folder}, to be read when the pipeline's present run is over")
    first = new[0]
    return dg.SensorResult(
        run_requests=[_request(SamplesConfig(input_file=first), run_key=f"{first}:{versions[first]}")],
        cursor=json.dumps({**done, first: versions[first]}),
    )


def _version(path: Path) -> str:
    """What changes when the file does; empty while somebody may still be writing it."""
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}" if time.time() - status.st_mtime > SETTLED_S else ""


def _request(config: SamplesConfig, run_key: str | None = None) -> dg.RunRequest:
    return dg.RunRequest(run_key=run_key, run_config=dg.RunConfig(ops={"samples": config}))
