"""Calls whose arguments are the values of other calls: the scheduler knows who waits for whom."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import (
    CallFailed,
    CallFuture,
    ConfigurationError,
    HPCJobRunner,
    JobCancelled,
    JobOutOfMemory,
    LocalTarget,
    WaitTimeout,
)
from dagster_hpc.testing import Play, PlayedRunner
from tests.python_calls import functions
from tests.systems.needs import REPOSITORY


def test_a_chain_is_submitted_at_once(anywhere: HPCJobRunner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    future: Any = anywhere.submit_call(functions.waits_for, str(go), 0, profile="plain")
    for number in range(4, 8):
        future = anywhere.submit_call(operator.add, number, future, profile="plain")
    assert len(anywhere.jobs(live=True)) == 5
    assert not future.done()
    go.touch()
    assert future.result() == 22
    assert future.done()


def test_futures_are_found_wherever_they_stand(hpc: HPCJobRunner) -> None:
    one, two, three = (hpc.submit_call(operator.add, number, 0, profile="small") for number in (1, 2, 3))
    assert hpc.call(functions.total, [one, 10], {"a": two, "b": three}, profile="small") == 16


def test_what_needs_a_call_that_has_failed_is_cancelled_and_names_it(anywhere: HPCJobRunner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = anywhere.submit_call(functions.waits_for, str(go), "ice", profile="plain")
    melts = anywhere.submit_call(functions.melts, waits, profile="plain")
    needs = anywhere.submit_call(operator.add, 1, melts, profile="plain")
    last = anywhere.submit_call(operator.add, 1, needs, profile="plain")
    go.touch()
    with pytest.raises(JobCancelled, match=r"it needs the value of tests\.python_calls\.functions\.melts \(job \d+\)"):
        last.result()
    with pytest.raises(functions.NoSuchCrystal):
        melts.result()


def test_a_call_that_is_known_to_have_failed_is_refused_as_an_argument(hpc: HPCJobRunner) -> None:
    failed = hpc.submit_call(functions.melts, "ice", profile="small")
    assert isinstance(failed.exception(), functions.NoSuchCrystal)
    with pytest.raises(ConfigurationError, match="that call ended as FAILED: it has no value"):
        hpc.submit_call(operator.add, 1, failed, profile="small")


def test_one_that_is_over_is_not_waited_for(hpc: HPCJobRunner) -> None:
    first = hpc.submit_call(operator.add, 1, 2, profile="small")
    assert (first.result(), first.exception()) == (3, None)
    assert hpc.call(operator.add, first, first, profile="small") == 6


def test_a_value_that_was_removed_is_named(hpc: HPCJobRunner) -> None:
    first = hpc.submit_call(operator.add, 1, 2, profile="small")
    first.result()
    Path(first.handle.work_dir, ".call", "value.pickle").unlink()
    with pytest.raises(CallFailed, match=r"it needs the value of _operator\.add .* which is not there"):
        hpc.call(operator.add, first, 1, profile="small")


def test_calls_that_share_what_they_need_are_each_waited_for_once(hpc: HPCJobRunner, tmp_path: Path) -> None:
    older: Any = hpc.submit_call(functions.waits_for, str(tmp_path / "go"), 1, profile="small")
    newer: Any = hpc.submit_call(operator.add, older, 0, profile="small")
    for _ in range(6):
        older, newer = newer, hpc.submit_call(operator.add, older, newer, profile="small")
    (tmp_path / "go").touch()
    assert newer.result() == 21


def test_a_job_on_another_target_cannot_be_waited_for(hpc: HPCJobRunner, tmp_path: Path) -> None:
    elsewhere = HPCJobRunner(
        target=LocalTarget(spool=str(tmp_path / "other")), profiles=hpc.profiles, work_root=str(tmp_path / "work"),
    )  # fmt: skip
    future = elsewhere.submit_call(functions.waits_for, str(tmp_path / "never"), 1, profile="small")
    with pytest.raises(ConfigurationError, match=r"for which no job on local@.* can wait"):
        hpc.submit_call(operator.add, future, 1, profile="small")
    future.cancel()


def test_the_end_of_patience_is_no_exception_of_the_call(hpc: HPCJobRunner, tmp_path: Path) -> None:
    future = hpc.submit_call(functions.waits_for, str(tmp_path / "never"), 1, profile="small")
    with pytest.raises(WaitTimeout):
        future.exception(timeout=0.2)
    future.cancel()


def test_a_future_can_be_cancelled(hpc: HPCJobRunner, tmp_path: Path) -> None:
    future = hpc.submit_call(functions.waits_for, str(tmp_path / "never"), 1, profile="small")
    future.cancel()
    assert isinstance(future.exception(), JobCancelled)


CHAIN = """
import operator, os, sys
from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget
from tests.python_calls import functions

