"""Errors say what happened, where, in whose words, and what to do."""

from __future__ import annotations

import pytest

from dagster_hpc.engine import errors, job
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, HPCError, SchedulerUnavailable, did_you_mean
from dagster_hpc.engine.job import JobFailed, JobHandle, JobResult, JobState, OutputMissing, WaitTimeout, failure_of

HANDLE = JobHandle("abcd2345", "42", "/scratch/jobs/x/abcd2345", "slurm", "x")


def ended(state: JobState, **more: object) -> JobResult:
    return JobResult(HANDLE, state, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (JobState.FAILED, job.JobFailed),
        (JobState.CANCELLED, job.JobCancelled),
        (JobState.TIMEOUT, job.JobTimedOut),
        (JobState.OOM, job.JobOutOfMemory),
        (JobState.NODE_FAIL, job.NodeFailed),
        (JobState.PREEMPTED, job.NodeFailed),
        (JobState.LOST, job.JobLost),
        (JobState.REFUSED, job.JobFailed),
    ],
)
def test_each_bad_end_has_its_error(state: JobState, error: type[JobFailed]) -> None:
    # the predecessor returned a non-zero exit, and raised nothing
    with pytest.raises(JobFailed) as raised:
        ended(state).raise_for_state()
    assert type(raised.value) is error
    assert raised.value.result.state is state


def test_a_job_that_ended_well_is_returned() -> None:
    result = ended(JobState.COMPLETED)
    assert result.raise_for_state() is result


def test_a_failure_names_job_directory_exit_code_reason_and_the_last_words_of_stderr() -> None:
    stderr = "\n".join(f"line {number}" for number in range(1000))
    text = str(failure_of(ended(JobState.FAILED, exit_code=3, reason="disk full", stderr_tail=stderr)))
    assert "x (job 42 on slurm, token abcd2345) ended as FAILED with exit code 3: disk full." in text
    assert "/scratch/jobs/x/abcd2345" in text
    assert "What to do:" in text
    # the predecessor kept the head of a log, and lost the message
    assert "line 999" in text
    assert "line 1\n" not in text


def test_a_missing_output_is_an_error_that_lists_what_is_missing() -> None:
    error = failure_of(ended(JobState.FAILED, missing=("a (a.txt)", "b (b.txt)")))
    assert isinstance(error, OutputMissing)
    assert error.missing == ["a (a.txt)", "b (b.txt)"]


def test_a_given_up_wait_carries_the_handle_and_says_that_the_job_lives() -> None:
    error = WaitTimeout(HANDLE, JobState.RUNNING, 30)
    assert error.handle is HANDLE
    assert "still RUNNING after 30 s" in str(error)
    assert "dagster-hpc show abcd2345" in str(error)


def test_several_faults_stand_in_one_message() -> None:
    error = ConfigurationError(["no walltime", "no memory"], advice="add both.")
    assert error.faults == ["no walltime", "no memory"]
    assert str(error) == "- no walltime\n- no memory\nWhat to do: add both."


def test_there_is_one_tree() -> None:
    known = [*vars(errors).values(), *vars(job).values()]
    mine = [value for value in known if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(error, HPCError) for error in mine)
    assert issubclass(CapacityReached, SchedulerUnavailable)


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("waltime", ["walltime", "qos"], "did you mean 'walltime'?"),
        ("zzz", ["walltime", "qos"], "known are: qos, walltime"),
        ("zzz", [], "it is empty"),
    ],
)
def test_a_mistyped_name_gets_the_nearest_or_all(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint


def test_a_line_that_the_scheduler_repeats_for_each_job_is_said_once() -> None:
    """One outage of a server with 200 jobs was a log of 400 lines."""
    said = "Connection refused\nqstat: cannot connect to server pbshost (errno=15010)\n" * 200
    assert Answer(("qstat",), 255, "", said).words.splitlines() == [
        "Connection refused",
        "qstat: cannot connect to server pbshost (errno=15010)",
    ]
