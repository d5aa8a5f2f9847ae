"""One job (or array element) as the spool knows it, and the ways to read jobs."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from dagster_hpc.engine.process import Identity


class Job(NamedTuple):
    """A row of `jobs` with what its submission asked for. Its script and environment are read by its shepherd only."""

    seq: int
    submission: int
    element: int
    is_array: bool
    name: str
    state: str
    reason: str | None
    exit_code: int | None
    signal: int | None
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    cpu_user_s: float | None
    cpu_system_s: float | None
    max_rss_mib: float | None
    cores: int
    granted_cores: int | None
    memory_mib: int
    gpus: int
    time_s: float
    at_once: int | None
    cwd: bytes
    output: bytes
    umask: int
    warn_signal: int | None
    warn_before_s: float
    kill_after_s: float
    host: str | None
    boot: str | None
    shepherd: int | None
    shepherd_start: str | None
    pid: int | None
    pid_start: str | None
    cancel_asked: bool

    @property
    def id(self) -> str:
        return f"{self.submission}_{self.element}" if self.is_array else str(self.submission)

    @property
    def shepherd_identity(self) -> Identity | None:
        return _identity(self.shepherd, self.shepherd_start, self.boot)

    @property
    def leader_identity(self) -> Identity | None:
        """The process that runs the script; its session is the job."""
        return _identity(self.pid, self.pid_start, self.boot)


def _identity(pid: int | None, start: str | None, boot: str | None) -> Identity | None:
    return Identity(pid, start, boot) if pid is not None and start is not None and boot is not None else None


_OF_JOBS = (
    "seq submission element state reason exit_code signal started_at ended_at cpu_user_s cpu_system_s max_rss_mib "
)
_OF_JOBS += "granted_cores host boot shepherd shepherd_start pid pid_start cancel_asked"
_COLUMNS = ", ".join(f"{'j' if field in _OF_JOBS.split() else 's'}.{field}" for field in Job._fields)
_SELECT = f"SELECT {_COLUMNS} FROM jobs j JOIN submissions s ON s.id = j.submission"


def live(sql: sqlite3.Connection) -> Iterator[Job]:
    return _jobs(sql, "j.state IN ('PENDING', 'HELD', 'RUNNING')")


def in_state(sql: sqlite3.Connection, state: str) -> Iterator[Job]:
    return _jobs(sql, "j.state = ?", state)


def candidates(sql: sqlite3.Connection) -> Iterator[Job]:
    """The pending jobs that may start now, oldest first, read one at a time: the daemon stops at the first that must
    wait. Of an array with a limit, no more than the limit, or each end would cost a walk over all of its elements."""
    waiting = "SELECT DISTINCT submission FROM jobs WHERE state = 'PENDING' ORDER BY submission"
    for (submission,) in sql.execute(waiting):
        for count, job in enumerate(_jobs(sql, "j.state = 'PENDING' AND j.submission = ?", submission)):
            if job.at_once is not None and count >= job.at_once:
                break
            yield job


def with_name(sql: sqlite3.Connection, name: str) -> Iterator[Job]:
    return _jobs(sql, "s.name = ?", name)


def with_id(sql: sqlite3.Connection, submission: int, element: int | None) -> Iterator[Job]:
    """A job, all elements of an array, or one of them."""
    if element is None:
        return _jobs(sql, "j.submission = ?", submission)
    return _jobs(sql, "j.submission = ? AND j.element = ? AND s.is_array", submission, element)


def with_seq(sql: sqlite3.Connection, seq: int) -> Job | None:
    return next(_jobs(sql, "j.seq = ?", seq), None)


def _jobs(sql: sqlite3.Connection, where: str, *values: object) -> Iterator[Job]:
    for row in sql.execute(f"{_SELECT} WHERE {where} ORDER BY j.seq", values):
        yield Job(*row)
