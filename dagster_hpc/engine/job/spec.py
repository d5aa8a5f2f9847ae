"""What is asked for: a job with all names resolved and all units fixed, and the circumstances of the request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from dagster_hpc.engine.job.retries import Resume, RetryRule

Launcher = Literal["single", "srun", "mpirun", "mpiexec", "mpiexec.hydra", "flux"]
LAUNCHERS: tuple[str, ...] = ("single", "srun", "mpirun", "mpiexec", "mpiexec.hydra", "flux")

MAIL_KINDS = ("begin", "end", "fail")
_NOT_PART_OF_THE_WORK = ("mail_to", "mail_on")

DependencyKind = Literal["afterok", "afterany", "afternotok"]
Reuse = Literal["running", "succeeded", "never"]


@dataclass(frozen=True)
class Dependency:
    """This job may start only after that one has ended well, anyhow, or badly.

    Example:
        first = hpc.submit(Command("prepare"), profile="small")
        hpc.submit(Command("bitcount"), profile="small", dependencies=[Dependency("afterok", first.job_id)])
    """

    kind: DependencyKind
    job_id: str


@dataclass(frozen=True)
class Program:
    """What one element of an array job runs, where each runs something else."""

    executable: str = ""
    shell: str | None = None
    stdin: str | None = None


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
    programs: tuple[Program, ...] = ()  # array job of different programs: that of each element, in place of the job's own
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
    mail_to: str | None = None  # whom the scheduler itself writes to; neither this nor `mail_on` is part of the work
    mail_on: tuple[str, ...] = ()  # of MAIL_KINDS
    directives: tuple[str, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    working_directory: str = ""  # where the program runs; '': in the job's own directory
    # where
    queue: str = ""
    project: str = ""
    options: tuple[tuple[str, str], ...] = ()  # what only this kind of scheduler knows, e.g. Slurm's qpu
    exclude_nodes: tuple[str, ...] = ()  # where it shall not run; not asked of a system that has no word for it

    @property
    def ranks(self) -> int:
        return self.nodes * self.ranks_per_node

    @property
    def cores_per_node(self) -> int:
        return self.ranks_per_node * (self.threads_per_rank or 1)

    @property
    def is_array(self) -> bool:
        return bool(self.elements)

    @property
    def runs_inline_script(self) -> bool:
        return self.shell is not None or any(program.shell is not None for program in self.programs)

    def alone(self, index: int) -> JobSpec:
        """This element as a job of its own: equal for equal work, whatever its neighbours are."""
        own = self.programs[index] if self.programs else Program(self.executable, self.shell, self.stdin)
        args = (*self.args, *self.elements[index])
        return replace(self, elements=(), programs=(), element_limit=None, args=args, **vars(own))

    def part(self, indices: Sequence[int]) -> JobSpec:
        """The array job of these elements alone."""
        programs = tuple(self.programs[index] for index in indices) if self.programs else ()
        return replace(self, elements=tuple(self.elements[index] for index in indices), programs=programs)

    def option(self, name: str) -> str | None:
        return dict(self.options).get(name)

    def option_list(self, name: str) -> tuple[str, ...]:
        """All values of an option that may be given several times, in their order."""
        return tuple(value for known, value in self.options if known == name)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the values of secrets, which stand in a file of their own."""
        return asdict(replace(self, secret_environment=tuple((name, "") for name, _ in self.secret_environment)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobSpec:
        """The same again from JSON, which has lists for tuples."""
        whole = {name: _as_tuple(value) for name, value in values.items()}
        programs = tuple(Program(**program) for program in values["programs"])
        dependencies = tuple(Dependency(**dependency) for dependency in values["dependencies"])
        return cls(**{**whole, "programs": programs, "dependencies": dependencies})

    def fingerprint(self, target: str, inputs: Mapping[str, str]) -> str:
        """A hash of what would run, where, and on which input contents: equal for equal work, whoever asks."""
        work = {name: value for name, value in asdict(self).items() if name not in _NOT_PART_OF_THE_WORK}
        content = json.dumps([work, target, sorted(inputs.items())], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(each) for each in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Own:
    """What one element of an array job has of its own, beside its program and arguments."""

    identity: str | None = None
    partition_key: str | None = None
    inputs: Mapping[str, bytes] = field(default_factory=dict)  # in its own directory
    # As that of the request, where a step may have received one element's result and not yet another's.
    received: Callable[[str, str], bool | None] | None = None
    together: int = 1  # so many commands were asked for at once, for this partition


@dataclass(frozen=True)
class Request:
    """A job and the circumstances under which it is asked for."""

    spec: JobSpec
    work_root: str
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    own: tuple[Own, ...] = ()  # array job: of each element, where they have anything of their own
    identity: str | None = None  # calls of the same identity mean the same job; None: a job of its own
    reuse: Reuse = "running"
    retry: tuple[RetryRule, ...] = ()  # neither these nor `resume` are part of what makes two requests the same
    resume: Resume | None = None
    profile: str = ""  # the name of that by which it was asked for
    asset_key: str | None = None
    partition_key: str | None = None
    together: int = 1  # so many commands were asked for at once, each as a job of its own
    deployment: str = ""  # the Dagster that its run belongs to
    run_id: str | None = None
    step_key: str | None = None
    # Whether this step of this Dagster run has succeeded, by Dagster's own log; None where it does not know the run.
    received: Callable[[str, str], bool | None] = lambda run_id, step_key: None

    def of(self, index: int) -> Own:
        """What this element (or the job alone) has of its own."""
        if self.own:
            return self.own[index]
        identity = f"{self.identity}.{index}" if self.identity is not None and self.spec.is_array else self.identity
        return Own(identity, self.partition_key, together=self.together)