folder, what = sys.argv[1:]
hpc = HPCJobRunner(target=LocalTarget(poll_interval=0.3, spool=folder + "/spool"), work_root=folder + "/work",
                   profiles={"small": ExecutionProfile()}, ledger_url=f"sqlite:///{folder}/ledger.db", reuse="succeeded")
future = hpc.submit_call(functions.traced, folder + "/trace", 0, profile="small")
for number in range(4, 8):
    future = hpc.submit_call(operator.add, number, future, profile="small")
if what == "result":
    print(future.result(), len(hpc.jobs()))
"""


def test_the_process_may_end_and_another_one_finds_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "1")

    def run(what: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", CHAIN, str(tmp_path), what]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    run("disconnect")
    assert run("result").split() == ["22", "5"]
    assert run("result").split() == ["22", "5"]
    assert (tmp_path / "trace").read_text() == "x"


def test_no_element_of_an_array_takes_a_future(hpc: HPCJobRunner) -> None:
    future: CallFuture = hpc.submit_call(operator.add, 1, 2, profile="small")
    with pytest.raises(ConfigurationError, match="an element of an array waits for no job"):
        hpc.map_calls(operator.add, [1, future], [1, 2], profile="small")
    future.result()


# -- many calls as one array


def test_many_calls_are_one_array_and_their_values_are_in_order(anywhere: HPCJobRunner) -> None:
    assert anywhere.map_calls(pow, [1, 2, 3], [2, 2, 2], profile="plain") == [1, 4, 9]
    assert len({row.batch for row in anywhere.jobs()}) == 1


def test_a_call_that_fails_is_told_when_all_are_over(hpc: HPCJobRunner, tmp_path: Path) -> None:
    def grown(path: str, melts: bool) -> str:
        if melts:
            raise ValueError("melted")
        return functions.traced(path, path)

    paths = [str(tmp_path / name) for name in "abc"]
    with pytest.raises(ValueError, match="melted"):
        hpc.map_calls(grown, paths, [False, True, False], profile="small")
    assert [Path(path).exists() for path in paths] == [True, False, True]
    values = hpc.map_calls(grown, paths, [False, True, False], profile="small", return_exceptions=True)
    assert [str(value) for value in values] == [paths[0], "melted", paths[2]]


def test_no_arguments_are_no_calls(hpc: HPCJobRunner) -> None:
    assert hpc.map_calls(pow, [], [], profile="small") == []
    assert hpc.jobs() == []


def test_only_what_failed_is_run_again(hpc: HPCJobRunner, tmp_path: Path) -> None:
    def grown(path: str) -> int:
        functions.traced(path, 0)
        if path.endswith("b") and len(Path(path).read_text()) == 1:
            raise ValueError("not yet")
        return len(Path(path).read_text())

    paths = [str(tmp_path / name) for name in "abc"]
    with pytest.raises(ValueError, match="not yet"):
        hpc.map_calls(grown, paths, profile="small", reuse="succeeded")
    assert hpc.map_calls(grown, paths, profile="small", reuse="succeeded") == [1, 2, 1]


def test_a_played_call_returns_or_raises_what_the_test_says(tmp_path: Path) -> None:
    hpc = PlayedRunner(tmp_path)
    hpc.play("add", Play(returns=3), Play(raises=ValueError("too cold")), Play(state="OOM"))
    assert hpc.call(operator.add, 1, 2, profile="small") == 3
    with pytest.raises(ValueError, match="too cold"):
        hpc.call(operator.add, 1, 2, profile="small")
    with pytest.raises(JobOutOfMemory):
        hpc.call(operator.add, 1, 2, profile="small")
