"""The job runners of a code location, for those commands that need the resources and not only the ledger."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_origin

import dagster as dg
from dagster.components.definitions import LazyDefinitions

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.targets import target_class

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # Dagster brings it

_AT_LAUNCH = "it is completed on the launchpad only; give its target and work_root in the code to have it checked here."


@contextmanager
def open_runners(module_name: str | None, only: str | None = None) -> Iterator[dict[str, HPCJobRunner]]:
    """The `HPCJobRunner` resources by their keys, ready for use: environment variables are read, as in a run."""
    module_name = module_name or _module_of_project(Path("pyproject.toml"))
    found = {key: value for key, value in _resources(module_name).items() if isinstance(value, HPCJobRunner)}
    if not found:
        raise ConfigurationError(
            f"the code location {module_name} has no HPCJobRunner among its resources",
            advice="give its Definitions resources={'hpc': HPCJobRunner(…)}, or name another module with --module.",
        )
    if only is not None and only not in found:
        hint = did_you_mean(only, list(found))
        raise ConfigurationError(f"the code location {module_name} has no HPCJobRunner {only!r}: {hint}")
    with ExitStack() as stack:
        yield {key: _ready(key, found[key], stack) for key in found if only in (None, key)}


def make_runner(kind: str, work_root: str) -> HPCJobRunner:
    """A runner on a target of this kind with all its defaults, where there is no code location yet."""
    return HPCJobRunner(target=target_class(kind)(), profiles={"default": ExecutionProfile()}, work_root=work_root)


def read_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`walltime=00:10:00`, `mpiprocs=4`; lists by commas (`modules=gcc,openmpi`), lists and maps also as JSON."""
    overrides: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"the override {pair!r} is not FIELD=VALUE, as in walltime=00:10:00")
        field = ExecutionProfile.model_fields.get(name)
        kind = get_origin(field.annotation) if field else None
        try:
            if kind in (list, dict) and text[:1] in ("[", "{"):
                overrides[name] = json.loads(text)
            else:
                overrides[name] = text.split(",") if kind is list else text
        except ValueError as error:
            raise ConfigurationError(f"the override {pair!r} looks like JSON, and is none: {error}") from error
    return overrides


def _ready(key: str, runner: HPCJobRunner, stack: ExitStack) -> HPCJobRunner:
    try:
        return stack.enter_context(runner.process_config_and_initialize_cm())
    except dg.DagsterInvalidConfigError as error:
        faults = [fault.message.partition("\n\nStack Trace:")[0].strip() for fault in error.errors]
        raise ConfigurationError([f"the resource {key!r}: {fault}" for fault in faults]) from error
    except dg.DagsterError as error:
        raise ConfigurationError(f"the resource {key!r} cannot be made: {error}") from error
    except Exception as error:
        raise ConfigurationError(f"the resource {key!r} cannot be made here: {error}", advice=_AT_LAUNCH) from error


def _resources(module_name: str) -> dict[str, object]:
    """The resources of all Definitions that the module defines."""
    sys.path.insert(0, os.getcwd())  # where `dagster dev` looks too
    try:
        values = list(vars(importlib.import_module(module_name)).values())
        definitions = [value() if isinstance(value, LazyDefinitions) else value for value in values]
    except Exception as error:
        raise ConfigurationError(
            f"the code location {module_name} cannot be loaded: {type(error).__name__}: {error}",
            advice="run this where `dagster dev` works, or name the module with --module.",
        ) from error
    return {
        key: value
        for each in definitions
        if isinstance(each, dg.Definitions)
        for key, value in (each.resources or {}).items()
    }


def _module_of_project(path: Path) -> str:
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        settings = {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path.absolute()} cannot be read: {error}") from error
    name = settings.get("tool", {}).get("dagster", {}).get("module_name")
    if not isinstance(name, str):
        raise ConfigurationError(
            "no code location is named here",
            advice="give --module NAME, or go to the project's folder, whose pyproject.toml says "
            "module_name under [tool.dagster].",
        )
    return name
