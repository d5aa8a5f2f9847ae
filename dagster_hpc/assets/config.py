"""What a user may change on the launchpad for one run."""

from __future__ import annotations

from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from dagster_hpc.engine.job import Reuse
from dagster_hpc.resources.profile import ProfileOverrides


class ReuseRule(str, Enum):
    """The words of `reuse`, which the launchpad offers."""

    running = "running"
    succeeded = "succeeded"
    never = "never"


class HPCJobConfig(dg.Config):
    """What a user may change on the launchpad for one run of an `hpc_asset`. Subclass it to add fields of your own.

    Example:
        class CountConfig(HPCJobConfig):
            times: int = Field(default=1, description="How often the samples are counted.")
    """

    profile: str | None = Field(default=None, description="Another execution profile of the runner.")
    overrides: ProfileOverrides = Field(
        default=ProfileOverrides(), description="Fields of the profile to replace, e.g. walltime."
    )
    arguments: list[str] = Field(default=[], description="Further arguments, appended to the command's own.")
    reuse: ReuseRule | None = Field(
        default=None,
        description="Another rule for equal jobs. running: join a live one; succeeded: also take the results of a finished "
        "one; never: always a new job.",
    )
    detached: bool | None = Field(
        default=None,
        description="True: submit and end; a sensor (build_hpc_job_sensor) reports the job. False: wait for the job.",
    )


def reuse_rule(rule: ReuseRule | None) -> Reuse | None:
    """The rule of the config in the engine's words."""
    return None if rule is None else rule.value


def given_overrides(overrides: dg.Config) -> dict[str, Any]:
    """The fields that somebody has set."""
    return {name: value for name, value in dict(overrides).items() if value is not None}
