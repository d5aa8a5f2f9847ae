"""A batch of 10 subspaces as one array job: what it takes beyond the solver itself, for each job."""

from __future__ import annotations

import os
import statistics
import tempfile
import time

from benchmarks.table import Row, show
from dagster_hpc import ExecutionProfile, HPCJobRunner, HPCTarget, LocalTarget, SlurmTarget
from dagster_hpc.dice import DiceSolver
from dagster_hpc.sqd import Molecule

SUBSPACES = 10
ROUNDS = 3
BOUND_S = 0.3


def seconds_beyond(target: HPCTarget, folder: str) -> float:
    """Wall time of the batch less the time that its jobs ran, were they spread evenly over this machine's cores."""
    integrals = Molecule(geometry="H 0 0 0; H 0 0 0.74; H 0 0 1.6; H 0 0 2.4", basis="sto-3g").integrals()
    strings = [string for string in range(1 << integrals.norb) if string.bit_count() == integrals.nelec[0]]
    batch = [(strings[: 3 + number % 3], strings) for number in range(SUBSPACES)]
    hpc = HPCJobRunner(
        target=target,
        profiles={"dice-mpi": ExecutionProfile(memory_per_node="500M")},
        work_root=folder,
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
    solver = DiceSolver(hpc=hpc)
    begun = time.monotonic()
    runs = solver.runs(batch, integrals.one_body, integrals.two_body, integrals.norb, integrals.nelec)
    wall = time.monotonic() - begun
    ran = sum(job.metrics.cpu_time_s or 0.0 for run in runs for job in run.jobs)
    return (wall - ran / (os.cpu_count() or 1)) / SUBSPACES


def main() -> None:
    targets: list[HPCTarget] = [LocalTarget()]
    if os.environ.get("SLURM_CONF"):
        targets.append(SlurmTarget())
    rows = []
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            beyond = statistics.median(seconds_beyond(target, folder) for _ in range(ROUNDS))
        rows.append(Row(type(target).__name__, f"{beyond:.2f} s per job", f"{BOUND_S} s", beyond / BOUND_S, 1))
    show(f"{SUBSPACES} subspaces as one array, beyond the solver's CPU time; median of {ROUNDS}", rows)


if __name__ == "__main__":
    main()
