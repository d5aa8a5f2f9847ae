"""What an asset costs more when its step is a batch job on the local target, against the same step doing nothing."""

from __future__ import annotations

import logging
import tempfile
import time

import dagster as dg

from benchmarks.table import Row, show
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, hpc_asset

ASSETS = 20
BOUND_S = 0.5


def seconds(assets: list[dg.AssetsDefinition], folder: str) -> float:
    hpc = HPCJobRunner(
        target=LocalTarget(),
        profiles={"one": ExecutionProfile()},
        work_root=folder,
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
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


def main() -> None:
    logging.getLogger("dagster").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        seconds([job_asset(0)], folder)  # start the local scheduler, fill the caches
        with_jobs = seconds([job_asset(number) for number in range(ASSETS)], folder)
        without = seconds([empty_asset(number) for number in range(ASSETS)], folder)
    added = (with_jobs - without) / ASSETS
    row = Row(
        "added time per asset",
        f"{added:.2f} s",
        f"{BOUND_S} s; an empty step took {without / ASSETS:.2f} s",
        added / BOUND_S,
        1,
    )
    show(f"{ASSETS} assets in one process", [row])


if __name__ == "__main__":
    main()
