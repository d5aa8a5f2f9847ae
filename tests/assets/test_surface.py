"""What somebody who knows Dagster tries first. Most of it failed in 0.1.0."""

import os
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobRunner, JobState, LocalTarget, hpc_asset
from tests.assets.steps import checks_of, failure_of, materialize, metadata_of


@hpc_asset(profile="small")
def hello() -> Command:
    return Command.shell("echo hello", name="hello", description="A greeting")


def test_a_check_of_dagsters_own_may_run_a_job(hpc: HPCJobRunner) -> None:
    @dg.asset_check(asset="hello")
    def greets(context: dg.AssetCheckExecutionContext, hpc: HPCJobRunner) -> dg.AssetCheckResult:
        result = hpc.run(Command.shell("true"), profile="small", context=context)
        return dg.AssetCheckResult(passed=result.succeeded)

    assert checks_of(materialize([hello, greets], hpc))["greets"].passed
    assert {row.asset_key for row in hpc.jobs()} == {"hello", "hello:greets"}


def test_an_asset_of_dagsters_own_may_be_called_with_a_runner(hpc: HPCJobRunner) -> None:
    @dg.asset
    def by_hand(context: dg.AssetExecutionContext, hpc: HPCJobRunner) -> str:
        return str(hpc.run(Command.shell("true"), profile="small", context=context).state)

    assert by_hand(dg.build_asset_context(), hpc=hpc) == "COMPLETED"


def test_a_variable_as_work_root_is_its_value_in_a_plain_script_too(
    hpc: HPCJobRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    runner = HPCJobRunner(
        target=hpc.target, profiles=hpc.profiles, work_root=dg.EnvVar("MY_ROOT"), ledger_url=hpc.ledger_url
    )
    result = runner.run(Command.shell("pwd"), profile="small")
    assert result.handle.work_dir.startswith(str(tmp_path / "root"))
    assert "MY_ROOT" not in os.listdir(tmp_path)


def test_a_context_without_an_annotation_is_a_context(hpc: HPCJobRunner) -> None:
    @hpc_asset("small")
    def told(context) -> Command:  # type: ignore[no-untyped-def]
        return Command.shell("echo $1", args=[context.asset_key.to_user_string()])

    assert "told" in metadata_of(materialize([told], hpc), "told")["stdout_tail"]


def test_upstream_values_resources_and_config_are_parameters_in_any_order(hpc: HPCJobRunner) -> None:
    class Prefix(dg.ConfigurableResource):  # type: ignore[type-arg]
        word: str

    @dg.asset(key=["lab", "samples"])
    def samples() -> str:
        return "0110"

    @hpc_asset(profile="small", ins={"bits": dg.AssetIn(["lab", "samples"])}, deps=["calibration"])
    def told(prefix: Prefix, context: dg.AssetExecutionContext, bits: str) -> Command:
        return Command.shell("echo $1 $2", args=[prefix.word, bits])

    result = dg.materialize([samples, told], resources={"hpc": hpc, "prefix": Prefix(word="bits")})
    assert "bits 0110" in metadata_of(result, "told")["stdout_tail"]


def test_the_log_says_what_the_command_is_for_and_never_none(
    hpc: HPCJobRunner, capfd: pytest.CaptureFixture[str]
) -> None:
    one_at_a_time = HPCJobRunner(
        target=LocalTarget(**{**dict(hpc.target), "max_jobs": 1}),
        profiles=hpc.profiles, work_root=hpc.work_root, ledger_url=hpc.ledger_url,
    )  # fmt: skip

    @dg.asset
    def two(context: dg.AssetExecutionContext, hpc: HPCJobRunner) -> None:
        first, second = (
            hpc.submit(Command.shell("sleep 0.5", description=f"Part {n}"), profile="small", context=context)
            for n in (1, 2)
        )
        hpc.wait_all([first, second], context=context)

    assert materialize([two], one_at_a_time).success
    log = capfd.readouterr().err
    assert "Part 1: submitted job 1 on " in log
    assert "Part 2: job " in log
    assert "waits in the ledger for room" in log
    assert "job None" not in log


def test_several_jobs_of_one_step_are_waited_for_together_or_as_they_end(hpc: HPCJobRunner) -> None:
    @dg.asset
    def both(context: dg.AssetExecutionContext, hpc: HPCJobRunner) -> list[int | None]:
        commands = [Command.shell(f"sleep {delay}; exit {code}") for delay, code in ((0.6, 0), (0, 3))]
        handles = [hpc.submit(command, profile="small", context=context) for command in commands]
        first = next(iter(hpc.as_completed(handles, context=context)))
        assert (first.index, first.state) == (1, JobState.FAILED)
        return [result.exit_code for result in hpc.wait_all(handles, context=context)]

    assert materialize([both], hpc).output_for_node("both") == [0, 3]


def test_an_asset_key_with_a_prefix_and_an_io_manager_of_ones_own(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small", key_prefix=["lab", "one"], io_manager_key="memory")
    def kept() -> Command:
        return Command.shell("true")

    memory = dg.InMemoryIOManager()
    assert dg.materialize([kept], resources={"hpc": hpc, "memory": memory}).success
    assert hpc.jobs()[0].asset_key == "lab/one/kept"
    assert list(memory.values.values()) == [{}]


def test_a_function_that_returns_nothing_is_told_what_to_return(hpc: HPCJobRunner) -> None:
    @hpc_asset(profile="small")
    def forgot():  # type: ignore[no-untyped-def]
        Command.shell("true")

    assert "returned NoneType; it must return a Command" in failure_of(materialize([forgot], hpc), "forgot")
