"""200 one-line jobs on Slurm: one runner against a bare loop of sbatch and squeue, singly and as one array.

Run with SLURM_CONF set, or through `make bench`, which starts a cluster of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.counting import CountingSlurmTarget
from benchmarks.table import Row, show
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner

JOBS = int(os.environ.get("BENCH_JOBS", "200"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SCRIPT = "#!/bin/bash\n#SBATCH --ntasks=1 --time=1 --output=/dev/null\ntrue\n"


def bare_loop(folder: Path, body: str = "true") -> float:
    """What a scientist's own script does: sbatch in a loop, then squeue each second until all are gone."""
    script = folder / "bare.slurm"
    script.write_text(SCRIPT.replace("true", body))
    begun = time.monotonic()
    ids = [_sbatch("--parsable", str(script)) for _ in range(JOBS)]
    _until_gone(ids)
    return time.monotonic() - begun


def bare_array(folder: Path, body: str = "true") -> float:
    script = folder / "array.slurm"
    script.write_text(SCRIPT.replace("true", body))
    begun = time.monotonic()
    _until_gone([_sbatch("--parsable", f"--array=0-{JOBS - 1}", str(script))])
    return time.monotonic() - begun


def through_runner(folder: Path, *, array: bool) -> tuple[float, int, int]:
    """Wall time, submit commands, all scheduler commands."""
    target = CountingSlurmTarget(poll_interval=10)
    hpc = HPCJobRunner(
        target=target,
        profiles={"one": ExecutionProfile(walltime="00:01:00")},
        work_root=str(folder / "work"),
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )
    command = Command("/bin/true")
    begun = time.monotonic()
    if array:
        results = hpc.map(command, [[]] * JOBS, profile="one")
    else:
        handles = [hpc.submit(command, profile="one") for _ in range(JOBS)]
        results = [hpc.wait(handle) for handle in handles]
    wall = time.monotonic() - begun
    assert all(result.succeeded for result in results), {str(result.state) for result in results}
    return wall, target.commands["sbatch"], sum(target.commands.values())


def _sbatch(*arguments: str) -> str:
    return subprocess.run(["sbatch", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def _until_gone(ids: list[str]) -> None:
    while subprocess.run(["squeue", "-h", "-j", ",".join(ids)], capture_output=True, text=True).stdout.strip():
        time.sleep(1)


def main() -> None:
    rows = []
    for array, bare, bound, spare in ((False, bare_loop, 1.5, JOBS + 10), (True, bare_array, 1.2, 0)):
        ratios, ours, theirs, submits, commands = [], [], [], [], []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory(prefix="bench-") as name:
                folder = Path(name)
                theirs.append(bare(folder))
                wall, sbatches, total = through_runner(folder, array=array)
            ours.append(wall)
            submits.append(sbatches)
            commands.append(total)
            ratios.append(wall / theirs[-1])
        what = f"one array of {JOBS}" if array else f"{JOBS} jobs"
        against = "the bare array" if array else "a bare loop of sbatch, squeue each second"
        seconds, bare_seconds = statistics.median(ours), statistics.median(theirs)
        rows.append(
            Row(
                f"{what}: wall time",
                f"{seconds:.2f} s",
                f"{against}: {bare_seconds:.2f} s",
                statistics.median(ratios),
                bound,
            )
        )
        if array:
            rows.append(Row(f"{what}: sbatch commands", f"{max(submits)}", "1", max(submits), 1))
            rows.append(Row(f"{what}: scheduler commands", f"{max(commands)}", ""))
        else:
            rows.append(Row(f"{what}: scheduler commands", f"{max(commands)}", f"{spare}", max(commands) / spare, 1))
    show(f"Slurm, median of {ROUNDS} rounds", rows)


if __name__ == "__main__":
    main()
