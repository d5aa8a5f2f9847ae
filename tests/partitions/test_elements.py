"""What belongs to one partition of a run: its checks, its data version, its commands; and what belongs to them all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_hpc import Command, HPCJobRunner, JobResult, JobState, LocalTarget, hpc_asset
from dagster_hpc.engine.ledger import Ledger
from tests.partitions.runs import arrays, failure_of, materializations, metadata_of, run_range

LETTERS = dg.StaticPartitionsDefinition(list("abcdef"))
ONE_RUN = dg.BackfillPolicy.single_run()


def data_version(instance: dg.DagsterInstance, asset: str, partition: str) -> str:
    (one,) = materializations(instance, asset)[partition][-1:]
    return (one.tags or {})["dagster/data_version"]


def test_each_partition_has_the_data_version_and_the_metadata_that_collect_says(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    def collect(result: JobResult) -> dg.MaterializeResult[str]:
        said = result.stdout_tail.strip()
        return dg.MaterializeResult(value=said, metadata={"said": said}, data_version=dg.DataVersion(f"v-{said}"))

    @hpc_asset(profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, collect=collect)
    def letter(context: dg.AssetExecutionContext) -> Command:
        return Command("/bin/echo", args=[context.partition_key])

    assert run_range([letter], hpc, instance, "a", "c").success
    for key in "abc":
        assert data_version(instance, "letter", key) == f"v-{key}"
        assert metadata_of(materializations(instance, "letter")[key][0])["said"] == key


def test_the_default_data_version_follows_that_of_the_same_partition_upstream(
    hpc: HPCJobRunner, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    @dg.asset(partitions_def=LETTERS)
    def before(context: dg.AssetExecutionContext) -> dg.MaterializeResult[str]:
        return dg.MaterializeResult(value="x", data_version=dg.DataVersion(f"before-{context.partition_key}"))

    @hpc_asset(profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, code_version="1")
    def after(before: str) -> Command:
        return Command("/bin/true")

    resources = {"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path))}
    for key in "abc":
        dg.materialize([before], instance=instance, resources=resources, partition_key=key)
    run_range([before, after], hpc, instance, "a", "c", resources=resources, selection=[after])
    as_a_range = {key: data_version(instance, "after", key) for key in "abc"}
    assert len(set(as_a_range.values())) == 3
    alone = {"hpc": hpc, **resources}
    dg.materialize([before, after], selection=[after], instance=instance, resources=alone, partition_key="b")
    assert data_version(instance, "after", "b") == as_a_range["b"]


def checked(partitions: dg.PartitionsDefinition[Any] | None, *, blocking: bool = False) -> dg.AssetsDefinition:
    """Its check passes on every partition but c."""

    def collect(result: JobResult) -> dg.MaterializeResult[str]:
        said = result.stdout_tail.strip()
        return dg.MaterializeResult(
            value=said, check_results=[dg.AssetCheckResult(passed=said != "c", check_name="vowel", description=said)]
        )

    @hpc_asset(
        profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, collect=collect,
        check_specs=[dg.AssetCheckSpec("vowel", asset="letter", partitions_def=partitions, blocking=blocking)],
    )  # fmt: skip
    def letter(context: dg.AssetExecutionContext) -> Command:
        return Command("/bin/echo", args=[context.partition_key])

    return letter


def test_a_check_that_is_partitioned_is_told_of_each_partition(hpc: HPCJobRunner, instance: dg.DagsterInstance) -> None:
    result = run_range([checked(LETTERS)], hpc, instance, "a", "d")
    assert result.success
    assert {one.partition: one.passed for one in result.get_asset_check_evaluations()} == {
        "a": True, "b": True, "c": False, "d": True,
    }  # fmt: skip


def test_a_check_that_is_not_passes_if_it_passes_on_each(hpc: HPCJobRunner, instance: dg.DagsterInstance) -> None:
    result = run_range([checked(None)], hpc, instance, "a", "d")
    (one,) = result.get_asset_check_evaluations()
    assert (one.passed, one.partition, one.description) == (False, None, "1 of 4 partitions do not pass")
    rows = one.metadata["partitions"].records  # type: ignore[attr-defined]
    assert [row.data["partition"] for row in rows if not row.data["passed"]] == ["c"]


def test_a_blocking_check_fails_the_step_when_all_partitions_are_there(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    result = run_range([checked(LETTERS, blocking=True)], hpc, instance, "a", "d")
    assert not result.success
    assert "1 blocking asset check failed" in failure_of(result, "letter").error.message
    assert set(materializations(instance, "letter")) == set("abcd")


def test_a_partition_may_be_several_commands_which_are_elements_of_the_same_array(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    @hpc_asset(
        profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN,
        collect=lambda results: "".join(result.stdout_tail.strip() for result in results),
    )  # fmt: skip
    def pair(context: dg.AssetExecutionContext) -> list[Command]:
        return [Command("/bin/echo", args=[word]) for word in (context.partition_key, "x", "x")]

    result = run_range([pair], hpc, instance, "a", "b")
    assert result.success
    assert arrays(hpc) == [["a", "a", "a", "b", "b", "b"]]
    assert {key: metadata_of(one)["jobs"] for key, (one,) in materializations(instance, "pair").items()} == {"a": 3, "b": 3}
    before = {row.identity for row in hpc.jobs()}
    assert len(before) == 6
    dg.materialize([pair], instance=instance, resources={"hpc": hpc}, partition_key="a")
    assert {row.identity for row in hpc.jobs()} == before  # the same jobs as the partition alone


def test_no_more_run_at_once_than_the_asset_says_and_none_waits_in_vain_at_the_limit_of_the_target(
    hpc: HPCJobRunner, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    few = HPCJobRunner(
        target=LocalTarget(spool=str(tmp_path / "spool"), poll_interval=0.3, max_jobs=3, cores=8),
        profiles=hpc.profiles, work_root=hpc.work_root, ledger_url=hpc.ledger_url,
    )  # fmt: skip
    trace = tmp_path / "trace"

    @hpc_asset(profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, max_running=2)
    def letter() -> Command:
        return Command.shell(f"echo + >>{trace}; sleep 0.5; echo - >>{trace}")

    assert run_range([letter], few, instance, "a", "f").success
    now, most = 0, 0
    for sign in trace.read_text().split():
        now += 1 if sign == "+" else -1
        most = max(most, now)
    assert most == 2
    assert [len(each) for each in arrays(few)] == [3, 3]  # an array of three, and one when there is room again
    assert set(materializations(instance, "letter")) == set("abcdef")


def test_how_far_the_array_is_stands_in_the_log_when_it_changes(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    @hpc_asset(profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN)
    def letter(context: dg.AssetExecutionContext) -> Command:
        return Command("/bin/true" if context.partition_key != "c" else "/bin/false")

    result = run_range([letter], hpc, instance, "a", "f")
    lines = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.user_message.startswith("array ")]
    assert lines[-1] == "array 1: 5 done, 1 failed"
    assert len(lines) == len(set(lines)) <= 6


def test_what_an_hpc_asset_without_single_run_gets_is_one_job_for_each_partition(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    @hpc_asset(profile="small", partitions_def=LETTERS)
    def letter() -> Command:
        return Command("/bin/true")

    for key in "ab":
        assert dg.materialize([letter], instance=instance, resources={"hpc": hpc}, partition_key=key).success
    assert [row.array_index for row in hpc.jobs()] == [None, None]


def test_a_function_that_fails_for_one_partition_leaves_the_others_alone(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    @hpc_asset(profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, retry_policy=dg.RetryPolicy(max_retries=2))
    def letter(context: dg.AssetExecutionContext) -> Command:
        if context.partition_key == "b":
            raise dg.Failure("there is no b", allow_retries=False)
        return Command("/bin/true")

    result = run_range([letter], hpc, instance, "a", "c")
    assert "1 of 3 partitions failed: 'b'" in failure_of(result, "letter").user_failure_data.description
    assert "there is no b" in failure_of(result, "letter").user_failure_data.description
    assert set(materializations(instance, "letter")) == {"a", "c"}
    assert not [event for event in result.all_node_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_a_value_of_the_wrong_type_fails_its_partition(hpc: HPCJobRunner, instance: dg.DagsterInstance) -> None:
    @hpc_asset(
        profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, dagster_type=dg.Int,
        collect=lambda result: int(result.stdout_tail) if result.stdout_tail.strip().isdigit() else result.stdout_tail,
    )  # fmt: skip
    def number(context: dg.AssetExecutionContext) -> Command:
        return Command("/bin/echo", args=["7" if context.partition_key != "b" else "seven"])

    result = run_range([number], hpc, instance, "a", "c")
    assert "the value of partition 'b' is no Int" in failure_of(result, "number").user_failure_data.description
    assert set(materializations(instance, "number")) == {"a", "c"}


DYING = """
import os, sys, time
import dagster as dg
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, hpc_asset

