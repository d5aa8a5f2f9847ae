"""The nouns of the engine: what is asked for, what state it is in, what came out of it.

All of them are frozen values. Quantities carry their unit in their name; `None` means that the system did not say.
"""

from __future__ import annotations

import hashlib
import json
import signal as _signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, Literal

from dagster_hpc.engine.errors import failure_of

Launcher = Literal["single", "srun", "mpirun", "mpiexec", "mpiexec.hydra", "flux"]
LAUNCHERS: tuple[str, ...] = ("single", "srun", "mpirun", "mpiexec", "mpiexec.hydra", "flux")

DependencyKind = Literal["afterok", "afterany", "afternotok"]
Reuse = Literal["running", "succeeded", "never"]


class JobState(str, Enum):
    """One vocabulary for all batch systems."""

    SUBMITTING = "SUBMITTING"  # claimed in the ledger; the submit command may or may not have reached the scheduler
    PENDING = "PENDING"
    HELD = "HELD"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    UNKNOWN = "UNKNOWN"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    OOM = "OOM"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    LOST = "LOST"  # neither queue nor accounting nor the job's own files know what became of it
    REFUSED = "REFUSED"  # the scheduler (or the file system) did not take it: there never was a job

    @property
    def is_final(self) -> bool:
        return self in _FINAL

    @property
    def is_success(self) -> bool:
        return self is JobState.COMPLETED

    def __str__(self) -> str:
        return self.value


_FINAL = frozenset(
    {
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMEOUT,
        JobState.OOM,
        JobState.NODE_FAIL,
        JobState.PREEMPTED,
        JobState.LOST,
        JobState.REFUSED,
    }
)
FINAL_STATES: tuple[str, ...] = tuple(state.value for state in JobState if state.is_final)


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


@dataclass(frozen=True)
class JobHandle:
    """What is needed to find a job again, from any process that sees the same ledger."""

    token: str
    job_id: str | None
    work_dir: str
    target: str
    name: str = ""
    joined: bool = False  # a job that was already there has been taken over instead of submitting another

    def __str__(self) -> str:
        return f"{self.name} (job {self.job_id or 'not yet known'} on {self.target}, token {self.token})"


@dataclass(frozen=True)
class JobMetrics:
    """What the job cost, in the same units on every scheduler."""

    queue_wait_s: float | None = None
    elapsed_s: float | None = None
    cpu_time_s: float | None = None
    cpu_efficiency: float | None = None
    max_rss_mib: float | None = None
    energy_j: float | None = None
    node_hours: float | None = None
    nodes: int | None = None
    cores: int | None = None
    node_list: str | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    raw: Mapping[str, str] = field(default_factory=dict)

    def or_else(self, other: JobMetrics) -> JobMetrics:
        """These metrics, with the gaps filled from a second source."""
        gaps = {
            f.name: getattr(other, f.name) for f in fields(self) if f.name != "raw" and getattr(self, f.name) is None
        }
        return replace(self, raw={**other.raw, **self.raw}, **gaps)

    def derived(self) -> JobMetrics:
        """These metrics, with what follows from the others computed."""
        m = self
        if m.elapsed_s is None and m.started_at is not None and m.ended_at is not None:
            m = replace(m, elapsed_s=max(0.0, m.ended_at - m.started_at))
        if m.queue_wait_s is None and m.submitted_at is not None and m.started_at is not None:
            m = replace(m, queue_wait_s=max(0.0, m.started_at - m.submitted_at))
        if m.node_hours is None and m.nodes is not None and m.elapsed_s is not None:
            m = replace(m, node_hours=m.nodes * m.elapsed_s / 3600)
        if m.cpu_efficiency is None and m.cpu_time_s is not None and m.cores and m.elapsed_s:
            m = replace(m, cpu_efficiency=m.cpu_time_s / (m.cores * m.elapsed_s))
        return m

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobMetrics:
        return cls(**values)


@dataclass(frozen=True)
class JobStatus:
    """What one source says of one job at one moment."""

    state: JobState
    reason: str = ""  # a sentence; the scheduler's own word is in it
    exit_code: int | None = None
    signal: int | None = None
    job_name: str = ""
    metrics: JobMetrics = field(default_factory=JobMetrics)
    stuck: bool = False  # waits for something that cannot happen by itself


@dataclass(frozen=True)
class JobResult:
    """A job that has ended, well or not."""

    handle: JobHandle
    state: JobState
    exit_code: int | None = None
    reason: str = ""
    metrics: JobMetrics = field(default_factory=JobMetrics)
    stdout_tail: str = ""
    stderr_tail: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)  # name → absolute path
    index: int | None = None  # its place in an array job
    script: str = ""
    queue: str = ""
    project: str = ""
    scheduler: str = ""

    @property
    def succeeded(self) -> bool:
        return self.state.is_success

    def raise_for_state(self) -> JobResult:
        """Return this result if the job ended well; raise the `JobFailed` that fits otherwise."""
        if not self.succeeded:
            raise failure_of(self)
        return self


def signal_name(number: int) -> str:
    """`11` → `SIGSEGV`."""
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def tail(text: str, lines: int) -> str:
    """The last lines of a text: where the error message stands."""
    return "\n".join(text.splitlines()[-lines:])
