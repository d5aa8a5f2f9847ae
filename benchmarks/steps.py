"""200 steps of one allocation against the same 200 as bare `srun` steps in one sbatch job, on Slurm, side by side.

Run with SLURM_CONF set, or through `make bench`, which starts a cluster of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.slurm_jobs import JOBS, ROUNDS
from benchmarks.table import Row, show
from dagster_hpc import Allocation, Command, ExecutionProfile, HPCJobRunner, JobResult, SlurmTarget

CORES = 4
BOUND = 1.2
PER_SECOND = 20.0
BARE = f"""#!/bin/bash
#SBATCH --nodes=1 --ntasks={CORES} --time=10 --output=/dev/null
cd "$1"
date +%s.%N >times
seq {JOBS} | xargs -P{CORES} -I{{}} srun --exact --nodes=1 --ntasks=1 --cpus-per-task=1 --mem=0 /bin/true {{}}
date +%s.%N >>times
"""


def bare_steps(folder: Path) -> float:
    """What a scientist's own script does: so many srun at once as there are cores. Seconds from the first to the last."""
    script = folder / "bare.slurm"
    script.write_text(BARE)
    subprocess.run(["sbatch", "--wait", str(script), str(folder)], check=True, capture_output=True)
    begun, ended = (float(line) for line in (folder / "times").read_text().split())
    return ended - begun


def through_allocation(hpc: HPCJobRunner) -> tuple[float, float]:
    """The same from the first step's start to the last one's end; and until their results are all in hand."""
    begun = time.monotonic()
    results = hpc.map(Command("/bin/true"), [[str(number)] for number in range(JOBS)], profile="step")
    wall = time.monotonic() - begun
    assert all(result.succeeded for result in results), {str(result.state) for result in results}
    return _span(results), wall


def _span(results: list[JobResult]) -> float:
    started = [result.metrics.started_at or 0.0 for result in results]
    return max(result.metrics.ended_at or 0.0 for result in results) - min(started)


def allocation(folder: Path) -> HPCJobRunner:
    """A runner whose allocation is there already: the wait in the queue is not what is measured."""
    hpc = HPCJobRunner(
        target=Allocation(
            inside=SlurmTarget(poll_interval=10), profile=ExecutionProfile(mpiprocs=CORES, walltime="00:10:00"), idle=20
        ),
        profiles={"step": ExecutionProfile(walltime="00:01:00")},
        work_root=str(folder / "work"),
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
    hpc.run(Command("/bin/true"), profile="step")
    return hpc


def main() -> None:
    ours, walls, theirs = [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            theirs.append(bare_steps(folder))
            span, wall = through_allocation(allocation(folder))
            ours.append(span)
            walls.append(wall)
    span, bare = statistics.median(ours), statistics.median(theirs)
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    rate = statistics.median(JOBS / each for each in ours)
    show(
        f"{JOBS} steps of `true` in an allocation of {CORES} cores, median of {ROUNDS} rounds",
        [
            Row("from the first start to the last end", f"{span:.2f} s", f"bare srun steps: {bare:.2f} s", ratio, BOUND),
            Row("steps a second", f"{rate:.1f}", f"goal: {PER_SECOND:.0f}", PER_SECOND / rate, 1.0),
            Row("until all results are in hand", f"{statistics.median(walls):.2f} s", ""),
        ],
    )


if __name__ == "__main__":
    main()
