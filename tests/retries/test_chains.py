"""Chains of attempts on a real (small) batch system: who waits, who joins, who cancels, and what is told of them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import (
    Command,
    HPCJobRunner,
    JobCancelled,
    JobFailed,
    JobState,
    JobTimedOut,
    RetryRule,
    job_metadata,
)
from dagster_hpc.dagster_values import plain
from tests.engine.pretend import eventually

LONGER = RetryRule(on=["TIMEOUT"], walltime=4)
ONCE_MORE = RetryRule(exit_codes=[7])


def fails_first(mark: Path, then: str = "echo well") -> Command:
    """It ends with 7 unless it has run before."""
    return Command.shell(f"test -e {mark} || {{ touch {mark}; exit 7; }}\n{then}")


def test_a_job_that_ran_into_its_walltime_gets_more_and_ends_well(hpc: HPCJobRunner) -> None:
    result = hpc.run(Command.shell("sleep 1.5"), profile="small", overrides={"walltime": "1"}, retry=[LONGER])

    assert [(one.state, one.walltime_s) for one in result.attempts] == [(JobState.TIMEOUT, 1), (JobState.COMPLETED, 4)]
    assert "tried again with a walltime of 00:00:04" in result.attempts[0].reason
    assert result.handle.token == result.attempts[-1].token


def test_a_job_without_enough_memory_gets_more(hpc: HPCJobRunner) -> None:
    hog = f"exec {sys.executable} -c 'x = bytearray(120 * 2**20); import time; time.sleep(1.5)'"
    rule = RetryRule(on=["OOM"], memory=4)
    result = hpc.run(Command.shell(hog), profile="small", overrides={"memory_per_node": "60M"}, retry=[rule])
    assert [(one.state, one.memory_per_node_mib) for one in result.attempts] == [
        (JobState.OOM, 60), (JobState.COMPLETED, 240),
    ]  # fmt: skip


def test_when_the_rules_are_spent_the_failure_says_why_and_what_was_tried(hpc: HPCJobRunner) -> None:
    rule = RetryRule(on=["TIMEOUT"], walltime=2, most_walltime="2", count=5)
    with pytest.raises(JobTimedOut) as failed:
        hpc.run(Command.shell("sleep 60"), profile="small", overrides={"walltime": "1"}, retry=[rule])
    assert "its walltime of 00:00:02 is at the cap of the rule" in str(failed.value)
    assert "It was attempt 2; before it: TIMEOUT." in str(failed.value)


def test_an_end_without_a_rule_is_not_tried_again(hpc: HPCJobRunner) -> None:
    with pytest.raises(JobFailed) as failed:
        hpc.run(Command.shell("exit 3"), profile="small", retry=[LONGER, ONCE_MORE])
    assert failed.value.result.attempts == ()
    assert len(hpc.jobs()) == 1


def test_each_attempt_begins_with_the_inputs_as_they_were(hpc: HPCJobRunner, tmp_path: Path) -> None:
    spoils = f"cat count.txt\necho spoilt > count.txt\ntest -e {tmp_path}/mark || {{ touch {tmp_path}/mark; exit 7; }}"
    command = Command.shell(spoils, inputs={"count.txt": "0110\n"})
    assert hpc.run(command, profile="small", retry=[ONCE_MORE]).stdout_tail == "0110"


def test_each_attempt_has_a_row_and_a_directory_of_its_own(hpc: HPCJobRunner, tmp_path: Path) -> None:
    result = hpc.run(fails_first(tmp_path / "mark"), profile="small", retry=[ONCE_MORE])
    rows = {row.token: row for row in hpc.jobs()}
    assert len({row.work_dir for row in rows.values()}) == 2
    assert [rows[one.token].retry_number for one in result.attempts] == [0, 1]


def test_the_runners_rules_hold_where_a_call_has_none_of_its_own(hpc: HPCJobRunner, tmp_path: Path) -> None:
    ruled = hpc.model_copy(update={"retry": [ONCE_MORE]})
    assert len(ruled.run(fails_first(tmp_path / "one"), profile="small").attempts) == 2
    with pytest.raises(JobFailed):
        ruled.run(fails_first(tmp_path / "other"), profile="small", retry=[])


def test_who_joins_an_attempt_gets_the_result_of_the_last(hpc: HPCJobRunner, tmp_path: Path) -> None:
    command = fails_first(tmp_path / "mark", then="sleep 0.5")
    rule = RetryRule(exit_codes=[7], delay=0.5)
    first = hpc.submit(command, profile="small", key="k", retry=[rule])
    hpc._engine().tick()
    eventually(lambda: hpc._engine().tick() or hpc.jobs(state=JobState.FAILED))
    second = hpc.submit(command, profile="small", key="k")  # its rules are no part of what makes it the same
    assert second.joined
    results = hpc.wait_all([first, second])
    assert results[0].succeeded
    assert results[0].handle.token == results[1].handle.token
    assert len(hpc.jobs()) == 2


def test_a_chain_goes_on_though_nobody_waits(hpc: HPCJobRunner, tmp_path: Path) -> None:
    handle = hpc.submit(fails_first(tmp_path / "mark"), profile="small", retry=[ONCE_MORE])
    eventually(lambda: hpc._engine().tick() or hpc.jobs(state=JobState.COMPLETED))
    assert hpc.wait(handle).attempts[0].exit_code == 7


def test_an_attempt_that_is_to_wait_waits(hpc: HPCJobRunner, tmp_path: Path) -> None:
    rule = RetryRule(exit_codes=[7], delay=2)
    result = hpc.run(fails_first(tmp_path / "mark"), profile="small", retry=[rule])
    before, last = (one.metrics for one in result.attempts)
    assert before.ended_at is not None
    assert last.submitted_at is not None
    assert last.submitted_at - before.ended_at >= 2


def test_to_cancel_any_attempt_ends_the_one_that_lives(hpc: HPCJobRunner, tmp_path: Path) -> None:
    handle = hpc.submit(fails_first(tmp_path / "mark", then="sleep 60"), profile="small", retry=[ONCE_MORE])
    eventually(lambda: hpc._engine().tick() or (hpc.jobs(state=JobState.RUNNING) and len(hpc.jobs()) == 2))
    hpc.cancel(handle)
    with pytest.raises(JobCancelled):
        hpc.wait(handle)


def test_a_job_that_was_cancelled_before_its_next_attempt_gets_none(hpc: HPCJobRunner, tmp_path: Path) -> None:
    rule = RetryRule(exit_codes=[7], delay=600)
    handle = hpc.submit(fails_first(tmp_path / "mark"), profile="small", retry=[rule], key="k")
    eventually(lambda: hpc._engine().tick() or hpc.jobs(state=JobState.FAILED))
    hpc.cancel(handle)
    with pytest.raises(JobFailed, match="tried again in 600 s; cancelled before that"):
        hpc.wait(handle)
    assert hpc.run(fails_first(tmp_path / "mark"), profile="small", key="k").handle.token != handle.token


def test_elements_of_an_array_are_tried_again_alone(hpc: HPCJobRunner, tmp_path: Path) -> None:
    command = Command.shell(f"cat ../shared; [ $1 = 0 ] || [ -e {tmp_path}/$1 ] || {{ touch {tmp_path}/$1; exit 7; }}")
    elements = [["0"], ["1"], ["2"]]
    results = hpc.map(command, elements, inputs={"shared": "all\n"}, profile="small", retry=[ONCE_MORE])
    assert [result.stdout_tail for result in results] == ["all"] * 3
    assert [len(result.attempts) for result in results] == [0, 2, 2]
    assert len(hpc.jobs()) == 5


def test_results_come_as_they_end_each_in_its_place(hpc: HPCJobRunner, tmp_path: Path) -> None:
    slow, quick = fails_first(tmp_path / "mark", then="sleep 0.5; echo slow"), Command.shell("echo quick")
    handles = [hpc.submit(command, profile="small", retry=[ONCE_MORE]) for command in (slow, quick)]
    said = {result.index: result.stdout_tail for result in hpc.as_completed(handles)}
    assert said == {0: "slow", 1: "quick"}


def test_an_old_result_at_the_end_of_a_chain_is_taken(hpc: HPCJobRunner, tmp_path: Path) -> None:
    command = fails_first(tmp_path / "mark")
    done = hpc.run(command, profile="small", key="k", retry=[ONCE_MORE])
    taken = hpc.run(command, profile="small", key="k", reuse="succeeded")
    assert taken.handle.token == done.handle.token
    assert len(taken.attempts) == 2


def test_the_chain_is_a_table_in_the_metadata(hpc: HPCJobRunner, tmp_path: Path) -> None:
    result = hpc.run(fails_first(tmp_path / "mark"), profile="small", retry=[ONCE_MORE])
    table = job_metadata(result)["attempts"]
    assert isinstance(table, dg.TableMetadataValue)
    records = [record.data for record in table.records]
    assert [(one["attempt"], one["state"], one["walltime"]) for one in records] == [
        (1, "FAILED", "00:05:00"), (2, "COMPLETED", "00:05:00"),
    ]  # fmt: skip
    assert all(isinstance(one["node_hours"], float) for one in records)


def test_a_job_that_was_tried_once_has_no_table(hpc: HPCJobRunner) -> None:
    assert plain(job_metadata(hpc.run(Command.shell("true"), profile="small", retry=[ONCE_MORE])))["attempts"] is None


def test_a_secret_reaches_each_attempt_and_stands_in_no_request(hpc: HPCJobRunner, tmp_path: Path) -> None:
    overrides = {"environments": {"KEY": "s3cr3t"}, "secret_environments": ["KEY"]}
    command = fails_first(tmp_path / "mark", then="echo $KEY >seen; echo $KEY")
    result = hpc.run(command, profile="small", overrides=overrides, retry=[ONCE_MORE])
    assert Path(result.handle.work_dir, "seen").read_text() == "s3cr3t\n"
    assert result.stdout_tail == "***"
    for one in result.attempts:
        assert "s3cr3t" not in Path(one.directory, ".job", "request.json").read_text()


def test_a_chain_whose_directory_is_gone_ends_there(hpc: HPCJobRunner, tmp_path: Path) -> None:
    rule = RetryRule(exit_codes=[7], delay=1)
    patient = hpc.model_copy(update={"target": hpc.target.model_copy(update={"file_delay": 0.0})})
    handle = patient.submit(fails_first(tmp_path / "mark"), profile="small", retry=[rule])
    eventually(lambda: patient._engine().tick() or patient.jobs(state=JobState.FAILED))
    Path(handle.work_dir, ".job", "request.json").unlink()
    with pytest.raises(JobFailed, match=r"request\.json is gone"):
        patient.wait(handle)


def test_a_job_without_rules_keeps_its_inputs_once(hpc: HPCJobRunner) -> None:
    began = time.time()
    result = hpc.run(Command.shell("true", inputs={"x": "1"}), profile="small")
    assert result.metrics.submitted_at is not None
    assert result.metrics.submitted_at >= began - 1
    names = {path.name for path in Path(result.handle.work_dir, ".job").iterdir()}
    assert not names & {"request.json", "inputs"}
