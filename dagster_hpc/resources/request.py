"""What `run`, `submit` and `map` have in common: everything that describes one job, or the elements of one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import NotRequired, TypedDict

from dagster_hpc.engine.job import Dependency, Reuse
from dagster_hpc.resources.command import InputFile
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.retry import Resume, RetryRule


class RequestOptions(TypedDict):
    """The keyword arguments of `run`, `submit` and `map`."""

    profile: NotRequired[str | ExecutionProfile]
    args: NotRequired[Sequence[str]]
    overrides: NotRequired[Mapping[str, Any] | None]
    inputs: NotRequired[Mapping[str, InputFile] | None]
    outputs: NotRequired[Mapping[str, str] | None]
    key: NotRequired[str | None]
    reuse: NotRequired[Reuse | None]
    dependencies: NotRequired[Sequence[Dependency]]
    retry: NotRequired[Sequence[RetryRule] | None]
    resume: NotRequired[Resume | None]


@dataclass(frozen=True)
class JobRequest:
    """How a command is to be run as a job.

    `profile`: the execution profile, or its name among the runner's; without it the runner's default.
    `args`: further arguments, after the command's own.
    `overrides`: fields of the profile that differ for this job.
    `inputs`: files placed in the job's directory before it starts, name → text, bytes or a path.
    `outputs`: files that the command leaves there, name → relative path; a missing one fails the job.
    `key`: calls with the same key mean the same job. Inside Dagster every call of a step has one of its own.
    `reuse`: another rule than the runner's for taking over equal jobs.
    `dependencies`: jobs that this one waits for in the queue.
    `retry`: other rules than the runner's for trying it again; an empty list: never.
    `resume`: it goes on in the same directory until it is finished.
    """

    profile: str | ExecutionProfile = ""
    args: Sequence[str] = ()
    overrides: Mapping[str, Any] | None = None
    inputs: Mapping[str, InputFile] | None = None
    outputs: Mapping[str, str] | None = None
    key: str | None = None
    reuse: Reuse | None = None
    dependencies: Sequence[Dependency] = field(default=())
    retry: Sequence[RetryRule] | None = None
    resume: Resume | None = None
