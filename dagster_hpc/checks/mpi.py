"""Whether the Open MPI that is seen from here can ask the batch system for a job's nodes. For any system's checks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from dagster_hpc.checks.base import Demand, Finding, Probe
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.launchers import HOSTS

# From version 5 on, the components are listed by the launcher's own program.
_LIST = "ompi_info --parsable && { prte_info --parsable 2>/dev/null; true; }"
_COMPONENT = re.compile(r"^mca:(?:plm|ras):(\w+):version", re.MULTILINE)
_VERSION = re.compile(r"^ompi:version:full:(\S+)", re.MULTILINE)
_NO_PROGRAM = 127  # what a shell ends with that does not find it


def mpi_probes(system: str, demands: Sequence[Demand]) -> list[Probe]:
    """One question, if a profile starts its ranks on several nodes by mpirun. `system` is a key of `HOSTS`."""
    many = [
        name
        for demand in demands
        for name, spec in demand.specs.items()
        if spec.nodes > 1 and spec.launcher in ("mpirun", "mpiexec")
    ]
    return [Probe("mpi", Call(("sh", "-c", _LIST)), partial(_interface, system, many))] if many else []


def _interface(system: str, profiles: Sequence[str], answer: Answer) -> Finding:
    hosts, who = HOSTS[system], ", ".join(repr(name) for name in profiles)
    if answer.code == _NO_PROGRAM:
        return Finding("ok", f"no Open MPI is on PATH here; modules may bring one for the profiles {who}")
    version, components = _VERSION.search(answer.stdout), set(_COMPONENT.findall(answer.stdout))
    if answer.code != 0 or version is None or not components:
        said = answer.words.splitlines()[0][:200] if answer.code else "its components are not listed"
        return Finding(
            "warn",
            f"whether Open MPI finds the nodes of a job by itself cannot be told: {said}",
            f"look whether `ompi_info` or `prte_info` lists the component {hosts.component}.",
        )
    mpi = f"the Open MPI {version[1]} that is on PATH here"
    if hosts.component in components:
        return Finding("ok", f"{mpi} finds the nodes of a job by itself (component {hosts.component})")
    if not hosts.file:
        return Finding(
            "warn",
            f"{mpi} lacks the component {hosts.component}: it would start all ranks of the profiles {who} on one node",
            "choose launcher srun for them, or load an MPI that has it.",
        )
    return Finding(
        "warn",
        f"{mpi} lacks the component {hosts.component}: in the profiles {who} it is told the nodes, and reaches them by ssh",
        "see that ssh from node to node needs no password there, or load an MPI that has it.",
    )
