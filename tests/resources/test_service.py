"""A job that serves while a step works with it."""

import time

import dagster as dg
import pytest

from dagster_hpc import Command, ConfigurationError, HPCJobRunner, JobFailed, JobTimedOut, WaitTimeout, hpc_service
from dagster_hpc.engine.job import JobState

SERVE = Command.shell("sleep 0.3; echo here >address.part; mv address.part address; sleep 600", name="serves")


def states(hpc: HPCJobRunner) -> list[JobState]:
    return [row.state for row in hpc.jobs()]


def test_a_service_is_there_as_long_as_the_with_lasts(hpc: HPCJobRunner) -> None:
    with hpc_service(hpc, SERVE, profile="small", ready="address") as file:
        assert file.read_text() == "here\n"
        assert not hpc.jobs()[0].state.is_final
    assert states(hpc) == [JobState.CANCELLED]


@pytest.mark.usefixtures("ctrl_c")
def test_a_job_is_given_back_whatever_happens(hpc: HPCJobRunner) -> None:
    with pytest.raises(KeyboardInterrupt), hpc_service(hpc, SERVE, profile="small", ready="address"):
        raise KeyboardInterrupt
    assert states(hpc) == [JobState.CANCELLED]


def test_a_job_that_fails_before_it_serves_is_the_error(hpc: HPCJobRunner) -> None:
    fails = Command.shell("echo no port is free >&2; exit 3")
    with pytest.raises(JobFailed, match="no port is free"), hpc_service(hpc, fails, profile="small", ready="address"):
        pytest.fail("it never served")


def test_a_job_that_ends_before_it_serves_is_an_error(hpc: HPCJobRunner) -> None:
    forgets = Command.shell("true")
    expected = pytest.raises(ConfigurationError, match="left the file address")
    with expected, hpc_service(hpc, forgets, profile="small", ready="address"):
        pytest.fail("it never served")


def test_a_service_that_is_not_ready_in_time_is_given_back(hpc: HPCJobRunner) -> None:
    sleeps = Command.shell("sleep 600")
    with pytest.raises(WaitTimeout), hpc_service(hpc, sleeps, profile="small", ready="address", timeout=0.5):
        pytest.fail("it never served")
    assert states(hpc) == [JobState.CANCELLED]


def test_the_end_of_the_job_is_why_the_work_failed(hpc: HPCJobRunner) -> None:
    """Its walltime ends while it is used; whoever uses it only sees that a connection is closed."""
    short = {"walltime": "2"}

    def work() -> None:
        with hpc_service(hpc, SERVE, profile="small", ready="address", overrides=short):
            while not hpc.jobs()[0].state.is_final:
                hpc.polled(1.0)
                time.sleep(0.2)
            raise ConnectionError("closed")

    with pytest.raises(JobTimedOut) as error:
        work()
    assert isinstance(error.value.__context__, ConnectionError)


def test_another_error_stays_what_it_is(hpc: HPCJobRunner) -> None:
    with pytest.raises(ZeroDivisionError), hpc_service(hpc, SERVE, profile="small", ready="address"):
        raise ZeroDivisionError
    assert states(hpc) == [JobState.CANCELLED]


def test_a_step_that_died_goes_on_with_the_job_that_is_there(hpc: HPCJobRunner) -> None:
    tokens: list[str] = []
    kept = []  # what is forgotten gives its job back

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def uses(context: dg.AssetExecutionContext) -> None:
        service = hpc_service(hpc, SERVE, profile="small", ready="address", context=context)
        kept.append(service)
        file = service.__enter__()
        tokens.append(file.parent.name)
        if len(tokens) == 1:
            raise ConnectionError("this attempt is gone, as a process that is killed: it gives nothing back")
        service.__exit__(None, None, None)

    assert dg.materialize([uses], raise_on_error=False).success
    assert tokens[0] == tokens[1]
    assert states(hpc) == [JobState.CANCELLED]
