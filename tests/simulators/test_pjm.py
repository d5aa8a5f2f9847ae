"""The whole way of a job through the simulated PJM, and what goes wrong on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagster_hpc import Command, ConfigurationError, JobFailed, JobState, SubmitRefused
from tests.contract.site import Site, opened
from tests.contract.systems.pjm import PJMSystem
from tests.faults.place import PLAIN, run_failing


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    system = PJMSystem()
    folder = tmp_path_factory.mktemp("pjm")
    system.start(folder)
    with opened(system) as site:
        yield site
    system.stop()


def switch(site: Site, name: str, on: bool = True) -> None:
    assert isinstance(site.system, PJMSystem)
    site.system.simulator.switch(name, on)


def test_a_job_brings_the_figures_of_pjms_own_file(site: Site) -> None:
    result = site.submit("echo done; sleep 1").end()
    assert result.stdout_tail == "done"
    assert result.metrics.energy_j == 450
    assert result.metrics.raw["PJM CODE"] == "0"
    assert (result.metrics.nodes, result.metrics.elapsed_s) == (1, pytest.approx(1, abs=1))
    assert site.ledger.job(result.handle.token).metrics.energy_j == 450


def test_elements_run_in_folders_of_their_own_and_have_their_own_figures(site: Site) -> None:
    results = site.hpc.map(Command.shell('echo "$1 of $HPC_ARRAY_INDEX"; exit $1'), [["0"], ["3"]], profile=PLAIN)
    assert [(result.state, result.exit_code) for result in results] == [(JobState.COMPLETED, 0), (JobState.FAILED, 3)]
    assert [result.stdout_tail for result in results] == ["0 of 0", "3 of 1"]
    assert [result.metrics.raw["JOB ID"] for result in results] == [result.handle.job_id for result in results]


@pytest.mark.parametrize("trouble", ["banner", "bytes", "old"])
def test_a_job_goes_its_way_all_the_same(site: Site, trouble: str) -> None:
    switch(site, trouble)
    result = site.submit("echo done; exit 3").end()
    assert (result.state, result.exit_code, result.stdout_tail) == (JobState.FAILED, 3, "done")


def test_a_submission_whose_reply_is_lost_is_found_and_not_repeated(site: Site) -> None:
    switch(site, "lost reply")
    job = site.submit("echo once")
    switch(site, "lost reply", on=False)
    assert job.end().stdout_tail == "once"
    assert site.found(job.row) == [job.id]
    assert any("was taken after all" in warning for warning in site.warnings)


def test_a_job_that_is_rejected_after_it_was_accepted_has_failed(site: Site) -> None:
    switch(site, "reject")
    result = site.submit("touch ran").end()
    assert result.state is JobState.FAILED
    assert "rejected after it had been accepted" in result.reason
    assert "REJECTED BY THE SITE" in result.reason


@pytest.mark.parametrize("polite", [False, True])
def test_where_bulk_jobs_are_not_permitted_that_is_a_refusal_whatever_the_exit_code(site: Site, polite: bool) -> None:
    switch(site, "no bulk")
    switch(site, "polite", polite)
    hpc, command = site.hpc, Command.shell("true")
    error = run_failing(lambda: hpc.map(command, [[], []], profile=PLAIN), SubmitRefused)
    assert "pjsub-bulk" in str(error)
    assert "bulk_jobs=False" in error.advice


def test_where_bulk_jobs_are_not_permitted_elements_run_as_single_jobs(site: Site) -> None:
    switch(site, "no bulk")
    results = site.runner(bulk_jobs=False).map(Command.shell('echo "$1"'), [["a"], ["b"]], profile=PLAIN)
    assert [result.stdout_tail for result in results] == ["a", "b"]
    assert len({result.handle.job_id for result in results}) == 2


def test_a_limit_of_elements_at_once_is_refused_before_anything_is_submitted(site: Site) -> None:
    hpc = site.hpc
    run_failing(lambda: hpc.map(Command.shell("true"), [[], []], profile=PLAIN, max_running=1), ConfigurationError)
    assert site.rows() == []


def test_a_job_that_pjm_puts_into_the_error_state_is_given_up(site: Site) -> None:
    job = site.submit("touch ran", **site.system.never_starts())
    result = job.end()
    assert result.state is JobState.FAILED
    assert "error state" in result.reason
    with pytest.raises(JobFailed):
        result.raise_for_state()
