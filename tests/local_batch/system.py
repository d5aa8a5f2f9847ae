"""A batch system of its own for each test: real commands, real processes, a spool in the test's directory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dagster_hpc.local_batch import job, spool
from dagster_hpc.local_batch.job import Job
from dagster_hpc.local_batch.spool import Spool

T = TypeVar("T")
LIVE = spool.LIVE


def eventually(look: Callable[[], T | None], within: float = 30.0) -> T:
    """Ask again and again until the answer is true."""
    deadline = time.monotonic() + within
    while not (answer := look()):
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.01)
    return answer


class Batch:
    """The commands, and a few ways to look behind them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spool = root / "spool"
        self.environment = {
            **os.environ,
            "LOCAL_BATCH_KILL_AFTER": "0.3",
            "LOCAL_BATCH_POLL": "0.5",
            "LOCAL_BATCH_SAMPLE": "0.1",
            "LOCAL_BATCH_IDLE": "5",
        }

    def run(self, command: str, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.argv(command, *arguments), **{**self._options(), **options}, timeout=60)

    def start(self, command: str, *arguments: str) -> "subprocess.Popen[str]":
        options = self._options()
        return subprocess.Popen(
            self.argv(command, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=options["cwd"],
            env=options["env"],
        )

    def argv(self, command: str, *arguments: str) -> list[str]:
        program = [sys.executable, "-m", "dagster_hpc.local_batch", command]
        return [*program, "--spool", str(self.spool), *arguments]

    def script(self, body: str, *directives: str, name: str = "job.sh") -> Path:
        path = self.root / name
        lines = ["#!/bin/bash", *(f"#LOCAL --{each}" for each in directives), body, ""]
        path.write_text("\n".join(lines))
        return path

    def submit(self, body: str, *directives: str, options: tuple[str, ...] = (), **run_options: Any) -> str:
        done = self.run("submit", *options, str(self.script(body, *directives)), **run_options)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def query(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.run("query", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)["jobs"]  # type: ignore[no-any-return]

    def jobs(self, *ids: str) -> list[Job]:
        """Straight from the spool: cheaper to poll than the command, and it restarts no daemon."""
        with Spool(self.spool) as opened, opened.snapshot() as sql:
            asked = [tuple(map(int, each.split("_"))) for each in ids]
            return [found for one, *of in asked for found in job.with_id(sql, one, of[0] if of else None)]

    def running(self, job_id: str) -> Job:
        """Wait until its script runs."""
        return eventually(
            lambda: next((each for each in self.jobs(job_id) if each.pid and each.state == "RUNNING"), None)
        )

    def ended(self, *ids: str) -> list[dict[str, Any]]:
        """Wait for the end of all of them; then what `query` says."""
        eventually(lambda: all(each.state not in LIVE for each in self.jobs(*ids)))
        return self.query(*ids)

    def end(self, job_id: str) -> dict[str, Any]:
        (only,) = self.ended(job_id)
        return only

    def read(self, name: str) -> str:
        path = self.root / name
        return path.read_text() if path.exists() else ""

    def log(self) -> str:
        return self.read("spool/daemon.log")

    def keepers(self) -> list[int]:
        """The daemon and all shepherds of this spool."""
        wanted = os.fsencode(f"daemon\0--spool\0{self.spool}\0")
        return [pid for pid in pids() if wanted in content(pid, "cmdline")]

    def daemons(self) -> list[int]:
        """By the log, for a shepherd that has just been forked looks the same."""
        lines = [line for line in self.log().splitlines() if line.endswith("] the daemon is up")]
        pids = [int(line.rpartition("[")[2].partition("]")[0]) for line in lines]
        return [pid for pid in pids if pid in self.keepers()]

    def _options(self) -> dict[str, Any]:
        return {"cwd": self.root, "env": self.environment, "capture_output": True, "text": True}


def pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def content(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def living(pid: int) -> bool:
    return content(pid, "stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])
