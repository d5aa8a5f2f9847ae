"""The real Grid Engine that the other tests use too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_hpc import ExecutionProfile, HPCTarget, SGETarget
from tests.contract.systems.base import System
from tests.systems.sge import GridEngine


class SGESystem(System):
    """What limits memory makes the program's own allocation fail, so that nobody says out of memory."""

    kind = "sge"
    needs = ("sge",)
    shares = "sge"
    can = frozenset({"array", "array limit", "afterany", "hold", "node loss", "server down", "stuck"})

    def share(self, running: GridEngine) -> None:
        self.engine = running

    def start(self, folder: Path) -> None:
        """It runs already."""

    def stop(self) -> None:
        """It goes on for the other tests."""

    def environment(self) -> Mapping[str, str]:
        return self.engine.environment

    def target(self, **fields: Any) -> HPCTarget:
        known = {"parallel_environment": "smp", "gpu_resource": "gpu", "accounting_delay": 10.0}
        return SGETarget(**{"poll_interval": 0.5, **known, **fields})

    def profile(self, **fields: Any) -> ExecutionProfile:
        """With time to see that a node is lost, which takes its daemon a minute."""
        return super().profile(**{"walltime": "00:05:00", **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"queue_cpu": "nope"}, 'unknown queue "nope"'

    def cancel(self, job_id: str) -> None:
        self.engine.run(["qdel", job_id])

    def held(self) -> dict[str, Any]:
        return {"directives": ["#$ -h"]}

    def hold(self, job_id: str) -> None:
        self.engine.run(["qhold", job_id])

    def release(self, job_id: str) -> None:
        self.engine.run(["qrls", job_id])

    def lose_node(self, job_id: str) -> None:
        """Its daemon looks only once a minute which of its jobs have gone."""
        self.engine.lose_node()

    def stop_server(self) -> None:
        self.engine.stop_server()

    def start_server(self) -> None:
        self.engine.start_server()

    def never_starts(self) -> dict[str, Any]:
        return {"directives": ["#$ -wd /no/such/folder"]}
