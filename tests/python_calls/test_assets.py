"""Assets whose functions run on a node, in real runs of Dagster."""

# No `from __future__ import annotations` here: of a plain asset Dagster reads the annotations themselves.

import logging
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import ConfigurationError, HPCJobConfig, HPCJobRunner, hpc_python_asset
from dagster_hpc.python_calls import worker
from dagster_hpc.testing import Play, PlayedRunner
from tests.assets.steps import checks_of, failure_of, materialize, metadata_of
from tests.detached.conftest import Lab
from tests.partitions.runs import arrays, run_range
from tests.python_calls import functions

KEYS = dg.StaticPartitionsDefinition(["a", "b", "c"])


@dg.asset
def numbers() -> list[int]:
    return [1, 2, 3]


# -- from a plain asset to the cluster: the decorator is all that changes


class PowerConfig(dg.Config):
    exponent: int = 2


def raised(number: int, exponent: int) -> int:
    """A function beside the asset, which travels with it."""
    return number**exponent


def powers(context: dg.AssetExecutionContext, numbers: list[int], config: PowerConfig) -> list[int]:
    """Powers of numbers."""
    context.log.info(f"{len(numbers)} numbers")
    context.add_output_metadata({"exponent": config.exponent})
    return [raised(number, config.exponent) for number in numbers]


def test_an_asset_becomes_a_job_by_another_decorator(hpc: HPCJobRunner) -> None:
    @dg.asset
    def total(powers: list[int]) -> int:
        return sum(powers)

    run_config = {"ops": {"powers": {"config": {"exponent": 3}}}}
    said = []
    for decorator in (dg.asset, hpc_python_asset(profile="small")):
        result = materialize([numbers, decorator(powers), total], hpc, run_config=run_config)
        assert result.success
        said.append((result.output_for_node("powers"), result.output_for_node("total")))
        assert metadata_of(result, "powers")["exponent"] == 3
    assert said == [([1, 8, 27], 36)] * 2
    (row,) = hpc.jobs()
    assert (row.asset_key, row.name) == ("powers", "powers")
    assert decorator(powers).specs_by_key[dg.AssetKey("powers")].kinds == {"hpc", "python"}


