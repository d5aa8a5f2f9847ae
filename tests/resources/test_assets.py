"""`hpc_asset`: a job as an asset, with upstream values, config, partitions and failures."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import (
    Command,
    ConfigurationError,
    HPCError,
    HPCJobRunner,
    JobHandle,
    JobState,
    SchedulerUnavailable,
    hpc_asset,
    job_metadata,
)
from dagster_hpc.engine.errors import LedgerUnavailable
from dagster_hpc.engine.runner import Runner
from dagster_hpc.metadata import TAG_JOB_ID, TAG_TARGET
from tests.resources import postponed


@hpc_asset(profile="small", retry_policy=dg.RetryPolicy(max_retries=1))
def hello() -> Command:
    return Command.shell("echo hello; echo problem >&2", name="hello")


def materialize(
    assets: list[Any], hpc: HPCJobRunner, **more: Any
) -> tuple[dg.ExecuteInProcessResult, dg.DagsterInstance]:
    instance = dg.DagsterInstance.ephemeral()
    result = dg.materialize(assets, instance=instance, resources={"hpc": hpc}, raise_on_error=False, **more)
    return result, instance


def metadata_of(result: dg.ExecuteInProcessResult, key: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(key)
    return {name: value.value for name, value in event.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult, step: str) -> Any:
    (event,) = [e for e in result.all_node_events if e.event_type_value == "STEP_FAILURE" and e.step_key == step]
    return event.step_failure_data


def test_a_job_becomes_a_materialization_with_what_it_cost(hpc: HPCJobRunner) -> None:
    result, instance = materialize([hello], hpc)
    metadata = metadata_of(result, "hello")
    (row,) = hpc.jobs()
    assert (metadata["state"], metadata["exit_code"], metadata["job_id"]) == ("COMPLETED", 0, row.job_id)
    assert "hello" in metadata["stdout_tail"]
    assert metadata["elapsed_s"] >= 0
    assert (row.asset_key, row.run_id) == ("hello", result.run_id)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[TAG_JOB_ID] == row.job_id
    assert run.tags[TAG_TARGET] == row.target


def test_postponed_annotations_an_upstream_value_and_a_config_of_ones_own(hpc: HPCJobRunner) -> None:
    result, _ = materialize(
        [postponed.samples, postponed.counted],
        hpc,
        run_config={"ops": {"counted": {"config": {"times": 7, "arguments": ["extra"]}}}},
    )
    assert result.success
    assert Path(result.output_for_node("counted")["count"]).read_text().strip() == "19"
    assert "0110 it's $(quoted) 7 extra" in metadata_of(result, "counted")["stdout_tail"]


def test_the_docstring_describes_the_asset() -> None:
    spec = postponed.counted.get_asset_spec(dg.AssetKey("counted"))
    assert spec.description == "How long the samples are."
    assert spec.kinds == {"hpc"}


def test_overrides_on_the_launchpad_reach_the_job(hpc: HPCJobRunner) -> None:
    config = {"ops": {"hello": {"config": {"overrides": {"walltime": "00:07:00"}}}}}
    result, _ = materialize([hello], hpc, run_config=config)
    assert "#LOCAL --time=420\n" in metadata_of(result, "hello")["script"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"overrides": {"walltime": "soon"}}, "walltime 'soon'"),
    ],
)
def test_a_mistake_on_the_launchpad_is_a_failure_that_is_not_retried(
    hpc: HPCJobRunner, config: dict[str, Any], words: str
) -> None:
    result, _ = materialize([hello], hpc, run_config={"ops": {"hello": {"config": config}}})
    assert words in failure_of(result, "hello").user_failure_data.description
    assert not [event for event in result.all_node_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert hpc.jobs() == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"profile": "smal"}, r"HPCProfile\(small, wide\) got smal"),
        ({"reuse": "runing"}, "enum type ReuseRule got runing"),
    ],
)
def test_a_word_that_is_no_choice_of_the_launchpad_is_refused_before_the_run(
    hpc: HPCJobRunner, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=words):
        materialize([hello], hpc, run_config={"ops": {"hello": {"config": config}}})
    assert hpc.jobs() == []


def test_a_failed_job_is_a_failure_with_the_same_metadata(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small")
    def broken() -> Command:
        return Command.shell("echo trouble >&2; exit 3")

    result, _ = materialize([broken], hpc)
    data = failure_of(result, "broken").user_failure_data
    assert "exit code 3" in data.description
    assert "trouble" in data.description
    good, _ = materialize([hello], hpc)
    assert set(data.metadata) == set(metadata_of(good, "hello")) - {"path"}  # that of Dagster's pickle


def test_what_is_no_command_is_refused(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small")
    def wrong() -> Command:
        return "bitcount"  # type: ignore[return-value]

    result, _ = materialize([wrong], hpc)
    assert "returned str; it must return a Command" in failure_of(result, "wrong").error.message


def test_a_config_that_is_none_of_ours_is_refused_when_the_asset_is_defined() -> None:
    class Other(dg.Config):
        times: int = 1

    with pytest.raises(ConfigurationError, match="no HPCJobConfig"):

        @hpc_asset(profile="small")
        def wrong(config: Other) -> Command:
            return Command("x")


def test_a_partition_is_known_to_its_job_and_to_the_ledger(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def part(context: dg.AssetExecutionContext) -> Command:
        return Command.shell('echo "this is $1"', args=[context.partition_key])

    result, _ = materialize([part], hpc, partition_key="b")
    assert "this is b" in metadata_of(result, "part")["stdout_tail"]
    assert hpc.jobs()[0].partition_key == "b"


def test_collect_makes_the_value_of_the_finished_job(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", outputs={"n": "n.txt"}, collect=lambda done: int(Path(done.outputs["n"]).read_text()))
    def number() -> Command:
        return Command.shell("echo 42 >n.txt")

    @dg.asset
    def doubled(number: int) -> int:
        return 2 * number

    result, _ = materialize([number, doubled], hpc)
    assert result.output_for_node("doubled") == 84


def test_an_artifact_that_cannot_be_made_fails_the_asset_and_not_the_job(hpc: HPCJobRunner) -> None:
    # a failing artifact failed the predecessor's finished job
    def impossible(done: Any) -> Any:
        raise ValueError("no number in it")

    @hpc_asset(profile="small", collect=impossible)
    def number() -> Command:
        return Command.shell("true")

    result, _ = materialize([number], hpc)
    assert not result.success
    assert hpc.jobs()[0].state is JobState.COMPLETED


def test_any_asset_may_run_a_job_by_hand(hpc: HPCJobRunner) -> None:
    @dg.asset
    def by_hand(context: dg.AssetExecutionContext, hpc: HPCJobRunner) -> dg.MaterializeResult:  # type: ignore[type-arg]
        results = [hpc.run(Command.shell("echo hi"), profile="small", context=context) for _ in range(2)]
        return dg.MaterializeResult(metadata=job_metadata(results[-1]))

    result, _ = materialize([by_hand], hpc)
    assert metadata_of(result, "by_hand")["state"] == "COMPLETED"
    assert len({row.token for row in hpc.jobs()}) == 2  # equal calls of one step are jobs of their own


def test_the_runner_has_any_key(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", runner="cluster")
    def elsewhere() -> Command:
        return Command.shell("true")

    assert dg.materialize([elsewhere], resources={"cluster": hpc}).success


def test_a_type_imported_for_type_checkers_only_is_no_obstacle() -> None:
    namespace: dict[str, object] = {}
    source = """
