"""This machine, under the embedded scheduler."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace

from pydantic import Field

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.filesystem import state_folder
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.local.requests import Local
from dagster_hpc.engine.units import parse_memory
from dagster_hpc.resources.targets.base import HPCTarget


class LocalTarget(HPCTarget):
    """This machine, under the embedded scheduler: jobs queue for its cores and memory and outlive who submitted them.

    Profiles made for a cluster run here unchanged: nodes become cores of this machine, `srun` becomes `mpirun`, and a
    request larger than the machine gets all of it.

    Example:
        LocalTarget(cores=4, memory="12G", executable_map={"bitcount": "/apps/bitcount"})
    """

    poll_interval: float = Field(
        default=2.0, gt=0, description="Seconds between two questions to the scheduler while jobs change."
    )
    file_delay: float = Field(
        default=5.0, ge=0, description="Seconds until a file that a job wrote is surely visible: it is this machine's."
    )
    cores: int | None = Field(default=None, gt=0, description="Cores that jobs may use together; default: all.")
    memory: str | None = Field(
        default=None, description="Memory that jobs may use together, as in 12G; default: nine tenths."
    )
    spool: str = Field(
        default="", description="Folder of the scheduler's own records; default: one for all of a user's projects."
    )

    @property
    def scheduler(self) -> Scheduler:
        try:
            memory_mib = parse_memory(self.memory) if self.memory else None
        except ValueError as error:
            raise ConfigurationError(f"LocalTarget: {error}") from error
        return Local(spool=self._spool, cores=self.cores, memory_mib=memory_mib)

    @property
    def default_name(self) -> str:
        here = f"local@{socket.gethostname()}"
        return f"{here}:{self._spool}" if self.spool else here

    @property
    def default_python(self) -> str:
        return sys.executable

    @property
    def _spool(self) -> str:
        return os.path.abspath(os.path.expanduser(self.spool)) if self.spool else str(state_folder() / "local")

    def adapt(self, spec: JobSpec) -> JobSpec:
        if spec.launcher not in ("srun", "flux"):
            return spec
        if spec.ranks == 1:
            return replace(spec, launcher="single", launcher_options=())
        return replace(spec, launcher="mpirun", launcher_options=())  # whose options are others
