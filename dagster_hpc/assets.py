"""`hpc_asset`: a software-defined asset whose computation is a batch job."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import SimpleNamespace
from typing import Any, cast, get_args, get_type_hints

import dagster as dg
from pydantic import Field

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.job import JobResult, Reuse
from dagster_hpc.metadata import job_metadata
from dagster_hpc.resources.command import Command, InputFile
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ProfileOverrides

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD  # the only kind in which Dagster sees an upstream asset


class HPCJobConfig(dg.Config):
    """What a user may change on the launchpad for one run of an `hpc_asset`. Subclass it to add fields of your own."""

    profile: str | None = Field(default=None, description="Another execution profile of the runner.")
    overrides: ProfileOverrides = Field(
        default=ProfileOverrides(), description="Fields of the profile to replace, e.g. walltime."
    )
    arguments: list[str] = Field(default=[], description="Further arguments, appended to the command's own.")
    reuse: str | None = Field(
        default=None, description="Another rule for joining equal jobs: running, succeeded or never."
    )


def hpc_asset(
    *,
    profile: str,
    outputs: Mapping[str, str] | None = None,
    inputs: Mapping[str, InputFile] | None = None,
    overrides: Mapping[str, Any] | None = None,
    collect: Callable[[JobResult], Any] | None = None,
    timeout: float | None = None,
    runner: str = "hpc",
    **asset_options: Any,
) -> Callable[[Callable[..., Command]], dg.AssetsDefinition]:
    """Make an asset of a function that says WHAT to run.

    The function runs on the orchestrator and is cheap: from its upstream assets it makes a `Command`. The command runs
    as a job on the target of the resource `runner`. The asset's value is a dict of its `outputs`, name → absolute
    path, or what `collect(result)` makes of the finished job; its metadata says what the job cost.

    Args:
        profile: Name of the execution profile; the launchpad may choose another or override its fields.
        outputs: Files that the command leaves in its directory, name → relative path. A missing one fails the job.
        inputs: Files placed in the job's directory, beside those of the `Command`.
        overrides: Fields of the profile that differ for this asset.
        collect: Turns the finished job into the asset's value, e.g. reads its output file.
        timeout: Seconds after which the wait is given up; the job lives on, and the next attempt joins it.
        runner: Resource key of the `HPCJobRunner`.
        **asset_options: Anything that `dagster.asset` takes (deps, partitions_def, group_name, retry_policy, …).

    Example:
        @hpc_asset(profile="mpi-16", outputs={"histogram": "hist.json"})
        def bit_histogram(samples: str) -> Command:
            return Command("bitcount", args=["--input", samples])
    """

    def decorate(function: Callable[..., Command]) -> dg.AssetsDefinition:
        parameters = parameters_of(function)
        config_type = parameters["config"].annotation if "config" in parameters else HPCJobConfig
        if not (inspect.isclass(config_type) and issubclass(config_type, HPCJobConfig)):
            raise ConfigurationError(
                f"the config of hpc_asset {function.__name__!r} is {config_type!r}, which is no HPCJobConfig",
                advice="let the config class inherit from HPCJobConfig, which holds profile and overrides.",
            )

        @wraps(function)
        def compute(context: dg.AssetExecutionContext, **arguments: Any) -> Any:
            hpc: HPCJobRunner = arguments[runner]
            config: HPCJobConfig = arguments["config"]
            refuse_range(context)
            given = {"context": context, **arguments}
            command = function(**{name: given[name] for name in parameters})
            if not isinstance(command, Command):
                raise dg.Failure(
                    f"hpc_asset {function.__name__!r} returned {type(command).__name__}; it must return a Command",
                    allow_retries=False,
                )
            result = hpc.run(
                command,
                profile=config.profile or profile,
                context=context,
                args=config.arguments,
                overrides={**(overrides or {}), **given_overrides(config.overrides)},
                inputs=inputs,
                outputs=outputs,
                timeout=timeout,
                reuse=reuse_rule(config.reuse),
            )
            context.add_output_metadata(job_metadata(result))
            return collect(result) if collect else dict(result.outputs)

        show_signature(compute, parameters, config_type, {runner: HPCJobRunner})
        options = {"kinds": {"hpc"}, "description": inspect.getdoc(function), **asset_options}
        definition: dg.AssetsDefinition = dg.asset(**options)(compute)
        return definition

    return decorate


def refuse_range(context: dg.AssetExecutionContext) -> None:
    """One run of such an asset is one partition."""
    if context.has_partition_key_range and len(context.partition_keys) > 1:
        raise dg.Failure(
            f"this run covers {len(context.partition_keys)} partitions, and an hpc_asset makes one job for each: "
            "use BackfillPolicy.multi_run(), which is the default",
            allow_retries=False,
        )


def reuse_rule(word: str | None) -> Reuse | None:
    """The word that stands in the config, if it is one."""
    if word is None:
        return None
    if word not in get_args(Reuse):
        raise dg.Failure(f"reuse is {word!r}: {did_you_mean(word, get_args(Reuse))}", allow_retries=False)
    return cast(Reuse, word)


def given_overrides(overrides: dg.Config) -> dict[str, Any]:
    """The fields that somebody has set."""
    return {name: value for name, value in dict(overrides).items() if value is not None}


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The function's parameters, their annotations resolved so that `from __future__ import annotations` works."""
    return {
        name: parameter.replace(annotation=_resolved(parameter.annotation, function), kind=_POSITIONAL)
        for name, parameter in inspect.signature(function).parameters.items()
    }


def _resolved(annotation: Any, function: Callable[..., Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), function.__globals__)["it"]
    except NameError:  # a type that the module imports for type checkers only: any value will do
        return inspect.Parameter.empty


def show_signature(
    compute: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    config_type: type,
    resources: Mapping[str, type],
) -> None:
    """Show Dagster what the asset needs: the function's own upstream assets and resources, plus config and these."""
    wanted = {
        "config": inspect.Parameter("config", _POSITIONAL, annotation=config_type),
        **{key: inspect.Parameter(key, _POSITIONAL, annotation=kind) for key, kind in resources.items()},
        **{name: parameter for name, parameter in parameters.items() if name not in ("context", "config", *resources)},
    }
    context = inspect.Parameter("context", _POSITIONAL, annotation=dg.AssetExecutionContext)
    compute.__signature__ = inspect.Signature([context, *wanted.values()])  # type: ignore[attr-defined]
    compute.__annotations__ = {"context": dg.AssetExecutionContext} | {
        name: parameter.annotation
        for name, parameter in wanted.items()
        if parameter.annotation is not inspect.Parameter.empty
    }
