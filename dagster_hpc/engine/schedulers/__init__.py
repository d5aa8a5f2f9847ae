"""The batch systems. `from_json` builds one again from what the ledger keeps, for a command line without Dagster."""

from __future__ import annotations

import json
from dataclasses import asdict

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.local import Local
from dagster_hpc.engine.schedulers.slurm import Slurm

SCHEDULERS: dict[str, type[Local] | type[Slurm]] = {cls.kind: cls for cls in (Local, Slurm)}


def to_json(scheduler: Scheduler) -> str:
    settings = {"kind": scheduler.kind, **asdict(scheduler)}
    return json.dumps(settings)


def from_json(text: str) -> Scheduler:
    settings = json.loads(text)
    return SCHEDULERS[settings.pop("kind")](**settings)
