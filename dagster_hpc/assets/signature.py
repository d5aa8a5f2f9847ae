"""A user's function and what Dagster is shown of it: its upstream assets and resources, beside ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, SimpleNamespace
from typing import Any, get_type_hints

import dagster as dg

from dagster_hpc.assets.config import HPCJobConfig
from dagster_hpc.engine.errors import ConfigurationError

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD  # the only kind in which Dagster sees an upstream asset


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The function's parameters, their annotations resolved so that `from __future__ import annotations` works."""
    return {
        name: parameter.replace(annotation=_resolved(parameter.annotation, function), kind=_POSITIONAL)
        for name, parameter in inspect.signature(function).parameters.items()
    }


def refuse_function(function: Callable[..., Any], decorator: str) -> None:
    """A function that cannot return a Command is an error where the asset is defined."""
    name, advice = function.__name__, "the function returns a Command, or a list of them; the runner runs it."
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"{decorator} {name!r} is an async function", advice=advice)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{decorator} {name!r} yields", advice=advice)
    if return_annotation(function) in (None, NoneType):
        raise ConfigurationError(f"{decorator} {name!r} returns None by its annotation", advice=advice)


def return_annotation(function: Callable[..., Any]) -> Any:
    """The type that the function says it returns; `Signature.empty` where it says nothing."""
    return _resolved(inspect.signature(function).return_annotation, function)


def config_type_of(parameters: Mapping[str, inspect.Parameter], name: str, decorator: str) -> type[HPCJobConfig]:
    """The class of its launchpad fields: that of the function's parameter `config`, or ours."""
    found = parameters["config"].annotation if "config" in parameters else HPCJobConfig
    if not (inspect.isclass(found) and issubclass(found, HPCJobConfig)):
        raise ConfigurationError(
            f"the config of {decorator} {name!r} is {found!r}, which is no HPCJobConfig",
            advice="let the config class inherit from HPCJobConfig, which holds profile and overrides.",
        )
    return found


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
    context_type: type = dg.AssetExecutionContext,
) -> None:
    """Show Dagster what the asset needs: the function's own upstream assets and resources, plus config and these."""
    wanted = {
        "config": inspect.Parameter("config", _POSITIONAL, annotation=config_type),
        **{key: inspect.Parameter(key, _POSITIONAL, annotation=kind) for key, kind in resources.items()},
        **{name: parameter for name, parameter in parameters.items() if name not in ("context", "config", *resources)},
    }
    context = inspect.Parameter("context", _POSITIONAL, annotation=context_type)
    # A parameter with a default may stand before one without: Dagster hands all of them over by name.
    ordered = sorted(wanted.values(), key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    compute.__signature__ = inspect.Signature([context, *ordered])  # type: ignore[attr-defined]
    compute.__annotations__ = {"context": context_type} | {
        name: parameter.annotation
        for name, parameter in wanted.items()
        if parameter.annotation is not inspect.Parameter.empty
    }
