"""The job runners and the assets of a code location, for those commands that need more than the ledger."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.definitions import LazyDefinitions

from dagster_hpc.assets.recipe import recipe_of
from dagster_hpc.cli.graph import Node
from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.schedulers import KINDS
from dagster_hpc.executor.definition import HPCExecutorDefinition
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.targets import target_class
from dagster_hpc.resources.targets.base import HPCTarget
from dagster_hpc.resources.text_values import from_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # Dagster brings it

_INCOMPLETE = "set the variables, and give every field that has no default a value in the code, not only at launch."


@contextmanager
def open_runners(module_name: str | None, only: str | None = None) -> Iterator[dict[str, HPCJobRunner]]:
    """The `HPCJobRunner` resources by their keys, ready for use: environment variables are read, as in a run."""
    module_name = module_name or _module_of_project(Path("pyproject.toml"))
    resources = _resources(_definitions(module_name))
    keys = [key for key, value in resources.items() if issubclass(_class_of(value), HPCJobRunner)]
    if not keys:
        raise ConfigurationError(
            f"the code location {module_name} has no HPCJobRunner among its resources",
            advice="give its Definitions resources={'hpc': HPCJobRunner(…)}, or name another module with --module.",
        )
    if only is not None and only not in keys:
        raise ConfigurationError(
            f"the code location {module_name} has no HPCJobRunner {only!r}: {did_you_mean(only, keys)}"
        )
    with ExitStack() as stack:
        ready = _initialize(resources, stack)
        yield {key: getattr(ready, key) for key in keys if only in (None, key)}


def executors(module_name: str | None) -> dict[str, HPCExecutorDefinition]:
    """Each `hpc_executor` of the code location, by the job whose steps it executes; that of the whole as `all_jobs`."""
    return _executors(_definitions(module_name or _module_of_project(Path("pyproject.toml"))))


def asset_nodes(module_name: str | None) -> list[Node]:
    """The assets of the code location, upstream ones first, and what is known of their jobs."""
    defined = _definitions(module_name or _module_of_project(Path("pyproject.toml")))
    graph = dg.Definitions.merge(*defined).resolve_asset_graph() if defined else None
    return [_node(graph.get(key)) for key in graph.toposorted_asset_keys] if graph else []


def _node(found: Any) -> Node:
    recipe = None if found.is_external else recipe_of(found.assets_def)
    systems = sorted(set(found.kinds) & set(KINDS))
    return Node(
        found.key.to_user_string(),
        tuple(sorted(key.to_user_string() for key in found.parent_keys)),
        is_hpc="hpc" in found.kinds,
        profile=recipe.profile if recipe and isinstance(recipe.profile, str) else "",
        target=systems[0] if systems else "",
        partitions="" if found.partitions_def is None else type(found.partitions_def).__name__,
    )


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
        try:
            overrides[name] = from_text(field.annotation, text) if field else text
        except ValueError as error:
            raise ConfigurationError(f"the override {name}: {error}") from error
    return overrides


def _initialize(resources: Mapping[str, object], stack: ExitStack) -> Any:
    """The runners as a step would get them, with the targets that are resources of their own."""
    ours = {key: value for key, value in resources.items() if issubclass(_class_of(value), (HPCJobRunner, HPCTarget))}
    try:
        return stack.enter_context(dg.build_resources(ours))
    except dg.DagsterInvalidConfigError as error:
        faults = [fault.message.partition("\n\nStack Trace:")[0].strip() for fault in error.errors]
        raise ConfigurationError(faults, advice=_INCOMPLETE) from error
    except Exception as error:
        raise ConfigurationError(f"the resources cannot be made: {error}", advice=_INCOMPLETE) from error


def _class_of(resource: object) -> type:
    """The class of a resource, also of one that is completed at launch."""
    return getattr(resource, "resource_cls", None) or type(resource)


def _resources(definitions: Sequence[dg.Definitions]) -> dict[str, object]:
    """The resources by their keys, and the runners of executors that are none of them."""
    found = {key: value for each in definitions for key, value in (each.resources or {}).items()}
    for name, executor in _executors(definitions).items():
        if not any(executor.runner is known for known in found.values()):
            found[f"executor_of_{name}"] = executor.runner
    return found


def _executors(definitions: Sequence[dg.Definitions]) -> dict[str, HPCExecutorDefinition]:
    named: dict[str, object] = {}
    for each in definitions:
        named["all_jobs"] = each.executor
        named |= {job.name: getattr(job, "executor_def", None) for job in each.jobs or ()}
    found: dict[str, HPCExecutorDefinition] = {}
    for name, executor in named.items():
        if isinstance(executor, HPCExecutorDefinition) and executor not in found.values():
            found[name] = executor
    return found


def _definitions(module_name: str) -> list[dg.Definitions]:
    """All Definitions of the module."""
    sys.path.insert(0, os.getcwd())  # where `dagster dev` looks too
    try:
        values = list(vars(importlib.import_module(module_name)).values())
        definitions = [value() if isinstance(value, LazyDefinitions) else value for value in values]
    except Exception as error:
        raise ConfigurationError(
            f"the code location {module_name} cannot be loaded: {type(error).__name__}: {error}",
            advice="run this where `dagster dev` works, or name the module with --module.",
        ) from error
    return [each for each in definitions if isinstance(each, dg.Definitions)]


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
