"""LSF as the documents describe it, simulated."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_hpc import HPCTarget, LSFTarget
from tests.contract.systems.base import System
from tests.simulators import lsf
from tests.simulators.embedded import Embedded


class LSFSystem(System):
    """Its walltimes count in minutes: a test does not wait for one, it lets the job expire."""

    kind = "lsf"
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
        self.simulator = Embedded(folder)
        self.simulator.install(lsf.__name__, lsf.COMMANDS)

    def stop(self) -> None:
        self.simulator.stop()

    def environment(self) -> Mapping[str, str]:
        return self.simulator.environment()

    def target(self, **fields: Any) -> HPCTarget:
        return LSFTarget(**{"poll_interval": 0.5, **fields})

    def refused(self) -> tuple[dict[str, Any], str]:
        return {"queue_cpu": "nope"}, "nope: No such queue"

    def expire(self, job_id: str) -> None:
        why = "TERM_RUNLIMIT: job killed after reaching LSF run time limit"
        self.simulator.give_end(job_id, {"STAT": "EXIT", "EXIT_CODE": "140", "EXIT_REASON": why})
        self._run("bkill", job_id)

    def cancel(self, job_id: str) -> None:
        self._run("bkill", job_id)

    def held(self) -> dict[str, Any]:
        return {"directives": ["#BSUB -H"]}

    def hold(self, job_id: str) -> None:
        self._run("bstop", job_id)

    def release(self, job_id: str) -> None:
        self._run("bresume", job_id)

    def lose_node(self, job_id: str) -> None:
        why = "TERM_ZOMBI: job exited while its host could not be reached"
        self.simulator.wreck(job_id, {"STAT": "EXIT", "EXIT_CODE": "", "EXIT_REASON": why})

    def stop_server(self) -> None:
        self.simulator.switch("down")

    def start_server(self) -> None:
        self.simulator.switch("down", on=False)

    def never_starts(self) -> dict[str, Any]:
        return {"directives": ["#BSUB -q impossible"]}

    def _run(self, command: str, job_id: str) -> None:
        with_path = {**self.environment()}
        program = str(self.simulator.folder / "bin" / command)
        subprocess.run([program, job_id], check=True, capture_output=True, env=with_path)
