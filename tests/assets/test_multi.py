"""`hpc_multi_asset`: one job, several assets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, ConfigurationError, HPCAsset, HPCJobRunner, JobResult, hpc_multi_asset
from tests.assets.steps import checks_of, failure_of, materialize, metadata_of


@hpc_multi_asset(
    profile="small",
    specs=["ones", dg.AssetSpec("zeros", deps=["ones", "raw"], description="The others.")],
    outputs={"ones": "1.txt", "zeros": "0.txt"},
)
def counts() -> Command:
    """Bits, counted."""
    return Command.shell("echo 3 >1.txt; echo 4 >0.txt")


@dg.asset
def total(ones: str, zeros: str) -> int:
    return sum(int(Path(path).read_text()) for path in (ones, zeros))


def test_one_job_makes_several_assets_and_each_is_the_output_of_its_name(hpc: HPCJobRunner) -> None:
    result = materialize([counts, total], hpc)
    assert result.output_for_node("total") == 7
    (row,) = hpc.jobs()
    assert row.asset_key == "ones,zeros"
    assert metadata_of(result, "ones")["job_id"] == metadata_of(result, "zeros")["job_id"] == row.job_id


def test_its_specs_describe_the_assets() -> None:
    zeros = counts.get_asset_spec(dg.AssetKey("zeros"))
    assert (zeros.kinds, zeros.description) == ({"hpc"}, "The others.")
    assert {dep.asset_key.to_user_string() for dep in zeros.deps} == {"ones", "raw"}
    assert counts.get_asset_spec(dg.AssetKey("ones")).description == "Bits, counted."


def test_the_functions_upstream_assets_are_upstream_of_all(hpc: HPCJobRunner) -> None:
    @dg.asset(key=["lab", "samples"])
    def samples() -> str:
        return "0110"

    @hpc_multi_asset(
        profile="small", specs=["n", dg.AssetSpec("m", deps=["raw"])], ins={"samples": dg.AssetIn(key_prefix="lab")},
        deps=["calibration"], collect=lambda done: {"n": done.stdout_tail.strip(), "m": 0},
    )  # fmt: skip
    def told(samples: str, hpc: HPCJobRunner) -> Command:
        return Command.shell("echo $1", args=[samples])

    deps = {spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps} for spec in told.specs}
    assert deps == {"n": {"lab/samples", "calibration"}, "m": {"lab/samples", "calibration", "raw"}}
    assert materialize([samples, told], hpc).output_for_node("told", "n") == "0110"


def made(collect: Any, **options: Any) -> HPCAsset:
    @hpc_multi_asset(profile="small", specs=["second", "first"], collect=collect, **options)
    def pair() -> Command:
        return Command.shell("echo ran")

    return pair


def test_collect_says_a_value_or_more_for_each(hpc: HPCJobRunner) -> None:
    def read(result: JobResult, context: dg.AssetExecutionContext) -> dict[str, Any]:
        more = dg.MaterializeResult[int](value=1, metadata={"mine": 3}, data_version=dg.DataVersion("v1"))
        return {"first": more, "second": "two", **({} if len(context.selected_asset_keys) == 2 else {"no": 0})}

    result = materialize([made(read)], hpc)
    assert result.output_for_node("pair", "first") == 1
    assert result.output_for_node("pair", "second") == "two"
    assert metadata_of(result, "first")["mine"] == 3
    assert metadata_of(result, "second")["state"] == "COMPLETED"


def test_what_depends_on_another_comes_after_it(hpc: HPCJobRunner) -> None:
    @hpc_multi_asset(
        profile="small", collect=lambda done: {"b": 1, "a": 2}, specs=[dg.AssetSpec("b", deps=["a"]), dg.AssetSpec("a")]
    )
    def pair() -> Command:
        return Command.shell("true")

    result = materialize([pair], hpc)
    assert [event.asset_key.to_user_string() for event in result.all_node_events if event.is_step_materialization] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"first": 1}, "returned nothing for 'second'"),
        ({"first": 1, "secnd": 2, "second": 2}, "returned 'secnd': did you mean 'second'?"),
        (3, "returned int and no mapping of the assets' names"),
    ],
)
def test_a_collect_that_does_not_fit_the_specs_is_told_so(hpc: HPCJobRunner, said: Any, words: str) -> None:
    assert words in failure_of(materialize([made(lambda done: said)], hpc), "pair")


def test_without_a_collect_and_without_an_output_of_its_name_no_job_is_run(hpc: HPCJobRunner) -> None:
    words = failure_of(materialize([made(None, outputs={"first": "1.txt"})], hpc), "pair")
    assert "no output of 'pair' is called 'second', and it has no collect" in words
    assert hpc.jobs() == []


@hpc_multi_asset(
    profile="small", specs=["left", "right"], can_subset=True, outputs={"left": "left", "right": "right", "log": "log"}
)
def sides(context: dg.AssetExecutionContext) -> Command:
    names = sorted(key.to_user_string() for key in context.selected_asset_keys)
    return Command.shell('for side in "$@"; do echo "$side" >"$side"; done; echo fine >log', args=names)


def test_a_subset_is_told_to_the_function_and_only_its_outputs_are_expected(hpc: HPCJobRunner) -> None:
    result = materialize([sides], hpc, selection=["left"])
    assert result.success
    assert Path(result.output_for_node("sides", "left")).read_text() == "left\n"
    assert [event.asset_key for event in result.all_node_events if event.is_step_materialization] == [dg.AssetKey("left")]
    (row,) = hpc.jobs()
    assert row.asset_key == "left"


def test_checks_are_answered_by_the_result_of_their_asset(hpc: HPCJobRunner) -> None:
    specs = [dg.AssetCheckSpec("positive", asset="first"), dg.AssetCheckSpec("positive", asset="second")]

    def answer(*names: str) -> dict[str, Any]:
        said = dg.AssetCheckResult(check_name="positive", passed=True)
        return {
            name: dg.MaterializeResult(value=1, check_results=[said] if name in names else None)
            for name in ("first", "second")
        }

    result = materialize([made(lambda done: answer("first", "second"), check_specs=specs)], hpc)
    assert {each.asset_key.to_user_string() for each in result.get_asset_check_evaluations()} == {"first", "second"}
    assert all(each.passed for each in checks_of(result).values())
    words = failure_of(materialize([made(lambda done: answer("first"), check_specs=specs)], hpc), "pair")
    assert "collect of 'pair: second' did not answer the check 'positive'" in words


def test_two_keys_with_one_last_word_are_called_by_all_of_their_words(hpc: HPCJobRunner) -> None:
    keys = [dg.AssetKey(["x", "n"]), dg.AssetKey(["y", "n"])]

    @hpc_multi_asset(profile="small", specs=[dg.AssetSpec(key) for key in keys], collect=lambda done: {"x/n": 1, "y/n": 2})
    def pair() -> Command:
        return Command.shell("true")

    assert materialize([pair], hpc).success
    with pytest.raises(ConfigurationError, match="two specs of one key"):
        hpc_multi_asset(profile="small", specs=["a", "a"])


def test_several_commands_are_one_array_job(hpc: HPCJobRunner) -> None:
    @hpc_multi_asset(profile="small", specs=["a", "b"], collect=lambda results: {"a": len(results), "b": 0})
    def pair() -> list[Command]:
        return [Command.shell("echo $1", args=[word]) for word in "xyz"]

    result = materialize([pair], hpc)
    assert result.output_for_node("pair", "a") == 3
    assert metadata_of(result, "b")["jobs"] == 3


def test_a_run_is_one_partition(hpc: HPCJobRunner) -> None:
    partitions = dg.StaticPartitionsDefinition(["a", "b"])

    @hpc_multi_asset(
        profile="small", partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run(),
        specs=["x", "y"], collect=lambda done: {"x": 1, "y": 2},
    )  # fmt: skip
    def pair(context: dg.AssetExecutionContext) -> Command:
        return Command.shell("echo $1", args=[context.partition_key])

    assert materialize([pair], hpc, partition_key="b").success
    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    assert "this run covers 2 partitions" in failure_of(materialize([pair], hpc, tags=tags), "pair")


def test_nobody_reports_several_assets_without_a_run(hpc: HPCJobRunner) -> None:
    config = {"ops": {"counts": {"config": {"detached": True}}}}
    result = materialize([counts], hpc, run_config=config)
    assert "only a job of one hpc_asset can be reported" in failure_of(result, "counts")
    assert hpc.jobs() == []
