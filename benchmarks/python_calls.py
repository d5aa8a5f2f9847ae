"""200 Python functions on Slurm, as single calls and as one array: against bare jobs, and against commands of the runner.

All start the same Python. Run with SLURM_CONF set, or through `make bench`, which starts a cluster of its own.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.slurm_jobs import JOBS, bare_array, bare_loop
from benchmarks.table import Row, show
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, SlurmTarget

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "1"))
BOUND = 1.2  # of a call against a command that starts Python and no more
CODE = "abs(-1)"
BARE = f"{sys.executable} -c '{CODE}'"


def runner(folder: Path) -> HPCJobRunner:
    return HPCJobRunner(
        target=SlurmTarget(poll_interval=10, python=sys.executable),
        profiles={"one": ExecutionProfile(walltime="00:01:00")},
        work_root=str(folder / "work"),
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )


def calls(folder: Path, array: bool) -> None:
    """Until all values are here."""
    hpc, numbers = runner(folder / "calls"), range(-JOBS, 0)
    if array:
        values = hpc.map_calls(abs, numbers, profile="one")
    else:
        futures = [hpc.submit_call(abs, number, profile="one") for number in numbers]
        values = [future.result() for future in futures]
    assert values == list(range(JOBS, 0, -1))


def commands(folder: Path, array: bool) -> None:
    hpc, command = runner(folder / "commands"), Command(sys.executable, args=["-c", CODE])
    if array:
        results = hpc.map(command, [[]] * JOBS, profile="one")
    else:
        results = [hpc.wait(handle) for handle in [hpc.submit(command, profile="one") for _ in range(JOBS)]]
    assert all(result.succeeded for result in results)


def bare(folder: Path, array: bool) -> None:
    (bare_array if array else bare_loop)(folder, BARE)


def seconds(run: Callable[[Path, bool], None], folder: Path, array: bool) -> float:
    (folder / run.__name__).mkdir()
    begun = time.monotonic()
    run(folder, array)
    return time.monotonic() - begun


def rows(*, array: bool) -> list[Row]:
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            rounds.append([seconds(run, Path(name), array) for run in (calls, commands, bare)])
    ours, theirs, least = (statistics.median(times) for times in zip(*rounds, strict=True))
    what = f"{JOBS} calls as one array" if array else f"{JOBS} single calls"
    measured, alike = f"{ours:.2f} s, {JOBS / ours:.1f}/s", "array" if array else "loop of sbatch"
    return [
        Row(what, measured, f"commands of the runner: {theirs:.2f} s", ours / theirs, BOUND),
        Row(what, measured, f"the bare {alike}: {least:.2f} s", ours / least),
    ]


def main() -> None:
    found = [*rows(array=False), *rows(array=True)]
    show(f"Python functions on Slurm, median of {ROUNDS} round{'s' if ROUNDS > 1 else ''}", found)


if __name__ == "__main__":
    main()
