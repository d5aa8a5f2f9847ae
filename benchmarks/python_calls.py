"""200 Python functions on Slurm: as single calls and as one array, against bare jobs that start the same Python.

Run with SLURM_CONF set, or through `make bench`, which starts a cluster of its own.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.slurm_jobs import JOBS, bare_array, bare_loop
from benchmarks.table import Row, show
from dagster_hpc import ExecutionProfile, HPCJobRunner, SlurmTarget

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "1"))
BOUNDS = {"single": 1.5, "array": 1.5}
BARE = f"{sys.executable} -c 'abs(-1)'"  # what a bare job does: the start of the same interpreter, and a function


def through_calls(folder: Path, *, array: bool) -> float:
    """Wall time until all values are here."""
    hpc = HPCJobRunner(
        target=SlurmTarget(poll_interval=10, python=sys.executable),
        profiles={"one": ExecutionProfile(walltime="00:01:00")},
        work_root=str(folder / "work"),
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
    begun = time.monotonic()
    if array:
        values = hpc.map_calls(abs, range(-JOBS, 0), profile="one")
    else:
        futures = [hpc.submit_call(abs, number, profile="one") for number in range(-JOBS, 0)]
        values = [future.result() for future in futures]
    wall = time.monotonic() - begun
    assert values == list(range(JOBS, 0, -1))
    return wall


def against_bare_jobs(*, array: bool) -> Row:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            theirs.append(bare_array(Path(name), BARE) if array else bare_loop(Path(name), BARE))
            ours.append(through_calls(Path(name), array=array))
    ratio = statistics.median(mine / bare for mine, bare in zip(ours, theirs, strict=True))
    what, bare = (f"{JOBS} calls as one array", "array") if array else (f"{JOBS} single calls", "loop of sbatch")
    seconds = statistics.median(ours)
    return Row(
        what,
        f"{seconds:.2f} s, {JOBS / seconds:.1f}/s",
        f"the bare {bare} that starts the same Python: {statistics.median(theirs):.2f} s",
        ratio,
        BOUNDS["array" if array else "single"],
    )


def main() -> None:
    rows = [against_bare_jobs(array=False), against_bare_jobs(array=True)]
    show(f"Python functions on Slurm, median of {ROUNDS} round{'s' if ROUNDS > 1 else ''}", rows)


if __name__ == "__main__":
    main()
