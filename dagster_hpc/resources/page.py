"""What Dagster's page of a resource says of a job runner: what its target and its profiles are for."""

from __future__ import annotations

from collections.abc import Mapping

from dagster_hpc.resources.profile import ExecutionProfile


def page_of(target: object, profiles: Mapping[str, ExecutionProfile]) -> str:
    """The page, in Markdown. A target that is completed at launch has no description before."""
    kind, said = getattr(target, "resource_cls", type(target)).__name__, getattr(target, "description", "")
    lines = [f"- `{name}`: {profile.description}" for name, profile in profiles.items() if profile.description]
    return "\n".join([f"Runs commands as batch jobs on {kind}{f': {said}' if said else '.'}", "", *lines]).strip()
