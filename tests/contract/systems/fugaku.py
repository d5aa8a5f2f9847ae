"""Fugaku as its users report it: the simulated PJM with that site's habits, and the target that knows them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from dagster_hpc import FugakuTarget, HPCTarget
from tests.contract.systems.pjm import PJMSystem

HABITS = ("volumes", "moved", "banner", "late statistics", "bulk=1000", "accept=1000")


class FugakuSystem(PJMSystem):
    """Work outside /home needs its volume named, a job waits in another group than it was sent to, limits are told."""

    kind = "fugaku"

    def start(self, folder: Path) -> None:
        super().start(folder)
        for habit in HABITS:
            self.simulator.switch(habit)

    def target(self, **fields: Any) -> HPCTarget:
        volume = os.path.realpath(tempfile.gettempdir())
        site = {"queue_cpu": "small", "project_cpu": "hp200999", "gfscache": volume, "poll_interval": 0.5}
        return FugakuTarget(**{**site, **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"queue_cpu": "nope"}, 'Resource group "nope" does not exist'
