"""The most that a job may ask for in a queue, held against a request before it is submitted."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.units import format_walltime, parse_memory, parse_walltime

EVERY_QUEUE = "*"


class QueueLimits(dg.Config):
    """The most that one job may ask for in a queue. What is left out has no limit here.

    Example:
        SlurmTarget(queue_cpu="regular", limits={"regular": QueueLimits(max_nodes=16, max_walltime="24:00:00")})
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently no limit

    max_nodes: int | None = Field(default=None, gt=0, description="Nodes.")
    max_cores_per_node: int | None = Field(default=None, gt=0, description="Cores on each node: ranks times threads.")
    max_memory_per_node: str | None = Field(default=None, description="Memory on each node, as in 180G.")
    max_gpus_per_node: int | None = Field(default=None, ge=0, description="GPUs on each node.")
    max_walltime: str | None = Field(default=None, description="Run time, as in 24:00:00.")
    set_by: dict[str, str] = Field(default={}, description="Where each of them was set: a site's files, by their lines.")

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        """An error where it is written, not at the first job."""
        if self.max_memory_per_node:
            parse_memory(self.max_memory_per_node)
        if self.max_walltime:
            parse_walltime(self.max_walltime)
        return self

    def number(self, limit: str) -> int | None:
        """A limit as a number: nodes, cores, MiB, GPUs or seconds."""
        said = getattr(self, limit)
        if isinstance(said, str):
            return parse_walltime(said) if limit == "max_walltime" else parse_memory(said)
        return said if isinstance(said, int) else None

    def over(self, general: "QueueLimits") -> "QueueLimits":
        """These limits, and for what they leave out the general ones."""
        given = {name: value for name, value in dict(self).items() if value is not None}
        return QueueLimits(**{**dict(general), **given, "set_by": {**general.set_by, **self.set_by}})


@dataclass(frozen=True)
class Excess:
    """One thing of which a job asks for more than it may."""

    limit: str  # the name of the field
    what: str
    asked: str
    most: str


def limits_of(limits: Mapping[str, QueueLimits], queue: str) -> QueueLimits:
    """Those of a queue: its own, and what is said of every queue."""
    return limits.get(queue, QueueLimits()).over(limits.get(EVERY_QUEUE, QueueLimits()))


def limit_faults(limits: Mapping[str, QueueLimits], spec: JobSpec) -> list[str]:
    """All that the request asks for too much, who set that limit, and which queue would take the job."""
    mine = limits_of(limits, spec.queue)
    roomy = [
        name for name in limits if name not in (spec.queue, EVERY_QUEUE) and not _excesses(limits_of(limits, name), spec)
    ]
    choice = f", or send it to {' or '.join(roomy)}, where it fits" if roomy else ""
    queue = f"queue {spec.queue}" if spec.queue else "the default queue"
    return [
        f"{each.what} is {each.asked}, and {queue} allows at most {each.most} "
        f"({each.limit}, set in {mine.set_by.get(each.limit, 'limits of the target')}): ask for less{choice}"
        for each in _excesses(mine, spec)
    ]


def _excesses(limits: QueueLimits, spec: JobSpec) -> list[Excess]:
    asks = [
        ("max_nodes", "num_nodes", spec.nodes, str(spec.nodes)),
        ("max_cores_per_node", "mpiprocs times ompthreads", spec.cores_per_node, str(spec.cores_per_node)),
        ("max_gpus_per_node", "gpus_per_node", spec.gpus_per_node, str(spec.gpus_per_node)),
        ("max_memory_per_node", "memory_per_node", spec.memory_per_node_mib or 0, f"{spec.memory_per_node_mib} MiB"),
        ("max_walltime", "walltime", spec.walltime_s, format_walltime(spec.walltime_s)),
    ]
    return [
        Excess(limit, what, shown, str(getattr(limits, limit)))
        for limit, what, number, shown in asks
        if (most := limits.number(limit)) is not None and number > most
    ]