def test_the_module_of_an_asset_need_not_be_on_the_node(
    hpc: HPCJobRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It imports Dagster, which a node may not have; what it defines beside the asset travels along."""
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "pipeline.py").write_text(
        "import sys\nfrom dagster_hpc import hpc_python_asset\n\ndef beside():\n    return 'dagster' in sys.modules\n\n"
        "@hpc_python_asset('small')\ndef made(context) -> list[bool]:\n    return ['pipeline' in sys.modules, beside()]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "away"))
    import pipeline  # type: ignore[import-not-found]

    assert materialize([pipeline.made], hpc).output_for_node("made") == [False, False]


# -- what the function is given


class Kind(Enum):
    ice = "ice"


class NestedConfig(dg.Config):
    depth: int = 3


class GrowConfig(HPCJobConfig):
    kind: Kind = Kind.ice
    nested: NestedConfig = NestedConfig()


def test_config_arrives_as_plain_fields(hpc: HPCJobRunner) -> None:
    @hpc_python_asset(profile="small")
    def grown(config: GrowConfig) -> list[Any]:
        return [config.kind.value, config.nested.depth, hasattr(config, "profile")]

    assert materialize([grown], hpc).output_for_node("grown") == ["ice", 3, False]


def test_the_launchpad_chooses_the_profile_as_for_any_job(hpc: HPCJobRunner) -> None:
    @hpc_python_asset(profile="small")
    def cores(config: PowerConfig) -> str:
        return os.environ["OMP_NUM_THREADS"]

    config = {"exponent": 1, "overrides": {"ompthreads": 2}}
    result = materialize([cores], hpc, run_config={"ops": {"cores": {"config": config}}})
    assert result.output_for_node("cores") == "2"


def test_a_field_of_config_that_says_how_the_job_is_run_is_refused() -> None:
    class Clash(dg.Config):
        profile: int = 1

    with pytest.raises(ConfigurationError, match="has a field 'profile'"):

        @hpc_python_asset(profile="small")
        def clash(config: Clash) -> int:
            return 1


def test_the_context_knows_the_step(hpc: HPCJobRunner) -> None:
    @hpc_python_asset(profile="small", key_prefix="lab", partitions_def=KEYS)
    def told(context: Any) -> list[Any]:
        return [context.asset_key, context.partition_key, context.partition_keys, context.run_id]

    result = materialize([told], hpc, partition_key="b")
    assert result.output_for_node("lab__told") == ["lab/told", "b", ["b"], result.run_id]


# -- what the function logs is where Dagster's own assets log


def logged_in(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> list[tuple[str, str]]:
    """The levels and words of the run's log that the jobs' functions have said."""
    entries = [entry for entry in instance.all_logs(result.run_id) if entry.dagster_event is None]
    told = [(logging.getLevelName(int(entry.level)), entry.user_message) for entry in entries]
    others = ("job ", "submitted job ", "array ", "Writing file")
    return [(level, words) for level, words in told if not words.startswith(others)]


def test_what_it_logs_stands_in_the_log_of_the_run_and_in_its_stderr(
    hpc: HPCJobRunner, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    @hpc_python_asset(profile="small")
    def talks(context: Any) -> int:
        context.log.debug("from %s", "afar")
        context.log.warning("thin ice, 100 % of it")
        print("INFO not of the log", file=sys.stderr)
        context.progress(4, 4)
        return 1

    result = materialize([talks], hpc, instance=instance)
    assert logged_in(instance, result) == [
        ("DEBUG", "from afar"), ("WARNING", "thin ice, 100 % of it"), ("INFO", "4 of 4 (100 %)"),
    ]  # fmt: skip
    printed = capfd.readouterr().err
    assert "context.log WARNING: thin ice" in printed
    assert "INFO not of the log" in printed


def test_a_function_that_talks_without_end_does_not_fill_the_database(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    @hpc_python_asset(profile="small")
    def chatters(context: Any) -> None:
        for number in range(1500):
            context.log.info("line %d", number)
        context.log.error("no room left")

    said = logged_in(instance, materialize([chatters], hpc, instance=instance))
    assert said[:1000] == [("INFO", f"line {number}") for number in range(1000)]
    assert said[1000:] == [
        ("WARNING", "1000 lines of context.log below WARNING stand here; all further ones in the step's stderr"),
        ("ERROR", "no room left"),
    ]


def test_a_line_of_an_array_says_of_which_element_it_is(hpc: HPCJobRunner, instance: dg.DagsterInstance) -> None:
    @hpc_python_asset(profile="small", partitions_def=KEYS, backfill_policy=dg.BackfillPolicy.single_run())
    def talks(context: Any) -> str:
        context.log.info("makes %s", context.partition_key)
        return str(context.partition_key)

    said = logged_in(instance, run_range([talks], hpc, instance, "a", "c"))
    assert {words for _, words in said} >= {"[0] makes a", "[1] makes b", "[2] makes c"}


def test_progress_is_told_ever_less_often(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    now = [1000.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    context = worker.Context({"asset_key": None, "run_id": None, "partition_keys": []})
    for done in range(86400):
        now[0] += 1
        context.progress(done, 86400)
    context.progress(86400, 86400)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].endswith("0 of 86400 (0 %)")
    assert lines[-1].endswith("86400 of 86400 (100 %)")
    assert len(lines) < 250


def test_several_partitions_are_one_array(hpc: HPCJobRunner, instance: dg.DagsterInstance) -> None:
    @hpc_python_asset(profile="small", partitions_def=KEYS, backfill_policy=dg.BackfillPolicy.single_run())
    def doubled(context: Any) -> str:
        return 2 * str(context.partition_key)

    result = run_range([doubled], hpc, instance, "a", "c")
    assert result.success
    assert arrays(hpc) == [["a", "b", "c"]]
    stored = Path(instance.storage_directory(), "doubled")
    assert sorted(path.name for path in stored.iterdir()) == ["a", "b", "c"]


def test_a_partition_that_fails_is_told_with_its_traceback(hpc: HPCJobRunner, instance: dg.DagsterInstance) -> None:
    @hpc_python_asset(profile="small", partitions_def=KEYS, backfill_policy=dg.BackfillPolicy.single_run())
    def melting(context: Any) -> str:
        if context.partition_key == "b":
            raise ValueError("melted")
        return str(context.partition_key)

    result = run_range([melting], hpc, instance, "a", "c")
    assert not result.success
    assert "melting raised ValueError: melted" in failure_of(result, "melting")
    assert instance.get_materialized_partitions(dg.AssetKey("melting")) == {"a", "c"}


# -- what the function returns


def test_a_materialize_result_and_an_output_are_what_they_are_to_dagster(hpc: HPCJobRunner) -> None:
    check = dg.AssetCheckSpec("cold", asset="results")

    @hpc_python_asset(profile="small", check_specs=[check])
    def results() -> dg.MaterializeResult[int]:
        cold = dg.AssetCheckResult(check_name="cold", passed=True)
        return dg.MaterializeResult(value=1, metadata={"kelvin": 4}, check_results=[cold])

    @hpc_python_asset(profile="small")
    def outputs() -> dg.Output[int]:
        return dg.Output(2, metadata={"kelvin": 5})

    result = materialize([results, outputs], hpc)
    assert (result.output_for_node("results"), result.output_for_node("outputs")) == (1, 2)
    assert [metadata_of(result, name)["kelvin"] for name in ("results", "outputs")] == [4, 5]
    assert checks_of(result)["cold"].passed


def test_nothing_is_stored_of_a_function_that_returns_none(hpc: HPCJobRunner) -> None:
    with dg.instance_for_test() as instance:

        @hpc_python_asset(profile="small")
        def done(context: Any) -> None:
            context.add_output_metadata({"rows": 3})

        result = materialize([done], hpc, instance=instance)
        assert metadata_of(result, "done")["rows"] == 3
        assert not Path(instance.storage_directory(), "done").exists()


def test_the_type_that_the_function_names_is_checked(hpc: HPCJobRunner) -> None:
    @hpc_python_asset(profile="small")
    def wrong() -> int:
        return "one"  # type: ignore[return-value]

    assert not materialize([wrong], hpc).success


# -- what goes wrong, and what is kept


def test_what_the_function_raises_is_a_failure_with_the_traceback_of_the_node(hpc: HPCJobRunner) -> None:
    @hpc_python_asset(profile="small")
    def melts(numbers: list[int]) -> int:
        raise functions.NoSuchCrystal("ice", 273.15)

    result = materialize([numbers, melts], hpc)
    (event,) = [each for each in result.all_node_events if each.event_type_value == "STEP_FAILURE"]
    told = event.step_failure_data.user_failure_data
    assert told is not None
    assert "raised NoSuchCrystal" in (told.description or "")
    assert "in melts" in str(told.metadata["remote_traceback"].value)
    assert told.metadata["state"].value == "FAILED"


def test_a_retried_step_takes_the_value_that_is_there(hpc: HPCJobRunner, tmp_path: Path) -> None:
    trace, refused = str(tmp_path / "trace"), tmp_path / "refused"

    class Forgetful(dg.InMemoryIOManager):
        def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
            if not refused.exists():
                refused.touch()
                raise OSError("disk full")
            super().handle_output(context, obj)

    @hpc_python_asset(
        profile="small", io_manager_def=dg.IOManagerDefinition.hardcoded_io_manager(Forgetful()),
        retry_policy=dg.RetryPolicy(max_retries=1),
    )  # fmt: skip
    def kept() -> int:
        return int(functions.traced(trace, 5))

    result = materialize([kept], hpc)
    assert result.success
    assert Path(trace).read_text() == "x"


def test_in_a_test_of_a_pipeline_it_returns_what_the_test_says(tmp_path: Path) -> None:
    hpc = PlayedRunner(tmp_path)
    hpc.play("powers", Play(returns=[1, 4, 9]))
    result = materialize([numbers, hpc_python_asset(profile="small")(powers)], hpc)
    assert result.output_for_node("powers") == [1, 4, 9]


def test_called_directly_it_is_the_function(hpc: HPCJobRunner) -> None:
    @hpc_python_asset(profile="small")
    def doubled(number: int) -> int:
        return 2 * number

    assert doubled(4) == 8
    assert doubled(4, hpc=hpc).value == 8


def test_a_call_inside_a_step_is_named_and_fails_as_the_step(hpc: HPCJobRunner) -> None:
    @dg.asset
    def by_hand(context: dg.AssetExecutionContext, hpc: HPCJobRunner) -> int:
        total = sum(hpc.map_calls(pow, [1, 2], [2, 2], context=context, profile="small"))
        hpc.call(functions.melts, "ice", context=context, profile="small")
        return total

    result = materialize([by_hand], hpc)
    assert "melts raised NoSuchCrystal" in failure_of(result, "by_hand")
    assert {row.asset_key for row in hpc.jobs()} == {"by_hand"}


def test_a_detached_one_is_reported_by_the_sensor(lab: Lab) -> None:
    @hpc_python_asset(profile="small", detached=True)
    def later(context: Any) -> int:
        context.add_output_metadata({"rows": 3})
        return 7

    @dg.asset
    def next_one(later: int) -> int:
        return later + 1

    lab.assets = [later, next_one]
    lab.launch()
    lab.settle()
    (made,) = lab.materializations("later")
    assert made.metadata["rows"].value == 3
    assert lab.launch("next_one").output_for_node("next_one") == 8


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_function_that_returns_no_value_at_once_is_refused(kind: str) -> None:
    names: dict[str, Any] = {}
    exec(f"{kind} odd():\n    {'return 1' if kind == 'async def' else 'yield 1'}", names)
    with pytest.raises(ConfigurationError, match="odd"):
        hpc_python_asset(profile="small")(names["odd"])
