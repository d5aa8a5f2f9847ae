"""The whole way of a job through the simulated LSF, and what goes wrong on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagster_hpc import Command, JobState
from tests.contract.site import Site, opened
from tests.contract.systems.lsf import LSFSystem
from tests.faults.place import PLAIN, eventually


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    system = LSFSystem()
    system.start(tmp_path_factory.mktemp("lsf"))
    with opened(system) as site:
        yield site
    system.stop()


def switch(site: Site, name: str, on: bool = True) -> None:
    assert isinstance(site.system, LSFSystem)
    site.system.simulator.switch(name, on)


def test_elements_count_from_0_for_us_and_from_1_for_lsf(site: Site) -> None:
    command = Command.shell('echo "$1 of $HPC_ARRAY_INDEX and $LSB_JOBINDEX"; exit $1')
    results = site.hpc.map(command, [["0"], ["3"]], profile=PLAIN, max_running=1)
    assert [result.stdout_tail for result in results] == ["0 of 0 and 1", "3 of 1 and 2"]
    assert [(result.state, result.exit_code) for result in results] == [(JobState.COMPLETED, 0), (JobState.FAILED, 3)]


@pytest.mark.parametrize("trouble", ["banner", "bytes", "old", "9.1"])
def test_a_job_goes_its_way_all_the_same(site: Site, trouble: str) -> None:
    switch(site, trouble)
    result = site.submit("echo done; exit 3").end()
    assert (result.state, result.exit_code, result.stdout_tail) == (JobState.FAILED, 3, "done")


def test_a_submission_whose_reply_is_lost_is_found_and_not_repeated(site: Site) -> None:
    switch(site, "lost reply")
    job = site.submit("echo once")
    switch(site, "lost reply", on=False)
    assert job.end().stdout_tail == "once"
    assert any("was taken after all" in warning for warning in site.warnings)


def test_an_empty_list_is_no_end_of_a_job_that_runs(site: Site) -> None:
    gate = site.gate()
    job = site.submit(gate.closed)
    job.until("RUNNING")
    switch(site, "empty")

    def complains() -> bool:
        site.engine.tick()
        return any("cannot be asked just now" in warning for warning in site.warnings)

    eventually(complains, "the empty list is seen for what it is")
    assert job.row.state is JobState.RUNNING
    assert job.row.absent_since is None
    switch(site, "empty", on=False)
    gate.open()
    assert job.end().state is JobState.COMPLETED


def test_contact_with_a_node_may_be_lost_for_a_while(site: Site) -> None:
    assert isinstance(site.system, LSFSystem)
    gate, simulator = site.gate(), site.system.simulator
    job = site.submit(gate.closed)
    job.until("RUNNING")
    simulator.give_end(job.id, {"STAT": "UNKWN"})
    job.until("UNKNOWN")
    (simulator.folder / "ends" / f"{job.id}.json").unlink()
    gate.open()
    assert job.end().state is JobState.COMPLETED


def test_a_job_that_a_document_leaves_out_is_asked_for_as_lines_and_both_end(site: Site) -> None:
    gate = site.gate()
    first, second = site.submit(gate.closed), site.submit(gate.closed)
    switch(site, "first only")
    for job in (first, second):
        job.until("RUNNING")
    gate.open()
    assert [job.end().state for job in (first, second)] == [JobState.COMPLETED] * 2


def test_a_job_for_which_there_is_no_room_waits_and_is_not_refused(site: Site) -> None:
    switch(site, "full")
    job = site.submit("echo at last")
    assert job.row.state is JobState.READY
    switch(site, "full", on=False)
    assert job.end().stdout_tail == "at last"
