"""The batch systems. `from_json` builds one again from what the ledger keeps, for a command line without Dagster."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.flux import Flux
from dagster_hpc.engine.schedulers.local import Local
from dagster_hpc.engine.schedulers.lsf import LSF
from dagster_hpc.engine.schedulers.pbs import PBS
from dagster_hpc.engine.schedulers.pjm import PJM, PJMWithoutBulk
from dagster_hpc.engine.schedulers.sge import SGE
from dagster_hpc.engine.schedulers.slurm import Slurm
from dagster_hpc.engine.schedulers.torque import Torque
from dagster_hpc.engine.schedulers.torque_over_slurm import TorqueOverSlurm

SCHEDULERS: dict[str, type[Any]] = {
    cls.kind: cls for cls in (Local, Slurm, PJM, PJMWithoutBulk, LSF, PBS, Torque, TorqueOverSlurm, SGE, Flux)
}


def to_json(scheduler: Scheduler) -> str:
    settings = {"kind": scheduler.kind, **asdict(scheduler)}
    return json.dumps(settings)


def from_json(text: str) -> Scheduler:
    settings = json.loads(text)
    scheduler: Scheduler = SCHEDULERS[settings.pop("kind")](**settings)
    return scheduler
