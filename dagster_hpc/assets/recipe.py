"""What the author of an asset has said: kept with its function, through all that Dagster makes of the definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from inspect import Parameter
from typing import Any

import dagster as dg

from dagster_hpc.assets.config import HPCJobConfig, given_overrides, reuse_rule
from dagster_hpc.assets.signature import config_type_of, parameters_of, refuse_function, show_signature
from dagster_hpc.engine.job import JobFailed, JobHandle, JobResult, failure_of
from dagster_hpc.resources.command import Command, InputFile
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.request import RequestOptions
from dagster_hpc.resources.retry import Resume, RetryRule

_ATTRIBUTE = "hpc_recipe"


Conceal = Callable[[str], str]  # hides secrets in what a job has told


def _of_job(result: JobResult, conceal: Conceal) -> JobFailed:
    return failure_of(result)  # whose texts were read without them


@dataclass
class Recipe:
    """One `hpc_asset`: its function, and how its commands are run and read. `collect` may be set after the definition."""

    function: Callable[..., Command | Sequence[Command]]
    parameters: Mapping[str, Parameter]
    profile: str | ExecutionProfile
    outputs: Mapping[str, str] | None = None
    inputs: Mapping[str, InputFile] | None = None
    overrides: Mapping[str, Any] | None = None
    collect: Callable[..., Any] | None = None
    timeout: float | None = None
    runner: str = "hpc"
    max_running: int | None = None
    detached: bool = False
    retry: Sequence[RetryRule] | None = None
    resume: Resume | None = None
    check_names: Sequence[str] = field(default=())  # those that `collect` answers
    config_type: type[HPCJobConfig] = HPCJobConfig
    failure: Callable[[JobResult, Conceal], JobFailed] = _of_job  # the error of a job that has ended badly
    decorator: str = "hpc_asset"

    @classmethod
    def of(cls, function: Callable[..., Any], decorator: str, **said: Any) -> Recipe:
        """The recipe of a function that may be one."""
        refuse_function(function, decorator)
        parameters = parameters_of(function)
        config_type = config_type_of(parameters, function.__name__, decorator)
        return cls(function, parameters, config_type=config_type, decorator=decorator, **said)

    @property
    def name(self) -> str:
        return self.function.__name__

    def request(self, config: HPCJobConfig) -> RequestOptions:
        """How its commands are run, as this launch wants it."""
        return {
            "profile": config.profile or self.profile,
            "args": config.arguments,
            "overrides": {**(self.overrides or {}), **given_overrides(config.overrides)},
            "inputs": self.inputs,
            "outputs": self.outputs,
            "reuse": reuse_rule(config.reuse),
            "retry": self.retry,
            "resume": self.resume,
        }


@dataclass(frozen=True)
class Wanted:
    """What the function of an asset wants to be run. `single`: it returned a Command, and no list of them."""

    commands: Sequence[Command]
    single: bool


@dataclass(frozen=True)
class Launch:
    """One step of such an asset: the recipe, and what Dagster has handed to it."""

    recipe: Recipe
    context: dg.AssetExecutionContext
    config: HPCJobConfig
    hpc: HPCJobRunner
    arguments: Mapping[str, Any]  # of the function: upstream values, resources, config

    @property
    def detached(self) -> bool:
        """Whether this step submits and ends."""
        return self.recipe.detached if self.config.detached is None else self.config.detached

    def wanted(self, **instead: Any) -> Wanted:
        """What the function wants to be run; `instead`: other upstream values, or another context."""
        given = {"context": self.context, **self.arguments, **instead}
        return _wanted(self.recipe.function(**{name: given[name] for name in self.recipe.parameters}), self.recipe.name)

    def submit(self, commands: Sequence[Command]) -> list[JobHandle]:
        """One job, or several as one array."""
        request = self.recipe.request(self.config)
        if len(commands) == 1:
            return [self.hpc.submit(commands[0], context=self.context, **request)]
        return self.hpc.submit_all(commands, context=self.context, max_running=self.recipe.max_running, **request)

    def ended_well(self, result: JobResult) -> JobResult:
        """This result, if its job has ended well; else the error that it is."""
        if not result.succeeded:
            raise self.recipe.failure(result, self.hpc.concealed)
        return result


def _wanted(said: Any, name: str) -> Wanted:
    several = list(said) if isinstance(said, list | tuple) else [said]
    wrong = next((type(one).__name__ for one in several if not isinstance(one, Command)), None)
    if wrong or not several:
        returned = wrong or "an empty list"
        raise dg.Failure(
            f"the function {name!r} returned {returned}; it must return a Command, or a list of them",
            allow_retries=False,
        )
    return Wanted(several, single=isinstance(said, Command))


def compute_of(
    recipe: Recipe, steps: Callable[[Launch], Iterator[Any]], context_type: type = dg.AssetExecutionContext
) -> Callable[..., Iterator[Any]]:
    """The function that Dagster calls in a step: `steps` with what Dagster hands over. It keeps the recipe."""

    @wraps(recipe.function)
    def compute(context: Any, **arguments: Any) -> Iterator[Any]:
        return steps(Launch(recipe, context, arguments["config"], arguments[recipe.runner], arguments))

    show_signature(compute, recipe.parameters, recipe.config_type, {recipe.runner: HPCJobRunner}, context_type)
    keep_recipe(compute, recipe)
    return compute


def keep_recipe(compute: Callable[..., Any], recipe: Recipe) -> None:
    """Keep the recipe with the function that Dagster calls, which every copy of the definition shares."""
    setattr(compute, _ATTRIBUTE, recipe)


def recipe_of(definition: dg.AssetsDefinition) -> Recipe | None:
    """The recipe of this definition, whatever Dagster has made of it since; None if it is no `hpc_asset`."""
    if not definition.is_executable or not isinstance(definition.node_def, dg.OpDefinition):
        return None
    function = getattr(definition.node_def.compute_fn, "decorated_fn", None)
    recipe = getattr(function, _ATTRIBUTE, None)
    return recipe if isinstance(recipe, Recipe) else None
