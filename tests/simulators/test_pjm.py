"""The whole way of a job through the simulated PJM, and what goes wrong on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc import Command, ConfigurationError, JobFailed, JobState, PJMTarget, SubmitRefused
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.schedulers.base import Room, Scheduler
from dagster_hpc.engine.schedulers.pjm.requests import PJM
from tests.contract.site import Job, Site, opened
from tests.contract.systems.pjm import PJMSystem
from tests.faults.place import PLAIN, eventually, run_failing


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


@pytest.mark.parametrize("trouble", ["banner", "bytes", "old", "bars", "ignores options", "moved"])
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
    assert "GATE CHECK" in result.reason  # stands in the job's own record, in no table
    with pytest.raises(JobFailed):
        result.raise_for_state()


# -- what a pjstat leaves out


def asked(site: Site, call: Call) -> Answer:
    return site.hpc.target.engine_target().host.run(call)


def test_a_job_that_the_history_leaves_out_is_found_by_its_record(site: Site) -> None:
    switch(site, "no history")
    job = site.submit("exit 3")
    eventually(lambda: Path(job.handle.work_dir, ".job", "exit_code").exists(), "it ends")
    pjm = PJM()
    eventually(lambda: not pjm.read_queue(asked(site, pjm.queue([job.id]))).jobs, "it leaves the queue")
    left_out = pjm.read_history(asked(site, pjm.history([job.id])))
    assert (left_out.jobs, left_out.failed, left_out.unknown) == ({}, "", frozenset())
    found = pjm.read_look_for(asked(site, pjm.look_for(job.id)))
    assert (found.jobs[job.id].state, found.jobs[job.id].exit_code) == (JobState.FAILED, 3)
    assert found.instead == PJM(by_record=True)
    switch(site, "no history", on=False)
    assert job.end().exit_code == 3


def test_a_history_that_is_empty_is_found_out_and_asked_no_more(site: Site) -> None:
    switch(site, "no history")
    failed, cancelled = site.submit("exit 3"), site.submit("sleep 100")
    cancelled.until("RUNNING")
    site.system.cancel(cancelled.id)
    first, second = site.wait([failed, cancelled])
    assert (first.state, first.exit_code) == (JobState.FAILED, 3)
    assert second.state is JobState.CANCELLED  # nothing in its own files says so
    assert not any("LOST" in warning for warning in site.warnings)


def test_a_lost_reply_whose_job_no_answer_shows_any_more_is_not_repeated(site: Site) -> None:
    switch(site, "no history")
    switch(site, "lost reply")
    job = site.submit(f"echo ran >>{site.folder}/ran")
    switch(site, "lost reply", on=False)
    assert job.end().state is JobState.COMPLETED
    assert (site.folder / "ran").read_text() == "ran\n"


class ByRecord(PJMTarget):
    """A PJM whose history is known to be empty."""

    @property
    def scheduler(self) -> Scheduler:
        return PJM(by_record=True)


def test_where_the_history_is_empty_a_job_goes_its_way_by_its_record(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch(site, "no history")
    monkeypatch.setattr(
        site.system, "target", lambda **fields: ByRecord(poll_interval=0.5, queue_cpu="small", **fields)
    )
    results = site.runner().map(Command.shell("exit $1"), [["0"], ["3"]], profile=PLAIN)
    assert [(result.state, result.exit_code) for result in results] == [(JobState.COMPLETED, 0), (JobState.FAILED, 3)]
    assert [result.metrics.energy_j for result in results] == [450, 450]


def test_a_job_that_is_not_there_is_denied_by_name(site: Site) -> None:
    pjm, job = site.scheduler, site.submit("sleep 100")
    assert pjm.read_look_for(asked(site, pjm.look_for("999999"))).unknown == {"999999"}
    switch(site, "strict ids")
    report = pjm.read_queue(asked(site, pjm.queue(["999999", job.id])))
    assert (report.jobs, report.unknown) == ({}, {"999999"})  # the other is in doubt


# -- room, and what is refused


def test_room_is_what_pjm_tells(site: Site) -> None:
    switch(site, "accept=3")
    switch(site, "bulk=100")
    site.submit("sleep 100")
    pjm = site.scheduler
    answers = [asked(site, call) for call in pjm.room("u10001", "small", "hp200999")]
    assert pjm.read_room(answers) == Room(jobs=2, elements=3)


def test_a_job_beyond_the_limit_waits_until_there_is_room(site: Site) -> None:
    switch(site, "accept=1")
    gate = site.gate()
    first, second = site.submit(gate.closed), site.submit("echo later")
    assert second.row.state is JobState.READY
    gate.open()
    assert [result.state for result in site.wait([first, second])] == [JobState.COMPLETED] * 2


def test_work_outside_home_without_its_volume_is_refused_with_what_to_do(site: Site) -> None:
    switch(site, "volumes")
    error = run_failing(lambda: site.submit("true"), SubmitRefused)
    assert "gfscache" in error.advice
    assert site.runner(gfscache="/tmp").run(Command.shell("true"), profile=PLAIN).succeeded


def test_a_comma_between_two_volumes_shows_only_minutes_later(site: Site) -> None:
    hpc = site.runner(gfscache="/vol0002,/vol0004", cancel_stuck_after=0.1)
    handle = hpc.submit(Command.shell("true"), profile=PLAIN)
    (result,) = site.wait([Job(site, handle)])
    assert "with ':' between two" in result.reason


# -- what ranks print


def test_the_output_of_ranks_is_found_where_mpiexec_leaves_it(site: Site) -> None:
    profile = site.system.profile(launcher="mpiexec", mpiprocs=2)
    result = site.hpc.run(Command.shell("echo said by a rank; echo wrong >&2"), profile=profile)
    assert result.stdout_tail.splitlines()[1::2] == ["said by a rank"] * 2
    assert "rank 1 (output." in result.stdout_tail
    assert result.stderr_tail.splitlines()[1::2] == ["wrong"] * 2
