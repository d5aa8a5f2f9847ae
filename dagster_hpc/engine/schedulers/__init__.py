"""The batch systems, a folder for each. Each is imported when it is first asked for.

In every folder stands the same: `requests` (what to ask), `replies` (what was answered) and `words` (its vocabulary).

`from_json` builds a scheduler again from what the ledger keeps, for a command line without Dagster.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from typing import Any

from dagster_hpc.engine.schedulers.base import Scheduler

# kind → its folder and its class there, in `requests`
_HOME = {
    "local": ("local", "Local"),
    "slurm": ("slurm", "Slurm"),
    "pbs": ("pbs", "PBS"),
    "miyabi": ("miyabi", "Miyabi"),
    "gadi": ("pbs", "Gadi"),
    "torque": ("torque", "Torque"),
    "torque-slurm": ("torque", "TorqueOverSlurm"),
    "pjm": ("pjm", "PJM"),
    "pjm-without-bulk": ("pjm", "PJMWithoutBulk"),
    "lsf": ("lsf", "LSF"),
    "sge": ("sge", "SGE"),
    "flux": ("flux", "Flux"),
    "steps": ("steps", "Steps"),
}
KINDS = tuple(_HOME)


def scheduler_class(kind: str) -> type[Any]:
    """`slurm` → `Slurm`."""
    folder, name = _HOME[kind]
    found: type[Any] = getattr(import_module(f"{__name__}.{folder}.requests"), name)
    return found


def to_json(scheduler: Scheduler) -> str:
    settings = {"kind": scheduler.kind, **asdict(scheduler)}
    return json.dumps(settings)


def from_json(text: str) -> Scheduler:
    settings = json.loads(text)
    scheduler: Scheduler = scheduler_class(settings.pop("kind"))(**settings)
    return scheduler
