"""A code location on a real Slurm, for the browser: a sweep of twenty partitions, and an asset that nobody waits for.

A partition fails, and the other asset's job goes on, as long as a file of its name lies in BROWSER_FILES.
"""

from __future__ import annotations

import os

import dagster as dg

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, SlurmTarget, build_hpc_job_sensor, hpc_asset

FILES = os.environ.get("BROWSER_FILES", "/nonexistent")
TEMPERATURES = [f"{kelvin}K" for kelvin in range(100, 300, 10)]
SIMULATE = """
echo "simulating at $1"
sleep "0.$((RANDOM % 5))"
[ ! -e "$2/$1" ] || { echo "the simulation at $1 did not converge" >&2; exit 3; }
echo "$1 done" >energy.txt
"""


@hpc_asset(
    profile="small",
    outputs={"energy": "energy.txt"},
    partitions_def=dg.StaticPartitionsDefinition(TEMPERATURES),
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="sweep",
)
def simulation(context: dg.AssetExecutionContext) -> Command:
    """One temperature of the sweep; a backfill is one array job of Slurm's."""
    return Command.shell(SIMULATE, args=[context.partition_key, FILES])


@hpc_asset(profile="small", detached=True, group_name="detached")
def long_run() -> Command:
    """Its run ends when the job is submitted; the sensor tells what became of it."""
    return Command.shell('echo working; while [ -e "$1/long_run" ]; do sleep 0.2; done; echo done', args=[FILES])


@hpc_asset(profile="later", group_name="patience")
def patient() -> Command:
    """It may not begin at once, and its run says why."""
    return Command("/bin/true")


hpc = HPCJobRunner(
    target=SlurmTarget(poll_interval=1),
    profiles={
        "small": ExecutionProfile(walltime="00:05:00"),
        "later": ExecutionProfile(walltime="00:05:00", directives=["#SBATCH --begin=now+20"]),
    },
    work_root=os.environ.get("DAGSTER_HPC_WORK_ROOT", "/nonexistent"),
)
defs = dg.Definitions(
    assets=[simulation, long_run, patient],
    sensors=[build_hpc_job_sensor(minimum_interval_seconds=2)],
    resources={"hpc": hpc},
)
