"""A program that reports through Dagster Pipes, as a batch job: what it says is what the asset says."""

import logging
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, PipesHPCClient
from tests.pipes.conftest import Program, message


def asset_of(command: Command, **more: Any) -> dg.AssetsDefinition:
    @dg.asset(name="energy")
    def made(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
        done = pipes.run(context=context, command=command, profile="small", **more)
        return done.get_materialize_result()

    return made


def materialize(
    asset: dg.AssetsDefinition, pipes: PipesHPCClient, instance: dg.DagsterInstance | None = None, **more: Any
) -> dg.ExecuteInProcessResult:
    return dg.materialize([asset], resources={"pipes": pipes}, instance=instance, raise_on_error=False, **more)


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = result.get_step_failure_events()
    data = event.step_failure_data
    return (data.user_failure_data.description or "") if data.user_failure_data else str(data.error)


def test_what_a_program_reports_is_the_materialization_with_the_metadata_of_its_job(
    pipes: PipesHPCClient, program: Program
) -> None:
    command = program(
        """
pipes.log.info("began in %s", os.getcwd())
pipes.report_asset_materialization(metadata={"energy": -1.5, "steps": 7, "note": "fine", "nodes": 3,
    "page": {"raw_value": "https://example.org", "type": "url"}, "lost": float("nan")}, data_version="v1")
"""
    )

    result = materialize(asset_of(command), pipes)

    said = metadata_of(result)
    assert {name: said[name] for name in ("energy", "steps", "note", "nodes", "page", "lost", "state")} == {
        "energy": -1.5, "steps": 7, "note": "fine", "nodes": 3, "page": "https://example.org", "lost": None,
        "state": "COMPLETED",
    }  # fmt: skip
    assert result.get_asset_materialization_events()[0].materialization.tags["dagster/data_version"] == "v1"


def test_a_program_finds_its_context_wherever_it_goes_before_it_opens_pipes(
    pipes: PipesHPCClient, program: Program
) -> None:
    command = program(
        'pipes.report_asset_materialization({"run": pipes.run_id, "key": pipes.asset_key, "extra": pipes.get_extra("a")})',
        before="os.chdir('/')",
    )

    result = materialize(asset_of(command, extras={"a": 5}), pipes)

    said = metadata_of(result)
    assert (said["run"], said["key"], said["extra"]) == (result.run_id, "energy", 5)


def test_log_messages_reach_the_run_while_the_job_runs(pipes: PipesHPCClient, program: Program, tmp_path: Path) -> None:
    """The job waits for a file that is made only when its message has come."""
    seen = tmp_path / "seen"
    command = program(
        f'pipes.log.warning("are you there?")\nwhile not os.path.exists({str(seen)!r}): time.sleep(0.05)\n'
    )
    levels: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "are you there?" in record.getMessage():
                levels.append(record.levelname)
                seen.touch()

    @dg.logger
    def watching(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("watch")
        logger.addHandler(Watch())
        return logger

    defs = dg.Definitions([asset_of(command, timeout=60)], loggers={"watch": watching}, resources={"pipes": pipes})
    job = defs.resolve_implicit_global_asset_job_def()

    assert job.execute_in_process(run_config={"loggers": {"watch": {}}}).success
    assert levels == ["WARNING"]


def test_the_exception_of_a_program_is_in_the_failure(pipes: PipesHPCClient, program: Program) -> None:
    words = failure_of(materialize(asset_of(program('raise ValueError("no convergence")')), pipes))
    assert "ended as FAILED with exit code 1" in words
    assert "ValueError: no convergence" in words.partition("left Dagster Pipes by an exception")[2]


def test_an_exception_that_the_exit_code_hides_is_a_failure(pipes: PipesHPCClient, program: Program) -> None:
    python = program('raise ValueError("no convergence")')
    command = Command.shell('"$@" || true', args=[python.executable, *python.args])
    words = failure_of(materialize(asset_of(command), pipes))
    assert "ended well, but its program left Dagster Pipes by an exception" in words
    assert "ValueError: no convergence" in words


@pytest.mark.parametrize(
    ("inside", "after", "words"),
    [
        ("", "print('done')", "it has reported nothing"),
        ("pipes.report_asset_materialization({'a': 1})\nos._exit(0)", "", "opened Dagster Pipes and never closed it"),
        ("", "open(os.environ['HPC_PIPES_MESSAGES'], 'a').write('hello\\n')", "is no message: 'hello'"),
        ("", "open(os.environ['HPC_PIPES_MESSAGES'], 'a').write('{\"__dag')", "is not finished: '{\"__dag'"),
        (
            "pipes.report_asset_materialization({'a': {'raw_value': 'x', 'type': 'int'}})",
            "",
            "Dagster does not take what it reported",
        ),
    ],
)  # fmt: skip
def test_messages_that_are_missing_or_wrong_fail_the_step(
    pipes: PipesHPCClient, program: Program, inside: str, after: str, words: str
) -> None:
    asset = asset_of(program(inside, after=after))
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(asset, pipes, instance)
        assert words in failure_of(result)
        assert not result.get_asset_materialization_events()
        materialize(asset, pipes, instance)
    assert len(pipes.runner.jobs()) == 2  # the next attempt runs it anew


def test_a_materialization_that_is_told_in_halves_is_one(pipes: PipesHPCClient) -> None:
    line = message("report_asset_materialization", metadata={"a": 1})
    script = f"printf %s '{line[:40]}' >>\"$HPC_PIPES_MESSAGES\"; sleep 1; echo '{line[40:]}' >>\"$HPC_PIPES_MESSAGES\""
    assert metadata_of(materialize(asset_of(Command.shell(script)), pipes))["a"] == 1


def test_two_programs_of_one_job_report_one_asset(pipes: PipesHPCClient, program: Program) -> None:
    first = program("pipes.report_asset_materialization({'a': 1, 'b': 1}); time.sleep(1)")
    second = program("pipes.report_asset_materialization({'b': 2}, data_version='2')")
    words = " ".join([second.executable, *second.args])
    command = Command.shell(f'"$@" & sleep 0.5; {words}; wait', args=[first.executable, *first.args])
    said = metadata_of(materialize(asset_of(command), pipes))
    assert (said["a"], said["b"]) == (1, 2)


def test_one_of_two_programs_that_died_silently_fails_the_step(pipes: PipesHPCClient, program: Program) -> None:
    dying = program("pipes.log.info('hello'); os.kill(os.getpid(), 9)")
    second = program("pipes.report_asset_materialization({'b': 2})")
    words = " ".join([second.executable, *second.args])
    command = Command.shell(f'"$@" || {words}', args=[dying.executable, *dying.args])
    assert "2 programs opened Dagster Pipes and 1 closed it" in failure_of(materialize(asset_of(command), pipes))


def test_what_a_program_reports_of_its_secrets_is_hidden(
    hpc: HPCJobRunner, program: Program, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    runner = HPCJobRunner(
        target=hpc.target, work_root=hpc.work_root, ledger_url=hpc.ledger_url,
        profiles={"small": ExecutionProfile(environments={"TOKEN": dg.EnvVar("MY_SECRET")})},
    )  # fmt: skip
    command = program(
        """
pipes.log.warning("signed in with %s", os.environ["TOKEN"])
pipes.report_asset_materialization(metadata={"all": {"raw_value": [os.environ["TOKEN"]], "type": "json"}})
"""
    )

    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(asset_of(command), PipesHPCClient(runner=runner), instance)
        events = [str(event) for event in instance.all_logs(result.run_id)]

    assert metadata_of(result)["all"] == ["***"]
    assert any("signed in with ***" in event for event in events)
    printed = capfd.readouterr()
    assert not any("hunter2" in text for text in (*events, printed.out, printed.err))


def test_checks_and_custom_messages(pipes: PipesHPCClient, program: Program) -> None:
    command = program(
        """
pipes.report_custom_message({"iterations": [1, 2]})
pipes.report_asset_check("converged", passed=True, metadata={"residual": 1e-9})
pipes.report_asset_check("below_hf", passed=False, severity="WARN")
pipes.report_asset_materialization({"a": 1})
"""
    )
    told: list[Any] = []

    @dg.asset(check_specs=[dg.AssetCheckSpec("converged", asset="energy"), dg.AssetCheckSpec("below_hf", asset="energy")])
    def energy(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
        done = pipes.run(context=context, command=command, profile="small")
        told.extend(done.get_custom_messages())
        return done.get_materialize_result()

    result = materialize(energy, pipes)

    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert (checks["converged"].passed, checks["below_hf"].passed) == (True, False)
    assert checks["below_hf"].severity is dg.AssetCheckSeverity.WARN
    assert checks["converged"].metadata["residual"].value == 1e-9
    assert checks["converged"].metadata["job_id"].value
    assert told == [{"iterations": [1, 2]}]


def test_several_assets_of_one_job(pipes: PipesHPCClient, program: Program) -> None:
    command = program(
        "for key in pipes.asset_keys: pipes.report_asset_materialization({'mine': key}, asset_key=key)"
    )

    @dg.multi_asset(specs=[dg.AssetSpec(["site", "a"]), dg.AssetSpec("b")])
    def both(context: dg.AssetExecutionContext, pipes: PipesHPCClient):  # type: ignore[no-untyped-def]
        return pipes.run(context=context, command=command, profile="small").get_results()

    result = materialize(both, pipes)

    assert result.success
    events = [event.materialization for event in result.get_asset_materialization_events()]
    assert {event.asset_key.to_user_string(): event.metadata["mine"].value for event in events} == {
        "site/a": "site/a", "b": "b"
    }  # fmt: skip
    assert len({event.metadata["job_id"].value for event in events}) == 1


def test_an_asset_that_the_step_does_not_make_is_named(pipes: PipesHPCClient) -> None:
    said = message("report_asset_materialization", asset_key="enrgy")
    words = failure_of(materialize(asset_of(Command.shell(f"echo '{said}' >>\"$HPC_PIPES_MESSAGES\"")), pipes))
    assert "reported a materialization of 'enrgy', which is no asset of this step: did you mean 'energy'?" in words


def test_a_check_of_its_own_may_be_a_job(pipes: PipesHPCClient, program: Program) -> None:
    command = program('pipes.report_asset_check("sound", passed=True, asset_key="energy")')

    @dg.asset_check(asset="energy")
    def sound(context: dg.AssetCheckExecutionContext, pipes: PipesHPCClient) -> dg.AssetCheckResult:
        return pipes.run(context=context, command=command, profile="small").get_asset_check_result()

    defs = dg.Definitions([dg.AssetSpec("energy")], asset_checks=[sound], resources={"pipes": pipes})
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(raise_on_error=False)

    assert [check.passed for check in result.get_asset_check_evaluations()] == [True]


def test_a_check_reported_by_a_shell_command_need_not_name_its_asset(pipes: PipesHPCClient) -> None:
    line = message("report_asset_check", check_name="sound", passed=False)

    @dg.asset_check(asset=dg.AssetKey(["site", "energy"]))
    def sound(context: dg.AssetCheckExecutionContext, pipes: PipesHPCClient) -> dg.AssetCheckResult:
        command = Command.shell(f"echo '{line}' >>\"$HPC_PIPES_MESSAGES\"")
        return pipes.run(context=context, command=command, profile="small").get_asset_check_result()

    defs = dg.Definitions([dg.AssetSpec(["site", "energy"])], asset_checks=[sound], resources={"pipes": pipes})
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(raise_on_error=False)

    assert [check.passed for check in result.get_asset_check_evaluations()] == [False]


def test_an_asset_may_be_called_in_a_unit_test(pipes: PipesHPCClient, program: Program) -> None:
    asset = asset_of(program("pipes.report_asset_materialization({'a': 1})"))
    result = asset(dg.build_asset_context(), pipes=pipes)
    assert result.metadata["a"].value == 1


def test_the_run_carries_the_id_of_the_job_and_values_of_the_environment_are_taken(
    hpc: HPCJobRunner, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORK_OF_THIS_TEST", str(tmp_path / "elsewhere"))
    runner = HPCJobRunner(
        target=hpc.target, profiles=hpc.profiles, work_root=dg.EnvVar("WORK_OF_THIS_TEST"), ledger_url=hpc.ledger_url
    )
    there = PipesHPCClient(runner=runner)
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(asset_of(program("pipes.report_asset_materialization({'a': 1})")), there, instance)
        run = instance.get_run_by_id(result.run_id)
    said = metadata_of(result)
    assert run is not None
    assert run.tags["dagster_hpc/job_id"] == said["job_id"]
    assert said["work_dir"].startswith(str(tmp_path / "elsewhere"))


def test_a_long_text_is_cut(pipes: PipesHPCClient, program: Program) -> None:
    said = metadata_of(materialize(asset_of(program("pipes.report_asset_materialization({'a': 'x' * 100_000})")), pipes))
    assert len(said["a"]) == 20_001


def test_an_op_may_run_a_program_that_only_sends_messages(pipes: PipesHPCClient, program: Program) -> None:
    command = program("pipes.report_custom_message(42)")

    @dg.op
    def ask(context: dg.OpExecutionContext, pipes: PipesHPCClient):  # type: ignore[no-untyped-def]
        return pipes.run(context=context, command=command, profile="small").get_custom_messages()[0]

    @dg.job(resource_defs={"pipes": pipes})
    def study() -> None:
        ask()

    assert study.execute_in_process().output_for_node("ask") == 42
