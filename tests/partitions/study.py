"""A code location whose runs are in processes of their own: where its files are is said by the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dagster as dg

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, JobResult, LocalTarget, hpc_asset

HOME = Path(os.environ.get("STUDY_HOME", "/nonexistent"))
KEYS = [f"k{number:02}" for number in range(20)]


def read(result: JobResult) -> str:
    return Path(result.outputs["out"]).read_text().strip()


@hpc_asset(
    profile="small",
    outputs={"out": "out.txt"},
    collect=read,
    partitions_def=dg.StaticPartitionsDefinition(KEYS),
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def measured(context: dg.AssetExecutionContext) -> Command:
    """Each partition leaves a trace that it ran, and fails as long as a file of its name is there."""
    script = f'echo x >>{HOME}/ran.$1; echo "value of $1" >out.txt; [ ! -e {HOME}/bad.$1 ] || exit 3'
    return Command.shell(script, args=[context.partition_key])


@dg.asset(backfill_policy=dg.BackfillPolicy.single_run())
def report(measured: dict[str, str]) -> int:
    return len(measured)


hpc = HPCJobRunner(
    target=LocalTarget(poll_interval=0.3, spool=str(HOME / "spool"), executable_map={"python": sys.executable}),
    profiles={"small": ExecutionProfile(walltime="00:05:00")},
    work_root=str(HOME / "work"),
    ledger_url=f"sqlite:///{HOME}/ledger.db",
)

defs = dg.Definitions(
    assets=[measured, report],
    jobs=[dg.define_asset_job("study", selection=[measured])],
    resources={"hpc": hpc, "io_manager": dg.FilesystemIOManager(base_dir=str(HOME / "values"))},
)


def study() -> dg.JobDefinition:
    return defs.resolve_job_def("study")
