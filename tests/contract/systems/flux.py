"""Flux as it was recorded, simulated: Debian has no package of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_hpc import FluxTarget, HPCTarget
from tests.contract.systems.base import System
from tests.simulators import flux
from tests.simulators.embedded import Embedded


class FluxSystem(System):
    """A job that can never start ends at once here, so that none is ever stuck."""

    kind = "flux"
    can = frozenset({"afterok", "afterany", "afternotok", "hold", "node loss", "server down"})

    def start(self, folder: Path) -> None:
        self.simulator = Embedded(folder)
        self.simulator.install(flux.__name__, flux.COMMANDS)

    def stop(self) -> None:
        self.simulator.stop()

    def environment(self) -> Mapping[str, str]:
        return self.simulator.environment()

    def target(self, **fields: Any) -> HPCTarget:
        return FluxTarget(**{"poll_interval": 0.5, **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"queue_cpu": "nope"}, "'nope' is not a valid queue"

    def cancel(self, job_id: str) -> None:
        self._flux("cancel", job_id)

    def held(self) -> dict[str, Any]:
        return {"directives": ["# flux: --urgency=hold"]}

    def hold(self, job_id: str) -> None:
        self._flux("job", "urgency", job_id, "hold")

    def release(self, job_id: str) -> None:
        self._flux("job", "urgency", job_id, "default")

    def lose_node(self, job_id: str) -> None:
        self.simulator.wreck(flux.here(job_id) or "", flux.NODE_LOST)

    def stop_server(self) -> None:
        self.simulator.switch("down")

    def start_server(self) -> None:
        self.simulator.switch("down", on=False)

    def _flux(self, *words: str) -> None:
        program = str(self.simulator.folder / "bin" / "flux")
        subprocess.run([program, *words], check=True, capture_output=True, env=dict(self.environment()))
