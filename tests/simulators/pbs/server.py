"""What the simulated PBS remembers, and how its site is set up."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOST = "pbshost"  # the one node
NODE_CORES = 16
SERVERS = {"stock": HOST, "miyabi": "opbs", "gadi": "gadi-pbs"}  # as they stand in ids
QUEUES = {
    "stock": ("workq", "regular-c", "regular-g", "debug"),
    "miyabi": ("regular-c", "regular-g", "regular-mig", "debug-g"),
    "gadi": ("normal", "gpuvolta"),
}
SWITCHES = {
    "flavour": "stock",  # or miyabi, gadi
    "client": "release",  # or main, whose qstat prints in JSON the first job only (openpbs issue 2672)
    "history": "on",  # off: records of jobs that are over are thrown away at once, for good
    "server": "up",  # or down; crashed: numbers go on at the next thousand
    "banner": "",  # around what qsub prints
    "bytes": "",  # foreign: a variable of every job that is no UTF-8
    "lost": "",  # the node of this running job dies
    "restarted": "",  # the daemon on the node of this running job is restarted
    "max_queued": "",  # [u:PBS_GENERIC=…]
    "max_array_size": "",  # other than the flavour has it
    # Seconds, scaled down; a real one takes:
    "sample_s": "0",  # 5 to 120 between two looks at what a job uses
    "end_s": "0",  # 1 to 1.5 from a job's end until it is F, in E meanwhile
    "kill_s": "0",  # 10 to 13 from qdel of a running job until it is F
}
MOST_ELEMENTS = {"stock": 10_000, "miyabi": 10_000, "gadi": 10}  # of one array

_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OOM")

Job = dict[str, Any]


class Refused(Exception):
    """What a command says on stderr, and its exit code."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class Server:
    """The jobs that this PBS has taken, in one file; how they run is the embedded batch system's business."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, Any] = {"next": 0, "switches": SWITCHES, "jobs": {}}

    @contextlib.contextmanager
    def opened(self) -> Iterator[Server]:
        """One command at a time; what it changed is kept."""
        file = self.folder / "state.json"
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if file.exists():
                self.state = json.loads(file.read_text())
            yield self
            new = file.with_suffix(".new")
            new.write_text(json.dumps(self.state))
            new.replace(file)

    @property
    def jobs(self) -> dict[str, Job]:
        jobs: dict[str, Job] = self.state["jobs"]
        return jobs

    @property
    def flavour(self) -> str:
        return self.switch("flavour")

    @property
    def name(self) -> str:
        return SERVERS[self.flavour]

    @property
    def queues(self) -> tuple[str, ...]:
        return QUEUES[self.flavour]

    @property
    def most_elements(self) -> int:
        return int(self.switch("max_array_size") or MOST_ELEMENTS[self.flavour])

    @property
    def is_down(self) -> bool:
        return self.switch("server") == "down"

    def switch(self, name: str) -> str:
        return str(self.state["switches"][name])

    def seconds(self, name: str) -> float:
        return float(self.switch(name))

    def job(self, text: str) -> tuple[Job, int | None] | None:
        """`16`, `16.pbshost`, `16[].pbshost` or `16[2].pbshost`; None where there is no such job."""
        match = re.fullmatch(r"(\d+)(?:\[(\d*)\])?(?:\.(\S+))?", text)
        if not match or (match[3] or self.name) != self.name:
            return None
        job = self.jobs.get(match[1])
        if job is None or (match[2] is not None) != bool(job["array"]):
            return None
        return job, int(match[2]) if match[2] else None

    def known(self, text: str) -> str:
        """An id as this server spells it in a complaint."""
        return text if "." in text else f"{text}.{self.name}"

    def local(self, *arguments: str) -> tuple[int, str]:
        """A command of the embedded batch system, in this process."""
        from dagster_hpc.local_batch.__main__ import main

        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = main([arguments[0], "--spool", str(self.folder / "spool"), *arguments[1:]])
        return code, out.getvalue().strip()

    def records(self, job: Job) -> dict[int | None, dict[str, Any]]:
        """What the embedded batch system says of this job's elements; None is the index of a job that is no array."""
        if job["local"] is None:
            return {}
        found = job.get("ended") or json.loads(self.local("query", job["local"])[1])["jobs"]
        if all(record["state"] in _ENDED for record in found):
            job["ended"] = found  # nothing of it will change
        return {record["index"]: record for record in found}

    def kill(self, job: Job, index: int | None, number: int) -> bool:
        """Signal every process of a running job's session at once, as the real one does."""
        hit = False
        for at, record in self.records(job).items():
            if record["state"] == "RUNNING" and record["pid"] and index in (None, at):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(record["pid"], number)
                    hit = True
        return hit

    def lose(self, sequence: str, code: int) -> None:
        """The node of a running job dies, or its daemon is restarted: nothing of the job can write a last word."""
        if self.kill(self.jobs[sequence], None, signal.SIGKILL):
            self.jobs[sequence]["lost"] = code

    def crash(self) -> None:
        self.state["next"] = (self.state["next"] // 1000 + 1) * 1000


def chunk(job: Job, name: str) -> str:
    match = re.search(rf":{name}=(\w+)", job["select"])
    return match[1] if match else ""


def mib(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kmg])b", text)
    return int(int(match[1]) * {"k": 1 / 1024, "m": 1, "g": 1024}[match[2]]) if match else 0


def seconds(text: str) -> int | None:
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+)", text)
    if not match:
        return None
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def clock(span_s: float) -> str:
    whole = int(span_s)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def stamp(at: float) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(at))


def day(at: float) -> str:
    return time.strftime("%a %b %e at %H:%M", time.localtime(at))
