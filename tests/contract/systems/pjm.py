"""PJM as the documents describe it, simulated."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_hpc import HPCTarget, PJMTarget
from tests.contract.systems.base import System
from tests.simulators import pjm
from tests.simulators.embedded import Embedded


class PJMSystem(System):
    """No dependencies, and no limit of how many elements run at once."""

    kind = "pjm"
    can = frozenset({"array", "memory", "hold", "node loss", "server down", "stuck"})

    def start(self, folder: Path) -> None:
        self.simulator = Embedded(folder)
        self.simulator.install(pjm.__name__, pjm.COMMANDS)

    def stop(self) -> None:
        self.simulator.stop()

    def environment(self) -> Mapping[str, str]:
        return self.simulator.environment()

    def target(self, **fields: Any) -> HPCTarget:
        return PJMTarget(**{"queue_cpu": "small", "poll_interval": 0.5, **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"queue_cpu": "nope"}, 'Resource group "nope" does not exist'

    def cancel(self, job_id: str) -> None:
        subprocess.run([str(self.simulator.folder / "bin" / "pjdel"), job_id], check=True, capture_output=True)

    def held(self) -> dict[str, Any]:
        return {"directives": ['#PJM -L "rscgrp=held"']}

    def hold(self, job_id: str) -> None:
        self.simulator.hold(job_id)

    def release(self, job_id: str) -> None:
        self.simulator.release(job_id)

    def lose_node(self, job_id: str) -> None:
        self.simulator.wreck(job_id, {"ST": "EXT", "EC": "-", "PC": "20", "SN": "-", "REASON": "NODE DOWN"})

    def stop_server(self) -> None:
        self.simulator.switch("down")

    def start_server(self) -> None:
        self.simulator.switch("down", on=False)

    def never_starts(self) -> dict[str, Any]:
        return {"directives": ['#PJM -L "rscgrp=broken"']}
