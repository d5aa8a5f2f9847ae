"""A run for each job that ends, whoever has submitted it: once, and never forgotten."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, EndedJob, HPCJobRunner, JobFailed, JobState, build_job_ended_sensor
from tests.sensors.conftest import Watch
from tests.systems.daemon import wait_until


@dg.asset
def overview() -> None: ...


@pytest.fixture
def watching(watch: Watch) -> Watch:
    """A sensor for any end, switched on a moment ago."""
    return watching_for(watch)


def watching_for(watch: Watch, **options: Any) -> Watch:
    watch.sensor, watch.assets = build_job_ended_sensor(target=overview, **options), [overview]
    assert watch.requests() == []
    return watch


def run(hpc: HPCJobRunner, script: str = "true", name: str = "md-1") -> None:
    """A job of a plain script, no asset of anybody's."""
    hpc.run(Command.shell(script, name=name), profile="small")


def tokens(requests: list[dg.RunRequest]) -> list[str]:
    return [request.tags["dagster_hpc/token"] for request in requests]


def test_a_job_of_a_script_starts_one_run(watching: Watch, hpc: HPCJobRunner) -> None:
    run(hpc)
    (request,) = watching.requests()
    (job,) = hpc.jobs()
    assert request.run_key == job.token
    assert request.tags["dagster_hpc/state"] == "COMPLETED"
    assert request.tags["dagster_hpc/work_dir"] == job.work_dir
    assert watching.requests() == []
    assert watching.requests() == []


def test_what_had_ended_before_it_was_switched_on_starts_nothing(watch: Watch, hpc: HPCJobRunner) -> None:
    run(hpc)
    watching = watching_for(watch)
    assert watching.requests() == []


def test_what_ends_while_it_is_switched_off_is_not_forgotten(watching: Watch, hpc: HPCJobRunner) -> None:
    run(hpc)
    run(hpc)
    assert len(watching.requests()) == 2


def test_a_daemon_that_dies_before_it_keeps_the_requests_is_asked_again(watching: Watch, hpc: HPCJobRunner) -> None:
    run(hpc)
    lost = watching.requests(keeps_cursor=False)
    assert tokens(watching.requests()) == tokens(lost)
    assert watching.requests() == []


def test_an_array_starts_one_run(watching: Watch, hpc: HPCJobRunner) -> None:
    hpc.map(Command.shell("true", name="sweep"), [["1"], ["2"], ["3"]], profile="small")
    (request,) = watching.requests()
    assert {row.batch for row in hpc.jobs()} == {request.run_key}


def test_only_jobs_with_these_names_and_ends(watch: Watch, hpc: HPCJobRunner) -> None:
    watching = watching_for(watch, names=["md-*"], states=["FAILED"])
    run(hpc, "true", "md-1")
    run(hpc, "true", "other")
    with pytest.raises(JobFailed):
        run(hpc, "exit 3", "md-2")
    (request,) = watching.requests()
    assert request.tags["dagster_hpc/job_name"] == "md-2"


def test_only_jobs_of_these_assets(watch: Watch, hpc: HPCJobRunner) -> None:
    watching = watching_for(watch, assets=[dg.AssetKey(["site", "energy"])])
    run(hpc)
    assert watching.requests() == []


def test_what_a_filter_leaves_out_is_not_taken_up_when_the_filter_is_widened(watch: Watch, hpc: HPCJobRunner) -> None:
    watching = watching_for(watch, names=["other"])
    run(hpc)
    assert watching.requests() == []
    watching.sensor = build_job_ended_sensor(target=overview)
    assert watching.requests() == []


def test_the_request_is_what_the_user_makes_of_the_job(watch: Watch, hpc: HPCJobRunner) -> None:
    def request(job: EndedJob) -> dg.RunRequest:
        return dg.RunRequest(run_key="ignored", tags={"from": job.name}, run_config={"ops": {}})

    watching = watching_for(watch, request=request)
    run(hpc)
    (made,) = watching.requests()
    assert (made.tags["from"], made.tags["dagster_hpc/job_name"]) == ("md-1", "md-1")
    assert made.run_key == hpc.jobs()[0].token


def test_a_job_that_may_have_left_no_outputs_is_not_called_a_success_yet(watching: Watch, hpc: HPCJobRunner) -> None:
    handle = hpc.submit(Command.shell("true", name="md-1"), profile="small", outputs={"energies": "energies.txt"})
    wait_until(lambda: not hpc.polled(5).ledger.jobs(live=True), 60, lambda: str(hpc.jobs()))
    assert hpc.jobs()[0].state is JobState.COMPLETED
    assert watching.requests() == []
    hpc.polled(5).ledger.observations.collected(handle.token, ["energies"], None)  # whoever waits has found out
    (request,) = watching.requests()
    assert request.tags["dagster_hpc/state"] == "FAILED"
