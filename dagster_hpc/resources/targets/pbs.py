"""PBS Professional and OpenPBS; and two of their sites, Miyabi and Gadi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.miyabi.requests import Miyabi
from dagster_hpc.engine.schedulers.pbs.requests import PBS, Gadi
from dagster_hpc.resources.profile import ResourceClass
from dagster_hpc.resources.targets.base import HPCTarget


class PBSTarget(HPCTarget):
    """A cluster under PBS Professional or OpenPBS, reached by the qsub, qstat, qdel and qselect on this machine.

    Example:
        PBSTarget(queue_cpu="workq", project_cpu="ab12", executable_map={"bitcount": "/apps/bitcount"})
    """

    charge: Literal["account", "project", "group"] = Field(
        default="account", description="How a job names who pays: account is -A, project is -P, group is -W group_list."
    )

    @property
    def scheduler(self) -> Scheduler:
        return PBS()

    def options(self) -> Mapping[str, str | Sequence[str]]:
        return {"charge": self.charge}


class MiyabiTarget(PBSTarget):
    """Miyabi. Every job is charged to a group; the queue gives the GPU.

    Example:
        MiyabiTarget(project_cpu="gz00", project_gpu="gz00", executable_map={"dice": "/apps/gz00/dice"})
    """

    queue_cpu: str = Field(default="regular-c", description="Queue for profiles of resource class cpu.")
    queue_gpu: str = Field(
        default="regular-g",
        description="Queue for profiles of resource class gpu; on one that ends in -mig, gpus_per_node counts instances.",
    )
    charge: Literal["account", "project", "group"] = Field(default="group", description="Here, -W group_list.")

    @property
    def scheduler(self) -> Scheduler:
        return Miyabi()

    def faults(self, resource_class: ResourceClass) -> list[str]:
        faults = []
        if not self.route(resource_class).project:
            faults.append(f"Miyabi charges every job to a group: set project_{resource_class} of the target")
        if self.charge != "group":
            faults.append(f"Miyabi refuses -A and -P: leave out charge={self.charge!r} of the target")
        return faults


class GadiTarget(PBSTarget):
    """Gadi at NCI. A job names its project and the file systems that it uses.

    Example:
        GadiTarget(project_cpu="ab12", project_gpu="ab12", storage="gdata/ab12+scratch/ab12")
    """

    queue_cpu: str = Field(default="normal", description="Queue for profiles of resource class cpu.")
    queue_gpu: str = Field(default="gpuvolta", description="Queue for profiles of resource class gpu.")
    charge: Literal["account", "project", "group"] = Field(default="project", description="Here, -P.")
    storage: str = Field(
        default="",
        description="What a job mounts beside its project's scratch: `gdata/ab12+scratch/cd34` is -l storage=.",
    )

    @property
    def scheduler(self) -> Scheduler:
        return Gadi()

    def options(self) -> Mapping[str, str | Sequence[str]]:
        return {**super().options(), **({"storage": self.storage} if self.storage else {})}

    def faults(self, resource_class: ResourceClass) -> list[str]:
        project = self.route(resource_class).project
        return [] if project else [f"Gadi charges every job to a project: set project_{resource_class} of the target"]
