"""Slurm's commands for Torque's users (slurm-wlm-torque), over the real Slurm that the other tests use too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_hpc import HPCTarget, TorqueTarget
from tests.contract.systems.base import System
from tests.systems import torque
from tests.systems.slurm import SlurmCluster

EVERYTHING = {"afterok", "afterany", "afternotok", "server down"}


class TorqueSystem(System):
    """Its walltimes count in minutes. It shows no elements of arrays, no holds and no exit codes."""

    kind = "torque"
    needs = ("slurm", "torque")
    shares = "slurm"
    can = frozenset(EVERYTHING)

    def share(self, running: SlurmCluster) -> None:
        self.cluster = running

    def start(self, folder: Path) -> None:
        self.binaries = torque.install(folder)
        if self.cluster.enforces_memory:
            self.can = frozenset({*EVERYTHING, "memory"})  # type: ignore[misc]

    def stop(self) -> None:
        """Slurm goes on for the other tests."""

    def environment(self) -> Mapping[str, str]:
        path = os.environ["PATH"].removeprefix(f"{self.binaries}:")
        return {**self.cluster.environment, "PATH": f"{self.binaries}:{path}"}

    def target(self, **fields: Any) -> HPCTarget:
        return TorqueTarget(**{"poll_interval": 0.5, "over_slurm": True, **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"queue_cpu": "nope"}, "invalid partition specified: nope"

    def cancel(self, job_id: str) -> None:
        environment = {**os.environ, **self.environment()}
        subprocess.run(["qdel", job_id], check=True, env=environment, capture_output=True, timeout=60)

    def stop_server(self) -> None:
        self.cluster.stop_controller()

    def start_server(self) -> None:
        self.cluster.start_controller()
