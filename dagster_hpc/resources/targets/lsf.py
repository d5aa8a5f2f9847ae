"""LSF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.lsf.requests import LSF
from dagster_hpc.resources.targets.base import HPCTarget


class LSFTarget(HPCTarget):
    """A cluster under IBM Spectrum LSF, reached by the bsub, bjobs and bkill on this machine.

    Example:
        LSFTarget(queue_cpu="normal", project_cpu="ab12", executable_map={"bitcount": "/apps/bitcount"})
    """

    user_group: str = Field(default="", description="User group (-G) that the job is counted to.")
    memory_per_slot: bool = Field(
        default=False,
        description="Set where the site reserves memory per slot (RESOURCE_RESERVE_PER_TASK).",
    )
    memory_limit_per_job: bool = Field(
        default=False, description="Set where the site limits memory per job, not per process (LSB_JOB_MEMLIMIT=Y)."
    )

    @property
    def scheduler(self) -> Scheduler:
        return LSF()

    def options(self) -> Mapping[str, str | Sequence[str]]:
        flags = {"memory_per_slot": self.memory_per_slot, "memory_limit_per_job": self.memory_limit_per_job}
        given = {"user_group": self.user_group, **{name: "yes" for name, flag in flags.items() if flag}}
        return {name: value for name, value in given.items() if value}
