"""Every kind of step, in one process and in many: each call is a job, once, and no step gets the job of another."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from tests.definitions.dagster_home import RUN_S
from tests.executors.counted import Counted
from tests.systems.daemon import wait_until

EACH_ONCE = {
    "one_job": 1 + 2,  # as a step of its own, and in the two halves of the nested graph
    "several": 3,
    "another": 1,
    "thread": 2,
    **{f"thread-{number}": 1 for number in range(6)},
    "mapped": 2,
    "mapped-other": 1,
    "gather": 1,
}
JOBS = ["steps_in_process", "steps_multiprocess"]


@pytest.mark.parametrize("job", JOBS)
def test_each_call_of_each_step_is_one_job(tmp_path: Path, job: str) -> None:
    home = Counted(tmp_path / "home")
    said = home.python(f"execute({job!r})")
    assert "success" in said
    assert home.count() == EACH_ONCE


@pytest.mark.parametrize("job", JOBS)
def test_reexecution_from_failure_runs_what_failed_and_takes_what_had_ended_well(tmp_path: Path, job: str) -> None:
    """A job that failed runs again, those beside it do not; a step that failed after its jobs takes them as they are."""
    home = Counted(tmp_path / "home")
    at_fault = ["mapped-other", "several_jobs", "jobs_in_threads"]
    for name in at_fault:
        home.is_at_fault(name)
    parent, state = home.python(f"execute({job!r}, raise_on_error=False)").split()[-2:]
    assert state == "failure"
    assert home.count() == {name: count for name, count in EACH_ONCE.items() if name != "gather"}
    assert "success" in home.python(f"execute({job!r}, parent={parent!r})")
    assert home.count() == {**EACH_ONCE, "mapped-other": 2}


def test_graph_assets_run_each_of_their_jobs_once(tmp_path: Path) -> None:
    home = Counted(tmp_path / "home")
    assert "success" in home.python("execute('graphs')")
    assert home.count() == {"graph_asset": 4}


def test_a_retry_policy_makes_one_job_of_each_attempt(tmp_path: Path) -> None:
    home = Counted(tmp_path / "home")
    home.is_at_fault("retried")
    assert "success" in home.python("execute('sensed')")
    assert home.count() == {"retried": 2}
    assert sorted(row.state.value for row in home.jobs()) == ["COMPLETED", "FAILED"]


def test_a_step_whose_process_is_killed_leaves_its_job_to_the_next_attempt(tmp_path: Path) -> None:
    home = Counted(tmp_path / "home")
    home.is_at_fault("retried.waits")
    with ThreadPoolExecutor(1) as thread:
        said = thread.submit(home.python, "execute('retried_in_processes')")
        wait_until(lambda: home.live_job_named("retried"), RUN_S, lambda: str(home.jobs()))
        with home.instance() as instance:
            (run,) = instance.get_runs()
            killed = step_process(instance, run.run_id)
            os.kill(killed, signal.SIGKILL)
            wait_until(
                lambda: step_process(instance, run.run_id) != killed, RUN_S, lambda: "no other attempt has begun"
            )
        home.is_at_fault("retried.waits", False)
        assert "success" in said.result()
    assert home.count() == {"retried": 1}


def step_process(instance: dg.DagsterInstance, run_id: str) -> int:
    """That of the newest attempt, as the event log names it."""
    pids = [
        entry.dagster_event.engine_event_data.metadata["pid"].value
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED)
        if entry.dagster_event
    ]
    return int(str(pids[-1]))


def test_a_pool_holds_jobs_back(tmp_path: Path) -> None:
    home = Counted(tmp_path / "home")
    limit = "instance.event_log_storage.set_concurrency_slots('narrow', 1)"
    assert "success" in home.python(f"{limit}\nexecute('pooled')")
    assert home.count() == {"pooled_a": 1, "pooled_b": 1}
    first, second = sorted(home.traces(), key=lambda trace: trace.began_at)
    assert first.ended_at <= second.began_at
