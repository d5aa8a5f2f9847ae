"""What `dagster-hpc doctor` asks: can jobs be run from here, and if not, what is to be done? One file a system.

`probes` gives the questions to a batch system. Each file has them under the same name, and is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from dagster_hpc.checks.base import Ask, Demand, Probe, Survey
from dagster_hpc.engine.schedulers.base import Scheduler

# kind of scheduler → the file with its questions
_HOME = {
    "local": "local",
    "slurm": "slurm",
    "pbs": "pbs",
    "miyabi": "miyabi",
    "gadi": "pbs",
    "torque": "torque",
    "torque-slurm": "torque_over_slurm",
    "pjm": "pjm",
    "pjm-without-bulk": "pjm",
    "lsf": "lsf",
    "sge": "sge",
    "flux": "flux",
    "steps": "steps",
}


def probes(scheduler: Scheduler, demands: Sequence[Demand], user: str) -> list[Probe]:
    """The questions to this system: is it there, does it answer, can it serve these demands? None where it has no file."""
    if scheduler.kind not in _HOME:
        return []
    found: list[Probe] = import_module(f"{__name__}.{_HOME[scheduler.kind]}").probes(scheduler, demands, user)
    return found


def survey(scheduler: Scheduler, user: str, ask: Ask) -> Survey | None:
    """What this system tells of its queues and their limits; None where it does not answer, or is not asked that."""
    file = import_module(f"{__name__}.{_HOME[scheduler.kind]}") if scheduler.kind in _HOME else None
    found: Survey | None = file.survey(scheduler, user, ask) if file and hasattr(file, "survey") else None
    return found
