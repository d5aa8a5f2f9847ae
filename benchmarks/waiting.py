"""What waiting costs: files and statements a second for a queued job, and a poll of ten thousand jobs.

The queue is pretended, so that what is measured is our own; all else is real: ledger, directories, clock.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.table import Row, show
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobState, WaitTimeout
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.process import NOBODY
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.schedulers import to_json
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.target import Patience, Target

JOBS = 10_000
YOUNG_S, MEASURED_S = 30.0, 30.0
WHEN = "2026-01-01T00:00:00"


class Queue(LocalHost):
    """A Slurm that shows what it was told, and counts how often it and the files are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, tuple[str, str]] = {}  # job id → name and state
        self.commands: Counter[str] = Counter()
        self.looks = 0

    def run(self, call: Call) -> Answer:
        self.commands[call.argv[0]] += 1
        if call.argv[0] == "squeue":
            asked = call.argv[call.argv.index("-j") + 1].split(",")
            known = {job_id: self.shown[job_id] for job_id in asked if job_id in self.shown}
            lines = (
                f"{job_id}|{state}|None|{WHEN}|{WHEN}|{WHEN}|1|1|node1|{name}\n"
                for job_id, (name, state) in known.items()
            )
            return Answer(call.argv, 0, "".join(lines), "")
        return Answer(call.argv, 0, "ClusterName = lab\n" if call.argv[0] == "scontrol" else "", "")

    def size(self, path: str) -> int | None:
        self.looks += 1
        return super().size(path)

    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        self.looks += 1
        return super().read(path, offset, limit)

    def list(self, path: str) -> list[str]:
        self.looks += 1
        return super().list(path)


class Lab:
    """A ledger with so many submitted jobs, their directories, and a queue that shows them."""

    def __init__(self, folder: Path, jobs: int, state: JobState, *, array: bool = False) -> None:
        self.queue = Queue()
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        patience = Patience(cancel_s=0.0)  # a cancellation is sent, and not waited for
        target = Target("slurm", Slurm(), self.queue, poll_interval_s=10.0, cluster="lab", patience=patience)
        self.runner = Runner(target, self.ledger)
        now = time.time()
        self.rows = []
        for number in range(jobs):
            batch = "array" if array else f"job{number:05d}"
            directory = folder / "work" / batch / (str(number) if array else "")
            (directory / ".job").mkdir(parents=True)
            job_id = f"7_{number}" if array else str(1000 + number)
            self.rows.append(
                JobRow(
                    token=f"{batch}.{number}" if array else batch, batch=batch, name="x", target="slurm@lab",
                    cluster="lab", scheduler=to_json(Slurm()), work_dir=str(directory), state=state, created_at=now,
                    job_id=job_id, owner=NOBODY, array_index=number if array else None,
                )
            )  # fmt: skip
            self.queue.shown[job_id] = (f"x_{batch}", state.value)
        self.ledger.insert_missing(self.rows)
        self.statements = 0

        @sa.event.listens_for(self.ledger._database._engine, "before_cursor_execute")
        def _count(*_: Any) -> None:
            self.statements += 1

    def poll(self) -> None:
        self.ledger.leases.hurry("slurm@lab", 0.0)
        self.runner.tick()


def written() -> int:
    """All bytes that this process has written so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("wchar")))


def one_waiter(folder: Path) -> list[Row]:
    lab = Lab(folder, 1, JobState.PENDING)
    counts: list[tuple[int, int]] = []
    for moment in (YOUNG_S, YOUNG_S + MEASURED_S):
        threading.Timer(moment, lambda: counts.append((lab.queue.looks, lab.statements))).start()
    with contextlib.suppress(WaitTimeout):
        lab.runner.wait([lab.rows[0].handle()], timeout_s=YOUNG_S + MEASURED_S + 1)
    (young, whole), what = counts, "one waiter on a queued job, after half a minute"
    looks_s, statements_s = ((all_ - first) / MEASURED_S for first, all_ in zip(young, whole, strict=True))
    return [
        Row(what, f"{looks_s:.1f} file look-ups/s", "2 a second, as we want it at most", looks_s / 2, 1),
        Row(what, f"{statements_s:.1f} statements/s", "2 a second, as we want it at most", statements_s / 2, 1),
    ]


def many(folder: Path) -> list[Row]:
    lab = Lab(folder, JOBS, JobState.RUNNING)
    lab.poll()
    looks, bytes_before, begun = lab.queue.looks, written(), time.process_time()
    lab.poll()
    cpu_s, megabytes = time.process_time() - begun, (written() - bytes_before) / 1e6
    untouched = lab.queue.looks - looks
    ended = lab.rows[JOBS // 2]
    protocol = Path(ended.work_dir) / ".job"
    protocol.joinpath("started").write_text(f"{time.time() - 1} {ended.job_id} node1\n")
    protocol.joinpath("exit_code").write_text(f"0 {time.time()}\n")
    del lab.queue.shown[ended.job_id or ""]
    looks = lab.queue.looks
    lab.poll()
    what = f"a poll of {JOBS} jobs that have not changed"
    return [
        Row(what, f"{cpu_s:.2f} s CPU", "0.3 s, as we want it at most", cpu_s / 0.3, 1),
        Row(what, f"{megabytes:.3f} MB written", "0.1 MB, as we want it at most", megabytes / 0.1, 1),
        Row(what, f"{untouched} file look-ups", ""),
        Row(f"the same, one of them has ended: {JOBS - 1} are not touched", f"{lab.queue.looks - looks} file look-ups",
            "10, as we want it at most", (lab.queue.looks - looks) / 10, 1),
    ]  # fmt: skip


def cancelled_array(folder: Path) -> list[Row]:
    lab = Lab(folder, 200, JobState.RUNNING, array=True)
    lab.poll()
    lab.runner.cancel([row.handle() for row in lab.rows])
    commands = lab.queue.commands["scancel"]
    return [
        Row("tell Slurm to cancel an array of 200", f"{commands} scancel", "2, as we want it at most", commands / 2, 1)
    ]


def main() -> None:
    rows: list[Row] = []
    for measure in (one_waiter, many, cancelled_array):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            rows += measure(Path(folder))
    show("Waiting and polling", rows)


if __name__ == "__main__":
    main()
