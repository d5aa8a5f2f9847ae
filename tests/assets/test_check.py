"""`hpc_asset_check`: a check whose answer comes from a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobRunner, JobResult, hpc_asset_check
from dagster_hpc.assets.check import HPCAssetCheck
from tests.assets.steps import checks_of, failure_of, materialize


@dg.asset
def histogram() -> list[int]:
    return [3, 4]


@dg.asset
def reads(histogram: list[int]) -> int:
    return sum(histogram)


def check(script: str, **options: Any) -> HPCAssetCheck:
    @hpc_asset_check(asset="histogram", profile="small", **options)
    def positive(histogram: list[int]) -> Command:
        """All counts are positive."""
        return Command.shell(script, args=[json.dumps(histogram)])

    return positive


def test_a_program_that_ends_with_0_has_passed(hpc: HPCJobRunner) -> None:
    result = materialize([histogram, check('test "$1" = "[3, 4]"')], hpc)
    answer = checks_of(result)["positive"]
    (row,) = hpc.jobs()
    assert (answer.passed, answer.metadata["exit_code"].value, row.asset_key) == (True, 0, "histogram:positive")
    assert answer.metadata["job_id"].value == row.job_id


def test_a_program_that_ends_with_another_code_has_failed_and_the_step_has_not(hpc: HPCJobRunner) -> None:
    result = materialize([histogram, check("echo too small >&2; exit 3", severity=dg.AssetCheckSeverity.WARN)], hpc)
    answer = checks_of(result)["positive"]
    assert result.success
    assert (answer.passed, answer.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert answer.description == "its program ended with exit code 3"
    assert answer.metadata["exit_code"].value == 3
    assert "too small" in str(answer.metadata["stderr_tail"].value)


def test_a_failed_check_that_blocks_keeps_those_downstream_from_running(hpc: HPCJobRunner) -> None:
    result = materialize([histogram, reads, check("exit 3", blocking=True)], hpc)
    assert not result.success
    assert not result.asset_materializations_for_node("reads")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -KILL $$", "SIGKILL"),
        ("exec /no/such/program", "exit code 127"),
    ],
)
def test_a_job_that_gave_no_answer_fails_the_step(hpc: HPCJobRunner, script: str, words: str) -> None:
    result = materialize([histogram, check(script)], hpc)
    assert words in failure_of(result, "histogram_positive")
    assert checks_of(result) == {}


def test_a_job_whose_environment_could_not_be_made_gave_no_answer(hpc: HPCJobRunner) -> None:
    broken = check("true", overrides={"pre_commands": ["false"]})
    assert "pre_command false" in failure_of(materialize([histogram, broken], hpc), "histogram_positive")


def test_a_job_that_ran_out_of_time_gave_no_answer(hpc: HPCJobRunner) -> None:
    slow = check("sleep 60", overrides={"walltime": "1"})
    assert "TIMEOUT" in failure_of(materialize([histogram, slow], hpc), "histogram_positive")


def test_collect_may_say_more(hpc: HPCJobRunner) -> None:
    def read(result: JobResult) -> dg.AssetCheckResult:
        least = int(Path(result.outputs["least"]).read_text())
        return dg.AssetCheckResult(passed=least > 3, metadata={"least": least}, severity=dg.AssetCheckSeverity.WARN)

    result = materialize([histogram, check("echo 3 >least", outputs={"least": "least"}, collect=read)], hpc)
    answer = checks_of(result)["positive"]
    assert (answer.passed, answer.severity, answer.metadata["least"].value) == (False, dg.AssetCheckSeverity.WARN, 3)
    assert answer.metadata["state"].value == "COMPLETED"


def test_collect_below_the_function_may_return_a_bool(hpc: HPCJobRunner) -> None:
    asked = check("echo hi")
    asked.collect(lambda result: "hi" in result.stdout_tail)
    assert checks_of(materialize([histogram, asked], hpc))["positive"].passed


def test_a_collect_that_returns_something_else_is_told_so(hpc: HPCJobRunner) -> None:
    words = failure_of(materialize([histogram, check("true", collect=lambda result: None)], hpc), "histogram_positive")
    assert "returned NoneType; it must return a bool or a dg.AssetCheckResult" in words


def test_of_several_commands_all_have_to_pass(hpc: HPCJobRunner) -> None:
    def several(*codes: int) -> HPCAssetCheck:
        @hpc_asset_check(asset="histogram", profile="small", name="each")
        def each() -> list[Command]:
            return [Command.shell(f"exit {code}") for code in codes]

        return each

    answer = checks_of(materialize([histogram, several(0, 3)], hpc))["each"]
    assert (answer.passed, answer.metadata["jobs"].value) == (False, 2)
    assert checks_of(materialize([histogram, several(0, 0)], hpc))["each"].passed
    assert "1 of 2 jobs ended badly" in failure_of(materialize([histogram, several(0, 127)], hpc), "histogram_each")


def test_the_launchpad_and_a_partition_reach_the_job(hpc: HPCJobRunner) -> None:
    partitions = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=partitions)
    def parts() -> int:
        return 1

    @hpc_asset_check(asset=parts, profile="small", partitions_def=partitions)
    def fine(context: dg.AssetCheckExecutionContext, parts: int) -> Command:
        return Command.shell("echo $1", args=[context.partition_key])

    config = {"ops": {"parts_fine": {"config": {"overrides": {"walltime": "00:07:00"}}}}}
    result = materialize([parts, fine], hpc, run_config=config, partition_key="b")
    metadata = checks_of(result)["fine"].metadata
    assert "#LOCAL --time=420\n" in str(metadata["script"].value)
    assert (str(metadata["stdout_tail"].value), hpc.jobs()[0].partition_key) == ("```\nb\n```", "b")


def test_further_upstream_values_are_parameters(hpc: HPCJobRunner) -> None:
    @dg.asset
    def limit() -> int:
        return 7

    @hpc_asset_check(asset="histogram", profile="small", additional_ins={"limit": dg.AssetIn("limit")})
    def below(histogram: list[int], limit: int) -> Command:
        return Command.shell('test "$1" -le "$2"', args=[str(sum(histogram)), str(limit)])

    assert checks_of(materialize([histogram, limit, below], hpc))["below"].passed


def test_a_check_that_failed_is_asked_again_the_next_time(hpc: HPCJobRunner) -> None:
    """Its answer was delivered: another run is another question."""
    instance = dg.DagsterInstance.ephemeral()
    for _ in range(2):
        assert not checks_of(materialize([histogram, check("exit 3")], hpc, instance=instance))["positive"].passed
    assert len(hpc.jobs()) == 2


def test_definitions_take_it_as_a_check_and_its_description_is_the_docstring() -> None:
    made = check("true")
    defs = dg.Definitions(assets=[histogram], asset_checks=[made], resources={"hpc": HPCJobRunner.configure_at_launch()})
    (spec,) = made.check_specs
    assert spec.description == "All counts are positive."
    assert spec.key in {key for one in defs.asset_checks or () if isinstance(one, HPCAssetCheck) for key in one.check_keys}
