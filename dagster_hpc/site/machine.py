"""What this machine tells of itself: which scheduler answers here, its queues, the MPI and the modules that there are."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from dagster_hpc.checks import survey
from dagster_hpc.checks.base import Survey
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.schedulers import scheduler_class

_KINDS = ("slurm", "pjm", "lsf", "flux", "pbs", "torque", "sge")  # a system that imitates another's commands comes first
_OWN_LAUNCHER = {"slurm": "srun", "flux": "flux"}
_MPI_MODULE = re.compile(r"^\S*(?:mpi|hpcx|cray-mpich)\S*$", re.IGNORECASE | re.MULTILINE)
_MODULES = "type module >/dev/null 2>&1 && module -t avail 2>&1"


@dataclass(frozen=True)
class Machine:
    """What a first file is made of. `kind` is that of the target."""

    name: str
    kind: str
    survey: Survey
    launcher: str
    mpi_modules: Sequence[str] = ()


def look_around(host: Host) -> Machine:
    """Ask the schedulers that this package knows for their queues; the first that answers is the one of this machine."""

    def ask(call: Call) -> Answer | None:
        try:
            return host.run(call)
        except OSError:
            return None

    kind, found = "local", Survey([])
    for each in _KINDS:
        answered = survey(scheduler_class(each)(), host.user, ask)
        if answered is not None:
            kind, found = each, answered
            break
    listed = ask(Call(("bash", "-lc", _MODULES)))
    modules = _MPI_MODULE.findall(listed.stdout) if listed and listed.code == 0 else []
    return Machine(host.name, kind, found, _launcher(kind), [each for each in modules if not each.endswith(":")])


def _launcher(kind: str) -> str:
    """What starts ranks here; a module may bring what is not on PATH."""
    own = _OWN_LAUNCHER.get(kind)
    return own or next((each for each in ("mpirun", "mpiexec") if shutil.which(each)), "mpirun")
