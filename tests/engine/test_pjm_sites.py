"""PJM as its users report it, of Fugaku and Wisteria above all: what it answers, what it takes, what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.schedulers import from_json, to_json
from dagster_hpc.engine.schedulers.base import Report, Room
from dagster_hpc.engine.schedulers.pjm.requests import PJM, PJMWithoutBulk
from tests.transcripts import transcript

PJM_ = PJM()
PLAIN = PJM(plain=True)
BY_RECORD = PJM(by_record=True)


def answer(name: str) -> Answer:
    return transcript("pjm", name)


def states(report: Report) -> dict[str, JobState]:
    return {job_id: status.state for job_id, status in report.jobs.items()}


# -- the form of an answer


def test_nobody_is_asked_to_take_a_delimiter() -> None:
    questions = [PJM_.queue(["1"]), PJM_.history(["1"]), *PJM_.find("x")]
    assert not [word for call in questions for word in call.argv if "delimiter" in word]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("comma_queue", {
            "101": JobState.PENDING, "101[0]": JobState.RUNNING, "101[1]": JobState.PENDING, "103": JobState.HELD,
        }),
        ("semicolon_queue", {"101": JobState.RUNNING}),
        ("queue_quoted", {"101": JobState.RUNNING}),
    ],
)  # fmt: skip
def test_the_delimiter_is_the_one_that_the_head_shows(name: str, expected: dict[str, JobState]) -> None:
    report = PJM_.read_queue(answer(name))
    assert (states(report), report.failed) == (expected, "")


def test_a_table_that_was_recorded_on_fugaku_is_read() -> None:
    report = PLAIN.read_queue(answer("recorded_queue"))
    assert states(report) == dict.fromkeys(["34716160", "34716168", "34716168[1]", "34716168[2]"], JobState.PENDING)


def test_a_table_in_another_form_is_read_in_that_form() -> None:
    # an option that a pjstat does not know it may just ignore; with -v it shows the codes
    assert PJM_.read_queue(answer("ignored_options")).instead == PLAIN
    report = PLAIN.read_queue(answer("ignored_options"))
    assert (states(report), report.failed, report.instead) == ({"101": JobState.RUNNING}, "", None)


def test_a_delimiter_inside_a_cell_moves_nothing() -> None:
    report = PJM_.read_queue(answer("comma_in_a_cell"))
    assert states(report) == {"102": JobState.RUNNING}  # 101, of another shape than its head, is in doubt


def test_a_table_without_the_state_says_nothing_of_a_state() -> None:
    assert states(PLAIN.read_queue(answer("recorded_model"))) == {}


def test_a_last_line_without_its_end_may_be_cut_and_is_left_out() -> None:
    whole = answer("comma_history")
    cut = replace(whole, stdout="H,JOB_ID,JOB_NAME,ST,EC,PC\n,101,x_abcd2345,EXT,-,1")  # of 11, an elapse limit
    assert states(PJM_.read_history(whole))["101[1]"] is JobState.PREEMPTED
    assert states(PJM_.read_history(cut)) == {}


def test_a_sites_own_words_for_states_are_read_and_an_end_without_codes_is_no_end() -> None:
    # Wisteria's pjstat, as seisflows reads it
    assert states(PLAIN.read_queue(answer("site_words"))) == {"1334861": JobState.RUNNING}


def test_an_answer_that_is_not_understood_has_failed_with_its_first_lines() -> None:
    text = "".join(f"line {number}\n" for number in range(100))
    for read in (PJM_.read_queue, PJM_.read_history, PJM_.read_look_for):
        report = read(Answer(("pjstat", "101"), 0, text, ""))
        assert report.failed.startswith("line 0\nline 1")
        assert "line 9" not in report.failed
    with pytest.raises(SchedulerUnavailable, match="line 0"):
        PJM_.read_found(Answer(("pjstat", "jnam=x"), 0, text, ""))


def test_a_name_that_may_be_cut_leaves_a_look_up_open() -> None:
    # "not there" would have the job submitted a second time
    text = "JOB_ID JOB_NAME ST\n101 x_abc RUN\n"
    with pytest.raises(SchedulerUnavailable, match="cuts names"):
        PJM_.read_found(Answer(("pjstat", "--filter", "jnam=x_abcd2345"), 0, text, ""))


def test_an_older_pjstat_is_not_asked_for_a_name_in_words_that_name_none() -> None:
    assert [call.argv[-1] for call in PJM(plain=True).find("x_abcd2345")] == ["jnam=x_abcd2345"] * 2


# -- who is missing from an answer


def test_an_ended_job_that_the_live_query_leaves_out_is_only_missing() -> None:
    report = PJM_.read_queue(answer("comma_queue"))  # 102 has ended; code 0, and not a word of it
    assert (report.failed, report.unknown, report.whole) == ("", frozenset(), False)


@pytest.mark.parametrize(
    ("name", "unknown"),
    [("record_invalid", {"101"}), ("record_invalid_element", {"101[3]"}), ("invalid_and_one", {"102"})],
)
def test_an_id_that_pjstat_calls_invalid_is_asked_and_not_there(name: str, unknown: set[str]) -> None:
    report = PJM_.read_look_for(answer(name))
    assert (report.unknown, report.failed) == (unknown, "")


def test_an_invalid_id_does_not_hide_the_job_beside_it() -> None:
    assert states(PJM_.read_queue(answer("invalid_and_one"))) == {"101": JobState.RUNNING}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("pjstat", "101", "102"), "[ERR.] PJM 0211 pjstat Invalid jobid"),  # which of them?
        (("pjstat", "101"), "[ERR.] PJM 0211 pjstat Invalid jobid: 102."),  # not asked for
        (("pjstat", "101"), "[ERR.] PJM 0211 pjstat Invalid jobid: 101.\n[ERR.] PJM 0090 pjstat Cannot connect"),
        (("pjstat", "101"), "No such job 101"),  # by whom?
    ],
)
def test_what_is_not_said_of_this_id_in_pjms_words_denies_nothing(argv: tuple[str, ...], words: str) -> None:
    assert PJM_.read_look_for(Answer(argv, 1, "", words)).unknown == frozenset()


def test_a_denial_that_did_not_come_to_its_end_is_none() -> None:
    report = PJM_.read_look_for(replace(answer("record_invalid"), code=None))
    assert (report.unknown, bool(report.failed)) == (frozenset(), True)


def test_one_job_is_looked_for_in_its_own_record() -> None:
    assert PJM_.look_for("101[3]").argv == ("pjstat", "-s", "-E", "101[3]")
    report = PJM_.read_look_for(answer("record_elapse"))
    assert report.jobs["101"].state is JobState.TIMEOUT
    assert report.jobs["101"].reason == "ran into its elapse limit (PJM code 11): ELAPSE LIMIT EXCEEDED"
    assert states(PJM_.read_look_for(answer("record_running"))) == {"101": JobState.RUNNING}
    assert PJM_.read_look_for(answer("record_unreachable")).failed


def test_a_record_brings_the_exit_code_and_the_figures() -> None:
    status = PJM_.read_look_for(answer("record_ended")).jobs["101"]
    assert (status.state, status.exit_code, status.job_name) == (JobState.COMPLETED, 0, "x_abcd2345")
    assert status.metrics.energy_j == pytest.approx(1500.5 * 3600)
    assert (status.metrics.elapsed_s, status.metrics.nodes) == (6605, 12)
    assert status.metrics.ended_at == datetime(2026, 11, 20, 9, 0, 5).timestamp()


def test_the_record_of_a_bulk_job_has_those_of_its_elements() -> None:
    report = BY_RECORD.read_history(answer("record_bulk"))
    assert states(report) == {"101[0]": JobState.COMPLETED, "101[1]": JobState.FAILED}  # the parent has no exit code


def test_where_the_history_left_a_job_out_ended_jobs_are_asked_for_by_their_records() -> None:
    report = PJM_.read_look_for(answer("record_ended"))
    assert report.instead == BY_RECORD
    assert BY_RECORD.history(["101", "102"]).argv == ("pjstat", "-s", "-E", "101", "102")
    assert BY_RECORD.read_look_for(answer("record_ended")).instead is None
    assert PJM_.read_look_for(answer("record_running")).instead is None
    assert replace(PJMWithoutBulk(), by_record=True) == PJMWithoutBulk().read_look_for(answer("record_ended")).instead
    assert from_json(to_json(BY_RECORD)) == BY_RECORD


@given(st.integers(0, 2000), st.sampled_from(["record_ended", "record_elapse", "record_bulk"]))
def test_half_a_record_says_no_more_than_the_whole(cut: int, name: str) -> None:
    whole = PJM_.read_look_for(answer(name))
    half = PJM_.read_look_for(replace(answer(name), stdout=answer(name).stdout[:cut]))
    ends = {job_id: state for job_id, state in states(half).items() if state.is_final}
    assert ends.items() <= states(whole).items()


# -- why


def test_the_error_state_before_the_start_is_explained_from_the_jobs_record() -> None:
    report = PJM_.read_queue(answer("gate_check_queue"))
    assert report.jobs["101"].stuck
    assert report.reasons is not None
    assert report.reasons.argv == answer("record_gate_check").argv
    told = PJM_.read_queue(answer("record_gate_check"))
    assert "GATE CHECK" in told.jobs["101"].reason
    assert "gfscache" in told.jobs["101"].reason
    assert told.reasons is None


@pytest.mark.parametrize(
    ("reason", "word", "stuck"),
    [
        ("IMPOSSIBLE SCHED", "ask for less", True),
        ("RSCGRP NOT EXIST", "queue_cpu", True),
        ("RSCGRP STOP", "closed", False),
        ("WAIT SCHED", "WAIT SCHED", False),
        ("INSUFF NODE", "INSUFF NODE", False),
        ("LIMIT OVER MEMORY", "more memory", False),
        ("-", "", False),
    ],
)
def test_a_waiting_job_says_why_in_pjms_word_and_in_ours(reason: str, word: str, stuck: bool) -> None:
    text = f"H,JOB_ID,ST,PC,REASON\n,7,QUE,-,{reason}\n"
    status = PJM_.read_queue(Answer(("pjstat", "7"), 0, text, "")).jobs["7"]
    assert word in status.reason
    assert (bool(status.reason), status.stuck) == (reason != "-", stuck)


def test_a_job_that_was_stopped_for_another_says_so() -> None:
    status = PJM_.read_history(answer("comma_history")).jobs["101[1]"]
    assert status.state is JobState.PREEMPTED
    assert status.reason.endswith("(PJM code 18): ANOTHER JOB STARTED")


def test_a_bulk_job_that_waits_for_its_elements_has_not_ended() -> None:
    report = PJM_.read_history(Answer(("pjstat",), 0, "H,JOB_ID,ST,EC,PC\n,7,EXT,0,14\n", ""))
    assert states(report) == {}


# -- ids


def test_a_step_of_a_step_job_is_a_job() -> None:
    report = PJM_.read_queue(Answer(("pjstat", "64856_0"), 0, "H,JOB_ID,ST,PC\n,64856_0,RUN,-\n,64856_1,QUE,-\n", ""))
    assert states(report) == {"64856_0": JobState.RUNNING, "64856_1": JobState.PENDING}
    assert PJM_.array_id("64856_0") == "64856_0"


def test_no_question_filters_by_resource_group() -> None:
    # a waiting job may be moved to another one
    questions = [PJM_.queue(["1"]), PJM_.history(["1"]), PJM_.look_for("1"), *PJM_.find("x")]
    assert not [word for call in questions for word in call.argv if "rscg" in word or "--rg" in word]


# -- room


def room(*names: str, group: str = "ra010014") -> Room:
    calls = PJM_.room("u13450", "small", group)
    given = {call.argv[0]: call.argv for call in calls}
    return PJM_.read_room([replace(answer(name), argv=given[answer(name).argv[0]]) for name in names])


def test_room_is_what_the_tightest_limit_leaves() -> None:
    assert [call.argv for call in PJM_.room("u", "small", "ra010014")] == [
        ("pjstat", "--limit", "--group", "ra010014"),
        ("pjacl", "--rg", "small"),
    ]
    assert room("limits", "acl_small") == Room(jobs=993, elements=600)
    assert room("limits") == Room(jobs=993, elements=1000)  # an element counts as a job, so no more than jobs


def test_the_limits_of_another_group_are_not_ours() -> None:
    assert room("limits", group="hp200999").jobs == 40000 - 3870


@pytest.mark.parametrize("name", ["limits", "acl_small"])
def test_what_cannot_be_read_limits_nothing(name: str) -> None:
    asked = answer(name)
    for broken in (
        replace(asked, code=1),
        replace(asked, code=None),
        replace(asked, stdout=""),
        replace(asked, stdout="", stderr="[ERR.] PJM 0090 pjstat Cannot connect"),
        replace(asked, stdout="PROJECT RSCGROUP ACCEPT BULK_ACCEPT\ngr58 regular-o 16 0\n"),  # Wisteria's own table
    ):
        assert PJM_.read_room([broken]) == Room()
    assert PJM_.read_room([]) == Room()


def test_what_is_full_has_room_for_none() -> None:
    full = replace(answer("limits"), stdout=answer("limits").stdout.replace(" 1000 ", "    5 "))
    assert PJM_.read_room([full]).jobs == 0


@given(st.text(), st.sampled_from(["limits", "acl_small"]), st.integers(0, 400))
def test_no_limits_raise(noise: str, name: str, cut: int) -> None:
    PJM_.read_room([replace(answer(name), stdout=answer(name).stdout[:cut] + noise)])


@pytest.mark.parametrize("name", ["capacity", "capacity_accept", "capacity_bulk"])
def test_a_refusal_for_the_number_of_jobs_is_worth_waiting_for(name: str) -> None:
    with pytest.raises(CapacityReached):
        PJM_.read_submit(answer(name))
