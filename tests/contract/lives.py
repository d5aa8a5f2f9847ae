"""The ways that a job can go from its submission to its end. Each is gone on every system, all at the same time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from dagster_hpc import Dependency, JobResult
from dagster_hpc.engine.job import DependencyKind
from tests.contract.site import Job, Site
from tests.contract.systems.base import System
from tests.faults.place import eventually

LAST_WORDS = "echo last words >&2\n"
MET: list[tuple[DependencyKind, int]] = [("afterok", 0), ("afterany", 0), ("afterany", 3), ("afternotok", 3)]
NEVER_MET: list[tuple[DependencyKind, int]] = [("afterok", 3), ("afternotok", 0)]


@dataclass
class Life:
    """A job that is over."""

    job: Job
    result: JobResult
    released_at: float = 0.0

    @property
    def last_words(self) -> str:
        return self.result.stderr_tail


class Lives:
    """All of them, by name; one that went wrong fails only the tests that ask for it."""

    def __init__(self, site: Site) -> None:
        with ThreadPoolExecutor(32) as threads:
            self._futures: dict[str, Future[Life]] = {
                name: threads.submit(way, site) for name, way in _ways(site.system).items()
            }

    def __getitem__(self, name: str) -> Life:
        return self._futures[name].result()


def after(kind: str, code: int) -> str:
    """The name of a life: of a job that depends so on one that ends with this exit code."""
    return f"{kind} a job that ends with {code}"


def _ways(system: System) -> Mapping[str, Callable[[Site], Life]]:
    ways: dict[str, Callable[[Site], Life]] = {
        "success": _success,
        "exit 3": lambda site: _ends(site.submit(LAST_WORDS + "exit 3")),
        "signal": lambda site: _ends(site.submit(LAST_WORDS + "kill -SEGV $$")),
        "script killed": lambda site: _ends(site.submit(LAST_WORDS + "kill -KILL $PPID")),
        "pre_command": lambda site: _ends(
            site.submit("touch ran", pre_commands=["true", "ls /no/such/place", "touch went-on"])
        ),
        "walltime": _walltime,
        "cancelled running from outside": lambda site: _cancelled_running(site, from_outside=True),
        "cancelled running by us": lambda site: _cancelled_running(site, from_outside=False),
        "cancelled waiting from outside": lambda site: _cancelled_waiting(site, from_outside=True),
        "cancelled waiting by us": lambda site: _cancelled_waiting(site, from_outside=False),
    }
    for kind, code in MET + NEVER_MET:
        if kind in system.can:
            ways[after(kind, code)] = lambda site, kind=kind, code=code: _dependent(site, kind, code)  # type: ignore[misc]
    if "memory" in system.can:
        ways["memory"] = _memory
    if "hold" in system.can:
        ways["hold"] = _held
    if "stuck" in system.can:
        ways["stuck"] = lambda site: _ends(site.submit("touch ran", name="stuck", **site.system.never_starts()))
    return ways


def _ends(job: Job) -> Life:
    return Life(job, job.end())


def _success(site: Site) -> Life:
    script = "echo to stdout; echo to stderr >&2; for i in $(seq 20000); do :; done; sleep 1; echo 42 >answer.txt"
    return _ends(site.submit(script, outputs={"answer": "answer.txt"}))


def _walltime(site: Site) -> Life:
    """A machine that stalls may spend the two seconds before the job's first word: then a longer walltime is tried."""
    for walltime in ("2s", "10s", "40s"):
        job = site.submit(LAST_WORDS + "sleep 100", walltime=walltime)
        eventually(lambda job=job: job.spoke or job.over, "it speaks")  # type: ignore[misc]
        if job.spoke:
            break
    site.system.expire(job.id)
    return _ends(job)


def _memory(site: Site) -> Life:
    hungry = "x = bytearray(400_000_000); import time; time.sleep(60)"
    return _ends(site.submit(f"{sys.executable} -c '{hungry}'", memory_per_node="100M"))


def _cancelled_running(site: Site, *, from_outside: bool) -> Life:
    job = site.submit(LAST_WORDS + "sleep 100", name="by_hand" if from_outside else "by_us")
    job.until("RUNNING")
    eventually(lambda: job.spoke, "it speaks")  # a system may say RUNNING before the first process is there
    _cancel(job, from_outside=from_outside)
    return _ends(job)


def _cancelled_waiting(site: Site, *, from_outside: bool) -> Life:
    with site.waiting("touch ran") as (job, _):
        _cancel(job, from_outside=from_outside)
        return _ends(job)


def _cancel(job: Job, *, from_outside: bool) -> None:
    if from_outside:
        job.site.system.cancel(job.id)
    else:
        job.site.hpc.cancel(job.handle)


def _dependent(site: Site, kind: DependencyKind, code: int) -> Life:
    gate = site.gate()
    first = site.submit(f"{gate.closed}; echo $EPOCHREALTIME >ended; exit {code}", name="first")
    second = site.submit("touch ran", name=kind, dependencies=[Dependency(kind, first.id)])
    second.until("PENDING", "HELD")
    gate.open()
    first.end()
    return _ends(second)


def _held(site: Site) -> Life:
    with site.waiting("touch ran") as (job, gate):
        if gate:
            site.system.hold(job.id)
            gate.open()
            site.wait([Job(site, row.handle()) for row in site.rows() if row.name == "blocker"])
        job.until("HELD")
        released_at = time.time()
        site.system.release(job.id)
        return Life(job, job.end(), released_at)
