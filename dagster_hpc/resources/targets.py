"""WHERE: the batch systems that jobs can go to, one class for each kind."""

from __future__ import annotations

import getpass
import os
import socket
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.filesystem import state_folder
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.flux import Flux
from dagster_hpc.engine.schedulers.local import Local
from dagster_hpc.engine.schedulers.lsf import LSF
from dagster_hpc.engine.schedulers.pbs import PBS
from dagster_hpc.engine.schedulers.pjm import PJM, PJMWithoutBulk
from dagster_hpc.engine.schedulers.sge import SGE
from dagster_hpc.engine.schedulers.slurm import Slurm
from dagster_hpc.engine.schedulers.torque import Torque
from dagster_hpc.engine.schedulers.torque_over_slurm import TorqueOverSlurm
from dagster_hpc.engine.target import Patience, Target
from dagster_hpc.engine.units import parse_memory
from dagster_hpc.resources.profile import ResourceClass

SCRIPT_SUFFIXES = (".slurm", ".pbs", ".pjm", ".sge", ".lsf", ".flux", ".torque", ".sh")


@dataclass(frozen=True)
class SubmissionRoute:
    """Where a job of one resource class goes."""

    scheduler: str
    queue: str
    project: str


class HPCTarget(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A place where jobs run. Use the subclass of its batch system; write one of your own for your site's habits."""

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    name: str = Field(
        default="", description="Its name in the ledger and the UI. Targets that share a ledger need different ones."
    )
    queue_cpu: str = Field(
        default="", description="Queue or partition for profiles of resource class cpu; empty: the default."
    )
    queue_gpu: str = Field(default="", description="Queue or partition for profiles of resource class gpu.")
    project_cpu: str = Field(default="", description="Project, group or account that is charged for cpu jobs.")
    project_gpu: str = Field(default="", description="Project, group or account that is charged for gpu jobs.")
    executable_map: dict[str, str] = Field(
        default={}, description="Where each program lies on this system: key → absolute path."
    )
    template: str | None = Field(default=None, description="Path of a job template that replaces the packaged one.")
    poll_interval: float = Field(
        default=10.0, gt=0, description="Seconds between two questions to the scheduler while jobs change."
    )
    max_jobs: int | None = Field(default=None, gt=0, description="Most live jobs at once; further submissions wait.")

    @property
    @abstractmethod
    def scheduler(self) -> Scheduler:
        """The batch system, as the engine talks to it."""

    @property
    def default_name(self) -> str:
        return self.scheduler.kind

    def adapt(self, spec: JobSpec) -> JobSpec:
        """The request as this system can serve it; the request itself unless a subclass knows better."""
        return spec

    def options(self) -> Mapping[str, str | Sequence[str]]:
        """What only this kind of system knows, for its template."""
        return {}

    def faults(self, resource_class: ResourceClass) -> list[str]:
        """What the target itself lacks for a job of this class."""
        return []

    def route(self, resource_class: ResourceClass) -> SubmissionRoute:
        """Queue and project for a resource class."""
        gpu = resource_class == "gpu"
        return SubmissionRoute(
            scheduler=self.scheduler.kind,
            queue=self.queue_gpu if gpu else self.queue_cpu,
            project=self.project_gpu if gpu else self.project_cpu,
        )

    def script_name(self, stem: str) -> str:
        """`batch`, `batch.pbs` → `batch.slurm`: a known suffix is replaced, otherwise ours is added."""
        known = next((suffix for suffix in SCRIPT_SUFFIXES if stem.endswith(suffix)), "")
        return stem.removesuffix(known) + self.scheduler.suffix

    def executable(self, key: str) -> str:
        """The path behind a key of `executable_map`; an absolute path is itself."""
        if os.path.isabs(key):
            return key
        path = self.executable_map.get(key)
        if not path:
            hint = did_you_mean(key, list(self.executable_map))
            raise ConfigurationError(
                f"executable {key!r} is not in the executable_map of {type(self).__name__}: {hint}"
            )
        return path

    def engine_target(self, patience: Patience | None = None) -> Target:
        """This target as the engine sees it."""
        return Target(
            name=self.name or self.default_name,
            scheduler=self.scheduler,
            host=LocalHost(),
            poll_interval_s=self.poll_interval,
            max_jobs=self.max_jobs,
            template=os.path.expanduser(self.template) if self.template else None,
            patience=patience or Patience(),
        )


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


class LocalTarget(HPCTarget):
    """This machine, under the embedded scheduler: jobs queue for its cores and memory and outlive who submitted them.

    Profiles made for a cluster run here unchanged: nodes become cores of this machine, `srun` becomes `mpirun`, and a
    request larger than the machine gets all of it.
    """

    poll_interval: float = Field(
        default=2.0, gt=0, description="Seconds between two questions to the scheduler while jobs change."
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
    def _spool(self) -> str:
        return os.path.abspath(os.path.expanduser(self.spool)) if self.spool else str(state_folder() / "local")

    def adapt(self, spec: JobSpec) -> JobSpec:
        if spec.launcher not in ("srun", "flux"):
            return spec
        if spec.ranks == 1:
            return replace(spec, launcher="single", launcher_options=())
        return replace(spec, launcher="mpirun", launcher_options=())  # whose options are others


class PJMTarget(HPCTarget):
    """A system under Fujitsu's PJM (Technical Computing Suite), reached by the pjsub, pjstat and pjdel on this machine.

    Example:
        PJMTarget(queue_cpu="regular-o", project_cpu="ab12", executable_map={"bitcount": "/work/ab12/bitcount"})
    """

    gfscache: str | None = Field(
        default=None,
        description="Volumes that the compute nodes see (PJM_LLIO_GFSCACHE), as in /vol0002:/vol0004.",
    )
    llio: list[str] = Field(default=[], description="Options of --llio, as in localtmp-size=10Gi.")
    mpi_options_for_pjm: list[str] = Field(
        default=[], description="Options of --mpi beside the number of ranks, as in rank-map-bychip."
    )
    pjm_resources: list[str] = Field(
        default=[], description="Further items of -L, as in freq=2000,eco_state=2 or node=2x3x2:torus."
    )
    bulk_jobs: bool = Field(
        default=True, description="Whether the site permits bulk jobs; if not, arrays become single jobs."
    )
    spack_modules: list[str] = Field(default=[], description="Packages for `spack load`, in this order.")
    spack_setup: str = Field(
        default="", description="Spack's setup-env.sh, read before the first of them; empty: spack is there already."
    )

    @property
    def scheduler(self) -> Scheduler:
        return PJM() if self.bulk_jobs else PJMWithoutBulk()

    @property
    def default_name(self) -> str:
        return PJM.kind

    def options(self) -> Mapping[str, str | Sequence[str]]:
        return {
            "gfscache": [self.gfscache] if self.gfscache else [],
            "llio": self.llio,
            "mpi_options_for_pjm": self.mpi_options_for_pjm,
            "pjm_resources": self.pjm_resources,
            "spack_modules": self.spack_modules,
            "spack_setup": [self.spack_setup] if self.spack_setup else [],
        }


class FugakuTarget(PJMTarget):
    """Fugaku. Every job is charged to a group, and reads no file on a volume that gfscache does not name.

    Example:
        FugakuTarget(queue_cpu="small", project_cpu="hp200999", gfscache="/vol0004:/vol0002")
    """

    gfscache: str | None = Field(
        default="/vol0002", description="Volumes that the compute nodes see (PJM_LLIO_GFSCACHE), as in /vol0004."
    )
    spack_setup: str = Field(
        default="/vol0004/apps/oss/spack/share/spack/setup-env.sh", description="Spack's setup-env.sh."
    )

    @property
    def default_name(self) -> str:
        return "fugaku"

    def faults(self, resource_class: ResourceClass) -> list[str]:
        project = self.route(resource_class).project
        return [] if project else [f"Fugaku charges every job to a group: set project_{resource_class} of the target"]


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
        MiyabiTarget(project_cpu="gz00", project_gpu="gz00", executable_map={"dice": "/work/gz00/dice"})
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
            user=getpass.getuser(),
            parallel_environment=self.parallel_environment,
            multi_node_environment=self.multi_node_environment,
            memory_resource=self.memory_resource,
            gpu_resource=self.gpu_resource,
            gpus_per_slot=self.gpus_per_slot,
            exclusive_resource=self.exclusive_resource,
            verify=self.verify,
        )

    def engine_target(self, patience: Patience | None = None) -> Target:
        target = super().engine_target(patience)
        return replace(target, patience=replace(target.patience, accounting_grace_s=self.accounting_delay))


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


def target_class(kind: str) -> type[HPCTarget]:
    """`slurm` → `SlurmTarget`: for the command line and for targets that are chosen by a variable."""
    classes: dict[str, type[Any]] = {
        "local": LocalTarget,
        "slurm": SlurmTarget,
        "pjm": PJMTarget,
        "fugaku": FugakuTarget,
        "lsf": LSFTarget,
        "pbs": PBSTarget,
        "miyabi": MiyabiTarget,
        "torque": TorqueTarget,
        "sge": SGETarget,
        "flux": FluxTarget,
    }
    if kind not in classes:
        raise ConfigurationError(f"there is no target {kind!r}: {did_you_mean(kind, list(classes))}")
    return classes[kind]
