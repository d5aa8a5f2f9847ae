"""WHERE: the batch systems that jobs can go to, one class for each kind."""

from __future__ import annotations

import os
import socket
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.filesystem import state_folder
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.local import Local
from dagster_hpc.engine.schedulers.slurm import Slurm
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
        if spec.launcher != "srun":
            return spec
        if spec.ranks == 1:
            return replace(spec, launcher="single", launcher_options=())
        return replace(spec, launcher="mpirun", launcher_options=())  # srun's options mean nothing to mpirun


def target_class(kind: str) -> type[HPCTarget]:
    """`slurm` → `SlurmTarget`: for the command line and for targets that are chosen by a variable."""
    classes: dict[str, type[Any]] = {"local": LocalTarget, "slurm": SlurmTarget}
    if kind not in classes:
        raise ConfigurationError(f"there is no target {kind!r}: {did_you_mean(kind, list(classes))}")
    return classes[kind]
