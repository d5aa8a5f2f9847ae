"""The same on a real Slurm, with the instance in a real PostgreSQL that the jobs reach by themselves."""

from __future__ import annotations

import dagster as dg
import pytest

from tests.definitions.dagster_home import RUN_S
from tests.step_jobs import pipeline
from tests.step_jobs.place import StepHome
from tests.systems.daemon import wait_until
from tests.systems.slurm import SlurmCluster

pytestmark = pytest.mark.needs("slurm", "postgres")


def accounted(slurm: SlurmCluster, ids: list[str]) -> dict[str, str]:
    """The states of these jobs in Slurm's accounts, which come some seconds late."""
    lines = slurm.run(["sacct", "-X", "-n", "-P", "-j", ",".join(ids), "-o", "jobid,state"]).stdout.split()
    return dict(line.split("|") for line in lines)


def test_dynamic_steps_are_jobs_of_slurm(slurm: SlurmCluster, slurm_home: StepHome) -> None:
    with slurm_home.executed("fanned") as result:
        assert result.success, slurm_home.errors(result.run_id)
    assert slurm_home.counted() == {"fan": 1, "squared[m0]": 1, "squared[m1]": 1, "squared[m2]": 1, "gathered": 1}
    ids = [row.job_id or "" for row in slurm_home.jobs()]
    assert len(ids) == 5
    wait_until(lambda: accounted(slurm, ids) == dict.fromkeys(ids, "COMPLETED"), 60, lambda: str(accounted(slurm, ids)))


def test_assets_are_jobs_that_hand_on_files_and_what_they_cost_is_in_the_log(slurm_home: StepHome) -> None:
    with slurm_home.executed("assets") as result, slurm_home.instance() as instance:
        assert result.success, slurm_home.errors(result.run_id)
        assert pipeline.defs().load_asset_value("doubled", instance=instance) == [2, 4, 6]
        entries = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event]
    told = [event.engine_event_data.metadata for event in entries if event.is_engine_event]
    costs = [metadata["node_list"].value for metadata in told if "node_list" in metadata]
    assert len(costs) == 2
    assert all(costs)


def test_the_password_of_the_database_stands_in_no_script(slurm_home: StepHome) -> None:
    with slurm_home.executed("flaky_job") as result:
        assert result.success, slurm_home.errors(result.run_id)
    assert "not asked for here" not in slurm_home.script_of("flaky")
    assert slurm_home.counted() == {"flaky": 2}


def test_a_walltime_that_ends_fails_the_step_in_slurms_words(slurm: SlurmCluster, slurm_home: StepHome) -> None:
    run_id = slurm_home.create_run("chain")
    worker = slurm_home.worker("chain", run_id)
    wait_until(lambda: slurm_home.counted() == {"patient": 1}, RUN_S, lambda: "\n".join(slurm_home.events(run_id)))
    row = slurm_home.job_of("patient")
    assert row is not None
    slurm.expire(row.job_id or "")
    worker.wait(RUN_S)
    assert slurm_home.status(run_id) is dg.DagsterRunStatus.FAILURE
    assert "ended as TIMEOUT" in slurm_home.errors(run_id)
    assert slurm_home.counted() == {"patient": 1}


def test_a_job_that_takes_more_memory_than_it_has_fails_its_step(slurm: SlurmCluster, slurm_home: StepHome) -> None:
    if not slurm.enforces_memory:
        pytest.skip("this Slurm does not enforce memory")
    with slurm_home.executed("flaky_job", overrides={"memory_per_node": "50M"}) as result:
        assert not result.success
        errors = slurm_home.errors(result.run_id)
    assert "ended as OOM" in errors
    assert "ask for more memory_per_node" in errors
    assert len(slurm_home.jobs()) == 3  # the step's own retry policy asked for two more
