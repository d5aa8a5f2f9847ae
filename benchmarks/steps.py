"""200 steps of one allocation against the same 200 as bare `srun` steps in one sbatch job, on Slurm, side by side.

Once as commands that do nothing, once as Python functions whose values are kept. Run with SLURM_CONF set, or through
`make bench`, which starts a cluster of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.python_task import TASK
from benchmarks.slurm_jobs import JOBS, ROUNDS
from benchmarks.table import Row, show
from dagster_hpc import Allocation, Command, ExecutionProfile, HPCJobRunner, JobMetrics, SlurmTarget

CORES = 4
BOUND = 1.2
PER_SECOND = 20.0
BARE = {"commands": "/bin/true {}", "functions": f"{sys.executable} task.py {{}}"}
SCRIPT = f"""#!/bin/bash
#SBATCH --nodes=1 --ntasks={CORES} --time=10 --output=/dev/null
cd "$1"
date +%s.%N >times
seq {JOBS} | xargs -P{CORES} -I{{}} srun --exact --nodes=1 --ntasks=1 --cpus-per-task=1 --mem=0 BARE
date +%s.%N >>times
"""


def bare_steps(folder: Path, kind: str) -> float:
    """What a scientist's own script does: so many srun at once as there are cores. Seconds from the first to the last."""
    (folder / "task.py").write_text(TASK)
    script = folder / "bare.slurm"
    script.write_text(SCRIPT.replace("BARE", BARE[kind]))
    subprocess.run(["sbatch", "--wait", str(script), str(folder)], check=True, capture_output=True)
    begun, ended = (float(line) for line in (folder / "times").read_text().split())
    return ended - begun


def through_allocation(hpc: HPCJobRunner, kind: str) -> tuple[float, float]:
    """The same from the first step's start to the last one's end; and until their results are all in hand."""
    begun = time.monotonic()
    if kind == "functions":
        assert hpc.map_calls(abs, range(-JOBS, 0), profile="step") == list(range(JOBS, 0, -1))
    else:
        results = hpc.map(Command("/bin/true"), [[str(number)] for number in range(JOBS)], profile="step")
        assert all(result.succeeded for result in results), {str(result.state) for result in results}
    return _span([row.metrics for row in hpc.jobs(limit=JOBS)]), time.monotonic() - begun


def _span(steps: Sequence[JobMetrics]) -> float:
    return max(step.ended_at or 0.0 for step in steps) - min(step.started_at or 0.0 for step in steps)


def allocation(folder: Path) -> HPCJobRunner:
    """A runner whose allocation is there already: the wait in the queue is not what is measured."""
    hpc = HPCJobRunner(
        target=Allocation(
            inside=SlurmTarget(poll_interval=10, python=sys.executable),
            profile=ExecutionProfile(mpiprocs=CORES, walltime="00:10:00"),
            idle=20,
        ),
        profiles={"step": ExecutionProfile(walltime="00:01:00")},
        work_root=str(folder / "work"),
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
    hpc.run(Command("/bin/true"), profile="step")
    return hpc


def rows(kind: str) -> list[Row]:
    ours, walls, theirs = [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            theirs.append(bare_steps(folder, kind))
            span, wall = through_allocation(allocation(folder), kind)
            ours.append(span)
            walls.append(wall)
    span, bare = statistics.median(ours), statistics.median(theirs)
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    rate = statistics.median(JOBS / each for each in ours)
    return [
        Row(f"{kind}: first start to last end", f"{span:.2f} s", f"bare srun steps: {bare:.2f} s", ratio, BOUND),
        Row(f"{kind}: steps a second", f"{rate:.1f}", f"goal: {PER_SECOND:.0f}", PER_SECOND / rate, 1.0),
        Row(f"{kind}: until all results are in hand", f"{statistics.median(walls):.2f} s", ""),
    ]


def main() -> None:
    show(
        f"{JOBS} steps in an allocation of {CORES} cores, median of {ROUNDS} rounds",
        [*rows("commands"), *rows("functions")],
    )


if __name__ == "__main__":
    main()
