"""Slurm."""

from __future__ import annotations

from pydantic import Field

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.resources.targets.base import HPCTarget


class SlurmTarget(HPCTarget):
    """A cluster under Slurm, reached by the sbatch, squeue, sacct and scancel on this machine.

    Example:
        SlurmTarget(queue_cpu="regular", project_cpu="ab12", executable_map={"bitcount": "/apps/bitcount"})
    """

    qpu: str | None = Field(
        default=None, description="Value of the site's --qpu option, for jobs that use a quantum computer."
    )
    cluster: str = Field(default="", description="Name of the cluster (-M) where one Slurm serves several.")

    @property
    def scheduler(self) -> Scheduler:
        return Slurm(cluster=self.cluster)

    @property
    def default_name(self) -> str:
        return f"slurm:{self.cluster}" if self.cluster else "slurm"

    def options(self) -> dict[str, str]:
        return {"qpu": self.qpu} if self.qpu else {}
