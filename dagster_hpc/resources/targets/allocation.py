"""Inside an allocation: one queue wait for many steps."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `inside` as a type, to accept a resource
# that is configured at launch in its place.

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

import dagster_hpc.step_batch
from dagster_hpc.engine.allocation import Keeper
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobSpec, Request
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.steps.launch import allocation_faults, as_step
from dagster_hpc.engine.schedulers.steps.requests import Steps
from dagster_hpc.engine.target import Patience, Target, script_stem
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.profile import ExecutionProfile, ResourceClass
from dagster_hpc.resources.targets.base import HPCTarget

_PACKAGE = "dagster_hpc"
_PLACED = ("__init__", "folder", "spool", "running", "holder")  # what runs on the nodes, which need not have the package


class Allocation(HPCTarget):
    """Steps of one job that is held, on any other target: they wait in its queue once, and not each for itself.

    The job is submitted when the first step waits, replaced before its walltime ends while more of them do, and given
    back when nothing has run for a while. Assets run in it unchanged.

    Example:
        Allocation(
            inside=SlurmTarget(queue_cpu="regular"),
            profile=ExecutionProfile(num_nodes=4, mpiprocs=16, walltime="08:00:00"),
        )
    """

    inside: HPCTarget = Field(description="Where the job goes that holds the allocation.")
    profile: ExecutionProfile = Field(description="What that job asks for: its nodes, its cores, its walltime.")
    idle: float = Field(
        default=60.0, ge=0, description="Seconds without a step that waits or runs, after which it is given back."
    )
    python: str = Field(
        default="",
        description="Python on the compute nodes, 3.9 or later, for the program that holds it and for functions: absolute "
        "path, key of the executable_map, or a word found in PATH. Empty: that of the target inside.",
    )
    poll_interval: float = Field(
        default=2.0, gt=0, description="Seconds between two looks at the steps while they change: it reads a few files."
    )
    folder: str = Field(
        default="", description="Folder of the queue of steps, on the shared file system; default: below work_root."
    )

    def below(self, work_root: str) -> "Allocation":
        """This allocation with its queue, and the directories of the jobs that hold it, below this folder."""
        if self.folder:
            return self
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        folder = os.path.join(work_root, ".allocations", script_stem(self.name or self.default_name))
        return type(self)(**{**fields, "folder": folder})

    def held(self) -> tuple[HPCTarget, JobSpec]:
        return self.inside, self._held()

    @property
    def scheduler(self) -> Scheduler:
        held = self._held()
        return Steps(
            spool=self._folder,
            inside=self.inside.scheduler.system,
            nodes=held.nodes,
            cores_per_node=None if held.exclusive else held.cores_per_node,
            memory_per_node_mib=held.memory_per_node_mib,
            gpus_per_node=held.gpus_per_node,
            walltime_s=held.walltime_s,
        )

    @property
    def default_name(self) -> str:
        return f"{self.inside.name or self.inside.default_name}-steps"

    def adapt(self, spec: JobSpec) -> JobSpec:
        spec = self.inside.adapt(spec)
        return as_step(spec, self.inside.scheduler.system, allocation_gpus=self.profile.gpus_per_node)

    def faults(self, resource_class: ResourceClass) -> list[str]:
        own = ("queue_cpu", "queue_gpu", "project_cpu", "project_gpu")
        misplaced = [f"{name} of an Allocation says nothing: set that of the target inside" for name in own]
        given = [fault for name, fault in zip(own, misplaced, strict=True) if getattr(self, name)]
        return given + allocation_faults(self._held(), self.inside.scheduler.system)

    def place_faults(self, spec: JobSpec, folder: str) -> list[str]:
        return self.inside.place_faults(spec, folder)

    def executable(self, key: str) -> str:
        """From its own map, else from that of the target inside."""
        return super().executable(key) if key in self.executable_map else self.inside.executable(key)

    def interpreter(self, profile: ExecutionProfile) -> tuple[str, ...]:
        """Its own, else that of the target inside."""
        said = self.python or profile.python
        return super().interpreter(profile) if said else self.inside.interpreter(profile)

    def engine_target(self, patience: Patience | None = None) -> Target:
        inner = self.inside.engine_target()
        keeper = Keeper(self._folder, inner, self._request)
        return replace(super().engine_target(patience), keep=keeper)

    @property
    def _folder(self) -> str:
        return os.path.abspath(os.path.expanduser(os.path.expandvars(self.folder))) if self.folder else ""

    def _held(self) -> JobSpec:
        """The job that holds the allocation, as it is submitted."""
        from dagster_hpc.resources.resolve import resolve

        # Any launcher that starts several ranks: this one starts none, and the steps bring their own.
        profile = self.profile.with_overrides({"launcher": "mpirun", "mpi_options": []})
        python, *more = self.interpreter(self.profile)
        whole = resolve(Command(python, name="allocation"), profile, self.inside)
        words = [
            *more, "-m", f"{_PACKAGE}.step_batch.holder", "--spool", self._folder,
            "--cores", str(whole.nodes * whole.cores_per_node), "--walltime", str(whole.walltime_s),
            "--idle", f"{self.idle:g}",
        ]  # fmt: skip
        whole_nodes = ["--whole-nodes"] if whole.exclusive else []
        return replace(whole, args=(*words, *whole_nodes), launcher="single", launcher_options=())

    def _request(self) -> Request:
        if not self._folder:
            raise ConfigurationError(
                "the Allocation has no folder for its queue of steps",
                advice="give it to an HPCJobRunner, which has a work_root, or set its `folder`.",
            )
        return Request(self._held(), os.path.join(self._folder, "jobs"), inputs=_holder_files())


def _holder_files() -> Mapping[str, bytes]:
    """The program that holds the allocation, as it lies beside the held job: found there by the names that it has here."""
    here = Path(dagster_hpc.step_batch.__file__).parent
    files: Sequence[str] = [f"{name}.py" for name in _PLACED]
    return {
        f"{_PACKAGE}/__init__.py": b"",
        **{f"{_PACKAGE}/step_batch/{name}": (here / name).read_bytes() for name in files},
    }
