"""The `hpc_asset` that a job of a `defs.yaml` becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from dagster_hpc.assets.asset import HPCAsset, hpc_asset
from dagster_hpc.components.body import body_of, ins_of
from dagster_hpc.components.job import Job
from dagster_hpc.components.readings import collect_of, files_read
from dagster_hpc.components.repeating import Retry
from dagster_hpc.resources.profile import ExecutionProfile


def asset_of(job: Job, folder: Path, *, runner: str, profile: str | ExecutionProfile, retry: Retry) -> HPCAsset:
    """The asset of this job. `profile`, `retry`: what holds where the job itself says nothing.

    `folder`: where the files of the job lie; `runner`: the resource key of its runner.
    """
    of_dagster: dict[str, Any] = {
        "key": job.asset,
        "ins": ins_of(job),
        "deps": job.deps,
        "description": job.description,
        "group_name": job.group_name,
        "owners": job.owners,
        "tags": job.tags,
        "kinds": set(job.kinds),
        "metadata": job.metadata,
        "pool": job.pool,
        "automation_condition": job.automation_condition,
        "partitions_def": job.partitions_def,
        # One array job for many partitions. Without partitions too: Dagster takes a range only where all have it.
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "check_specs": [
            dg.AssetCheckSpec(name, asset=job.asset, blocking=check.blocking, description=check.said(name))
            for name, check in job.checks.items()
        ],
    }
    return hpc_asset(
        job.profile or profile,
        outputs={**job.outputs, **files_read(job.values, job.outputs)},
        collect=collect_of(job.values, job.checks, job.outputs),
        overrides=job.overrides,
        timeout=job.timeout,
        runner=runner,
        max_running=job.max_running,
        detached=job.detached,
        retry=retry if job.retry is None else job.retry,
        resume=job.resume,
        **of_dagster,
    )(body_of(job, folder))
