"""`dagster-hpc jobs` with ten thousand rows in the ledger, against the start of Python with the libraries it needs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row, show
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger

ROWS = 10_000
ROUNDS = 9


def fill(url: str) -> None:
    now = time.time()
    ledger = Ledger(url)
    ledger.insert_missing(
        [
            JobRow(
                token=f"row{number:05d}", batch=f"row{number:05d}", name="benchmark", target="local", scheduler="{}",
                work_dir=f"/scratch/benchmark/row{number:05d}", state=JobState.COMPLETED, created_at=now - number,
                job_id=str(number), owner="nobody",
            )
            for number in range(ROWS)
        ]
    )  # fmt: skip
    ledger.close()


def seconds(command: list[str]) -> float:
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - begun


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        url = f"sqlite:///{folder}/ledger.db"
        fill(url)
        jobs = [str(Path(sys.executable).parent / "dagster-hpc"), "--ledger", url, "jobs"]
        bare = [sys.executable, "-c", "import click, sqlalchemy, rich.table"]
        seconds(jobs)
        pairs = [(seconds(jobs), seconds(bare)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    against = f"Python with click, sqlalchemy, rich: {theirs:.2f} s"
    ratio = statistics.median(a / b for a, b in pairs)
    rows = [
        Row(f"dagster-hpc jobs, {ROWS} rows", f"{ours:.2f} s", against, ratio),
        Row(f"dagster-hpc jobs, {ROWS} rows", f"{ours:.2f} s", "0.4 s, as we want it at most", ours / 0.4, 1),
    ]
    show(f"Command line, median of {ROUNDS}", rows)


if __name__ == "__main__":
    main()
