"""What a check asks, what it finds, and what the profiles demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.units import format_walltime

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What one question to the system showed; unless all is well, `advice` says what to do."""

    level: Level
    sentence: str
    advice: str = ""
    clock: float | None = None  # the system's own time of day, where its answer tells it


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    finding: Finding


@dataclass(frozen=True)
class Probe:
    """A question that shows whether this system can be used from here, and what its answer means."""

    name: str
    call: Call
    read: Callable[[Answer], Finding]
    if_missing: Level = "fail"  # how bad it is that there is no such command


@dataclass(frozen=True)
class Queue:
    """A queue as the system tells of it. What a limit has no number for is None."""

    name: str
    is_default: bool = False
    nodes: int | None = None
    cores_per_node: int | None = None
    memory_per_node_mib: int | None = None
    gpus_per_node: int | None = None
    walltime_s: int | None = None
    closed: str = ""  # why it takes no jobs, or starts none


@dataclass(frozen=True)
class Survey:
    """What a system tells of itself to somebody who writes down for the first time how it is used."""

    queues: Sequence[Queue]
    projects: Sequence[str] = ()  # that may be charged
    fields: Mapping[str, str] = field(default_factory=dict)  # of its target, which have no default that is right


Ask = Callable[[Call], Answer | None]  # None: there is no such command


@dataclass(frozen=True)
class Demand:
    """What the execution profiles ask of one queue, at one project's cost: the request of each profile."""

    queue: str = ""
    project: str = ""
    specs: Mapping[str, JobSpec] = field(default_factory=dict)

    def longer_than(self, limit_s: float | None) -> str:
        """The profiles that ask for more time than this, and for how much; '' where none does."""
        asked = ((who, spec.walltime_s) for who, spec in self.specs.items())
        too_long = [(who, time_s) for who, time_s in asked if limit_s is not None and time_s > limit_s]
        return ", ".join(f"profile {who!r} asks for {format_walltime(time_s)}" for who, time_s in too_long)
