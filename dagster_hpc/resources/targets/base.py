"""What every target has: queues, projects, programs, a template; and what a subclass may answer otherwise."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from pydantic import ConfigDict, Field

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.target import Patience, Target
from dagster_hpc.resources.limits import QueueLimits
from dagster_hpc.resources.profile import ExecutionProfile, ResourceClass

SCRIPT_SUFFIXES = (".slurm", ".pbs", ".pjm", ".sge", ".lsf", ".flux", ".torque", ".sh")


@dataclass(frozen=True)
class SubmissionRoute:
    """Where a job of one resource class goes.

    Example:
        route: SubmissionRoute = SlurmTarget(queue_gpu="accel", project_gpu="ab12").route("gpu")
        assert (route.scheduler, route.queue, route.project) == ("slurm", "accel", "ab12")
    """

    scheduler: str
    queue: str
    project: str


class HPCTarget(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A place where jobs run. Use the subclass of its batch system; write one of your own for your site's habits.

    Example:
        targets: dict[str, HPCTarget] = {"laptop": LocalTarget(), "cluster": SlurmTarget(queue_cpu="regular")}
        hpc = HPCJobRunner(target=targets["cluster"], work_root="/scratch/me/dagster")
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    name: str = Field(
        default="",
        description="Its name in the ledger and the UI, before that of the cluster, which the system itself tells.",
    )
    description: str = Field(default="", description="What it is for, in a sentence, for those who choose.")
    queue_cpu: str = Field(
        default="", description="Queue or partition for profiles of resource class cpu; empty: the default."
    )
    queue_gpu: str = Field(default="", description="Queue or partition for profiles of resource class gpu.")
    project_cpu: str = Field(default="", description="Project, group or account that is charged for cpu jobs.")
    project_gpu: str = Field(default="", description="Project, group or account that is charged for gpu jobs.")
    executable_map: dict[str, str] = Field(
        default={}, description="Where each program lies on this system: key → absolute path."
    )
    limits: dict[str, QueueLimits] = Field(
        default={}, description="The most that a job may ask for, by queue; * stands for every queue."
    )
    python: str = Field(
        default="",
        description="Python that runs functions on the nodes: absolute path, key of the executable_map, or a word found in "
        "the job's PATH. Empty: python3.",
    )
    template: str | None = Field(default=None, description="Path of a job template that replaces the packaged one.")
    poll_interval: float = Field(
        default=10.0, gt=0, description="Seconds between two questions to the scheduler while jobs change."
    )
    max_jobs: int | None = Field(
        default=None, gt=0, description="Most live jobs at once; further ones wait in the ledger, in their order."
    )
    parallel_submissions: int = Field(
        default=4, gt=0, description="So many submit commands at once, where several jobs are to be submitted."
    )
    file_delay: float = Field(
        default=120.0,
        ge=0,
        description="Seconds until a file written on a compute node is surely visible here (NFS, Lustre). A job that "
        "ended well is not judged by a missing file before that.",
    )
    accounting_delay: float = Field(
        default=5.0, ge=0, description="Seconds that a job which is over is held back for its accounts, at most."
    )
    scheduler_patience: float = Field(
        default=900.0, ge=0, description="Seconds for which a submission waits for a scheduler that does not answer."
    )
    lost_after: float = Field(
        default=900.0, ge=0, description="Seconds without any trace of a job after which it is called lost."
    )
    cancel_stuck_after: float | None = Field(
        default=None,
        ge=0,
        description="Seconds after which a job that can never start is cancelled; unset: it waits, and its reason is told.",
    )

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

    def below(self, work_root: str) -> HPCTarget:
        """This target as a runner with this work_root uses it."""
        return self

    def held(self) -> tuple[HPCTarget, JobSpec] | None:
        """The job in which all jobs of this target run, and where that goes; None where each is a job by itself."""
        return None

    def options(self) -> Mapping[str, str | Sequence[str]]:
        """What only this kind of system knows, for its template."""
        return {}

    def faults(self, resource_class: ResourceClass) -> list[str]:
        """What the target itself lacks for a job of this class."""
        return []

    def place_faults(self, spec: JobSpec, folder: str) -> list[str]:
        """What keeps the compute nodes from files of this job, whose directory will be below this folder."""
        return []

    def route(self, resource_class: ResourceClass) -> SubmissionRoute:
        """Queue and project for a resource class."""
        gpu = resource_class == "gpu"
        return SubmissionRoute(
            scheduler=self.scheduler.system,
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

    def interpreter(self, profile: ExecutionProfile) -> tuple[str, ...]:
        """The words that start Python for a function under this profile."""
        python = profile.python or self.python or ("python3" if profile.container else self.default_python)
        if os.path.isabs(python) or python in self.executable_map:
            return (self.executable(python),)
        return ("/usr/bin/env", python)  # which looks where modules and pre_commands have put it

    @property
    def default_python(self) -> str:
        return "python3"

    @property
    def patience(self) -> Patience:
        """How long the engine believes that an answer from this target is only late."""
        return Patience(
            file_delay_s=self.file_delay,
            accounting_delay_s=self.accounting_delay,
            unavailable_s=self.scheduler_patience,
            lost_after_s=self.lost_after,
            stuck_after_s=self.cancel_stuck_after,
        )

    def engine_target(self, patience: Patience | None = None) -> Target:
        """This target as the engine sees it."""
        return Target(
            name=self.name or self.default_name,
            scheduler=self.scheduler,
            host=LocalHost(),
            poll_interval_s=self.poll_interval,
            max_jobs=self.max_jobs,
            parallel_submissions=self.parallel_submissions,
            template=os.path.expanduser(self.template) if self.template else None,
            patience=patience or self.patience,
        )
