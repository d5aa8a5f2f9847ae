"""`dg.EnvVar` outside Dagster: there nobody puts the variable's value in place of its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import dagster as dg

from dagster_hpc.engine.errors import ConfigurationError

Resource = TypeVar("Resource", bound=dg.ConfigurableResource[Any])


def env_value(value: str) -> str:
    """The value of the variable that an `EnvVar` names; any other text as it is."""
    if not isinstance(value, dg.EnvVar):
        return value
    found = value.get_value()
    if found is None:
        raise ConfigurationError(
            f"the environment variable {value.env_var_name} is not set, but EnvVar({value.env_var_name!r}) asks for it",
            advice="set it where this program runs.",
        )
    return str(found)


def with_env_values(resource: Resource) -> Resource:
    """The same resource with the values of all its `EnvVar`s; the very same where it has none."""
    fields = {name: getattr(resource, name) for name in type(resource).model_fields}
    values = {name: _with_values(value) for name, value in fields.items()}
    changed = {name for name, value in values.items() if value is not fields[name]}
    return type(resource)(**values) if changed else resource


def _with_values(value: Any) -> Any:
    if isinstance(value, dg.EnvVar):
        return env_value(value)
    if isinstance(value, Mapping):
        new = {key: _with_values(entry) for key, entry in value.items()}
        return new if any(new[key] is not entry for key, entry in value.items()) else value
    if isinstance(value, list | tuple):
        entries = [_with_values(entry) for entry in value]
        return entries if any(now is not before for now, before in zip(entries, value, strict=True)) else value
    return with_env_values(value) if isinstance(value, dg.ConfigurableResource) else value
