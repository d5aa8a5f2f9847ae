"""Grid Engine."""

from __future__ import annotations

from pydantic import Field

from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.sge.requests import SGE
from dagster_hpc.resources.targets.base import HPCTarget


class SGETarget(HPCTarget):
    """A cluster under Grid Engine (Sun's, Son of, Univa's, Open Cluster Scheduler), reached by the qsub on this machine.

    Example:
        SGETarget(queue_cpu="all.q", parallel_environment="smp", executable_map={"bitcount": "/apps/bitcount"})
    """

    parallel_environment: str = Field(
        default="", description="Parallel environment (-pe) for several cores on one node, whose rule is $pe_slots."
    )
    multi_node_environment: str = Field(
        default="",
        description="The one for several nodes, which fills a node before the next; {cores} in it: cores on each.",
    )
    memory_resource: str = Field(
        default="h_vmem", description="Resource that limits memory per slot, as in h_vmem or mem_free,h_vmem."
    )
    gpu_resource: str = Field(default="", description="Resource that stands for GPUs.")
    gpus_per_slot: bool = Field(
        default=False, description="Set where GPUs are counted for every slot, not once for the whole job."
    )
    exclusive_resource: str = Field(default="", description="Resource that keeps other jobs off the nodes.")
    verify: bool = Field(
        default=False, description="Let qsub refuse what no node could ever serve (-w e); needs resources with limits."
    )
    accounting_delay: float = Field(
        default=30.0, ge=0, description="Seconds after a job's end within which qacct knows of it; 0: do not wait."
    )

    @property
    def scheduler(self) -> Scheduler:
        return SGE(
            user=LocalHost().user,  # not who the environment says that it is
            parallel_environment=self.parallel_environment,
            multi_node_environment=self.multi_node_environment,
            memory_resource=self.memory_resource,
            gpu_resource=self.gpu_resource,
            gpus_per_slot=self.gpus_per_slot,
            exclusive_resource=self.exclusive_resource,
            verify=self.verify,
        )
