"""How jobs change: submitted, claimed by a shepherd, asked to stop, ended. Each change is one transaction."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dagster_hpc.engine.process import Identity, alive
from dagster_hpc.local_batch import dependencies, job, plan
from dagster_hpc.local_batch.directives import Refused, Request
from dagster_hpc.local_batch.job import Job
from dagster_hpc.local_batch.spool import Spool


class Surroundings(NamedTuple):
    """What a job inherits from the moment of its submission."""

    environment: dict[bytes, bytes]
    cwd: Path
    umask: int
    kill_after_s: float


class End(NamedTuple):
    """How a job ended, and what it used."""

    state: str
    reason: str | None
    ended_at: float
    exit_code: int | None = None
    signal: int | None = None
    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    max_rss_mib: float | None = None


def submit(spool: Spool, request: Request, script: bytes, name: str, around: Surroundings) -> int:
    """Queue a job, or all elements of an array, and return the id."""
    is_array = request.array is not None
    output = request.output or ("local-%j_%a.out" if is_array else "local-%j.out")
    with spool.change() as sql:
        for dependency in request.after:
            if not any(job.with_id(sql, dependency.submission, dependency.element)):
                raise Refused(f"cannot wait for job {dependency.on}: there is no such job in this spool")
        values = {
            "name": request.name or name,
            "script": script,
            "environment": b"\0".join(key + b"=" + value for key, value in around.environment.items()),
            "cwd": os.fsencode(around.cwd),
            "output": os.fsencode(output),
            "umask": around.umask,
            "is_array": is_array,
            "at_once": request.at_once,
            "cores": request.cores,
            "memory_mib": request.memory_mib,
            "gpus": request.gpus,
            "time_s": request.time_s,
            "warn_signal": request.signal,
            "warn_before_s": request.signal_before_s,
            "kill_after_s": around.kill_after_s,
            "submitted_at": time.time(),
        }
        columns, places = ", ".join(values), ", ".join(f":{key}" for key in values)
        submission = sql.execute(f"INSERT INTO submissions ({columns}) VALUES ({places})", values).lastrowid
        assert submission is not None
        state = "HELD" if request.after else "PENDING"
        sql.executemany(
            "INSERT INTO jobs (submission, element, state) VALUES (?, ?, ?)",
            ((submission, element, state) for element in request.array or (0,)),
        )
        sql.executemany(
            "INSERT INTO waits (submission, kind, target, element) VALUES (?, ?, ?, ?)",
            ((submission, after.kind, after.submission, after.element) for after in request.after),
        )
        if request.after:
            dependencies.judge(sql, submission)
    return submission


def keep_capacity(spool: Spool, cores: int | None, memory_mib: int | None) -> None:
    """Remember what the machine is to give, until another `submit` says otherwise."""
    given = [(key, amount) for key, amount in (("cores", cores), ("memory", memory_mib)) if amount is not None]
    if not given:
        return
    kept = {row["resource"]: row["amount"] for row in spool.sql.execute("SELECT * FROM capacity")}
    if any(kept.get(key) != amount for key, amount in given):
        with spool.change() as sql:
            sql.executemany("INSERT OR REPLACE INTO capacity VALUES (?, ?)", given)


def claim(spool: Spool, seq: int, shepherd: Identity) -> Job | None:
    """Make a pending job this shepherd's own. None if it is no longer pending: of two shepherds only one gets it."""
    with spool.change() as sql:
        found = job.with_seq(sql, seq)
        if found is None or found.state != "PENDING":
            return None
        sql.execute(
            "UPDATE jobs SET state = 'RUNNING', started_at = ?, host = ?, granted_cores = ?, boot = ?, shepherd = ?, "
            "shepherd_start = ? WHERE seq = ?",
            (
                time.time(),
                os.uname().nodename,
                plan.share(found, spool.capacity())[0],
                shepherd.boot,
                shepherd.pid,
                shepherd.start,
                seq,
            ),
        )
        return job.with_seq(sql, seq)


def payload(spool: Spool, submission: int) -> tuple[bytes, dict[bytes, bytes]]:
    """The script and the environment as they were at submission."""
    query = "SELECT script, environment FROM submissions WHERE id = ?"
    script, environment = spool.sql.execute(query, (submission,)).fetchone()
    pairs = (entry.partition(b"=") for entry in environment.split(b"\0") if entry)
    return script, {key: value for key, _, value in pairs}


def note_leader(spool: Spool, seq: int, leader: Identity) -> None:
    with spool.change() as sql:
        sql.execute("UPDATE jobs SET pid = ?, pid_start = ? WHERE seq = ?", (leader.pid, leader.start, seq))


def cancel(spool: Spool, jobs: Iterable[Job]) -> None:
    """End the waiting ones here and now, and tell the shepherds of the running ones. The finished stay as they are."""
    shepherds: list[Identity | None] = []
    with spool.change() as sql:
        ended: set[int] = set()
        for asked in jobs:
            now = job.with_seq(sql, asked.seq)
            if now is None:
                continue
            if now.state == "RUNNING":
                sql.execute("UPDATE jobs SET cancel_asked = 1 WHERE seq = ?", (now.seq,))
                shepherds.append(now.shepherd_identity)
            elif now.state in ("PENDING", "HELD"):
                sql.execute(
                    "UPDATE jobs SET state = 'CANCELLED', reason = 'cancelled before it started', ended_at = ? "
                    "WHERE seq = ?",
                    (time.time(), now.seq),
                )
                ended.add(now.submission)
        for submission in ended:
            dependencies.forget_finished(sql, submission)
        dependencies.settle(sql, ended)
    for shepherd in shepherds:
        alert(shepherd)


def alert(shepherd: Identity | None) -> None:
    """Make a shepherd look whether its job is to be cancelled. A dead one is the daemon's business."""
    if shepherd is not None and alive(shepherd):
        with contextlib.suppress(ProcessLookupError):
            os.kill(shepherd.pid, signal.SIGTERM)


def finish(spool: Spool, ended: Job, end: End) -> None:
    """Record an end, once and for all, and in the same breath what follows for the jobs that waited for it."""
    with spool.change() as sql:
        changed = sql.execute(
            "UPDATE jobs SET state = ?, reason = ?, ended_at = ?, exit_code = ?, signal = ?, cpu_user_s = ?, "
            "cpu_system_s = ?, max_rss_mib = ? WHERE seq = ? AND state = 'RUNNING' AND shepherd IS ?",
            (
                end.state,
                end.reason,
                end.ended_at,
                end.exit_code,
                end.signal,
                end.cpu_user_s,
                end.cpu_system_s,
                end.max_rss_mib,
                ended.seq,
                ended.shepherd,
            ),
        )
        if changed.rowcount:
            dependencies.forget_finished(sql, ended.submission)
            dependencies.settle(sql, {ended.submission})
