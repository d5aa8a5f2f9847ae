"""The kernel's control groups that a killed daemon leaves behind: found, emptied, removed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tests.systems.daemon import process_birth, send, wait_until


def processes(cgroup: Path) -> list[int]:
    """The live processes in a cgroup and below; a zombie counts as none."""
    found = [int(pid) for file in cgroup.rglob("cgroup.procs") for pid in file.read_text().split()]
    return [pid for pid in found if process_birth(pid)]


def remove_cgroups(cgroups: Iterable[Path]) -> None:
    """Kill what is in them and remove them."""
    for cgroup in cgroups:
        for pid in processes(cgroup):
            send(pid, signal.SIGKILL)
        wait_until(partial(_remove, cgroup), 10, lambda at=cgroup: f"{at} cannot be removed")  # type: ignore[misc]


def _remove(cgroup: Path) -> bool:
    """Remove from the leaves up; False while the kernel still counts a dying process in one of them."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
