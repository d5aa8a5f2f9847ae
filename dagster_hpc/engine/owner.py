"""Who is submitting: enough to tell later, from the same host, whether that process still lives."""

from __future__ import annotations

import os
import socket
from functools import lru_cache

from dagster_hpc.engine.local_batch.processes import Identity, alive, identify

NOBODY = "nobody"


def this_process() -> str:
    """`host pid start boot` of this process, for the ledger."""
    return _identity(os.getpid())


@lru_cache(maxsize=1)  # by pid: a forked child is another process
def _identity(pid: int) -> str:
    identity = identify(pid)
    return " ".join((socket.gethostname(), *(str(part) for part in identity or ())))


def process_lives(owner: str) -> bool | None:
    """Whether the process that claimed a job is alive; None when only its own host could tell."""
    if owner == NOBODY:
        return False
    host, _, rest = owner.partition(" ")
    if host != socket.gethostname():
        return None
    pid, start, boot = (*rest.split(" "), "", "")[:3]
    return pid.isdigit() and alive(Identity(int(pid), start, boot))
