"""Which program it is that a solver starts: the same path may be another one tomorrow."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_hpc.engine.hosts.base import Host
    from dagster_hpc.subspace.solver import SubspaceSolver

_READ = 1 << 20  # bytes at the beginning, where the build id of an ELF file is, and at the end: it is read for every call


def program_stamps(solver: SubspaceSolver) -> dict[str, Any]:
    """Each program of a solver → its size and the hash of its contents; None where this machine does not see it."""
    host = solver.hpc.target.engine_target().host
    return {path: _stamp(host, path) for path in solver.programs()}


def program_line(solver: SubspaceSolver) -> str:
    """The same as a line of the job's files, so that a job of another program is another job."""
    return json.dumps(program_stamps(solver), sort_keys=True)


def _stamp(host: Host, path: str) -> dict[str, Any] | None:
    try:
        size = host.size(path)
        if size is None:
            return None
        digest = hashlib.sha256(host.read(path, 0, _READ) or b"")
        if size > _READ:
            digest.update(host.tail(path, _READ))
    except OSError:
        return None
    return {"size": size, "sha256": digest.hexdigest()}
