"""200 Python functions on Slurm, as single calls and as one array: against bare jobs, and against commands of the runner.

All start the same Python, and keep a value. Run with SLURM_CONF set, or through `make bench`, which starts a cluster of its
own.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.python_task import TASK
from benchmarks.slurm_jobs import JOBS, bare_array, bare_loop
from benchmarks.table import Row, show
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, SlurmTarget

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "1"))
BOUND = 1.2  # of a call against a command that runs a script of Python


def runner(folder: Path) -> HPCJobRunner:
    return HPCJobRunner(
        target=SlurmTarget(poll_interval=2, python=sys.executable),
        profiles={"one": ExecutionProfile(walltime="00:01:00")},
        work_root=str(folder / "work"),
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )


def calls(folder: Path, array: bool) -> float:
    """Until all values are here. When the last call ended."""
    hpc, numbers = runner(folder / "calls"), range(-JOBS, 0)
    if array:
        values = hpc.map_calls(abs, numbers, profile="one")
    else:
        futures = [hpc.submit_call(abs, number, profile="one") for number in numbers]
        values = [future.result() for future in futures]
    assert values == list(range(JOBS, 0, -1))
    return last_end(hpc)


def commands(folder: Path, array: bool) -> float:
    script = folder / "commands" / "task.py"
    script.write_text(TASK)
    hpc, command = runner(folder / "commands"), Command(sys.executable, args=[str(script)])
    if array:
        results = hpc.map(command, [[str(number)] for number in range(JOBS)], profile="one")
    else:
        handles = [hpc.submit(command, args=[str(number)], profile="one") for number in range(JOBS)]
        results = [hpc.wait(handle) for handle in handles]
    assert all(result.succeeded for result in results)
    return last_end(hpc)


def last_end(hpc: HPCJobRunner) -> float:
    return max(job.metrics.ended_at or 0.0 for job in hpc.jobs(limit=JOBS))


def bare(folder: Path, array: bool) -> float:
    script = folder / "bare" / "task.py"
    script.write_text(TASK)
    (bare_array if array else bare_loop)(folder, f"cd {script.parent}; {sys.executable} {script} 1")
    return time.time()


def seconds(run: Callable[[Path, bool], float], folder: Path, array: bool) -> tuple[float, float]:
    """Until the last one has ended, and until that is known here: the accounts of a job come up to 5 s after its end."""
    (folder / run.__name__).mkdir()
    begun = time.time()
    ended = run(folder, array)
    return ended - begun, time.time() - begun


def rows(*, array: bool) -> list[Row]:
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            rounds.append([seconds(run, Path(name), array) for run in (calls, commands, bare)])
    ours, theirs, least = (
        [statistics.median(of) for of in zip(*times, strict=True)] for times in zip(*rounds, strict=True)
    )
    what, alike = f"{JOBS} calls as one array" if array else f"{JOBS} single calls", "array" if array else "loop of sbatch"
    ended, known = f"{ours[0]:.2f} s, {JOBS / ours[0]:.1f}/s", f"{ours[1]:.2f} s"
    return [
        Row(f"{what}: to the last end", ended, f"commands of the runner: {theirs[0]:.2f} s", ours[0] / theirs[0], BOUND),
        Row(f"{what}: until all values are here", known, f"the bare {alike}: {least[1]:.2f} s", ours[1] / least[1]),
    ]


def main() -> None:
    found = [*rows(array=False), *rows(array=True)]
    show(f"Python functions on Slurm, median of {ROUNDS} round{'s' if ROUNDS > 1 else ''}", found)


if __name__ == "__main__":
    main()
