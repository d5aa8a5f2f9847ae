"""`map` on a system that has no array jobs: a job for each element, and nothing else is different."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dagster_hpc import Command, ConfigurationError, HPCJobRunner, JobState, SubmitRefused
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.schedulers.local.requests import Local

NO_ARRAYS = "this system knows no array jobs"


@pytest.fixture(autouse=True)
def no_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "lacks", {"array": NO_ARRAYS, "array limit": NO_ARRAYS})


def test_the_results_come_in_order_the_failed_ones_too(hpc: HPCJobRunner) -> None:
    results = hpc.map(Command.shell('echo "$1"; test "$1" != b'), [["a"], ["b"], ["c d"]], profile="small")
    assert [(result.index, result.stdout_tail) for result in results] == [(0, "a"), (1, "b"), (2, "c d")]
    assert [result.state for result in results] == [JobState.COMPLETED, JobState.FAILED, JobState.COMPLETED]
    assert len({result.handle.job_id for result in results}) == 3


def test_each_runs_in_a_folder_of_its_own_with_the_inputs_one_above(hpc: HPCJobRunner) -> None:
    command = Command.shell('cat ../shared ../own/"$1"; ls >listing', inputs={"shared": "to all\n"})
    inputs = {"own/0": "zero", "own/1": "one"}
    results = hpc.map(command, [["0"], ["1"]], profile="small", inputs=inputs, outputs={"listing": "listing"})
    assert [result.stdout_tail for result in results] == ["to all\nzero", "to all\none"]
    for result in results:
        assert "shared" not in Path(result.outputs["listing"]).read_text()
    assert len({result.handle.work_dir for result in results}) == 2


def test_no_more_run_at_once_than_are_asked_for(hpc: HPCJobRunner) -> None:
    script = "echo $EPOCHREALTIME; sleep 0.3; echo $EPOCHREALTIME"
    results = hpc.map(Command.shell(script), [[]] * 4, profile="small", max_running=1)
    spans = [tuple(map(float, result.stdout_tail.split())) for result in results]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_equal_elements_under_one_key_are_jobs_of_their_own(hpc: HPCJobRunner) -> None:
    results = hpc.map(Command.shell("pwd"), [["x"], ["x"]], profile="small", key="mine")
    assert len({result.stdout_tail for result in results}) == 2


def test_if_one_is_refused_none_goes_on(hpc: HPCJobRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    run, submits = LocalHost.run, []

    def second_refused(self: Host, call: Call) -> Answer:
        submits.append("submit" in call.argv)
        if sum(submits) == 2 and submits[-1]:
            return Answer(call.argv, 1, "", "no more today")
        return run(self, call)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalHost, "run", second_refused)
    with pytest.raises(SubmitRefused, match="no more today"):
        hpc.map(Command.shell("sleep 60"), [["a"], ["b"], ["c"]], profile="small")
    states = sorted(row.state.value for row in hpc.jobs())  # they were submitted side by side
    assert states == ["CANCELLED", "CANCELLED", "REFUSED"]


def test_a_limit_that_the_system_cannot_keep_is_refused(hpc: HPCJobRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "lacks", {"array": NO_ARRAYS, "dependencies": "this system lets no job wait"})
    with pytest.raises(ConfigurationError, match="this system lets no job wait"):
        hpc.map(Command.shell("true"), [["a"], ["b"]], profile="small", max_running=1)
    assert hpc.jobs() == []
