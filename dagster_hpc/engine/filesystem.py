"""Where this user's own state lies, and which kind of file system a path lies on."""

from __future__ import annotations

import os
from pathlib import Path

_NETWORK = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "9p", "fuse.sshfs", "glusterfs", "afs", "panfs")


def network_filesystem(path: Path, mounts: str | None = None) -> str | None:
    """The type of the network file system that this path lies on; None on a local disk (or where nobody can tell)."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text()
        except OSError:
            return None
    resolved = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, filesystem, *_ = line.split()
        point = point.replace("\\040", " ")
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, filesystem
    return kind if kind.startswith(_NETWORK) else None


def state_folder() -> Path:
    """Where this user's ledger and local queue live when nothing else is said."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "dagster_hpc"
