"""What `hpc_asset` takes: all that Dagster's decorators take, and no word more."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import (
    AssetOptions,
    Command,
    ConfigurationError,
    HPCAsset,
    hpc_asset,
    hpc_asset_check,
    hpc_multi_asset,
    hpc_python_asset,
)
from dagster_hpc.assets.options import CheckOptions, MultiAssetOptions

_HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "decorator", "ours"),
    [
        (AssetOptions, dg.asset, {"compute_fn", "kwargs", "config_schema"}),
        # An asset is described once, by its spec; that some depend on others of them is said there too.
        (MultiAssetOptions, dg.multi_asset, {"kwargs", "config_schema", "specs", "outs", "internal_asset_deps"}),
        (CheckOptions, dg.asset_check, {"config_schema", "asset", "compute_kind"}),
    ],
)
def test_dagsters_options_are_all_there(options: type, decorator: Callable[..., Any], ours: set[str]) -> None:
    assert set(options.__annotations__) == set(inspect.signature(decorator).parameters) - ours


def test_a_mistyped_option_is_an_error_at_the_definition() -> None:
    with pytest.raises(ConfigurationError, match=r"hpc_asset has no option 'grup_name': did you mean 'group_name'\?"):
        hpc_asset(profile="small", grup_name="x")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"hpc_asset has no option 'output': did you mean 'outputs'\?"):
        hpc_asset(profile="small", output={"n": "n.txt"})  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"did you mean 'can_subset'\?"):
        hpc_multi_asset(profile="small", specs=["a"], can_subst=True)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"did you mean 'blocking'\?"):
        hpc_asset_check(asset="a", profile="small", bloking=True)  # type: ignore[call-arg]


def test_the_fields_of_the_launchpad_are_those_of_a_config_class() -> None:
    with pytest.raises(ConfigurationError, match="takes no config_schema: its config is an HPCJobConfig"):
        hpc_asset(profile="small", config_schema={"n": int})  # type: ignore[call-arg]


def test_kinds_are_added_to_ours() -> None:
    @hpc_asset(profile="small", kinds={"bash"})
    def counted() -> Command:
        return Command("count")

    assert counted.get_asset_spec().kinds == {"hpc", "bash"}


def test_every_option_reaches_dagster() -> None:
    @hpc_asset(
        profile="small",
        name="counts",
        key_prefix=["lab", "one"],
        ins={"samples": dg.AssetIn(key=["lab", "raw"])},
        deps=["calibration"],
        metadata={"unit": "bits"},
        tags={"stage": "raw"},
        op_tags={"priority": "1"},
        group_name="counting",
        owners=["team:lab"],
        pool="cluster",
        code_version="7",
        retry_policy=dg.RetryPolicy(max_retries=2),
        partitions_def=dg.StaticPartitionsDefinition(["a"]),
        backfill_policy=dg.BackfillPolicy.multi_run(),
        automation_condition=dg.AutomationCondition.eager(),
        freshness_policy=dg.FreshnessPolicy.cron(deadline_cron="0 9 * * *", lower_bound_delta=_HOUR),
        io_manager_key="files",
        dagster_type=dg.DagsterType(lambda _, value: isinstance(value, dict), "Outputs"),
        check_specs=[dg.AssetCheckSpec("positive", asset=["lab", "one", "counts"])],
    )
    def anything(samples: str) -> Command:
        return Command("count", args=[samples])

    spec = anything.get_asset_spec()
    assert spec.key == dg.AssetKey(["lab", "one", "counts"])
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {"lab/raw", "calibration"}
    assert (spec.group_name, list(spec.owners), spec.code_version) == ("counting", ["team:lab"], "7")
    assert spec.metadata["unit"] == "bits"
    assert spec.tags["stage"] == "raw"
    assert spec.automation_condition == dg.AutomationCondition.eager()
    assert spec.freshness_policy is not None
    assert (anything.op.pool, anything.op.retry_policy) == ("cluster", dg.RetryPolicy(max_retries=2))
    assert anything.op.tags["priority"] == "1"
    assert anything.get_io_manager_key_for_asset_key(spec.key) == "files"
    assert anything.backfill_policy == dg.BackfillPolicy.multi_run()
    assert [key.name for key in anything.check_keys] == ["positive"]
    assert anything.op.output_def_named("result").dagster_type.display_name == "Outputs"


def test_a_definition_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @hpc_asset(
            profile="small",
            io_manager_def=dg.InMemoryIOManager(),
            backfill_policy=dg.BackfillPolicy.single_run(),
            partitions_def=dg.StaticPartitionsDefinition(["a"]),
        )
        def counted() -> Command:
            return Command("count")

        copy = counted.with_attributes(group_names_by_key={counted.key: "others"})
    assert copy.get_asset_spec().group_name == "others"


async def _later() -> Command:
    return Command("count")


def _several() -> Any:
    yield Command("count")


async def _several_later() -> Any:
    yield Command("count")


def _nothing() -> None:
    return None


@pytest.mark.parametrize(
    ("function", "words"),
    [(_later, "async"), (_several, "yields"), (_several_later, "yields"), (_nothing, "returns None by its annotation")],
)
def test_a_function_that_cannot_return_a_command_is_refused_at_the_definition(
    function: Callable[..., Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        hpc_asset(profile="small")(function)
    assert "the function returns a Command" in raised.value.advice


def test_copies_that_dagster_makes_are_still_an_hpc_asset() -> None:
    @hpc_asset(profile="small", partitions_def=dg.StaticPartitionsDefinition(["a"]))
    def counted() -> Command:
        return Command("count")

    renamed = counted.with_attributes(asset_key_replacements={counted.key: dg.AssetKey("renamed")})
    hooked = counted.with_hooks(set())
    mapped = counted.map_asset_specs(lambda spec: spec.replace_attributes(group_name="other"))
    assert {type(copy) for copy in (counted, renamed, hooked, mapped)} == {HPCAsset}
    assert renamed() == Command("count")


@pytest.mark.parametrize("decorator", [hpc_asset, hpc_python_asset])
def test_a_decorator_without_its_parentheses_says_so(decorator: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        decorator(lambda: None)
    assert f"write `@{decorator.__name__}()`" in raised.value.advice
