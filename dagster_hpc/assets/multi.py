"""`hpc_multi_asset`: several assets of one batch job."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
from dagster._core.definitions.resource_annotation import get_resource_args
from typing_extensions import Unpack

from dagster_hpc.assets.asset import Body, HPCAsset, run
from dagster_hpc.assets.binding import bound
from dagster_hpc.assets.collected import answered, metadata_of, said_of
from dagster_hpc.assets.detached import refuse_detached
from dagster_hpc.assets.options import AnyDep, MultiAssetOptions, refuse_unknown, without_beta_warnings
from dagster_hpc.assets.partitions import refuse_range
from dagster_hpc.assets.recipe import Launch, Recipe, compute_of
from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.resources.command import InputFile
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.retry import Resume, RetryRule

_IO_MANAGER = "io_manager"  # Dagster's name for the default: values of the assets go there


def hpc_multi_asset(
    profile: str | ExecutionProfile = "",
    *,
    specs: Sequence[dg.AssetSpec | str],
    outputs: Mapping[str, str] | None = None,
    inputs: Mapping[str, InputFile] | None = None,
    overrides: Mapping[str, Any] | None = None,
    collect: Callable[..., Any] | None = None,
    timeout: float | None = None,
    runner: str = "hpc",
    max_running: int | None = None,
    retry: Sequence[RetryRule] | None = None,
    resume: Resume | None = None,
    **options: Unpack[MultiAssetOptions],
) -> Callable[[Body], HPCAsset]:
    """Make several assets of one job.

    `collect(result)` returns a mapping: name of the asset → its value, or a `dg.MaterializeResult`. Without it the value
    of each asset is the path of the output of its name. All other options are those of `hpc_asset`.

    With `can_subset=True` a run may make some of the assets only. The function sees which in
    `context.selected_asset_keys`, and only their outputs are expected: an output that bears the name of an asset that
    is not selected need not come.

    Args:
        specs: The assets, each an `AssetSpec` or its name. The function's upstream assets are upstream of all of them.

    Example:
        @hpc_multi_asset(profile="small", specs=["ones", "zeros"], outputs={"ones": "1.txt", "zeros": "0.txt"})
        def counts(samples: str) -> Command:
            return Command.shell("cat >all; tr -cd 1 <all | wc -c >1.txt; tr -cd 0 <all | wc -c >0.txt", stdin=samples)
    """
    refuse_unknown("hpc_multi_asset", options, MultiAssetOptions, inspect.signature(hpc_multi_asset).parameters)
    described = [_described(dg.AssetSpec(spec) if isinstance(spec, str) else spec) for spec in specs]
    names = names_of([spec.key for spec in described])

    def decorate(function: Body) -> HPCAsset:
        recipe = Recipe.of(
            function, "hpc_multi_asset", profile=profile, outputs=outputs, inputs=inputs, overrides=overrides,
            collect=collect, timeout=timeout, runner=runner, max_running=max_running, retry=retry, resume=resume,
        )  # fmt: skip

        def steps(launch: Launch) -> Iterator[Any]:
            return materialize_each(launch, names)

        compute = compute_of(recipe, steps)
        ins = options.get("ins") or {}
        read = _inputs_of(compute, recipe, ins)
        upstream = [*(options.get("deps") or ()), *read.values()]
        given: dict[str, Any] = {
            "description": inspect.getdoc(function),
            **options,
            "deps": None,
            "ins": {name: _reading(dep, ins.get(name) or dg.AssetIn()) for name, dep in read.items()},
            "specs": [_with_deps(spec, upstream) for spec in described],
        }
        with without_beta_warnings():
            made: dg.AssetsDefinition = dg.multi_asset(**given)(compute)
            return bound(HPCAsset(**made.get_attributes_dict()))

    return decorate


def _described(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Dagster stores no value of an asset that has a spec only, unless it names its IO manager."""
    stored = spec if "dagster/io_manager_key" in spec.metadata else spec.with_io_manager_key(_IO_MANAGER)
    return stored.replace_attributes(kinds={*spec.kinds, "hpc"})


def _inputs_of(
    compute: Callable[..., Any], recipe: Recipe, ins: Mapping[str, dg.AssetIn]
) -> dict[str, dg.AssetDep]:
    """The upstream assets that are parameters of the function: Dagster wants them among the deps of the specs too."""
    ours = {"context", "config", *(parameter.name for parameter in get_resource_args(compute))}
    return {name: _dep(name, ins.get(name) or dg.AssetIn()) for name in recipe.parameters if name not in ours}


