"""Flux."""

from __future__ import annotations

from pydantic import Field

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.flux.requests import Flux
from dagster_hpc.resources.targets.base import HPCTarget


class FluxTarget(HPCTarget):
    """A Flux instance, of the whole system or inside another system's job, reached by the flux on this machine.

    Example:
        FluxTarget(queue_cpu="batch", project_cpu="ab12", executable_map={"bitcount": "/apps/bitcount"})
    """

    uri: str = Field(default="", description="Instance to talk to; default: that of FLUX_URI, else the system's own.")

    @property
    def scheduler(self) -> Scheduler:
        return Flux(uri=self.uri)

    @property
    def default_name(self) -> str:
        return f"flux:{self.uri}" if self.uri else "flux"
