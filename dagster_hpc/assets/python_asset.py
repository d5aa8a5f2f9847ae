"""`hpc_python_asset`: an asset whose function itself runs on a compute node."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import NoneType
from typing import Any, get_origin

import dagster as dg
from dagster._core.types.dagster_type import resolve_dagster_type
from typing_extensions import Unpack

from dagster_hpc.assets.asset import HPCAsset, defined, steps_of
from dagster_hpc.assets.options import AssetOptions, refuse_bare, refuse_unknown
from dagster_hpc.assets.plain_config import launch_config, plain_config
from dagster_hpc.assets.recipe import Launch, Recipe, Wanted
from dagster_hpc.assets.signature import parameters_of, return_annotation
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobResult
from dagster_hpc.python_calls.outcome import OUTPUT, VALUE_PATH, error_of, metadata_of, value_of
from dagster_hpc.python_calls.pack import StepContext
from dagster_hpc.python_calls.pickling import is_importable
from dagster_hpc.resources.calls import call_command
from dagster_hpc.resources.command import InputFile
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.request import JobRequest
from dagster_hpc.resources.retry import RetryRule
from dagster_hpc.resources.step import as_dagster_failure, asset_key_of, step_of


def hpc_python_asset(
    profile: str | ExecutionProfile = "",
    *,
    inputs: Mapping[str, InputFile] | None = None,
    outputs: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    runner: str = "hpc",
    max_running: int | None = None,
    detached: bool = False,
    retry: Sequence[RetryRule] | None = None,
    **options: Unpack[AssetOptions],
) -> Callable[[Callable[..., Any]], HPCAsset]:
    """Make an asset of a function that runs as a job: what `dagster.asset` is, on the cluster.

    Upstream values are loaded here by their IO managers and travel to the node; so do the fields of `config`. What the
    function returns is stored here by the asset's own IO manager. Its parameter `context` is a small object on the node:
    `log`, `partition_key`, `asset_key`, `run_id`, `add_output_metadata(…)`, `progress(done, total)`. Nothing of Dagster
    has to be there. Several partitions in one run are one array job.

    The options are those of `hpc_asset`.

    Example:
        @hpc_python_asset(profile="small")
        def squares(context, numbers: list[int]) -> list[int]:
            context.log.info("%d numbers", len(numbers))
            return [number**2 for number in numbers]
    """
    refuse_bare("hpc_python_asset", profile)
    refuse_unknown("hpc_python_asset", options, AssetOptions, inspect.signature(hpc_python_asset).parameters)
    checks = [spec.name for spec in options.get("check_specs") or ()]

    def decorate(function: Callable[..., Any]) -> HPCAsset:
        _refuse_function(function)
        parameters, returns = parameters_of(function), return_annotation(function)
        recipe = Recipe(
            function, parameters, config_type=launch_config(parameters, function.__name__), decorator="hpc_python_asset",
            profile=profile, inputs=inputs, outputs={**(outputs or {}), OUTPUT: VALUE_PATH}, overrides=overrides,
            collect=_nothing if returns in (None, NoneType) else _value, timeout=timeout, runner=runner,
            max_running=max_running, detached=detached, check_names=checks, retry=retry, failure=error_of,
        )  # fmt: skip
        options["kinds"] = {"python", *(options.get("kinds") or ())}
        if _is_type_of_value(returns):
            options.setdefault("dagster_type", resolve_dagster_type(returns))
        return defined(recipe, _steps, options)

    return decorate


class _PythonLaunch(Launch):
    """A step whose one command calls the function itself."""

    def wanted(self, **instead: Any) -> Wanted:
        given = {"context": self.context, **self.arguments, **instead}
        arguments = {name: given[name] for name in self.recipe.parameters if name != "context"}
        if "config" in arguments:
            arguments["config"] = plain_config(arguments["config"])
        step = _step_context(given["context"]) if "context" in self.recipe.parameters else None
        function = self.recipe.function
        with as_dagster_failure(self.context):
            command = call_command(
                self.hpc,
                function,
                (),
                arguments,
                JobRequest(**self.recipe.request(self.config)),
                step=step,
                by_value=not is_importable(function),  # under its name stands the definition of the asset
            )
        return Wanted([replace(command, name=None)], single=True)  # it is called like its asset


def _steps(launch: Launch) -> Iterator[Any]:
    return steps_of(_PythonLaunch(**vars(launch)))


def _step_context(context: dg.AssetExecutionContext) -> StepContext:
    several = context.has_partition_key or context.has_partition_key_range
    keys = [str(key) for key in context.partition_keys] if several else []
    run = step_of(context)
    return StepContext(asset_key_of(context), keys, run.run_id if run else None)


def _value(result: JobResult) -> Any:
    """What the function has returned, with the metadata that it has added."""
    value, metadata = value_of(result), metadata_of(result)
    if isinstance(value, dg.Output):
        told = {**value.metadata, **metadata}
        return dg.MaterializeResult(
            value=value.value, metadata=told, data_version=value.data_version, tags=value.tags
        )
    if isinstance(value, dg.MaterializeResult):
        return value._replace(metadata={**metadata, **(value.metadata or {})})
    return dg.MaterializeResult(value=value, metadata=metadata)


def _nothing(result: JobResult) -> Any:
    """Of a function that returns None by its annotation nothing is stored."""
    return dg.MaterializeResult(metadata=metadata_of(result))


def _is_type_of_value(returns: Any) -> bool:
    known = returns not in (inspect.Signature.empty, None, NoneType, Any)
    return known and (get_origin(returns) or returns) not in (dg.MaterializeResult, dg.Output)


def _refuse_function(function: Callable[..., Any]) -> None:
    name = function.__name__
    advice = "let it return its value; what is asynchronous can run inside it, by asyncio.run."
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"hpc_python_asset {name!r} is an async function", advice=advice)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"hpc_python_asset {name!r} yields", advice=advice)
