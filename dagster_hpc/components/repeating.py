"""Retries in a `defs.yaml`: the rules of `RetryRule`, and jobs that go on where they stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import dagster as dg

from dagster_hpc.resources.retry import Resume, RetryRule


def _rules(context: dg.ResolutionContext, given: Any) -> list[RetryRule] | None:
    return RetryRule.usual() if given == "usual" else given and list(given)


def _as_given(context: dg.ResolutionContext, given: Any) -> Any:
    return given


if TYPE_CHECKING:
    Retry: TypeAlias = list[RetryRule] | None
    Resuming: TypeAlias = Resume | None
else:  # Dagster takes no type whose fields have bounds
    Retry = Annotated[
        Any,
        dg.Resolver(
            _rules,
            model_field_type=Literal["usual"] | list[RetryRule],
            description="After which ends a job is submitted again, and with what more; usual: what is right for most.",
            examples=["usual", [{"on": ["TIMEOUT"], "walltime": 2, "most_walltime": "24:00:00"}]],
        ),
    ]
    Resuming = Annotated[
        Any,
        dg.Resolver(
            _as_given,
            model_field_type=Resume,
            description="The job stops before its walltime ends and goes on in the same directory, until it is finished.",
            examples=[{"exit_code": 85}],
        ),
    ]
