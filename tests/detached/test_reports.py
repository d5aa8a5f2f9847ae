"""A step submits and ends; when its job is over, the sensor tells Dagster what it came to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, JobResult, hpc_asset
from tests.detached.conftest import Lab

WAITS = 'while [ ! -e "$1" ]; do sleep 0.1; done; echo 42 >answer.txt'


def answer(result: JobResult) -> int:
    return int(Path(result.outputs["answer"]).read_text())


def test_the_run_ends_at_once_and_the_materialization_comes_later(lab: Lab, tmp_path: Path) -> None:
    go = tmp_path / "go"

    @hpc_asset(profile="small", outputs={"answer": "answer.txt"}, collect=answer, detached=True)
    def number() -> Command:
        return Command.shell(WAITS, args=[str(go)])

    @dg.asset
    def doubled(number: int) -> int:
        return 2 * number

    lab.assets = [number, doubled]
    result = lab.launch()
    assert [event.step_key for event in result.get_step_skipped_events()] == ["doubled"]
    assert lab.look().endswith("1 detached under way")
    assert lab.materializations("number") == []

    go.touch()
    lab.settle()
    (made,) = lab.materializations("number")
    (job,) = lab.hpc.jobs()
    assert made.metadata["job_id"].value == job.job_id
    assert made.metadata["run"].value == result.run_id
    assert (made.tags or {})["dagster_hpc/token"] == job.token
    assert job.held_identity is None  # it was delivered
    assert lab.launch("doubled").output_for_node("doubled") == 84


def test_one_launch_may_wait_and_another_may_not(lab: Lab) -> None:
    @hpc_asset(profile="small")
    def one() -> Command:
        return Command("/bin/true")

    lab.assets = [one]
    lab.launch()
    assert len(lab.materializations("one")) == 1
    lab.launch(config={"ops": {"one": {"config": {"detached": True}}}})
    assert len(lab.materializations("one")) == 1
    lab.settle()
    assert len(lab.materializations("one")) == 2


def test_a_job_that_fails_is_told_with_its_reason(lab: Lab) -> None:
    @hpc_asset(profile="small", detached=True)
    def broken() -> Command:
        return Command.shell("echo no such basis set >&2; exit 3")

    lab.assets = [broken]
    lab.launch()
    lab.settle()
    (failed,) = lab.failures("broken")
    assert lab.materializations("broken") == []
    assert (failed.metadata["state"].value, failed.metadata["exit_code"].value) == ("FAILED", 3)
    assert "no such basis set" in str(failed.metadata["stderr_tail"].value)
    assert "exit code 3" in str(failed.description)


def test_what_the_job_printed_is_in_the_compute_logs_of_the_run(lab: Lab) -> None:
    @hpc_asset(profile="small", detached=True)
    def chatty() -> Command:
        return Command.shell("echo step 1; echo step 2; echo careful >&2")

    lab.assets = [chatty]
    run = lab.launch()
    lab.settle()
    assert printed(lab, run, "chatty") == (b"step 1\nstep 2\n", b"careful\n")


def test_what_it_printed_of_its_secrets_is_hidden_there_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    lab.hpc = HPCJobRunner(
        target=lab.hpc.target, work_root=lab.hpc.work_root, ledger_url=lab.hpc.ledger_url,
        profiles={"s": ExecutionProfile(environments={"TOKEN": dg.EnvVar("MY_SECRET")})},
    )  # fmt: skip

    @hpc_asset(profile="s", detached=True)
    def debugging() -> Command:
        return Command.shell('echo "it is $TOKEN"')

    lab.assets = [debugging]
    run = lab.launch()
    lab.settle()
    assert printed(lab, run, "debugging") == (b"it is ***\n", b"")


def printed(lab: Lab, run: dg.ExecuteInProcessResult, asset: str) -> tuple[bytes | None, bytes | None]:
    """What stands in the compute logs of the job of this asset, in the run that submitted it."""
    captured = [
        event.logs_captured_data for event in (
            record.event_log_entry.dagster_event for record in lab.instance.get_records_for_run(run.run_id).records
        ) if event and event.event_type is dg.DagsterEventType.LOGS_CAPTURED
    ]  # fmt: skip
    (ours,) = [data for data in captured if data.step_keys == [f"{asset}, job {lab.hpc.jobs()[0].job_id}"]]
    manager = lab.instance.compute_log_manager
    logs = manager.get_log_data(manager.build_log_key_for_run(run.run_id, ours.file_key))
    return logs.stdout, logs.stderr


def test_several_commands_are_one_report_with_a_list(lab: Lab) -> None:
    @hpc_asset(profile="small", outputs={"answer": "answer.txt"}, detached=True)
    def sweep() -> list[Command]:
        return [Command.shell(f"echo {number} >answer.txt") for number in (1, 2, 3)]

    @dg.asset
    def total(sweep: list[dict[str, str]]) -> int:
        return sum(int(Path(each["answer"]).read_text()) for each in sweep)

    lab.assets = [sweep, total]
    lab.launch()
    lab.settle()
    (made,) = lab.materializations("sweep")
    assert made.metadata["jobs"].value == 3
    assert lab.launch("total").output_for_node("total") == 6


def test_each_partition_is_reported_as_its_own(lab: Lab) -> None:
    @hpc_asset(
        profile="small", outputs={"answer": "answer.txt"}, detached=True,
        partitions_def=dg.StaticPartitionsDefinition(["a", "b"]),
    )  # fmt: skip
    def part(context: dg.AssetExecutionContext) -> Command:
        return Command.shell(f"echo {context.partition_key} >answer.txt")

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def upper(part: dict[str, str]) -> str:
        return Path(part["answer"]).read_text().strip().upper()

    lab.assets = [part, upper]
    for key in "ab":
        lab.launch("part", partition=key)
    lab.settle()
    assert sorted(str(made.partition) for made in lab.materializations("part")) == ["a", "b"]
    assert lab.launch("upper", partition="b").output_for_node("upper") == "B"


def test_a_range_of_partitions_is_one_array_and_each_is_reported(lab: Lab) -> None:
    @hpc_asset(
        profile="small", outputs={"answer": "answer.txt"}, detached=True,
        partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]), backfill_policy=dg.BackfillPolicy.single_run(),
    )  # fmt: skip
    def part(context: dg.AssetExecutionContext) -> Command:
        return Command.shell(f"[ {context.partition_key} != b ] && echo {context.partition_key} >answer.txt")

    lab.assets = [part]
    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
    job = lab.definitions.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=lab.instance, tags=tags).success
    assert len({row.batch for row in lab.hpc.jobs()}) == 1
    lab.settle()
    assert sorted(str(made.partition) for made in lab.materializations("part")) == ["a", "c"]
    assert [failed.partition for failed in lab.failures("part")] == ["b"]


def test_checks_and_data_version_come_with_the_report(lab: Lab) -> None:
    def judged(result: JobResult) -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(
            value=1,
            metadata={"energy": -1.5},
            check_results=[dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, metadata={"gap": 2})],
            data_version=dg.DataVersion("v7"),
        )

    @dg.asset
    def upstream() -> int:
        return 1

    @hpc_asset(
        profile="small", collect=judged, detached=True, code_version="c1",
        check_specs=[dg.AssetCheckSpec("ok", asset="judgement")],
    )  # fmt: skip
    def judgement(upstream: int) -> Command:
        return Command("/bin/true")

    lab.assets = [upstream, judgement]
    lab.launch()
    lab.settle()
    (made,) = lab.materializations("judgement")
    assert made.metadata["energy"].value == -1.5
    tags = made.tags or {}
    assert (tags["dagster/data_version"], tags["dagster/code_version"]) == ("v7", "c1")
    (of_upstream,) = lab.materializations("upstream")
    assert tags["dagster/input_data_version/upstream"] == (of_upstream.tags or {})["dagster/data_version"]
    (evaluation,) = lab.evaluations("judgement", "ok")
    assert (evaluation.passed, evaluation.metadata["gap"].value) == (False, 2)
    assert evaluation.target_materialization_data is not None


def test_a_collect_that_raises_is_told_once_and_the_result_is_owed_to_the_next_run(
    lab: Lab, hpc: HPCJobRunner, tmp_path: Path
) -> None:
    traces, faults = tmp_path / "traces", [True]

    @hpc_asset(profile="small", collect=lambda result: 1 / 0 if faults else "fine", detached=True)
    def counted() -> Command:
        return Command.shell('echo ran >>"$1"', args=[str(traces)])

    lab.assets = [counted]
    lab.launch()
    lab.settle()
    lab.look()
    (failed,) = lab.failures("counted")
    assert "ZeroDivisionError" in str(failed.metadata["failure"].value)

    faults.clear()
    lab.launch()
    lab.settle()
    assert len(lab.materializations("counted")) == 1
    assert traces.read_text().split() == ["ran"]
