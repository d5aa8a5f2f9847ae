"""What becomes of the jobs when the run, or the process that watches it, comes to an end before them."""

from __future__ import annotations

import signal

import dagster as dg

from dagster_hpc.engine.job import JobState
from tests.definitions.dagster_home import RUN_S
from tests.step_jobs import pipeline
from tests.step_jobs.place import StepHome
from tests.systems.daemon import wait_until


def wait_for(home: StepHome, run_id: str, words: str) -> None:
    """Wait until the log of the run says this."""
    wait_until(lambda: words in "\n".join(home.events(run_id)), RUN_S, lambda: "\n".join(home.events(run_id)))


def wait_for_patient(home: StepHome, run_id: str) -> None:
    """Wait until this step runs."""
    wait_until(lambda: home.counted() == {"patient": 1}, RUN_S, lambda: "\n".join(home.events(run_id)))


def test_a_run_that_is_terminated_cancels_the_jobs_of_its_steps(anywhere: StepHome) -> None:
    home, run_id = anywhere, anywhere.create_run("chain")
    worker = home.worker("chain", run_id)
    wait_for_patient(home, run_id)
    with home.instance() as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_canceling(run)
    worker.send_signal(signal.SIGINT)
    worker.wait(RUN_S)
    assert home.status(run_id) is dg.DagsterRunStatus.CANCELED
    assert [(row.name, row.state) for row in home.jobs()] == [("patient", JobState.CANCELLED)]
    assert "The run is ended: the jobs of 1 steps were cancelled." in "\n".join(home.events(run_id))


def test_a_job_that_somebody_cancels_fails_its_step_and_says_so(home: StepHome) -> None:
    run_id = home.create_run("chain")
    worker = home.worker("chain", run_id)
    wait_for_patient(home, run_id)
    (row,) = home.jobs()
    pipeline.runner().cancel(row.handle())
    worker.wait(RUN_S)
    assert home.status(run_id) is dg.DagsterRunStatus.FAILURE
    assert "patient failed health check" in home.errors(run_id)
    assert "ended as CANCELLED" in home.errors(run_id)
    assert home.counted() == {"patient": 1}


def test_a_run_whose_worker_is_killed_goes_on_with_the_jobs_that_are_there(anywhere: StepHome) -> None:
    home, run_id = anywhere, anywhere.create_run("chain")
    worker = home.worker("chain", run_id)
    wait_for_patient(home, run_id)
    worker.kill()
    worker.wait(RUN_S)
    resumed = home.worker("chain", run_id, resumed=True)
    wait_for(home, run_id, "Checking on status of in-progress step patient")
    (home.folder / "released").touch()
    resumed.wait(RUN_S)
    assert home.status(run_id) is dg.DagsterRunStatus.SUCCESS, home.errors(run_id)
    assert home.counted() == {"patient": 1, "after": 1}


def test_a_job_that_ended_while_nobody_watched_is_not_run_again(anywhere: StepHome) -> None:
    home, run_id = anywhere, anywhere.create_run("chain")
    worker = home.worker("chain", run_id)
    wait_for_patient(home, run_id)
    worker.kill()
    worker.wait(RUN_S)
    (home.folder / "released").touch()
    wait_for(home, run_id, 'Finished execution of step "patient"')
    home.worker("chain", run_id, resumed=True).wait(RUN_S)
    assert home.status(run_id) is dg.DagsterRunStatus.SUCCESS, home.errors(run_id)
    assert home.counted() == {"patient": 1, "after": 1}


def test_a_run_whose_worker_was_killed_before_it_told_dagster_of_a_job_does_not_submit_it_twice(anywhere: StepHome) -> None:
    home, run_id = anywhere, anywhere.create_run("chain")
    (home.folder / "dies").touch()  # between the submission and the word of it
    assert home.worker("chain", run_id).wait(RUN_S) != 0
    (home.folder / "dies").unlink()
    (home.folder / "released").touch()
    home.worker("chain", run_id, resumed=True).wait(RUN_S)
    assert home.status(run_id) is dg.DagsterRunStatus.SUCCESS, home.errors(run_id)
    assert home.counted() == {"patient": 1, "after": 1}
