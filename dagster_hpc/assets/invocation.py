"""A definition that is called like a function, as in a unit test: with a runner it runs, without one it is the function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

import dagster as dg

from dagster_hpc.assets.recipe import Recipe
from dagster_hpc.resources.step import step_of


def call(recipe: Recipe, directly: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the function returns; where a runner is among the arguments, what a step would return.

    `directly`: Dagster's own way of calling a definition outside a run.
    """
    given = _by_name(recipe, args, kwargs)
    context = given.pop("context", None)
    outside = context is not None and step_of(context) is None  # a step of a run has a runner for itself
    if recipe.runner in given or (outside and hasattr(context.resources, recipe.runner)):
        events = list(directly(dg.build_asset_context() if context is None else context, **given))
        return events[0] if len(events) == 1 else events
    if "config" not in recipe.parameters:
        given.pop("config", None)
    elif recipe.parameters["config"].default is Parameter.empty:
        given.setdefault("config", recipe.config_type())
    if "context" in recipe.parameters and context is not None:
        given["context"] = context
    return recipe.function(**given)


def _by_name(recipe: Recipe, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = list(recipe.parameters)
    if args and isinstance(args[0], dg.AssetExecutionContext | dg.AssetCheckExecutionContext) and "context" not in names:
        names = ["context", *names]
    if len(args) > len(names):
        raise TypeError(f"{recipe.name}() takes {len(names)} positional arguments, but {len(args)} were given")
    given = dict(zip(names, args, strict=False))
    twice = [name for name in kwargs if name in given]
    if twice:
        raise TypeError(f"{recipe.name}() got several values for {twice[0]!r}")
    return {**given, **kwargs}
