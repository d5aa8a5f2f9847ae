"""Several commands at once: submitted together, waited for together or as they end, each the same job as it is alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc import Command, ConfigurationError, HPCJobRunner, JobState, WaitTimeout

WRITE = Command.shell('echo "$1" >out; cat own 2>/dev/null')


def numbered(*words: str) -> list[Command]:
    return [Command.shell('echo "$1"; [ "$1" != bad ] || exit 3', name="many", args=[word]) for word in words]


def test_results_come_in_the_order_asked_for(hpc: HPCJobRunner) -> None:
    results = hpc.wait_all(hpc.submit_all(numbered("a", "bad", "c"), profile="small"))
    assert [(result.index, result.stdout_tail, result.succeeded) for result in results] == [
        (0, "a", True), (1, "bad", False), (2, "c", True),
    ]  # fmt: skip
    assert len({row.batch for row in hpc.jobs()}) == 1


def test_results_come_as_the_jobs_end(hpc: HPCJobRunner, tmp_path: Path) -> None:
    commands = [
        Command.shell(f"until [ -e {tmp_path}/second ]; do sleep 0.05; done", name="first"),
        Command.shell("true", name="second"),
    ]
    seen = []
    for result in hpc.as_completed(hpc.submit_all(commands, profile="small")):
        seen.append(result.index)
        (tmp_path / "second").touch()
    assert seen == [1, 0]


def test_the_patience_of_one_who_takes_results_as_they_come_ends_too(hpc: HPCJobRunner) -> None:
    handles = hpc.submit_all([Command("/bin/true"), Command("/bin/sleep", args=["600"])], profile="small")
    found = hpc.as_completed(handles, timeout=3)
    assert next(found).state is JobState.COMPLETED
    with pytest.raises(WaitTimeout):
        next(found)


def test_no_commands_are_no_jobs(hpc: HPCJobRunner) -> None:
    assert hpc.submit_all([], profile="small") == []
    assert hpc.wait_all([]) == []
    assert list(hpc.as_completed([])) == []
    assert hpc.jobs() == []


def test_inputs_of_its_own_lie_in_its_folder_and_those_of_all_above(hpc: HPCJobRunner) -> None:
    commands = [Command.shell("cat own ../all", inputs={"own": text}) for text in ("one ", "two ")]
    results = hpc.wait_all(hpc.submit_all(commands, profile="small", inputs={"all": "shared"}))
    assert [result.stdout_tail for result in results] == ["one shared", "two shared"]


def test_an_element_is_the_same_job_whatever_its_neighbours_are(hpc: HPCJobRunner) -> None:
    """So that what failed can be asked for again in smaller arrays, and what changed runs alone."""
    first = hpc.submit_all(numbered("a", "b", "c"), profile="small", key="sweep", reuse="succeeded")
    hpc.wait_all(first)
    again = hpc.submit_all(numbered("a", "b", "changed", "d"), profile="small", key="sweep", reuse="succeeded")
    assert [handle.token for handle in again[:2]] == [handle.token for handle in first[:2]]
    assert [handle.joined for handle in again] == [True, True, False, False]
    assert [result.succeeded for result in hpc.wait_all(again)] == [True] * 4


def test_a_partition_is_the_same_job_alone_and_in_an_array(hpc: HPCJobRunner) -> None:
    commands = [Command("/bin/sleep", args=["0.2", "0.1"]), Command("/bin/sleep", args=["0.3"])]
    handles = hpc.submit_all(commands, profile="small", key="asset", partition_keys=["x", "y"])
    rows = {row.token: row.partition_key for row in hpc.jobs()}
    assert [rows[handle.token] for handle in handles] == ["x", "y"]
    (alone,) = hpc.submit_all(commands[1:], profile="small", key="asset", partition_keys=["y"])
    assert alone.token == handles[1].token
    hpc.wait_all(handles)


def test_all_faults_of_all_commands_are_told_at_once(hpc: HPCJobRunner) -> None:
    with pytest.raises(ConfigurationError) as told:
        hpc.submit_all([Command("pithon"), Command.shell("x\0"), Command("/bin/cat", stdin="\0")], profile="small")
    assert len(told.value.faults) == 3
    assert "did you mean 'python'?" in str(told.value)
    assert hpc.jobs() == []
