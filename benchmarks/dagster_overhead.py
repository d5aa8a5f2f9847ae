"""What an asset costs more when its step is a batch job, against the same step doing nothing; all steps in one run.

On Slurm the time that Slurm itself takes is taken off: from the submit command to the job's last line, and one answer of
its accounting, in which the cost of the job is.
"""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from benchmarks.table import Row, show
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, HPCTarget, LocalTarget, SlurmTarget, hpc_asset
from dagster_hpc.engine import jobdir
from dagster_hpc.engine.schedulers import from_json

ASSETS = 20
BOUND_S = 0.25


def runner(target: HPCTarget, folder: str) -> HPCJobRunner:
    return HPCJobRunner(
        target=target,
        profiles={"one": ExecutionProfile(walltime="00:01:00")},
        work_root=folder,
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )


def seconds(assets: Sequence[dg.AssetsDefinition], hpc: HPCJobRunner) -> float:
    """How long one run of these takes."""
    with dg.instance_for_test() as instance:
        begun = time.monotonic()
        assert dg.materialize(assets, resources={"hpc": hpc}, instance=instance).success
        return time.monotonic() - begun


def empty_asset(number: int) -> dg.AssetsDefinition:
    @dg.asset(name=f"empty_{number}")
    def empty() -> None: ...

    return empty


def job_asset(number: int) -> dg.AssetsDefinition:
    @hpc_asset(profile="one", name=f"job_{number}")
    def job() -> Command:
        return Command("/bin/true")

    return job


def of_the_scheduler(hpc: HPCJobRunner, jobs: int) -> float:
    """Seconds between script and end of the newest of these jobs, in sum: what the scheduler takes for them."""
    total = 0.0
    for row in hpc.jobs(limit=jobs):
        script = Path(jobdir.script_path(row.batch_dir, from_json(row.scheduler).suffix))
        ended = Path(jobdir.protocol_path(row.work_dir, jobdir.EXIT_CODE)).read_text().split()[1]
        total += float(ended) - script.stat().st_mtime
    return total


def an_answer_of_the_accounting(hpc: HPCJobRunner) -> float:
    """Seconds that Slurm takes to say what one job has cost; asked as the runner asks it."""
    scheduler = hpc.target.engine_target().scheduler
    (row,) = hpc.jobs(limit=1)
    question = scheduler.history([str(row.job_id)])
    assert question is not None
    took = []
    for _ in range(5):
        begun = time.monotonic()
        subprocess.run(question.argv, check=True, capture_output=True)
        took.append(time.monotonic() - begun)
    return statistics.median(took)


def measure(target: HPCTarget, *, scheduler_counts: bool) -> Row:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        hpc = runner(target, folder)
        seconds([job_asset(0)], hpc)  # start the scheduler, fill the caches
        without = seconds([empty_asset(number) for number in range(ASSETS)], hpc)
        with_jobs = seconds([job_asset(number) for number in range(ASSETS)], hpc)
        job = 0.0 if scheduler_counts else of_the_scheduler(hpc, ASSETS) / ASSETS
        answer = 0.0 if scheduler_counts else an_answer_of_the_accounting(hpc)
    added = (with_jobs - without) / ASSETS - job - answer
    compared = f"{BOUND_S} s; an empty step took {without / ASSETS:.2f} s"
    if not scheduler_counts:
        compared += f"; a job took Slurm {job:.2f} s, and sacct {answer:.2f} s"
    return Row(type(target).__name__, f"{added:.2f} s", compared, added / BOUND_S, 1)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    try:
        rows = [measure(LocalTarget(), scheduler_counts=True)]
        if os.environ.get("SLURM_CONF"):
            rows.append(measure(SlurmTarget(), scheduler_counts=False))
    finally:
        logging.disable(logging.NOTSET)
    show(f"Added time per materialization, {ASSETS} assets in one run", rows)


if __name__ == "__main__":
    main()
