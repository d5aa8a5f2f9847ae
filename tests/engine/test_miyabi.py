"""Miyabi, from what its users report (tests/transcripts/miyabi); nobody of us has run anything there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import Command, ConfigurationError, ExecutionProfile, HPCJobRunner, MiyabiTarget
from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Demand
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobSpec, JobState
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.miyabi.requests import Miyabi
from dagster_hpc.engine.script import render_script
from tests.transcripts import transcript


def answer(name: str) -> Answer:
    return transcript("miyabi", name)


def script(**fields: object) -> str:
    spec = replace(JobSpec(name="x", queue="regular-g", project="gz00", options=(("charge", "group"),)), **fields)  # type: ignore[arg-type]
    return render_script(spec, Miyabi(), directory="/jobs/x", token="abcd2345")


# -- the script


def test_an_array_is_rerunnable_because_miyabi_refuses_others() -> None:
    text = script(elements=(("a",), ("b",)))
    assert "#PBS -J 0-1" in text
    assert "#PBS -r y" in text
    assert "#PBS -r n" in script()


def test_the_queue_gives_the_gpu() -> None:
    assert "#PBS -l select=2:ncpus=1:mpiprocs=1\n" in script(nodes=2, gpus_per_node=1)
    assert "ngpus" not in script(gpus_per_node=1)


def test_a_chunk_of_a_queue_for_mig_is_an_instance() -> None:
    text = script(
        queue="debug-mig", nodes=2, gpus_per_node=4, ranks_per_node=8, memory_per_node_mib=4096, launcher="mpirun"
    )
    assert "#PBS -l select=8:ncpus=2:mpiprocs=2:mem=1024mb\n" in text
    assert "place" not in text
    assert "#PBS -l select=1:ncpus=1:mpiprocs=1\n" in script(queue="debug-mig")


@pytest.mark.parametrize(
    ("queue", "gpus", "fault"),
    [("regular-c", 1, "no GPU"), ("regular-g", 2, "one GPU"), ("regular-g", 1, ""), ("regular-mig", 4, ""),
     ("regular-c", 0, "")],
)  # fmt: skip
def test_gpus_that_a_queue_does_not_have_are_refused_in_a_sentence(queue: str, gpus: int, fault: str) -> None:
    said = " ".join(Miyabi().unsupported(JobSpec(name="x", queue=queue, gpus_per_node=gpus)))
    assert fault in said
    assert bool(said) == bool(fault)


def test_who_pays_is_a_group_and_nothing_else() -> None:
    target = MiyabiTarget(project_cpu="gz00", charge="account")
    with pytest.raises(ConfigurationError, match="refuses -A"):
        HPCJobRunner(target=target, work_root="/scratch").render(Command("/bin/true"), profile=ExecutionProfile())


# -- submission


@pytest.mark.parametrize(
    ("name", "job_id"), [("reported_submit_ok", "1116786"), ("reported_submit_array", "1116787[]")]
)
def test_an_id_is_kept_as_qstat_shows_it_without_the_server(name: str, job_id: str) -> None:
    assert Miyabi().read_submit(answer(name)) == job_id
    assert "${hpc_id%%.*}" in script()


def test_a_group_that_has_its_jobs_waits() -> None:
    with pytest.raises(CapacityReached, match="njobs-g"):
        Miyabi().read_submit(answer("reported_capacity_group"))


def test_an_array_that_is_refused_is_not_left_open() -> None:
    with pytest.raises(SubmitRefused, match="non-rerunable"):
        Miyabi().read_submit(answer("reported_refused_array"))


# -- the table


def test_one_table_shows_all_live_jobs() -> None:
    assert Miyabi().queue(["1", "2[]"]).argv == ("qstat", "-ll", "-t")
    report = Miyabi().read_queue(answer("reported_queue_all"))
    assert report.whole
    assert {job_id: status.state for job_id, status in report.jobs.items()} == {
        "2139919": JobState.RUNNING,
        "2139920": JobState.PENDING,
        "2139921": JobState.HELD,
        "2139922[0]": JobState.RUNNING,
        "2139922[1]": JobState.PENDING,  # and [2], which EXPIRED, is over: the history is asked for it
        "2139923": JobState.PENDING,
        "2139924": JobState.RUNNING,
    }
    assert report.jobs["2139920"].reason == "waits its turn; may start at 09/30 05:58:36"
    assert report.jobs["2139919"].job_name == "md_abcd2345"
    assert report.jobs["2139919"].metrics.nodes == 16


def test_the_narrow_table_is_read_by_its_header_too() -> None:
    report = Miyabi().read_queue(answer("reported_queue_narrow"))
    assert [(job_id, status.job_name) for job_id, status in report.jobs.items()] == [("2139919", "ad1st.sh")]


def test_nothing_there_is_an_answer_and_not_a_failure() -> None:
    report = Miyabi().read_queue(answer("reported_queue_none"))
    assert (report.jobs, report.whole, report.failed) == ({}, True, "")
    past = Miyabi().read_history(answer("reported_history_none"))
    assert (past.jobs, past.unknown, past.failed) == ({}, {"2139919"}, "")
    alone = replace(answer("reported_history_none"), argv=Miyabi().look_for("7").argv)
    assert Miyabi().read_look_for(alone).unknown == {"7"}


def test_an_array_that_stands_in_one_line_hides_its_elements_and_proves_no_absence() -> None:
    report = Miyabi().read_queue(answer("reported_queue_folded"))
    assert not report.whole
    assert report.jobs["2139922[]"].state is JobState.PENDING


@pytest.mark.parametrize(
    ("old", "new"),
    [("QUEUED ", "PARKED "), ("2139919  ", "2139920  "), ("12days", "12days"), ("16   -\n2139920", "16   -\nnew\n2139920")],
)  # fmt: skip
def test_what_is_not_understood_in_a_table_makes_it_less_than_whole(old: str, new: str) -> None:
    said = answer("reported_queue_all")
    report = Miyabi().read_queue(replace(said, stdout=said.stdout.replace(old, new)))
    assert not report.failed
    if old == "QUEUED ":
        assert report.jobs["2139920"].state is JobState.UNKNOWN
    assert report.whole == (new in ("12days", "PARKED "))


def test_a_table_that_was_cut_proves_no_absence() -> None:
    said = answer("reported_queue_all")
    for cut in range(len(said.stdout)):
        assert not Miyabi().read_queue(replace(said, stdout=said.stdout[:cut])).whole or said.stdout[cut - 1] == "\n"


@given(st.text())
def test_text_that_is_no_table_is_a_failure_with_its_first_lines(text: str) -> None:
    if not any(word in text for word in ("JOB_ID", "No unfinished", "No matching")):
        report = Miyabi().read_queue(Answer(("qstat",), 0, text, ""))
        assert report.failed
        assert not report.whole


# -- what is over


def test_the_history_is_asked_for_as_far_back_as_it_goes() -> None:
    assert Miyabi().history(["5", "6"]).argv == ("qstat", "-H", "--hday", "31", "--hnum", "10000", "-f", "5", "6")
    too_many = Answer(("qstat", "-H"), 1, "", "qstat: --hnum takes 1 to 1000")
    assert Miyabi().read_history(too_many).instead == Miyabi(window="")
    refused = Answer(("qstat", "-H"), 2, "", "qstat: unrecognized option '--hday'\nusage: qstat")
    plainer = Miyabi().read_history(refused).instead
    assert plainer == Miyabi(window="")
    assert plainer.history(["5"]).argv == ("qstat", "-H", "-f", "5")
    assert plainer.read_history(refused).disabled


def test_records_are_read_though_the_last_one_lacks_its_blank_line() -> None:
    report = Miyabi().read_history(answer("assembled_history_ended"))
    assert {job_id: status.state for job_id, status in report.jobs.items()} == {
        "2139924": JobState.COMPLETED,
        "2139925": JobState.TIMEOUT,
    }
    metrics = report.jobs["2139924"].metrics
    assert (metrics.raw["TOKEN"], metrics.raw["mem_per_nodes:mg0001"], metrics.elapsed_s) == ("1.6", "7100kb", 12)


@pytest.mark.parametrize("name", ["deleted_waiting", "dependency_failed"])
def test_a_job_that_never_ran_is_over_though_it_stands_last(name: str) -> None:
    """It has no Exit_status, and behind the last record there is no blank line: it was HELD for ever."""
    said = transcript("pbs", f"plain_{name}")
    (status,) = Miyabi().read_history(replace(said, stdout=said.stdout[:-1])).jobs.values()
    assert status.state is JobState.CANCELLED
    for cut in range(len(said.stdout)):
        part = Miyabi().read_history(replace(said, stdout=said.stdout[:cut])).jobs
        assert all(one.state is JobState.CANCELLED for one in part.values())


def test_no_part_of_a_record_is_another_end() -> None:
    said = answer("assembled_history_ended")
    states = {job_id: one.state for job_id, one in Miyabi().read_history(said).jobs.items()}
    for cut in range(len(said.stdout)):
        part = Miyabi().read_history(replace(said, stdout=said.stdout[:cut])).jobs
        assert all(one.state is states[job_id] for job_id, one in part.items())


@pytest.mark.parametrize(
    ("name", "state"),
    [("running", JobState.RUNNING), ("waiting", JobState.PENDING), ("held_user", JobState.HELD)],
)
def test_a_live_job_is_seen_when_it_is_asked_for_alone(name: str, state: JobState) -> None:
    said = transcript("pbs", f"plain_{name}")
    (status,) = Miyabi().read_look_for(replace(said, stdout=said.stdout[:-1])).jobs.values()
    assert status.state is state


def test_ids_are_told_as_they_were_asked_for() -> None:
    asked = replace(answer("assembled_history_ended"), argv=("qstat", "-H", "-f", "2139924.opbs", "2139925"))
    assert set(Miyabi().read_history(asked).jobs) == {"2139924.opbs", "2139925"}


def test_a_history_that_shows_tables_only_is_none() -> None:
    assert Miyabi().read_history(answer("reported_found_ended")).disabled


# -- look-up and room


def test_a_job_is_found_in_the_column_of_names() -> None:
    said = answer("reported_found_ended")
    assert said.argv == Miyabi().find("end_efgh2345")[1].argv
    assert Miyabi().read_found(replace(said, about=Miyabi().find("end_efgh2345")[1].about)) == ["2139924"]
    assert Miyabi().read_found(replace(said, about="fgh2345")) == []
    with pytest.raises(SchedulerUnavailable):
        Miyabi().read_found(replace(said, stdout="qstat: server unavailable\n"))


@pytest.mark.parametrize(
    ("queue", "project", "room"),
    [("regular-g", "gz00", Room(13, 16)), ("regular-c", "gz00", Room(0, 4)), ("x-mig", "gz01", Room(4, 4)),
     ("regular-g", "gz", Room())],
)  # fmt: skip
def test_room_is_what_the_limits_of_the_group_leave(queue: str, project: str, room: Room) -> None:
    (call,) = Miyabi().room("me", queue, project)
    said = replace(answer("imagined_limit"), argv=call.argv, about=call.about)
    assert Miyabi().read_room([said]) == room


@given(st.text())
def test_limits_that_are_not_understood_are_none(text: str) -> None:
    (call,) = Miyabi().room("me", "regular-g", "gz00")
    if "ACCEPT" not in text:
        assert Miyabi().read_room([Answer(call.argv, 0, text, "", call.about)]) == Room()


# -- doctor


def findings(**answers: Answer) -> dict[str, str]:
    found = {}
    for probe in probes(Miyabi(), [Demand("regular-g", "gz00")], "me"):
        name = probe.name.replace(" ", "_")
        if name in answers:
            found[name] = probe.read(replace(answers[name], argv=probe.call.argv, about=probe.call.about)).level
    return found


def test_the_doctor_knows_miyabi_by_its_table() -> None:
    well = findings(
        qstat=answer("reported_queue_all"), job_history=answer("reported_found_ended"), limits=answer("imagined_limit")
    )
    assert well == {"qstat": "ok", "job_history": "ok", "limits": "ok"}
    stock = Answer((), 2, "", "qstat: invalid option -- 'l'\nusage: qstat")
    assert findings(qstat=stock, job_history=stock, limits=stock) == {
        "qstat": "fail",
        "job_history": "warn",
        "limits": "warn",
    }
    assert findings(qstat=answer("reported_queue_folded")) == {"qstat": "ok"}
