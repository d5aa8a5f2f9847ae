"""The SQD loop, three iterations of three batches: as jobs and by size, against qiskit-addon-sqd in one process."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from typing import Any

from benchmarks.table import Row, show
from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget
from dagster_hpc.dice import DiceSolver
from dagster_hpc.sqd import Molecule, SQDResult, run_sqd, sample_bitstrings

ROUNDS = 3
ITERATIONS = 3
STRINGS = (10, 45, 87, 234)  # of each spin, at most: 100 to 55,000 determinants
FIXED_S = 0.5  # for an iteration whose subspaces are next to nothing


def timed(**how: Any) -> tuple[float, SQDResult]:
    begun = time.monotonic()
    result = run_sqd(**how)
    return time.monotonic() - begun, result


def main() -> None:
    molecule = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", symmetry=True, frozen_core=2)
    integrals = molecule.integrals()
    bits = sample_bitstrings({"kind": "uniform", "right_particle_number": True}, molecule, shots=2000, seed=24)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        hpc = HPCJobRunner(
            target=LocalTarget(),
            profiles={"dice-mpi": ExecutionProfile(ompthreads=1)},
            work_root=folder,
            ledger_url=f"sqlite:///{folder}/ledger.db",
        )
        solver = DiceSolver(hpc=hpc)
        for strings in STRINGS:
            asked: dict[str, Any] = {
                "molecule": integrals, "bitstrings": bits, "samples_per_batch": strings, "num_batches": 3, "seed": 24,
                "max_iterations": ITERATIONS, "max_dim": strings, "initial_occupancies": molecule.initial_occupancies("hf"),
            }  # fmt: skip
            alone = statistics.median(timed(**asked)[0] for _ in range(ROUNDS))
            as_jobs = [timed(**asked, sci_solver=solver, in_process_below=0) for _ in range(ROUNDS)]
            jobs = statistics.median(seconds for seconds, _ in as_jobs)
            chosen = statistics.median(timed(**asked, sci_solver=solver)[0] for _ in range(ROUNDS))
            what = f"{as_jobs[0][1].determinants} determinants"
            rows.append(Row(f"{what}: all as jobs", f"{jobs:.2f} s", f"one process {alone:.2f} s", jobs / alone))
            # From two thousand determinants on nobody should have to ask whether a cluster is worth it.
            rows.append(Row(f"{what}: by size", f"{chosen:.2f} s", f"one process {alone:.2f} s", chosen / alone, 1))
            if strings == STRINGS[0]:
                fixed = statistics.median(_beyond_jobs(seconds, result) for seconds, result in as_jobs)
                here = chosen / ITERATIONS
                bound = f"{FIXED_S} s"
                rows.append(Row("an iteration of these, by size", f"{here:.2f} s", bound, here / FIXED_S, 1))
                rows.append(Row("… as jobs, beyond their CPU time", f"{fixed:.2f} s", bound, fixed / FIXED_S, 1))
    show(f"run_sqd, {ITERATIONS} iterations of 3 batches, embedded solver; median of {ROUNDS}", rows)


def _beyond_jobs(seconds: float, result: SQDResult) -> float:
    """Of one iteration, were the jobs' CPU time spread evenly over this machine's cores."""
    ran = sum(job["cpu_time_s"] or 0.0 for job in result.jobs)
    return (seconds - ran / (os.cpu_count() or 1)) / len(result.iterations)


if __name__ == "__main__":
    main()
