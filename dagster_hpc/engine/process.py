"""Which process is which: a pid alone says little, because the kernel hands it out again.

Pid, start time and boot name one process for ever. Linux only, as the rest of the engine's view of processes.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
NOBODY = "nobody"


class Identity(NamedTuple):
    """One process, not to be mistaken for a later one with the same pid."""

    pid: int
    start: str
    boot: str


def boot_id() -> str:
    """A value that changes when the machine is started anew ('' where the system does not say)."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return ""


def start_of(pid: int, *, zombies: bool = False) -> str | None:
    """When the process with this pid began, in the kernel's ticks; None if there is none, or only a zombie."""
    fields = stat_fields(pid)
    if fields is None or (fields[0] in (b"Z", b"X") and not zombies):
        return None
    return fields[19].decode()


def stat_fields(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the state on; None if there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself contain any of them: count from the last one.
    return text.rpartition(b")")[2].split()


def identify(pid: int, *, zombies: bool = False) -> Identity | None:
    """Who has this pid now; None for nobody, and for a zombie, which is a finished process."""
    start = start_of(pid, zombies=zombies)
    return None if start is None else Identity(pid, start, boot_id())


def alive(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def this_process() -> str:
    """`host pid start boot` of this process, for the ledger."""
    return " ".join((socket.gethostname(), *(str(part) for part in identify(os.getpid()) or ())))


def new_owner() -> str:
    """A name for one submission by this process: two submissions of one process are two owners."""
    return f"{this_process()} {secrets.token_hex(4)}"


def process_lives(owner: str) -> bool | None:
    """Whether the process behind this name is alive; None when only its own host could tell."""
    if owner in ("", NOBODY):
        return False
    host, *words = owner.split(" ")
    if host != socket.gethostname():
        return None
    pid, start, boot = (*words, "", "", "")[:3]
    return pid.isdigit() and alive(Identity(int(pid), start, boot))
