"""From the end of a job's own work to the return of `run`: what a scientist waits for nothing."""

from __future__ import annotations

import os
import statistics
import tempfile
import time

from benchmarks.table import Row, show
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, HPCTarget, LocalTarget, SlurmTarget

ROUNDS = 15
BOUND_S = 0.5


def lags(target: HPCTarget, folder: str) -> list[float]:
    hpc = HPCJobRunner(
        target=target,
        profiles={"one": ExecutionProfile(walltime="00:01:00")},
        work_root=folder,
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
    found = []
    for _ in range(ROUNDS):
        result = hpc.run(Command.shell("sleep 1; date +%s.%N"), profile="one")
        found.append(time.time() - float(result.stdout_tail))
    return found


def main() -> None:
    targets: list[HPCTarget] = [LocalTarget()]
    if os.environ.get("SLURM_CONF"):
        targets.append(SlurmTarget())
    rows = []
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            found = lags(target, folder)
        median = statistics.median(found)
        measured = f"{median:.2f} s (from {min(found):.2f} to {max(found):.2f})"
        rows.append(Row(type(target).__name__, measured, f"{BOUND_S} s", median / BOUND_S, 1))
    show(f"From a job's end to the return of run, median of {ROUNDS}", rows)


if __name__ == "__main__":
    main()