def _dep(name: str, given: dg.AssetIn) -> dg.AssetDep:
    prefix = [given.key_prefix] if isinstance(given.key_prefix, str) else list(given.key_prefix or ())
    return dg.AssetDep(given.key or dg.AssetKey([*prefix, name]), partition_mapping=given.partition_mapping)


def _reading(dep: dg.AssetDep, given: dg.AssetIn) -> dg.AssetIn:
    """How the value of a dep is read; all else of it is said by the dep."""
    return dg.AssetIn(dep.asset_key, input_manager_key=given.input_manager_key, dagster_type=given.dagster_type)


def _with_deps(spec: dg.AssetSpec, upstream: Sequence[AnyDep]) -> dg.AssetSpec:
    known = {dep.asset_key for dep in spec.deps}
    further = [dep for dep in dg.AssetSpec("_", deps=upstream).deps if dep.asset_key not in {*known, spec.key}]
    return spec.replace_attributes(deps=[*spec.deps, *further])


def names_of(keys: Sequence[dg.AssetKey]) -> dict[str, dg.AssetKey]:
    """What each asset is called in `collect` and `outputs`: the last part of its key, or all of it where two share that."""
    last = [key.path[-1] for key in keys]
    if len(set(keys)) < len(keys):
        raise ConfigurationError(f"hpc_multi_asset has two specs of one key: {', '.join(map(str, last))}")
    return {name if last.count(name) == 1 else key.to_user_string(): key for name, key in zip(last, keys, strict=True)}


def materialize_each(launch: Launch, names: Mapping[str, dg.AssetKey]) -> Iterator[dg.MaterializeResult[Any]]:
    """Run the job, and materialize those of its assets that this run has selected."""
    refuse_range(launch.context)
    refuse_detached(launch)
    selected = {name: key for name, key in names.items() if key in launch.context.selected_asset_keys}
    expected = {name: path for name, path in (launch.recipe.outputs or {}).items() if name in selected or name not in names}
    recipe = replace(launch.recipe, outputs=expected)
    if recipe.collect is None:
        _refuse_without_output(recipe, selected)
    wanted = launch.wanted()
    results = run(replace(launch, recipe=recipe), wanted.commands)
    metadata = metadata_of(results, single=wanted.single)
    parts = said_of(recipe, results, single=wanted.single, context=launch.context)
    if recipe.collect is None:
        parts = {name: parts[name] if wanted.single else [each[name] for each in parts] for name in selected}
    _refuse_wrong_names(recipe, parts, names, selected)
    checks = launch.context.assets_def.check_keys
    for name in _in_order(launch.context.assets_def, selected):
        key = selected[name]
        asked = [check.name for check in checks if check.asset_key == key]
        yield answered(parts[name], metadata, asked, f"{recipe.name}: {name}").as_result(key)


def _refuse_without_output(recipe: Recipe, selected: Mapping[str, dg.AssetKey]) -> None:
    without = [name for name in selected if name not in (recipe.outputs or {})]
    if without:
        raise dg.Failure(
            f"no output of {recipe.name!r} is called {without[0]!r}, and it has no collect: give outputs the names of the "
            f"assets, or decorate a function with @{recipe.name}.collect that returns a value for each",
            allow_retries=False,
        )


def _refuse_wrong_names(
    recipe: Recipe, parts: Any, names: Mapping[str, dg.AssetKey], selected: Mapping[str, dg.AssetKey]
) -> None:
    if not isinstance(parts, Mapping):
        faults = [f"returned {type(parts).__name__} and no mapping of the assets' names to their values"]
    else:
        faults = [f"returned {name!r}: {did_you_mean(name, list(names))}" for name in parts if name not in names]
        faults += [f"returned nothing for {name!r}" for name in selected if name not in parts]
    if faults:
        raise dg.Failure(f"collect of {recipe.name!r} {', and '.join(faults)}", allow_retries=False)


def _in_order(definition: dg.AssetsDefinition, selected: Mapping[str, dg.AssetKey]) -> list[str]:
    """An asset after those that it depends on, as Dagster wants it."""
    name_of = {key: name for name, key in selected.items()}
    upstream = {key: {dep.asset_key for dep in definition.specs_by_key[key].deps} - {key} for key in name_of}
    before = {key: above & name_of.keys() for key, above in upstream.items()}
    return [name_of[key] for key in TopologicalSorter(before).static_order()]
