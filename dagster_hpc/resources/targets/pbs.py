"""PBS Professional and OpenPBS; and Miyabi, a site of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.pbs.requests import PBS
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
    """Miyabi. Every job is charged to a group.

    Example:
        MiyabiTarget(project_cpu="gz00", project_gpu="gz00", executable_map={"dice": "/apps/gz00/dice"})
    """

    queue_cpu: str = Field(default="regular-c", description="Queue for profiles of resource class cpu.")
    queue_gpu: str = Field(default="regular-g", description="Queue for profiles of resource class gpu.")
    charge: Literal["account", "project", "group"] = Field(default="group", description="Here, -W group_list.")

    @property
    def default_name(self) -> str:
        return "miyabi"

    def faults(self, resource_class: ResourceClass) -> list[str]:
        project = self.route(resource_class).project
        return [] if project else [f"Miyabi charges every job to a group: set project_{resource_class} of the target"]
