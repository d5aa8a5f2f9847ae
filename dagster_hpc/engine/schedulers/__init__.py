"""The batch systems, a file for each kind. Each is imported when it is first asked for.

`from_json` builds a scheduler again from what the ledger keeps, for a command line without Dagster.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from typing import Any

from dagster_hpc.engine.schedulers.base import Scheduler

_HOME = {
    "local": ("local", "Local"),
    "slurm": ("slurm", "Slurm"),
    "pbs": ("pbs", "PBS"),
    "torque": ("torque", "Torque"),
    "torque-slurm": ("torque_over_slurm", "TorqueOverSlurm"),
    "pjm": ("pjm", "PJM"),
    "pjm-without-bulk": ("pjm", "PJMWithoutBulk"),
    "lsf": ("lsf", "LSF"),
    "sge": ("sge", "SGE"),
    "flux": ("flux", "Flux"),
}
KINDS = tuple(_HOME)


def scheduler_class(kind: str) -> type[Any]:
    """`slurm` → `Slurm`."""
    module, name = _HOME[kind]
    found: type[Any] = getattr(import_module(f"{__name__}.{module}"), name)
    return found


def to_json(scheduler: Scheduler) -> str:
    settings = {"kind": scheduler.kind, **asdict(scheduler)}
    return json.dumps(settings)


def from_json(text: str) -> Scheduler:
    settings = json.loads(text)
    scheduler: Scheduler = scheduler_class(settings.pop("kind"))(**settings)
    return scheduler
