"""Whether the folder in which jobs work, and the programs that they run, can be used."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dagster_hpc.checks.base import Check, Finding
from dagster_hpc.checks.clocks import FILE_CLOCK_S, compare_clocks
from dagster_hpc.engine.filesystem import network_filesystem

_SCANT_BYTES, _SCANT_FILES = 2**30, 1000
_SEEN_BY_JOBS = "set work_root to a folder that the compute nodes see under the same path."
_NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")


def work_root(root: Path, *, is_shared: bool) -> Iterator[Check]:
    """Everything that can be said of it without making it: a file is written there, or in the folder above it."""
    folder = next(path for path in (root, *root.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryDirectory(prefix=".dagster-hpc-doctor-", dir=folder) as trial:
            file = Path(trial, "trial")
            before = time.time()
            file.write_bytes(b"trial\n")
            behind = before - file.stat().st_mtime
    except OSError as error:
        verb = "written" if folder == root else f"made in {folder}"
        advice = "set work_root to a folder of yours, or make it; where jobs run on other machines, one they share."
        yield Check("work_root", Finding("fail", f"{root} cannot be {verb}: {error.strerror or error}", advice))
        return
    yield Check("work_root", _space(root, folder))
    if is_shared:
        yield Check("shared", shared_folder(root, _SEEN_BY_JOBS, existing=folder))
    yield Check("file clock", compare_clocks(behind, FILE_CLOCK_S, "the file server's"))


def _space(root: Path, folder: Path) -> Finding:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    what = f"{root} can be {'written' if root == folder else 'made'}; {free / 2**30:.1f} GiB are free"
    if free < _SCANT_BYTES:
        return Finding("warn", what, "make room, or set work_root to another file system: a full one fails jobs.")
    if space.f_files and space.f_favail < _SCANT_FILES:  # some file systems do not count files: 0 of 0
        return Finding("warn", f"{what}, but only {space.f_favail} more files", "remove old files or raise the quota.")
    return Finding("ok", what)


def shared_folder(root: Path, advice: str, *, existing: Path | None = None) -> Finding:
    """Whether other machines see it, as far as can be told here. `existing`: the folder in which it is still to be made."""
    folder = existing or root
    kind = network_filesystem(folder)
    if kind:
        return Finding("ok", f"it lies on {kind}, a file system that machines share")
    resolved = os.path.realpath(folder)
    local = next((place for place in _NODE_LOCAL if resolved == place or resolved.startswith(f"{place}/")), None)
    if local:
        return Finding("warn", f"{root} is below {local}, of which every machine has its own", advice)
    return Finding("warn", f"{root} is on a disk of this machine, as far as can be seen from here", advice)


def executable(path: str, *, is_local: bool) -> Finding:
    if os.access(path, os.X_OK) and os.path.isfile(path):
        return Finding("ok", path)
    what = "cannot be executed" if os.path.exists(path) else "does not exist"
    where = "" if is_local else " on this machine; it may on the compute nodes"
    return Finding("warn", f"{path} {what}{where}", "install it, or correct executable_map of the target.")
