"""What is asked for: a job with all names resolved and all units fixed, and the circumstances of the request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

Launcher = Literal["single", "srun", "mpirun", "mpiexec", "mpiexec.hydra", "flux"]
LAUNCHERS: tuple[str, ...] = ("single", "srun", "mpirun", "mpiexec", "mpiexec.hydra", "flux")

DependencyKind = Literal["afterok", "afterany", "afternotok"]
Reuse = Literal["running", "succeeded", "never"]


@dataclass(frozen=True)
class Dependency:
    """This job may start only after that one has ended well, anyhow, or badly."""

    kind: DependencyKind
    job_id: str


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """Everything that a job is, flat: what to run, how and where, with all names resolved and all units fixed."""

    # what
    name: str
    executable: str = ""
    args: tuple[str, ...] = ()
    shell: str | None = None  # an inline script, run by bash in place of the executable
    stdin: str | None = None
    outputs: tuple[tuple[str, str], ...] = ()  # (name, path relative to the job's directory)
    elements: tuple[tuple[str, ...], ...] = ()  # array job: the further arguments of each element
    element_limit: int | None = None  # array job: at most so many elements at once
    # how
    nodes: int = 1
    ranks_per_node: int = 1
    threads_per_rank: int | None = None
    gpus_per_node: int = 0
    memory_per_node_mib: int | None = None
    walltime_s: int = 300
    launcher: Launcher = "single"
    launcher_options: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    pre_commands: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    # Never in the script, and not in the text of this object; the fingerprint depends on them.
    secret_environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    container: str | None = None
    exclusive: bool = False
    qos: str | None = None
    reservation: str | None = None
    signal_name: str | None = None  # sent to the job `signal_before_s` seconds before its walltime ends
    signal_before_s: int | None = None
    directives: tuple[str, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    # where
    queue: str = ""
    project: str = ""
    options: tuple[tuple[str, str], ...] = ()  # what only this kind of scheduler knows, e.g. Slurm's qpu

    @property
    def ranks(self) -> int:
        return self.nodes * self.ranks_per_node

    @property
    def cores_per_node(self) -> int:
        return self.ranks_per_node * (self.threads_per_rank or 1)

    @property
    def is_array(self) -> bool:
        return bool(self.elements)

    def option(self, name: str) -> str | None:
        return dict(self.options).get(name)

    def option_list(self, name: str) -> tuple[str, ...]:
        """All values of an option that may be given several times, in their order."""
        return tuple(value for known, value in self.options if known == name)

    def fingerprint(self, target: str, inputs: Mapping[str, str]) -> str:
        """A hash of what would run, where, and on which input contents: equal for equal work, whoever asks."""
        content = json.dumps([asdict(self), target, sorted(inputs.items())], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Request:
    """A job and the circumstances under which it is asked for."""

    spec: JobSpec
    work_root: str
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    identity: str | None = None  # calls of the same identity mean the same job; None: a job of its own
    reuse: Reuse = "running"
    asset_key: str | None = None
    partition_key: str | None = None
    run_id: str | None = None
    step_key: str | None = None
    # Whether this step of this Dagster run has succeeded, by Dagster's own log; None where it does not know the run.
    received: Callable[[str, str], bool | None] = lambda run_id, step_key: None
