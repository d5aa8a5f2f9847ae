"""The real Slurm that the other tests use too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_hpc import HPCTarget, SlurmTarget
from tests.contract.systems.base import System
from tests.faults.place import eventually
from tests.systems.slurm import USABLE, SlurmCluster

EVERYTHING = {"array", "array limit", "afterok", "afterany", "afternotok", "hold", "node loss", "server down", "stuck"}


class SlurmSystem(System):
    """Its walltimes count in minutes, and its controller looks at them twice a minute."""

    kind = "slurm"
    needs = ("slurm",)
    shares = "slurm"
    can = frozenset(EVERYTHING)

    def share(self, running: SlurmCluster) -> None:
        self.cluster = running

    def start(self, folder: Path) -> None:
        if self.cluster.enforces_memory:
            self.can = frozenset({*EVERYTHING, "memory"})  # type: ignore[misc]

    def stop(self) -> None:
        """It goes on for the other tests."""

    def environment(self) -> Mapping[str, str]:
        return self.cluster.environment

    def target(self, **fields: Any) -> HPCTarget:
        return SlurmTarget(**{"poll_interval": 0.5, **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"queue_cpu": "nope"}, "invalid partition specified: nope"

    def expire(self, job_id: str) -> None:
        self.cluster.expire(job_id)

    def cancel(self, job_id: str) -> None:
        self.cluster.run(["scancel", job_id])

    def held(self) -> dict[str, Any]:
        return {"directives": ["#SBATCH --hold"]}

    def hold(self, job_id: str) -> None:
        self.cluster.run(["scontrol", "hold", job_id])

    def release(self, job_id: str) -> None:
        self.cluster.run(["scontrol", "release", job_id])

    def lose_node(self, job_id: str) -> None:
        node = self.cluster.run(["squeue", "-h", "-j", job_id, "-o", "%N"]).stdout.strip()
        self.cluster.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=contract"])
        # refused where the node's daemon has come back by itself meanwhile
        self.cluster.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)
        eventually(lambda: self._state(node) in USABLE, f"{node} is back")

    def _state(self, node: str) -> str:
        return self.cluster.run(["sinfo", "-h", "-n", node, "-p", "short", "-o", "%T"]).stdout.strip()

    def stop_server(self) -> None:
        self.cluster.stop_controller()

    def start_server(self) -> None:
        self.cluster.start_controller()

    def never_starts(self) -> dict[str, Any]:
        return {"walltime": "2m", "directives": ["#SBATCH --partition=short"]}  # which has one minute
