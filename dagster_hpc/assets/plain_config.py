"""The `config` of a function that runs where there is no Dagster: its class here, its plain fields there."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import dagster as dg

from dagster_hpc.assets.config import HPCJobConfig
from dagster_hpc.assets.signature import config_type_of
from dagster_hpc.engine.errors import ConfigurationError


def launch_config(parameters: Mapping[str, inspect.Parameter], name: str) -> type[HPCJobConfig]:
    """The class of the launchpad's fields: those of any `dg.Config`, and beside them profile, overrides and the rest."""
    asked = parameters["config"].annotation if "config" in parameters else HPCJobConfig
    if not (inspect.isclass(asked) and issubclass(asked, dg.Config)) or issubclass(asked, HPCJobConfig):
        return config_type_of(parameters, name, "hpc_python_asset")
    taken = sorted(set(asked.model_fields) & set(HPCJobConfig.model_fields))
    if taken:
        raise ConfigurationError(
            f"the config of hpc_python_asset {name!r} has a field {taken[0]!r}, which says how the job is run",
            advice="give your field another name.",
        )
    return type(asked.__name__, (asked, HPCJobConfig), {"__doc__": asked.__doc__, "__module__": asked.__module__})


def plain_config(config: Any) -> Any:
    """The user's own fields as plain attributes, nested configs too."""
    if isinstance(config, dg.Config):
        names = [name for name in type(config).model_fields if name not in HPCJobConfig.model_fields]
        return SimpleNamespace(**{name: plain_config(getattr(config, name)) for name in names})
    if isinstance(config, Mapping):
        return {name: plain_config(value) for name, value in config.items()}
    return [plain_config(value) for value in config] if isinstance(config, list) else config
