"""`hpc_asset_check`: an asset check whose answer comes from a batch job."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from typing_extensions import Unpack

from dagster_hpc.assets.asset import Body
from dagster_hpc.assets.binding import bound
from dagster_hpc.assets.collected import metadata_of, refuse_failures, said_of
from dagster_hpc.assets.definition import HPCDefinition
from dagster_hpc.assets.detached import refuse_detached
from dagster_hpc.assets.options import CheckOptions, KeyWords, refuse_unknown, without_beta_warnings
from dagster_hpc.assets.partitions import refuse_range
from dagster_hpc.assets.recipe import Launch, Recipe, compute_of
from dagster_hpc.dagster_values import failure
from dagster_hpc.engine.job import JobResult, exit_words, failure_of
from dagster_hpc.resources.command import InputFile
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.retry import Resume, RetryRule

_NO_SUCH_PROGRAM = (126, 127)  # of a shell: the program could not be started, and has answered nothing


class HPCAssetCheck(HPCDefinition, dg.AssetChecksDefinition):
    """The definition that `hpc_asset_check` makes; to Dagster an asset check like any other.

    Example:
        defs = dg.Definitions(assets=[histogram], asset_checks=[histogram_is_json], resources={"hpc": hpc})
    """


def hpc_asset_check(
    *,
    asset: KeyWords | dg.AssetsDefinition | dg.SourceAsset,
    profile: str | ExecutionProfile = "",
    outputs: Mapping[str, str] | None = None,
    inputs: Mapping[str, InputFile] | None = None,
    overrides: Mapping[str, Any] | None = None,
    collect: Callable[..., Any] | None = None,
    timeout: float | None = None,
    runner: str = "hpc",
    max_running: int | None = None,
    retry: Sequence[RetryRule] | None = None,
    resume: Resume | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    **options: Unpack[CheckOptions],
) -> Callable[[Body], HPCAssetCheck]:
    """Make an asset check of a function that says what to run.

    The check has passed if the program ended with exit code 0 and failed if it ended with another; `collect(result)` of
    a job that ended well may say more, as a bool or a `dg.AssetCheckResult`. The metadata is that of the job. A job that
    gave no answer (cancelled, out of time or memory, its node failed, its program was not found) fails the step.

    Args:
        asset: What is checked. A parameter of the function stands for its value.
        severity: Of the answer "failed", where `collect` does not say another.
        **options: Anything that `dagster.asset_check` takes (blocking, partitions_def, additional_ins, …).

    Example:
        @hpc_asset_check(asset="histogram", profile="small", blocking=True)
        def histogram_is_json(histogram: dict[str, str]) -> Command:
            return Command.shell('python3 -m json.tool "$1"', args=[histogram["histogram"]])
    """
    refuse_unknown("hpc_asset_check", options, CheckOptions, inspect.signature(hpc_asset_check).parameters)

    def decorate(function: Body) -> HPCAssetCheck:
        recipe = Recipe.of(
            function, "hpc_asset_check", profile=profile, outputs=outputs, inputs=inputs, overrides=overrides,
            collect=collect, timeout=timeout, runner=runner, max_running=max_running, retry=retry, resume=resume,
        )  # fmt: skip

        def steps(launch: Launch) -> Iterator[dg.AssetCheckResult]:
            yield check(launch, severity)

        given: dict[str, Any] = {"asset": asset, "description": inspect.getdoc(function), **options}
        with without_beta_warnings():
            compute: Callable[..., Any] = compute_of(recipe, steps, dg.AssetCheckExecutionContext)
            made = dg.asset_check(**given)(compute)
            return bound(HPCAssetCheck(**made.get_attributes_dict()))

    return decorate


def check(launch: Launch, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    """Run the job and read its answer."""
    recipe, context, wanted = launch.recipe, launch.context, launch.wanted()
    refuse_range(context)
    refuse_detached(launch)
    handles = launch.submit(wanted.commands)
    results = launch.hpc.wait_all(handles, context=context, timeout=recipe.timeout)
    metadata = metadata_of(results, single=wanted.single)
    if not all(result.succeeded or is_answer(result) for result in results):
        if wanted.single:
            raise failure(failure_of(results[0]), metadata)
        refuse_failures(results)
    if not all(result.succeeded for result in results):
        words = next(result.reason for result in results if not result.succeeded)
        return dg.AssetCheckResult(passed=False, severity=severity, metadata=metadata, description=words)
    answer = True if recipe.collect is None else said_of(recipe, results, single=wanted.single, context=context)
    return _as_check_result(answer, recipe, metadata, severity)


def is_answer(result: JobResult) -> bool:
    """Whether a job that ended badly has said no: its program itself ended with an exit code of its own."""
    code = result.exit_code
    return code is not None and code not in _NO_SUCH_PROGRAM and result.reason == exit_words(code) and not result.missing


def _as_check_result(
    answer: Any, recipe: Recipe, metadata: Mapping[str, Any], severity: dg.AssetCheckSeverity
) -> dg.AssetCheckResult:
    if isinstance(answer, dg.AssetCheckResult):
        return answer._replace(metadata={**metadata, **answer.metadata})
    if not isinstance(answer, bool):
        raise dg.Failure(
            f"collect of {recipe.name!r} returned {type(answer).__name__}; it must return a bool or a dg.AssetCheckResult",
            allow_retries=False,
        )
    return dg.AssetCheckResult(passed=answer, severity=severity, metadata=metadata)
