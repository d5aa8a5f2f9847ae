"""What `collect` makes of finished jobs: a value, and beside it metadata, checks, a data version."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dagster_hpc.assets.recipe import Recipe
from dagster_hpc.dagster_values import table
from dagster_hpc.engine.job import JobResult, failure_of
from dagster_hpc.metadata import array_metadata, job_metadata

_NO_VALUE = dg.MaterializeResult[Any]().value  # what stands there when its author gave none, which is not the same as None
_FEW = 10  # failures that a message names


@dataclass(frozen=True)
class Collected:
    """One materialization, wherever it is reported: by the step that waited, for a partition of a range, by a sensor."""

    value: Any
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[dg.AssetCheckResult] = ()
    data_version: dg.DataVersion | None = None
    tags: dict[str, str] = field(default_factory=dict)
    has_value: bool = True  # False: `collect` said that there is nothing to be stored

    def as_result(self, asset_key: dg.AssetKey | None = None) -> dg.MaterializeResult[Any]:
        """The same as Dagster takes it from a step."""
        more: dict[str, Any] = {"value": self.value} if self.has_value else {}
        checks = [check if check.asset_key else check._replace(asset_key=asset_key) for check in self.checks]
        return dg.MaterializeResult(
            asset_key=asset_key,
            metadata=dict(self.metadata),
            check_results=checks,
            data_version=self.data_version,
            tags=self.tags or None,
            **more,
        )


def collected(
    recipe: Recipe, results: Sequence[JobResult], *, single: bool, context: dg.AssetExecutionContext | None = None
) -> Collected:
    """What these finished jobs come to. `single`: the function returned one Command, and the value is no list.

    A check of the asset's `check_specs` that `collect` does not answer is a failure.
    """
    said = said_of(recipe, results, single=single, context=context)
    return answered(said, metadata_of(results, single=single), recipe.check_names, recipe.name)


def metadata_of(results: Sequence[JobResult], *, single: bool) -> dict[str, dg.MetadataValue]:
    """What the job was and cost, or the jobs together."""
    return job_metadata(results[0]) if single else array_metadata(list(results))


def said_of(recipe: Recipe, results: Sequence[JobResult], *, single: bool, context: Any = None) -> Any:
    """What the author's `collect` returns; without one, the outputs."""
    if recipe.collect is not None:
        more = {"context": context} if takes_context(recipe.collect) else {}
        return recipe.collect(results[0] if single else list(results), **more)
    return dict(results[0].outputs) if single else [dict(result.outputs) for result in results]


def takes_context(collect: Callable[..., Any]) -> bool:
    """Whether a `collect` wants to know its step. Some callables of C, such as `int`, do not tell, and do not."""
    try:
        return "context" in inspect.signature(collect).parameters
    except ValueError:
        return False


def answered(said: Any, metadata: Mapping[str, Any], check_names: Sequence[str], name: str) -> Collected:
    """A value or a `MaterializeResult` that `collect` returned, with what is known of the job."""
    if not isinstance(said, dg.MaterializeResult):
        made = Collected(said, metadata)
    else:
        has_value = said.value is not _NO_VALUE
        made = Collected(
            said.value if has_value else None,
            {**metadata, **(said.metadata or {})},
            list(said.check_results or ()),
            said.data_version,
            dict(said.tags or {}),
            has_value,
        )
    given = {check.check_name or (check_names[0] if len(check_names) == 1 else "") for check in made.checks}
    missing = [check for check in check_names if check not in given]
    if missing:
        checks = ", ".join(repr(check) for check in missing)
        raise dg.Failure(
            f"collect of {name!r} did not answer the check{'s' if len(missing) > 1 else ''} {checks}: let it return "
            f"dg.MaterializeResult(value=…, check_results=[dg.AssetCheckResult(check_name={missing[0]!r}, passed=…)]). "
            "The job itself ended well, and the next attempt takes its result.",
            metadata=dict(metadata),
            allow_retries=False,
        )
    return made


def refuse_failures(results: list[JobResult]) -> list[JobResult]:
    """These results if all jobs ended well; else one failure that tells of each which did not."""
    failed = [(number, result) for number, result in enumerate(results) if not result.succeeded]
    if not failed:
        return results
    reasons = [(number, result, failure_of(result).message) for number, result in failed]
    shown = [f"[{number}] {message}" for number, _, message in reasons[:_FEW]]
    more = [f"… and {len(failed) - _FEW} more"] if len(failed) > _FEW else []
    rows = [
        {
            "index": number, "state": str(result.state), "exit_code": result.exit_code, "reason": result.reason,
            "job_id": result.handle.job_id, "work_dir": result.handle.work_dir,
        }
        for number, result, _ in reasons
    ]  # fmt: skip
    first = f"{len(failed)} of {len(results)} jobs ended badly:"
    last = "What to do: correct them and run again. Those that ended well are taken; only the others run."
    raise dg.Failure(
        "\n".join([first, *shown, *more, last]),
        metadata={**array_metadata(results), "failed": table(rows)},
    )
