"""Which ends of a job are worth another attempt, and jobs that go on where they stopped: in a user's words."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Sequence

import dagster as dg
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from dagster_hpc.engine import job
from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.job import KINDS_OF_END, JobSpec
from dagster_hpc.engine.units import parse_memory, parse_walltime
from dagster_hpc.resources.limits import QueueLimits


class RetryRule(dg.Config):
    """After which ends a job is submitted again, and with what more.

    Example:
        RetryRule(on=["TIMEOUT"], walltime=2, most_walltime="24:00:00", count=2)
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    on: list[str] = Field(
        default=[],
        description="Ends of a job: TIMEOUT, OOM, NODE_FAIL, PREEMPTED, NOT_STARTED (it failed before its program "
        "began) or FAILED (whatever its exit code).",
    )
    exit_codes: list[int] = Field(default=[], description="Exit codes of the program that may pass, as of a licence server.")
    walltime: float = Field(default=1.0, ge=1, description="The next attempt gets so many times the walltime.")
    memory: float = Field(default=1.0, ge=1, description="The next attempt gets so many times the memory_per_node.")
    most_walltime: str | None = Field(
        default=None, description="No attempt gets more than this: the limit of the queue, as in 24:00:00."
    )
    most_memory: str | None = Field(default=None, description="The same for memory_per_node, as in 180G.")
    delay: float = Field(default=0.0, ge=0, description="Seconds to wait before the next attempt.")
    count: int = Field(default=1, ge=1, description="So many further attempts by this rule, at most.")
    elsewhere: bool = Field(
        default=False, description="Not on the node where it ended, where the scheduler can be told that."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        """An error where it is written, not at the first job that fails."""
        if not (self.on or self.exit_codes):
            raise ValueError("a RetryRule says after which ends it is tried again: give `on` or `exit_codes`")
        for word in self.on:
            if word not in KINDS_OF_END:
                raise ValueError(f"{word!r} is no end after which a job is tried again: {did_you_mean(word, KINDS_OF_END)}")
        if not all(0 < code < 256 for code in self.exit_codes):
            raise ValueError(f"exit_codes are numbers between 1 and 255, not {self.exit_codes}")
        if self.most_walltime:
            parse_walltime(self.most_walltime)
        if self.most_memory:
            parse_memory(self.most_memory)
        return self

    @classmethod
    def usual(cls, *, most_walltime: str | None = None, most_memory: str | None = None) -> "list[RetryRule]":
        """What is right for most jobs: more time, more memory, another node; up to the limits of your queue.

        Example:
            HPCJobRunner(target=…, work_root=…, retry=RetryRule.usual(most_walltime="24:00:00", most_memory="180G"))
        """
        return [
            cls(on=["TIMEOUT"], walltime=2, most_walltime=most_walltime, count=2),
            cls(on=["OOM"], memory=1.5, most_memory=most_memory, count=2),
            cls(on=["NOT_STARTED"], elsewhere=True, count=2),
            cls(on=["NODE_FAIL", "PREEMPTED"], count=3),
        ]


class Resume(dg.Config):
    """A job that stops before its walltime ends and goes on later, in the same directory, until it is finished.

    Its profile has `signal_before_end`. The program writes a checkpoint when the signal comes and ends with `exit_code`.

    Example:
        Resume(exit_code=85)
    """

    model_config = ConfigDict(extra="forbid")

    exit_code: int = Field(ge=1, le=255, description="With this exit code the program says that it is not finished.")
    most: int = Field(default=50, ge=1, description="It is resumed so many times at most, whether or not it gets anywhere.")


def engine_rules(rules: Sequence[RetryRule], limits: QueueLimits | None = None) -> tuple[job.RetryRule, ...]:
    """The same in the engine's units. No attempt asks for more than the queue allows."""
    walltime_s, memory_mib = (
        limits.number(limit) if limits else None for limit in ("max_walltime", "max_memory_per_node")
    )
    return tuple(
        job.RetryRule(
            on=tuple(rule.on),
            exit_codes=tuple(rule.exit_codes),
            walltime=rule.walltime,
            memory=rule.memory,
            most_walltime_s=_least(parse_walltime(rule.most_walltime) if rule.most_walltime else None, walltime_s),
            most_memory_mib=_least(parse_memory(rule.most_memory) if rule.most_memory else None, memory_mib),
            delay_s=rule.delay,
            count=rule.count,
            elsewhere=rule.elsewhere,
        )
        for rule in rules
    )


def _least(*limits: int | None) -> int | None:
    return min((each for each in limits if each is not None), default=None)


def engine_resume(resume: Resume | None, spec: JobSpec) -> job.Resume | None:
    """The same for the engine, if this job can be warned."""
    if resume is None:
        return None
    if spec.signal_name is None:
        raise ConfigurationError(
            f"{spec.name} is to be resumed, and nothing tells it that its walltime ends",
            advice="set signal_before_end of its profile, as in USR1@120, and let the program write a checkpoint then.",
        )
    return job.Resume(resume.exit_code, resume.most)
