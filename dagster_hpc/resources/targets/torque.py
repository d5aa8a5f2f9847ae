"""Torque."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.torque.requests import Torque, TorqueOverSlurm
from dagster_hpc.resources.targets.base import HPCTarget


class TorqueTarget(HPCTarget):
    """A cluster under Torque, reached by the qsub, qstat, qdel and qselect on this machine.

    Example:
        TorqueTarget(queue_cpu="batch", executable_map={"bitcount": "/apps/bitcount"})
    """

    charge: Literal["account", "group"] = Field(
        default="account", description="How a job names who pays: account is -A, group is -W group_list."
    )
    over_slurm: bool = Field(
        default=False, description="These commands are those that Slurm brings for Torque's users (slurm-wlm-torque)."
    )

    @property
    def scheduler(self) -> Scheduler:
        return TorqueOverSlurm() if self.over_slurm else Torque()

    def options(self) -> Mapping[str, str | Sequence[str]]:
        return {"charge": self.charge}
