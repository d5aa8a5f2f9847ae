"""Under the real daemon: runs that are sensed, retried, backfilled, killed. Whatever becomes of them, each job runs once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import dagster as dg
import pytest

from tests.definitions.dagster_home import RUN_S
from tests.executors.counted import Counted
from tests.executors.watched_launcher import pid_of
from tests.systems.daemon import wait_until

CONFIG = """\
run_retries:
  enabled: true
  max_retries: 1
run_monitoring:
  enabled: true
  poll_interval_seconds: 1
  start_timeout_seconds: 300
run_launcher:
  module: tests.executors.watched_launcher
  class: WatchedRunLauncher
"""


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    home = Counted(tmp_path_factory.mktemp("daemon"), config=CONFIG)
    (home.folder / "asked").mkdir()
    with home.running("dagster-daemon", "run", "-m", "tests.executors.study", ready=lambda: True):
        yield home


@pytest.fixture
def home(dagster: Counted) -> Counted:
    """The daemon goes on; what was counted before is forgotten."""
    dagster.begin_anew()
    return dagster


def ask(home: Counted, name: str) -> None:
    """Ask for a run of the chain: upstream, downstream, and by a sensor what comes after."""
    (home.folder / "asked" / name).touch()


def runs(home: Counted, **filters: object) -> list[dg.DagsterRun]:
    with home.instance() as instance:
        return list(instance.get_runs(dg.RunsFilter(**filters)))  # type: ignore[arg-type]


def finished(home: Counted, count: int, **filters: object) -> list[str]:
    """Wait until so many runs are over, and none is under way: their states, the oldest first."""

    def are_over() -> bool:
        found = runs(home, **filters)
        return len(found) >= count and all(run.is_finished for run in found)

    wait_until(are_over, 2 * RUN_S, lambda: f"{[(run.job_name, run.status) for run in runs(home, **filters)]}")
    return [run.status.value for run in reversed(runs(home, **filters))]


def follows(home: Counted, name: str) -> None:
    """Wait until the run that failed is followed by another.

    Dagster stores a run's last event before its state, and a daemon that looks in between passes over the run for good.
    So it is made to look again, which does no harm: it follows a run once.
    """

    def has_followed() -> bool:
        found = runs(home, tags={"asked": name})
        if [run.status for run in found] == [dg.DagsterRunStatus.FAILURE]:
            with home.instance() as instance:
                instance.daemon_cursor_storage.set_cursor_values({"EVENT_LOG_CONSUMER_CURSOR-PIPELINE_FAILURE": "0"})
        return len(found) == 2

    wait_until(has_followed, 2 * RUN_S, lambda: f"no run has followed: {runs(home, tags={'asked': name})}")


def test_an_asset_sensor_starts_one_run_for_one_materialization(home: Counted) -> None:
    sensed = len(runs(home, job_name="sensed"))
    ask(home, "once")
    assert finished(home, 1, tags={"asked": "once"}) == ["SUCCESS"]
    finished(home, sensed + 1, job_name="sensed")
    assert home.count() == {"upstream": 1, "downstream": 1, "retried": 1}


def test_a_run_that_failed_after_its_jobs_is_retried_with_what_they_left(home: Counted) -> None:
    home.is_at_fault("collect")
    sensed = len(runs(home, job_name="sensed"))
    ask(home, "collect")
    follows(home, "collect")
    assert finished(home, 2, tags={"asked": "collect"}) == ["FAILURE", "SUCCESS"]
    finished(home, sensed + 1, job_name="sensed")
    assert home.count() == {"upstream": 1, "downstream": 1, "retried": 1}


def test_a_run_whose_job_failed_is_retried_by_that_job_alone(home: Counted) -> None:
    home.is_at_fault("downstream")
    sensed = len(runs(home, job_name="sensed"))
    ask(home, "job")
    follows(home, "job")
    assert finished(home, 2, tags={"asked": "job"}) == ["FAILURE", "SUCCESS"]
    finished(home, sensed + 1, job_name="sensed")
    assert home.count() == {"upstream": 1, "downstream": 2, "retried": 1}


def test_a_run_whose_process_is_killed_leaves_its_job_to_the_run_that_follows(home: Counted) -> None:
    home.is_at_fault("downstream.waits")
    sensed = len(runs(home, job_name="sensed"))
    ask(home, "killed")
    wait_until(lambda: home.live_job_named("downstream"), RUN_S, lambda: str(home.jobs()))
    (run,) = runs(home, tags={"asked": "killed"})
    with home.instance() as instance:
        pid = pid_of(instance, run.run_id)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    follows(home, "killed")
    wait_until(lambda: runs(home, tags={"asked": "killed"})[0].status.value == "STARTED", RUN_S, lambda: "not started")
    home.is_at_fault("downstream.waits", False)
    assert finished(home, 2, tags={"asked": "killed"}) == ["FAILURE", "SUCCESS"]
    finished(home, sensed + 1, job_name="sensed")
    assert home.count() == {"upstream": 1, "downstream": 1, "retried": 1}


def test_a_backfill_of_several_runs_is_one_job_for_each_partition(home: Counted) -> None:
    home.run("dagster", "job", "backfill", "-m", "tests.executors.study", "-j", "every_partition", "--partitions", "x,y,z",
             "--noprompt")  # fmt: skip
    assert finished(home, 3, job_name="every_partition") == ["SUCCESS"] * 3
    assert home.count() == {"partitioned-x": 1, "partitioned-y": 1, "partitioned-z": 1}
    assert {row.partition_key for row in home.jobs()[:3]} == {"x", "y", "z"}