hpc = HPCJobRunner(
    target=LocalTarget(spool={spool!r}, poll_interval=0.3), profiles={{"small": ExecutionProfile()}},
    work_root={work!r}, ledger_url={ledger!r},
)
DIES = sys.argv[1] == "dies"

def collect(result):
    if DIES and result.stdout_tail.strip() == "d":
        os.kill(os.getpid(), 9)
    return result.stdout_tail.strip()

@hpc_asset(profile="small", partitions_def=dg.StaticPartitionsDefinition(list("abcd")), collect=collect,
           backfill_policy=dg.BackfillPolicy.single_run())
def letter(context: dg.AssetExecutionContext) -> Command:
    key = context.partition_key
    return Command.shell(f'echo x >>{traces}.$1; [ "$1" != d ] || sleep 3; echo $1', args=[key])

if __name__ == "__main__":
    tags = {{"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "d"}}
    with dg.DagsterInstance.from_config({home!r}) as instance:
        assert dg.materialize([letter], instance=instance, resources={{"hpc": hpc}}, tags=tags).success
"""


def test_a_step_that_dies_has_materialized_what_was_over_and_the_next_run_takes_the_rest(
    hpc: HPCJobRunner, tmp_path: Path
) -> None:
    home, traces = tmp_path / "home", tmp_path / "ran"
    home.mkdir()
    (home / "dagster.yaml").touch()
    text = DYING.format(
        spool=hpc.target.spool, work=hpc.work_root, ledger=hpc.ledger_url, home=str(home), traces=str(traces)  # type: ignore[attr-defined]
    )
    (tmp_path / "dying.py").write_text(text)
    env = {**os.environ, "DAGSTER_HOME": str(home)}
    dead = subprocess.run([sys.executable, "dying.py", "dies"], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert dead.returncode == -signal.SIGKILL
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert set(materializations(instance, "letter")) == set("abc")
        subprocess.run([sys.executable, "dying.py", "lives"], cwd=tmp_path, env=env, capture_output=True, check=True)
        made = materializations(instance, "letter")
    counts = {key: len(Path(f"{traces}.{key}").read_text().split()) for key in "abcd"}
    assert counts == {"a": 2, "b": 2, "c": 2, "d": 1}  # a, b and c were received; the finished d was still owed
    assert {key: len(each) for key, each in made.items()} == {"a": 2, "b": 2, "c": 2, "d": 1}


def test_a_user_who_terminates_the_run_means_the_jobs_that_are_still_under_way(
    hpc: HPCJobRunner, instance: dg.DagsterInstance
) -> None:
    def stopped(result: JobResult) -> str:
        """The user presses Terminate while the value of a partition is being read."""
        run = instance.get_runs()[0]
        instance.report_run_canceling(run)
        raise dg.DagsterExecutionInterruptedError()

    @hpc_asset(profile="small", partitions_def=LETTERS, backfill_policy=ONE_RUN, collect=stopped)
    def letter(context: dg.AssetExecutionContext) -> Command:
        return Command("/bin/true") if context.partition_key == "a" else Command("/bin/sleep", args=["300"])

    assert not run_range([letter], hpc, instance, "a", "c").success
    deadline = time.monotonic() + 60
    ledger = Ledger(hpc.ledger_url)
    while time.monotonic() < deadline and any(not row.state.is_final for row in ledger.jobs()):
        hpc._engine().tick()
        time.sleep(0.2)
    assert {row.partition_key: row.state for row in ledger.jobs()} == {
        "a": JobState.COMPLETED, "b": JobState.CANCELLED, "c": JobState.CANCELLED,
    }  # fmt: skip
