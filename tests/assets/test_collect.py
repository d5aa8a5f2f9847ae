"""What `collect` makes of the finished job: value, metadata, data version, tags, the answers of the checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from dagster_hpc import Command, HPCAsset, HPCJobRunner, JobResult, JobState, hpc_asset
from tests.assets.steps import checks_of, failure_of, materialize, metadata_of


def number(name: str = "number", checks: tuple[str, ...] = (), **options: Any) -> HPCAsset:
    @hpc_asset(
        profile="small", name=name, outputs={"n": "n.txt"},
        check_specs=[dg.AssetCheckSpec(check, asset=name) for check in checks] or None, **options,
    )  # fmt: skip
    def made() -> Command:
        return Command.shell("echo 42 >n.txt")

    return made


def test_collect_below_the_function_makes_the_value(hpc: HPCJobRunner) -> None:
    asset = number()

    @asset.collect
    def read(result: JobResult) -> int:
        return int(Path(result.outputs["n"]).read_text())

    @dg.asset
    def doubled(number: int) -> int:
        return 2 * number

    result = materialize([asset, doubled], hpc)
    assert result.output_for_node("doubled") == 84
    assert callable(read)


def test_collect_may_take_the_context(hpc: HPCJobRunner) -> None:
    def read(result: JobResult, context: dg.AssetExecutionContext) -> str:
        return context.asset_key.to_user_string()

    assert materialize([number(collect=read)], hpc).output_for_node("number") == "number"


def test_collect_may_say_all_that_a_materialize_result_can(hpc: HPCJobRunner) -> None:
    def read(result: JobResult) -> dg.MaterializeResult[int]:
        return dg.MaterializeResult(
            value=42,
            metadata={"energy": -1.5},
            data_version=dg.DataVersion("v42"),
            tags={"quality": "good"},
            check_results=[
                dg.AssetCheckResult(check_name="positive", passed=True),
                dg.AssetCheckResult(check_name="small", passed=False, metadata={"limit": 40}),
            ],
        )

    result = materialize([number(collect=read, checks=("positive", "small"))], hpc)
    assert result.success
    assert result.output_for_node("number") == 42
    metadata = metadata_of(result, "number")
    assert (metadata["energy"], metadata["state"]) == (-1.5, "COMPLETED")
    (event,) = result.asset_materializations_for_node("number")
    assert event.tags is not None
    assert (event.tags["dagster/data_version"], event.tags["quality"]) == ("v42", "good")
    checks = checks_of(result)
    assert {name: each.passed for name, each in checks.items()} == {"positive": True, "small": False}
    assert checks["small"].metadata["limit"].value == 40


def test_collect_may_store_the_value_itself(hpc: HPCJobRunner) -> None:
    result = materialize([number(collect=lambda done: dg.MaterializeResult(metadata={"mine": 3}))], hpc)
    assert result.success
    assert metadata_of(result, "number")["mine"] == 3
    assert not [event for event in result.all_node_events if event.event_type_value == "HANDLED_OUTPUT"]


def test_a_check_that_is_not_answered_fails_and_the_next_attempt_takes_the_job(hpc: HPCJobRunner) -> None:
    asset = number(checks=("positive", "small"))
    said = dg.AssetCheckResult(check_name="positive", passed=True)
    asset.collect(lambda done: dg.MaterializeResult(value=1, check_results=[said]))
    instance = dg.DagsterInstance.ephemeral()
    words = failure_of(materialize([asset], hpc, instance=instance), "number")
    assert "collect of 'made' did not answer the check 'small'" in words
    both = [said, dg.AssetCheckResult(check_name="small", passed=True)]
    asset.collect(lambda done: dg.MaterializeResult(value=1, check_results=both))
    result = materialize([asset], hpc, instance=instance)
    assert result.success
    assert len(checks_of(result)) == 2
    assert len(hpc.jobs()) == 1


def test_without_a_collect_a_declared_check_is_not_answered_either(hpc: HPCJobRunner) -> None:
    words = failure_of(materialize([number(checks=("positive",))], hpc), "number")
    assert "did not answer the check 'positive'" in words


def test_a_blocking_check_that_fails_keeps_those_downstream_from_running(hpc: HPCJobRunner) -> None:
    spec = dg.AssetCheckSpec("positive", asset="number", blocking=True)

    @hpc_asset(
        profile="small", check_specs=[spec],
        collect=lambda done: dg.MaterializeResult(value=1, check_results=[dg.AssetCheckResult(passed=False)]),
    )  # fmt: skip
    def number() -> Command:
        return Command.shell("true")

    @dg.asset
    def doubled(number: int) -> int:
        return 2 * number

    result = materialize([number, doubled], hpc)
    assert not result.success
    assert not result.asset_materializations_for_node("doubled")


def test_a_value_of_the_wrong_type_is_refused_by_its_dagster_type(hpc: HPCJobRunner) -> None:
    kind = dg.DagsterType(lambda _, value: isinstance(value, str), "Text")
    words = failure_of(materialize([number(collect=lambda done: 1, dagster_type=kind)], hpc), "number")
    assert "Text" in words


def test_a_builtin_may_be_a_collect(hpc: HPCJobRunner) -> None:
    assert "JobResult" in materialize([number(collect=repr)], hpc).output_for_node("number")


@hpc_asset(profile="small", outputs={"n": "n.txt"}, collect=lambda results: [each.index for each in results])
def several() -> list[Command]:
    return [Command.shell("echo $1 >n.txt", args=[word]) for word in "abc"]


def test_several_commands_are_one_array_job_and_its_value_is_a_list(hpc: HPCJobRunner) -> None:
    result = materialize([several], hpc)
    assert result.output_for_node("several") == [0, 1, 2]
    assert metadata_of(result, "several")["jobs"] == 3
    assert len({row.token.partition(".")[0] for row in hpc.jobs()}) == 1


def test_without_a_collect_it_is_the_list_of_outputs(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", outputs={"n": "n.txt"})
    def words() -> list[Command]:
        return [Command.shell("echo $1 >n.txt", args=[word]) for word in "ab"]

    value = materialize([words], hpc).output_for_node("words")
    assert [Path(one["n"]).read_text() for one in value] == ["a\n", "b\n"]


def test_a_list_of_one_is_a_list(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", outputs={"n": "n.txt"})
    def one() -> list[Command]:
        return [Command.shell("echo a >n.txt")]

    value = materialize([one], hpc).output_for_node("one")
    assert [Path(each["n"]).read_text() for each in value] == ["a\n"]


def test_a_list_of_none_is_refused(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small")
    def none() -> list[Command]:
        return []

    assert "returned an empty list; it must return a Command" in failure_of(materialize([none], hpc), "none")


def test_some_of_several_fail_and_the_retry_runs_only_those(hpc: HPCJobRunner, tmp_path: Path) -> None:
    @hpc_asset(profile="small")
    def sweep() -> list[Command]:
        script = f'echo "$1" >>{tmp_path}/ran; test "$1" != b || test -e {tmp_path}/mended || exit 7'
        return [Command.shell(script, args=[word]) for word in "abc"]

    instance = dg.DagsterInstance.ephemeral()
    failed = materialize([sweep], hpc, instance=instance)
    words = failure_of(failed, "sweep")
    assert "1 of 3 jobs ended badly:\n[1] " in words
    assert "ended as FAILED with exit code 7: its program ended with exit code 7." in words
    (event,) = [event for event in failed.all_node_events if event.event_type_value == "STEP_FAILURE"]
    metadata = event.step_failure_data.user_failure_data.metadata
    assert metadata["jobs"].value == 3
    assert [record.data["index"] for record in metadata["failed"].value.records] == [1]
    (tmp_path / "mended").touch()
    assert materialize([sweep], hpc, instance=instance).success
    assert sorted((tmp_path / "ran").read_text().split()) == ["a", "b", "b", "c"]


def test_a_retry_policy_runs_only_those_that_failed(hpc: HPCJobRunner, tmp_path: Path) -> None:
    @hpc_asset(profile="small", retry_policy=dg.RetryPolicy(max_retries=1))
    def sweep() -> list[Command]:
        script = f'echo "$1" >>{tmp_path}/ran; test "$1" != b || test $(grep -c b {tmp_path}/ran) -gt 1'
        return [Command.shell(script, args=[word]) for word in "ab"]

    assert materialize([sweep], hpc).success
    assert sorted((tmp_path / "ran").read_text().split()) == ["a", "b", "b"]


def test_a_step_that_yields_nothing_may_have_checks(hpc: HPCJobRunner) -> None:
    """So does a detached step: neither its value nor its checks have to come, and those downstream are skipped."""
    from dagster_hpc.assets.binding import with_optional_outputs

    @dg.asset(check_specs=[dg.AssetCheckSpec("positive", asset="waits", blocking=True)])
    def waits() -> Any:
        yield from ()

    @dg.asset
    def reads(waits: int) -> None: ...

    @dg.asset(deps=["waits"])
    def follows() -> None: ...

    asset = dg.AssetsDefinition(**{**waits.get_attributes_dict(), "node_def": with_optional_outputs(waits.op)})
    result = materialize([asset, reads, follows], hpc)
    assert result.success
    skipped = {event.step_key for event in result.all_node_events if event.event_type_value == "STEP_SKIPPED"}
    assert skipped == {"reads", "follows"}


def test_the_job_of_a_broken_collect_has_ended_well(hpc: HPCJobRunner) -> None:
    def broken(done: JobResult) -> int:
        raise ValueError("no number in it")

    assert "no number in it" in failure_of(materialize([number(collect=broken)], hpc), "number")
    assert hpc.jobs()[0].state is JobState.COMPLETED