from __future__ import annotations
from typing import TYPE_CHECKING
from dagster_hpc import Command, hpc_asset
if TYPE_CHECKING:
    import pandas

@hpc_asset(profile="small")
def counts(table: pandas.DataFrame) -> Command:
    return Command("count")
"""
    exec(source, namespace)

    counts = namespace["counts"]
    assert isinstance(counts, dg.AssetsDefinition)
    assert {key.to_user_string() for key in counts.dependency_keys} == {"table"}


@pytest.mark.parametrize(
    ("cancelled", "level", "said"),
    [
        (True, "INFO", "its job was cancelled"),
        (False, "WARNING", "its job was told to end, and has not been seen to end yet"),
        (SchedulerUnavailable("no answer to scancel"), "WARNING", "its job is to be cancelled, but no answer to scancel"),
        (LedgerUnavailable("the ledger is locked"), "WARNING", "its job is to be cancelled, but the ledger is locked"),
    ],
)
def test_a_terminated_run_tells_what_became_of_its_job(
    hpc: HPCJobRunner, monkeypatch: pytest.MonkeyPatch, cancelled: bool | HPCError, level: str, said: str
) -> None:
    """It said "cancelled" of a job that went on."""

    @hpc_asset(profile="small")
    def long() -> Command:
        return Command("/bin/true")

    instance, asked = dg.DagsterInstance.ephemeral(), []

    def terminated(*_: Any, **__: Any) -> Any:
        instance.report_run_canceling(instance.get_runs()[0])
        raise dg.DagsterExecutionInterruptedError

    def cancel(_: Runner, handles: Sequence[JobHandle]) -> bool:
        asked.extend(handle.token for handle in handles)
        if isinstance(cancelled, HPCError):
            raise cancelled
        return cancelled

    monkeypatch.setattr(Runner, "wait", terminated)
    monkeypatch.setattr(Runner, "cancel", cancel)
    dg.materialize([long], instance=instance, resources={"hpc": hpc}, raise_on_error=False)
    assert asked == [row.token for row in hpc.jobs()]
    logs = [entry for entry in instance.all_logs(instance.get_runs()[0].run_id) if "was terminated" in entry.user_message]
    assert [(logging.getLevelName(entry.level), entry.user_message) for entry in logs] == [
        (level, f"the run was terminated: {said}")
    ]
