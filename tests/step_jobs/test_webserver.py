"""A run as the UI launches it: its worker is made by Dagster's own launcher, from a code location in a server."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster_graphql import DagsterGraphQLClient

from dagster_hpc.engine.job import JobState
from tests.browser.conftest import free_port
from tests.definitions.dagster_home import RUN_S
from tests.step_jobs.place import StepHome
from tests.systems.daemon import LOOPBACK, port_answers, wait_until


@pytest.fixture
def client(home: StepHome) -> Iterator[DagsterGraphQLClient]:
    port = free_port()
    options = ["-m", "tests.step_jobs.location", "-h", LOOPBACK, "-p", str(port)]
    with home.running("dagster-webserver", *options, ready=lambda: port_answers(port)):
        yield DagsterGraphQLClient(LOOPBACK, port_number=port)


def test_a_run_that_is_launched_and_terminated_in_the_ui_cancels_its_job(
    home: StepHome, client: DagsterGraphQLClient
) -> None:
    run_id = client.submit_job_execution("chain", run_config={"execution": {"config": {"profile": "wide"}}})
    wait_until(lambda: home.counted() == {"patient": 1}, RUN_S, lambda: "\n".join(home.events(run_id)))
    client.terminate_run(run_id)
    wait_until(lambda: home.status(run_id).value == "CANCELED", RUN_S, lambda: "\n".join(home.events(run_id)))
    assert [(row.name, row.state) for row in home.jobs()] == [("patient", JobState.CANCELLED)]
    assert "#LOCAL --cores=2" in home.script_of("patient")
    assert home.status(run_id) is dg.DagsterRunStatus.CANCELED
