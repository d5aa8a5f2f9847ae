"""The kernel's control groups that a killed daemon leaves behind: found, emptied, removed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tests.systems.daemon import kill_all, process_birth, wait_until


def processes(cgroup: Path) -> list[int]:
    """The live processes in a cgroup and below; a zombie counts as none."""
    found = [int(pid) for file in cgroup.rglob("cgroup.procs") for pid in file.read_text().split()]
    return [pid for pid in found if process_birth(pid)]


def remove_cgroups(cgroups: Iterable[Path]) -> None:
    """Kill what is in them and remove them."""
    for cgroup in cgroups:
        wait_until(partial(_remove, cgroup), 20, partial("{} cannot be removed".format, cgroup))


def _remove(cgroup: Path) -> bool:
    """Empty it, and remove it from the leaves up. False while the kernel counts a dying process in one of them, or somebody
    outside, as a job's own daemon that was just about to start it, has put another one in."""
    for state in cgroup.rglob("freezer.state"):
        state.write_text("THAWED")  # what is frozen cannot die
    kill_all(partial(processes, cgroup))
    for folder, _, _ in os.walk(cgroup, topdown=False):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
