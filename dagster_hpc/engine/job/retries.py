"""Which ends of a job are worth another attempt, with what more, and how often: what is said with a request.

`engine/retry.py` decides by it. The plan of an attempt is kept in its row, so that whoever sees its end can go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

# Not CANCELLED, LOST or REFUSED: somebody wanted it so, it may still run, the same request gets the same answer.
NOT_STARTED = "NOT_STARTED"  # it failed before its program began: a node that cannot see its files, a prologue
KINDS_OF_END = ("TIMEOUT", "OOM", "NODE_FAIL", "PREEMPTED", NOT_STARTED, "FAILED")


@dataclass(frozen=True)
class RetryRule:
    """After such an end the job is submitted again, `count` times at most."""

    on: tuple[str, ...] = ()  # of KINDS_OF_END
    exit_codes: tuple[int, ...] = ()  # of a job that FAILED
    walltime: float = 1.0  # the next attempt gets so many times the walltime
    memory: float = 1.0
    most_walltime_s: int | None = None
    most_memory_mib: int | None = None
    delay_s: float = 0.0
    count: int = 1
    elsewhere: bool = False  # not on the node on which it ended


@dataclass(frozen=True)
class Resume:
    """With this exit code a program says that it is not finished: it goes on in the same directory, as the same job."""

    exit_code: int
    most: int


@dataclass(frozen=True)
class RetryPlan:
    """What one attempt was given, and what is left for those after it. Each attempt has a plan of its own.

    A row has one even where nothing is left: what a job has used is compared with what it was given.
    """

    rules: tuple[RetryRule, ...] = ()  # `count` is what is left of it
    resume: Resume | None = None
    walltime_s: int = 0
    memory_mib: int | None = None
    excluded: tuple[str, ...] = ()  # nodes
    runs_in: str = ""  # the directory of the first attempt, where all that resume it run; '': each in its own
    profile: str = ""  # its name, where it has one
    user: str = ""  # who asked for it
    nodes: int = 0
    ranks_per_node: int = 0
    cores_per_node: int = 0

    @property
    def closed(self) -> RetryPlan:
        """The same without any further attempt."""
        return replace(self, rules=(), resume=None)

    @property
    def has_rules(self) -> bool:
        """Whether anything was said of further attempts, be they used up."""
        return bool(self.rules or self.resume)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RetryPlan:
        rules = tuple(
            RetryRule(**{**rule, "on": tuple(rule["on"]), "exit_codes": tuple(rule["exit_codes"])})
            for rule in values["rules"]
        )
        resume = Resume(**values["resume"]) if values["resume"] else None
        return cls(**{**values, "rules": rules, "resume": resume, "excluded": tuple(values["excluded"])})
