"""Steps that die, runs that join, users who terminate, arrays in part: no work is done twice, no message is lost."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobRunner, PipesHPCClient
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.schedulers.local.requests import Local
from tests.pipes.conftest import Program
from tests.pipes.test_client import asset_of, failure_of, materialize, metadata_of

MODULE = """
import os, signal, sys, threading, time
import dagster as dg
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, PipesHPCClient

hpc = HPCJobRunner(
    target=LocalTarget(spool={spool!r}, poll_interval=0.3), profiles={{"small": ExecutionProfile()}},
    work_root={work!r}, ledger_url={ledger!r},
)

@dg.asset
def energy(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
    command = Command({python!r}, args=[{program!r}])
    return pipes.run(context=context, command=command, profile="small", extras={{"a": 1}}).get_materialize_result()

def terminate(instance):  # as the UI does
    while not os.path.exists({began!r}):
        time.sleep(0.05)
    (run,) = instance.get_runs()
    instance.report_run_canceling(run)
    os.kill(os.getpid(), signal.SIGINT)

with dg.DagsterInstance.local_temp({home!r}) as instance:
    if sys.argv[1:] == ["terminated"]:
        threading.Thread(target=terminate, args=[instance], daemon=True).start()
    result = dg.materialize([energy], resources={{"pipes": PipesHPCClient(runner=hpc)}}, instance=instance)
    (event,) = result.get_asset_materialization_events()
    print("SAID", event.materialization.metadata["said"].value)
"""


class Steps:
    """A module whose asset is materialized in processes of their own."""

    def __init__(self, hpc: HPCJobRunner, command: Command, folder: Path) -> None:
        self.folder, self.began, self.go = folder, folder / "began", folder / "go"
        (folder / "home").mkdir()
        text = MODULE.format(
            spool=hpc.target.spool, work=hpc.work_root, ledger=hpc.ledger_url, home=str(folder / "home"),  # type: ignore[attr-defined]
            python=command.executable, program=command.args[0], began=str(self.began),
        )  # fmt: skip
        (folder / "steps.py").write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "steps.py", *words]
        return subprocess.Popen(argv, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_until_it_runs(self) -> None:
        deadline = time.monotonic() + 60
        while not self.began.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def waiting_program(program: Program, folder: Path) -> Command:
    began, go = str(folder / "began"), str(folder / "go")
    return program(
        f"pipes.log.info('the first word')\n"
        f"open({began!r}, 'a').write('x')\n"
        f"while not os.path.exists({go!r}): time.sleep(0.05)\n"
        "pipes.report_asset_materialization({'said': pipes.get_extra('a')})"
    )


def test_a_step_that_was_killed_is_followed_by_one_that_reads_all_messages_of_the_same_job(
    hpc: HPCJobRunner, program: Program, tmp_path: Path
) -> None:
    steps = Steps(hpc, waiting_program(program, tmp_path), tmp_path)
    first = steps.start()
    steps.wait_until_it_runs()
    first.kill()
    first.communicate()
    second = steps.start()
    time.sleep(1)
    steps.go.touch()

    out, err = second.communicate(timeout=120)

    assert "SAID 1" in out, err[-3000:]
    assert "the first word" in err
    assert len(hpc.jobs()) == 1
    assert steps.began.read_text() == "x"


def test_a_user_who_terminates_the_run_cancels_the_job(hpc: HPCJobRunner, program: Program, tmp_path: Path) -> None:
    steps = Steps(hpc, waiting_program(program, tmp_path), tmp_path)

    out, err = steps.start("terminated").communicate(timeout=120)

    assert "DagsterExecutionInterruptedError" in err, err[-3000:]
    assert "SAID" not in out
    assert [str(row.state) for row in hpc.jobs()] == ["CANCELLED"]


def test_a_job_whose_step_failed_after_it_is_taken_with_its_messages(pipes: PipesHPCClient, program: Program) -> None:
    command, faults = program("pipes.report_asset_materialization({'a': pipes.run_id})"), [True]

    @dg.asset
    def energy(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
        done = pipes.run(context=context, command=command, profile="small")
        if faults:
            raise RuntimeError("the step dies after its job")
        return done.get_materialize_result()

    with dg.DagsterInstance.ephemeral() as instance:
        first = materialize(energy, pipes, instance)
        faults.clear()
        second = materialize(energy, pipes, instance)
        third = materialize(energy, pipes, instance)

    assert metadata_of(second)["a"] == first.run_id  # it is the first run's job, and says so
    assert metadata_of(third)["a"] == third.run_id  # that was delivered: this is new work
    assert len(pipes.runner.jobs()) == 2


def test_messages_that_cannot_be_read_now_are_no_reason_to_run_the_job_again(
    pipes: PipesHPCClient, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset, read = asset_of(program("pipes.report_asset_materialization({'a': 1})")), LocalHost.read

    def stale(self: LocalHost, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        if "/.pipes/" in path:
            raise OSError("Stale file handle")
        return read(self, path, offset, limit)

    with dg.DagsterInstance.ephemeral() as instance:
        with monkeypatch.context() as broken:
            broken.setattr(LocalHost, "read", stale)
            first = materialize(asset, pipes, instance)
        second = materialize(asset, pipes, instance)

    assert "cannot be read now: Stale file handle" in failure_of(first)
    assert metadata_of(second)["a"] == 1
    assert len(pipes.runner.jobs()) == 1


def test_other_extras_are_another_job(pipes: PipesHPCClient, program: Program) -> None:
    command = program("pipes.report_asset_materialization({'a': pipes.get_extra('a')}); sys.exit(0)")

    with dg.DagsterInstance.ephemeral() as instance:
        for a in (1, 2):

            @dg.asset
            def energy(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
                done = pipes.run(context=context, command=command, profile="small", extras={"a": a})  # noqa: B023
                assert done.get_materialize_result().metadata["a"].value == a  # noqa: B023
                raise RuntimeError("the step dies after its job")

            materialize(energy, pipes, instance)

    assert len(pipes.runner.jobs()) == 2


def test_a_job_that_dies_between_two_messages_fails_and_materializes_nothing(
    pipes: PipesHPCClient, program: Program
) -> None:
    command = program("pipes.report_asset_materialization({'a': 1})\nos.kill(os.getpid(), 9)")
    result = materialize(asset_of(command), pipes)
    assert "ended as FAILED" in failure_of(result)
    assert not result.get_asset_materialization_events()


@pytest.mark.parametrize("arrays", [True, False], ids=["array", "no arrays there"])
def test_the_elements_of_an_array_have_contexts_and_messages_of_their_own(
    pipes: PipesHPCClient, program: Program, tmp_path: Path, arrays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not arrays:
        monkeypatch.setattr(Local, "lacks", {"array": "this system knows no array jobs"})
    broken = tmp_path / "broken"
    broken.touch()
    command = program(
        "pipes.log.info('hello from %s', pipes.partition_key)\n"
        f"if pipes.partition_key == 'b' and os.path.exists({str(broken)!r}): raise ValueError('b is broken')\n"
        "pipes.report_asset_materialization({'mine': pipes.partition_key + sys.argv[1], 'extra': pipes.get_extra('x')})"
    )

    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]), backfill_policy=dg.BackfillPolicy.single_run()
    )
    def sweep(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
        keys = context.partition_keys
        commands = [Command(command.executable, args=[*command.args, f"-{key}"]) for key in keys]
        done = pipes.run_all(
            context=context, commands=commands, partition_keys=keys, profile="small", extras={"x": 1}
        )
        for key, one in zip(keys, done, strict=True):
            (result,) = one.get_results()
            context.add_asset_metadata(dict(result.metadata or {}), partition_key=key)
        return dg.MaterializeResult()

    range_tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
    with dg.DagsterInstance.ephemeral() as instance:
        first = materialize(sweep, pipes, instance, tags=range_tags)
        broken.unlink()
        second = materialize(sweep, pipes, instance, tags=range_tags)

    words = failure_of(first)
    assert "1 of 3 elements failed: 1. The first: " in words
    assert "ValueError: b is broken" in words
    events = {event.partition: event.materialization.metadata for event in second.get_asset_materialization_events()}
    assert {key: (said["mine"].value, said["extra"].value) for key, said in events.items()} == {
        key: (f"{key}-{key}", 1) for key in "abc"
    }
    assert len(pipes.runner.jobs()) == 4  # only the one that failed was run again


def test_one_job_for_several_partitions_is_told_their_keys(pipes: PipesHPCClient, program: Program) -> None:
    command = program(
        "span = pipes.partition_key_range\n"
        "keys = pipes.get_extra('partition_keys')\n"
        "pipes.report_asset_materialization({'keys': keys, 'span': [span['start'], span['end']]})"
    )

    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c"]), backfill_policy=dg.BackfillPolicy.single_run()
    )
    def sweep(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
        return pipes.run(context=context, command=command, profile="small").get_materialize_result()

    range_tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    result = materialize(sweep, pipes, tags=range_tags)

    assert result.success
    metadata: Any = result.get_asset_materialization_events()[0].materialization.metadata
    assert (metadata["keys"].value, metadata["span"].value) == (["a", "b"], ["a", "b"])
