"""The kernel's control groups that a killed daemon leaves behind: found, emptied, removed."""

from __future__ import annotations

import contextlib
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
        wait_until(partial(_empty_and_remove, cgroup), 10, partial(_what_is_left, cgroup))


def _empty_and_remove(cgroup: Path) -> bool:
    """Again and again: one that was killed may just have started another, and what is frozen cannot die."""
    for state in cgroup.rglob("freezer.state"):
        with contextlib.suppress(OSError):  # the topmost has none to be set
            state.write_text("THAWED")
    for pid in processes(cgroup):
        send(pid, signal.SIGKILL)
    return _remove(cgroup)


def _what_is_left(cgroup: Path) -> str:
    return f"{cgroup} cannot be removed; in it are the processes {processes(cgroup)}"


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
