"""PBS as its simulator shows it: the commands of a stock OpenPBS's release, with a history of jobs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from dagster_hpc import HPCTarget, PBSTarget
from tests.contract.systems.base import System
from tests.faults.conftest import KNOBS
from tests.local_batch.system import Batch, eventually
from tests.simulators import pbs

# A tenth of what a real one takes, or less: figures that are seldom looked at, ends that are learned of late.
LATE = {"sample_s": "1", "end_s": "0.3", "kill_s": "1"}


class PBSSystem(System):
    """Its jobs run on the embedded batch system, with more cores than the machine has."""

    kind = "pbs"
    site: ClassVar[Mapping[str, str]] = {}  # further switches of the simulator
    can = frozenset(
        {
            "array",
            "array limit",
            "afterok",
            "afterany",
            "afternotok",
            "memory",
            "hold",
            "node loss",
            "server down",
            "stuck",
        }
    )

    def start(self, folder: Path) -> None:
        self.folder = folder
        self.binaries = pbs.install(folder)
        pbs.switch(folder, **LATE, **self.site)

    def stop(self) -> None:
        batch = Batch(self.folder)
        for daemon in batch.daemons():
            os.kill(daemon, signal.SIGTERM)
        eventually(lambda: not batch.keepers())

    def environment(self) -> Mapping[str, str]:
        knobs = {f"LOCAL_BATCH_{name}": value for name, value in KNOBS.items()}
        path = os.environ["PATH"].removeprefix(f"{self.binaries}:")
        return {**knobs, "PATH": f"{self.binaries}:{path}"}

    def target(self, **fields: Any) -> HPCTarget:
        return PBSTarget(**{"poll_interval": 0.5, **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"queue_cpu": "nope"}, "Unknown queue"

    def cancel(self, job_id: str) -> None:
        self._run("qdel", job_id)

    def held(self) -> dict[str, Any]:
        return {"directives": ["#PBS -h"]}

    def hold(self, job_id: str) -> None:
        self._run("qhold", job_id)

    def release(self, job_id: str) -> None:
        self._run("qrls", job_id)

    def lose_node(self, job_id: str) -> None:
        pbs.switch(self.folder, lost=job_id)

    def stop_server(self) -> None:
        pbs.switch(self.folder, server="down")

    def start_server(self) -> None:
        pbs.switch(self.folder, server="up")

    def never_starts(self) -> dict[str, Any]:
        return {"directives": ["#PBS -l select=1:ncpus=999"]}  # of which a node has sixteen

    def _run(self, *words: str) -> None:
        subprocess.run(words, check=True, env={**os.environ, **self.environment()}, capture_output=True, timeout=60)
