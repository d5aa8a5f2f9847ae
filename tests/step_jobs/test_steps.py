"""Any job of Dagster, unchanged: each of its steps is one batch job."""

from __future__ import annotations

from dagster_hpc.engine.job import JobState
from tests.step_jobs import pipeline
from tests.step_jobs.place import StepHome


def test_each_asset_is_a_job_and_gets_the_files_of_the_one_before(home: StepHome) -> None:
    with home.executed("assets") as result, home.instance() as instance:
        assert result.success
        assert pipeline.defs().load_asset_value("doubled", instance=instance) == [2, 4, 6]
    assert home.counted() == {"numbers": 1, "doubled": 1}


def test_the_log_of_the_run_says_what_each_job_was_and_how_it_ended(home: StepHome) -> None:
    with home.executed("assets") as result:
        said = "\n".join(home.events(result.run_id))
    for row in home.jobs():
        assert f"Step {row.name} is job {row.job_id} on local" in said
        assert f"{row.name} (job {row.job_id} on {row.target}, token {row.token}) ended as COMPLETED" in said
    assert all(row.state is JobState.COMPLETED and row.delivered_at is not None for row in home.jobs())


def test_dynamic_steps_are_jobs_of_their_own(home: StepHome) -> None:
    with home.executed("fanned") as result:
        assert result.output_for_node("gathered") == 0 + 1 + 4
    assert home.counted() == {"fan": 1, "squared[m0]": 1, "squared[m1]": 1, "squared[m2]": 1, "gathered": 1}


def test_steps_for_whose_jobs_there_is_no_room_wait_in_the_ledger(home: StepHome) -> None:
    (home.folder / "narrow").touch()
    with home.executed("fanned") as result:
        assert result.success
        assert "which waits in the ledger for room" in "\n".join(home.events(result.run_id))
    assert len(home.jobs()) == 5


def test_a_step_that_fails_is_tried_again_in_a_job_of_its_own(home: StepHome) -> None:
    with home.executed("flaky_job") as result:
        assert result.output_for_node("flaky") == 1
    assert home.counted() == {"flaky": 2}
    assert [row.state for row in home.jobs()] == [JobState.COMPLETED] * 2  # an error in user's code is Dagster's own


def test_a_job_that_ends_badly_fails_its_step_in_the_words_of_the_scheduler(home: StepHome) -> None:
    with home.executed("patient_job", overrides={"walltime": "2"}) as result:
        assert not result.success
        errors = home.errors(result.run_id)
    assert "ended as TIMEOUT" in errors
    assert "ask for a longer walltime" in errors
    assert len(home.jobs()) == 1


def test_a_job_that_the_scheduler_ends_is_tried_again_by_the_rules_of_its_runner(home: StepHome) -> None:
    (home.folder / "retries").touch()
    with home.executed("slow_job", overrides={"walltime": "5"}) as result:
        assert result.success, home.errors(result.run_id)
    assert [str(row.state) for row in home.jobs()] == ["COMPLETED", "TIMEOUT"]


def test_a_step_that_never_reports_fails_though_its_job_ended_well(home: StepHome) -> None:
    with home.executed("silent_job") as result:
        assert not result.success
        errors = home.errors(result.run_id)
    assert "ended well, but its step has not reported" in errors
    assert "gone without a word" in errors


def test_tags_of_a_step_choose_its_resources(home: StepHome) -> None:
    with home.executed("assets") as result:
        assert result.success
    assert {"#LOCAL --time=540", "#LOCAL --cores=2"} <= set(home.script_of("doubled").splitlines())
    assert {"#LOCAL --time=300", "#LOCAL --cores=1"} <= set(home.script_of("numbers").splitlines())


def test_ranks_of_a_profile_are_room_for_the_step_which_is_executed_once(home: StepHome) -> None:
    with home.executed("assets", profile="wide") as result:
        assert result.success
    assert "mpirun" not in home.script_of("numbers")
    assert home.counted() == {"numbers": 1, "doubled": 1}


def test_wrong_tags_are_told_all_at_once_before_anything_is_submitted(home: StepHome) -> None:
    with home.executed("faulty", env_vars=["NOWHERE_SET"]) as result:
        assert not result.success
        errors = home.errors(result.run_id)
    assert "step misspelled: the tag 'dagster_hpc/profil' means nothing: did you mean 'dagster_hpc/profile'?" in errors
    assert "step mistyped: overrides has no key 'waltime': did you mean 'walltime'?" in errors
    assert "env_vars names NOWHERE_SET, which is not set where the run is executed" in errors
    assert "nothing was submitted" in errors
    assert home.jobs() == []


def test_a_secret_reaches_the_step_and_stands_in_no_script(home: StepHome) -> None:
    with home.executed("tells_secret_job") as result:
        assert result.success
        said = "\n".join(home.events(result.run_id))
    assert "open sesame" not in said
    assert "open sesame" not in home.script_of("tells_secret")


def test_an_hpc_asset_may_submit_from_within_the_job_of_its_step(home: StepHome) -> None:
    with home.executed("jobs_in_jobs") as result:
        assert result.success
    assert sorted(row.name for row in home.jobs()) == ["submitted", "submitted"]
    assert sorted(row.asset_key or "" for row in home.jobs()) == ["", "submitted"]
