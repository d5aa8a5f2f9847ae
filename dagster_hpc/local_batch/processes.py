"""Who a process is, which processes belong to a job, how much memory they hold, and how to end them.

A pid alone says little: the kernel hands it out again. Pid, start time and boot together name one process for ever.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dagster_hpc.engine.process import PROC, Identity, stat_fields

MARK = "LOCAL_BATCH_MARK"  # in the environment of every process of a job; finds those that left its session


class Process(NamedTuple):
    """One line of the process table."""

    pid: int
    session: int
    start: str
    resident_kib: int


def mark(spool: Path, job: str) -> str:
    """The value of MARK in a job's environment, by which `members` finds all of it."""
    return f"{spool}:{job}"


def members(leader: Identity | None, mark: str) -> list[Process]:
    """The living processes of a job: its leader's session, and whatever carries its mark.

    The session number is not believed once its pid belongs to a later process: those would be strangers.
    """
    session = None
    if leader is not None:
        holder = _read(leader.pid)
        session = leader.pid if holder is None or holder.start == leader.start else None
    wanted = os.fsencode(f"\0{MARK}={mark}\0")
    mine = os.getpid()
    return [
        process
        for process in _table()
        if process.pid != mine and (process.session == session or wanted in _environment(process.pid))
    ]


def relatives(leader: Identity, known: list[Process]) -> list[Process] | None:
    """Those of `known` that still live, the leader, and all that they have started since: cheap, for it looks at no
    stranger. None where the kernel does not tell who a process's children are."""
    starts = {process.pid: process.start for process in known} | {leader.pid: leader.start}
    found = {pid: process for pid, start in starts.items() if (process := _read(pid)) and process.start == start}
    new = list(found)
    while new:
        pid = new.pop()
        children = _children(pid)
        if children is None:
            return None
        for child in children - set(found):
            if process := _read(child):
                found[child] = process
                new.append(child)
    return list(found.values())


def _children(pid: int) -> set[int] | None:
    children: set[int] = set()
    try:
        for thread in os.listdir(PROC / str(pid) / "task"):
            with contextlib.suppress(ProcessLookupError):
                children.update(map(int, (PROC / str(pid) / "task" / thread / "children").read_bytes().split()))
    except (FileNotFoundError, ProcessLookupError):  # it has just ended, or the kernel was built without this file
        return None if _read(pid) else set()
    return children


def send(processes: list[Process], number: int) -> None:
    """Signal each of them; one that has just ended is what we wanted. A stopped one is woken, or TERM would wait."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)
            if number == signal.SIGTERM:
                os.kill(process.pid, signal.SIGCONT)


def clear(leader: Identity | None, mark: str, grace_s: float) -> list[int]:
    """End all that is left of a job: TERM, then KILL after the grace. Returns the pids that would not die.

    The table is read anew each time, for a process may fork while we go through it.
    """
    begun = time.monotonic()
    asked = False
    while left := members(leader, mark):
        waited = time.monotonic() - begun
        if waited >= grace_s + 3:
            return [process.pid for process in left]
        if waited >= grace_s:
            send(left, signal.SIGKILL)
        elif not asked:
            send(left, signal.SIGTERM)
            asked = True
        time.sleep(0.005 if waited < 0.1 else 0.05)
    return []


def resident_mib(processes: list[Process], limit_mib: float) -> float:
    """Their memory together. Beyond the limit, shared pages are counted once, so that workers which share an array do
    not die for it; that number is dear, so it is asked for only when it matters."""
    total = sum(process.resident_kib for process in processes) / 1024
    if total <= limit_mib:
        return total
    return sum(_proportional_kib(process) for process in processes) / 1024


def _proportional_kib(process: Process) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in (PROC / str(process.pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return process.resident_kib


def _read(pid: int) -> Process | None:
    """One process, or None when there is none, or only a zombie."""
    fields = stat_fields(pid)
    if fields is None or fields[0] in (b"Z", b"X"):
        return None
    page_kib = os.sysconf("SC_PAGE_SIZE") // 1024
    return Process(pid, int(fields[3]), fields[19].decode(), int(fields[21]) * page_kib)


def _table() -> Iterator[Process]:
    for entry in os.listdir(PROC):
        if entry.isdigit() and (process := _read(int(entry))) is not None:
            yield process


def _environment(pid: int) -> bytes:
    """The environment that a process was started with, each entry between two NULs; empty for other people's."""
    with contextlib.suppress(OSError):
        return b"\0" + (PROC / str(pid) / "environ").read_bytes()
    return b""
