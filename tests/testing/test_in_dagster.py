"""Pipelines under test: the steps are Dagster's own, the jobs are played."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobRunner, JobResult, hpc_asset, job_metadata
from dagster_hpc.testing import Play, PlayedRunner


def read_counts(result: JobResult) -> dict[str, int]:
    counts: dict[str, int] = json.loads(Path(result.outputs["counts"]).read_text())
    return counts


@hpc_asset(profile="small", outputs={"counts": "counts.json"}, collect=read_counts)
def bit_counts(samples: str) -> Command:
    """Count the bitstrings in a file."""
    return Command("bitcount", args=["--input", samples])


@dg.asset
def samples() -> str:
    return "samples.txt"


@dg.asset
def most_frequent(bit_counts: dict[str, int]) -> str:
    return max(bit_counts, key=lambda bits: bit_counts[bits])


def materialize(hpc: HPCJobRunner, **options: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize([samples, bit_counts, most_frequent], resources={"hpc": hpc}, **options)


def test_a_pipeline_runs_on_what_its_jobs_would_leave(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(outputs={"counts": '{"01": 3, "11": 5}'}))
    result = materialize(played_hpc)
    assert result.output_for_node("most_frequent") == "11"
    (job,) = played_hpc.submitted
    assert (job.args, job.profile, job.asset_key, job.run_id) == (
        ("--input", "samples.txt"),
        "small",
        "bit_counts",
        result.run_id,
    )


def test_the_materialization_has_the_metadata_of_production(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bit_counts", Play(outputs={"counts": '{"01": 3}'}))
    result = materialize(played_hpc)
    (event,) = result.asset_materializations_for_node("bit_counts")
    told = {name: value.value for name, value in event.metadata.items()}
    assert (told["state"], told["job_id"]) == ("COMPLETED", "1")


def test_a_failure_is_dagsters_with_the_jobs_metadata(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(state="TIMEOUT"))
    result = materialize(played_hpc, raise_on_error=False)
    failure = result.failure_data_for_node("bit_counts")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.metadata["state"].value == "TIMEOUT"
    assert "longer walltime" in (failure.user_failure_data.description or "")


def test_the_launchpad_reaches_the_job(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(outputs={"counts": '{"01": 3}'}))
    config = {"profile": "large", "arguments": ["--fast"], "overrides": {"walltime": "3h"}}
    materialize(played_hpc, run_config={"ops": {"bit_counts": {"config": config}}})
    (job,) = played_hpc.submitted
    assert (job.profile, job.args[-1], job.spec.walltime_s) == ("large", "--fast", 3 * 3600)


def test_a_step_is_retried_by_its_policy_and_each_attempt_is_a_job(played_hpc: PlayedRunner) -> None:
    @hpc_asset(profile="small", retry_policy=dg.RetryPolicy(max_retries=3))
    def flaky() -> Command:
        return Command("bitcount")

    played_hpc.play("bitcount", Play(state="NODE_FAIL"), Play(exit_code=3), Play())
    assert dg.materialize([flaky], resources={"hpc": played_hpc}).success
    assert len(played_hpc.submitted) == 3


def test_the_partition_of_a_run_is_seen(played_hpc: PlayedRunner) -> None:
    @hpc_asset(profile="small", partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def per_molecule(context: dg.AssetExecutionContext) -> Command:
        return Command("bitcount", args=[context.partition_key])

    played_hpc.play("*", lambda job: Play(stdout=f"molecule {job.partition_key}"))
    assert dg.materialize([per_molecule], resources={"hpc": played_hpc}, partition_key="b").success
    (job,) = played_hpc.submitted
    assert (job.partition_key, job.args) == ("b", ("b",))


def test_ops_and_assets_that_run_jobs_by_hand_are_tested_alike(played_hpc: PlayedRunner) -> None:
    @dg.asset
    def by_hand(context: dg.AssetExecutionContext, hpc: HPCJobRunner) -> dg.MaterializeResult:  # type: ignore[type-arg]
        results = hpc.map(Command("echo"), [["a"], ["b"]], profile="small", context=context)
        return dg.MaterializeResult(metadata={**job_metadata(results[0]), "said": results[1].stdout_tail})

    played_hpc.play("echo", lambda job: Play(stdout=" ".join(job.args)))
    result = dg.materialize([by_hand], resources={"hpc": played_hpc})
    (event,) = result.asset_materializations_for_node("by_hand")
    assert event.metadata["said"].value == "b"


def test_the_jobs_output_is_in_the_compute_logs_as_in_production(
    played_hpc: PlayedRunner, capfd: pytest.CaptureFixture[str]
) -> None:
    played_hpc.play("bitcount", Play(outputs={"counts": '{"01": 1}'}, stdout="read 3 lines"))
    materialize(played_hpc)
    assert "read 3 lines" in capfd.readouterr().out


def test_a_finished_job_is_taken_by_the_next_attempt_of_a_step_that_failed_after_it(played_hpc: PlayedRunner) -> None:
    faults = [True]

    @hpc_asset(profile="small", collect=lambda result: 1 / 0 if faults else "fine")
    def collected() -> Command:
        return Command("bitcount")

    played_hpc.play("*", Play())
    with dg.DagsterInstance.ephemeral() as instance:
        options: dict[str, Any] = {"resources": {"hpc": played_hpc}, "instance": instance, "raise_on_error": False}
        assert not dg.materialize([collected], **options).success
        faults.clear()
        assert dg.materialize([collected], **options).success
    assert len(played_hpc.submitted) == 1


def test_definitions_take_the_played_runner_as_the_real_one(played_hpc: PlayedRunner) -> None:
    defs = dg.Definitions(assets=[samples, bit_counts, most_frequent], resources={"hpc": played_hpc})
    played_hpc.play("bitcount", Play(outputs={"counts": '{"10": 1}'}))
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process()
    assert result.output_for_node("most_frequent") == "10"


def test_an_asset_that_runs_jobs_by_hand_is_called_with_a_built_context(played_hpc: PlayedRunner) -> None:
    @dg.asset
    def by_hand(context: dg.AssetExecutionContext, hpc: HPCJobRunner) -> str:
        return hpc.run(Command("echo"), profile="small", context=context).stdout_tail

    played_hpc.play("echo", Play(stdout="hi"))
    assert by_hand(dg.build_asset_context(), hpc=played_hpc) == "hi"
    assert by_hand(dg.build_asset_context(resources={"hpc": played_hpc})) == "hi"
