"""200 partitions of an asset in one run of Dagster, one array job on Slurm, against the bare array.

Run with SLURM_CONF set, or through `make bench`, which starts a cluster of its own.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import dagster as dg

from benchmarks.slurm_jobs import JOBS, ROUNDS, bare_array
from benchmarks.table import Row, show
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, SlurmTarget, hpc_asset

BOUND = 1.3
KEYS = [f"{number:04}" for number in range(JOBS)]
BODIES = ("sleep 5", "true")  # of each element: short work; and none, beside which Dagster's own events take longest


def partitioned(body: str) -> dg.AssetsDefinition:
    """An asset of so many partitions, each of which does this."""

    @hpc_asset(
        profile="one",
        collect=lambda result: None,
        partitions_def=dg.StaticPartitionsDefinition(KEYS),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def sweep() -> Command:
        return Command.shell(body)

    return sweep


def through_dagster(folder: Path, body: str) -> float:
    """All partitions in one run, as a backfill with `BackfillPolicy.single_run()` starts it."""
    hpc = HPCJobRunner(
        target=SlurmTarget(poll_interval=10),
        profiles={"one": ExecutionProfile(walltime="00:01:00")},
        work_root=str(folder / "work"),
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
    tags = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]}
    with dg.instance_for_test() as instance:
        begun = time.monotonic()
        result = dg.materialize([partitioned(body)], resources={"hpc": hpc}, instance=instance, tags=tags)
        wall = time.monotonic() - begun
        assert result.success
        done = instance.get_materialized_partitions(dg.AssetKey("sweep"))
    assert done == set(KEYS)
    return wall


def against_the_bare_array(body: str) -> Row:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            theirs.append(bare_array(Path(name), body))
            ours.append(through_dagster(Path(name), body))
    ratio = statistics.median(mine / bare for mine, bare in zip(ours, theirs, strict=True))
    compared = f"the bare array: {statistics.median(theirs):.2f} s"
    what, seconds = f"{JOBS} partitions, `{body}` in each", f"{statistics.median(ours):.2f} s"
    return Row(what, seconds, compared, ratio, BOUND) if body == BODIES[0] else Row(what, seconds, compared, ratio)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    try:
        rows = [against_the_bare_array(body) for body in BODIES]
    finally:
        logging.disable(logging.NOTSET)
    show(f"Partitions as one array through Dagster, on Slurm, median of {ROUNDS} rounds", rows)


if __name__ == "__main__":
    main()
