"""How many threads this process may run on."""

from __future__ import annotations

import os


def threads_allowed() -> int:
    """What the job's profile says (OMP_NUM_THREADS), otherwise every core that the process may use."""
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if said.isdecimal() and int(said) > 0:
        return int(said)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
