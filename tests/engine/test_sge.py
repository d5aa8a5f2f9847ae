"""Grid Engine, from what a real one answered (tests/transcripts/sge), and what a real one thinks of our scripts."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import SGETarget
from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Demand
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import Dependency, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.sge.requests import SGE
from dagster_hpc.engine.schedulers.sge.words import ending_of, state_of
from dagster_hpc.engine.script import render_script
from tests.systems.sge import GridEngine
from tests.transcripts import names, transcript

SITE = SGE(user="me", parallel_environment="smp", multi_node_environment="mpi_{cores}", gpu_resource="gpu")
SPEC = JobSpec(name="bits", executable="/bin/true", walltime_s=3600)


def answer(name: str) -> Answer:
    return transcript("sge", name)


def accounted(name: str) -> JobStatus:
    (status,) = SITE.read_history(answer(name)).jobs.values()
    return status


def directives(spec: JobSpec, site: SGE = SITE, directory: str = "/jobs/x") -> dict[str, str]:
    script = render_script(spec, site, directory=directory, token="abcd2345")
    lines = [line.removeprefix("#$ ") for line in script.splitlines() if line.startswith("#$ ")]
    return {option: value for option, _, value in (line.partition(" ") for line in lines)}


# -- submit


@pytest.mark.parametrize(
    ("name", "job_id"),
    [
        ("qsub_r99", "32"),  # -terse
        ("qsub_arr_terse", "3"),  # 3.1-3:1
        ("qsub_ok", "1"),  # Your job 1 ("okjob") has been submitted
        ("qsub_arrlong", "13"),
        ("documented_submit_banner", "4242"),
        ("documented_submit_spoken", "4242"),
    ],
)
def test_the_id_is_found_with_and_without_terse_and_between_banners(name: str, job_id: str) -> None:
    assert SITE.read_submit(answer(name)) == job_id


REFUSED = [*names("sge", "refused_"), *(name for name in names("sge", "qsub_err_") if name != "qsub_err_hold_unknown")]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_permanent_and_quotes_grid_engines_own_words(name: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        SITE.read_submit(answer(name))
    assert answer(name).stderr.strip() in str(refused.value)
    assert refused.value.advice


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("qsub_err_queue", "queue_cpu"),
        ("qsub_err_pe", "parallel_environment"),
        ("qsub_err_resource", "memory_resource"),
        ("refused_project", "project_cpu"),
        ("refused_tasks", "fewer elements"),
    ],
)
def test_a_refusal_says_which_setting_to_correct(name: str, advice: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        SITE.read_submit(answer(name))
    assert advice in refused.value.advice


@pytest.mark.parametrize("name", names("sge", "capacity_"))
def test_a_limit_of_jobs_is_worth_waiting_for(name: str) -> None:
    with pytest.raises(CapacityReached, match="jobs are allowed per"):
        SITE.read_submit(answer(name))


def test_the_exit_code_of_a_limit_of_jobs_is_enough() -> None:
    with pytest.raises(CapacityReached):
        SITE.read_submit(Answer(("qsub",), 25, "", "Unable to run job: Auftrag abgelehnt.\nExiting.\n"))


@pytest.mark.parametrize(
    "lost",
    [answer("down_qsub"), Answer(("qsub",), 0, "", ""), Answer(("qsub",), None, "", "")],
    ids=["master down", "no id", "no end"],
)
def test_an_answer_that_proves_nothing_leaves_the_submission_open(lost: Answer) -> None:
    with pytest.raises(SchedulerUnavailable) as unavailable:
        SITE.read_submit(lost)
    assert not isinstance(unavailable.value, CapacityReached)


# -- the queue


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        ("qw", JobState.PENDING),
        ("Rq", JobState.PENDING),
        ("hqw", JobState.HELD),
        ("hRwq", JobState.HELD),
        ("r", JobState.RUNNING),
        ("hr", JobState.RUNNING),
        ("t", JobState.RUNNING),
        ("Rr", JobState.RUNNING),
        ("Rt", JobState.RUNNING),
        ("s", JobState.SUSPENDED),
        ("ts", JobState.SUSPENDED),
        ("S", JobState.SUSPENDED),
        ("tS", JobState.SUSPENDED),
        ("T", JobState.SUSPENDED),
        ("tT", JobState.SUSPENDED),
        ("Rs", JobState.SUSPENDED),
        ("RtS", JobState.SUSPENDED),
        ("Eqw", JobState.PENDING),
        ("Ehqw", JobState.PENDING),
        ("EhRqw", JobState.PENDING),
        ("dr", JobState.RUNNING),
        ("dt", JobState.RUNNING),
        ("dRr", JobState.RUNNING),
        ("ds", JobState.SUSPENDED),
        ("dS", JobState.SUSPENDED),
        ("z", JobState.UNKNOWN),  # over, and no word of how
        ("Y", JobState.UNKNOWN),
        ("rY", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_the_letters_of_a_state_are_a_set(letters: str, state: JobState) -> None:
    # the rows of sge_status(5)
    assert state_of(letters) is state
    assert state_of(letters[::-1]) is state


def test_running_jobs_elements_and_those_that_wait_are_in_one_list() -> None:
    jobs = SITE.read_queue(answer("queue_dependency")).jobs
    assert {job_id: status.state.value for job_id, status in jobs.items()} == {
        "1": "RUNNING",
        "2": "HELD",
        "3.1": "RUNNING",
        "3.2": "RUNNING",
        **{f"3.{task}": "PENDING" for task in (3, 4, 5, 6)},
    }
    assert jobs["2"].reason == "waits for job 1 that it depends on (hqw)"
    assert jobs["1"].job_name == "first_abcd2345"
    assert jobs["1"].metrics.started_at is not None
    assert jobs["1"].metrics.node_list == "vm"


def test_a_list_of_tasks_with_steps_is_taken_apart() -> None:
    jobs = SITE.read_queue(answer("qstat_xml")).jobs
    assert {job_id for job_id in jobs if job_id.startswith("13.")} == {"13.1", "13.3", "13.5", "13.7", "13.9"}
    assert jobs["11"].reason == "is held; `qrls` lets it go (hqw)"


def test_a_job_in_error_is_stuck_and_its_reason_is_asked_for() -> None:
    report = SITE.read_queue(answer("queue_error_and_suspended"))
    stuck = {job_id: status for job_id, status in report.jobs.items() if status.stuck}
    assert set(stuck) == {"4.1", "4.2"}
    assert not any(status.state.is_final for status in stuck.values())
    assert report.jobs["1"].state is JobState.SUSPENDED
    assert report.reasons is not None
    assert report.reasons.argv == ("qstat", "-j", "4")
    why = SITE.read_queue(answer("queue_error_reasons")).jobs["4.1"].reason
    assert why == "can never start: can't chdir to /no/such/folder: No such file or directory (Eqw)"


def test_nobody_is_asked_for_reasons_when_nothing_is_stuck() -> None:
    assert SITE.read_queue(answer("queue_dependency")).reasons is None


@pytest.mark.parametrize("name", ["down_qstat_xml", "queue_master_down", "find_master_down", "qstat_default"])
def test_an_answer_that_is_no_list_of_jobs_proves_nothing(name: str) -> None:
    # with -xml, some versions say with exit code 0 that the master is down
    report = SITE.read_queue(replace(answer(name), argv=("qstat",)))
    assert report.failed
    assert not report.jobs


def test_a_truncated_list_proves_nothing() -> None:
    whole = answer("qstat_xml")
    for length in range(0, len(whole.stdout.rstrip()), 97):
        assert SITE.read_queue(replace(whole, stdout=whole.stdout[:length])).failed


def test_the_list_is_asked_for_under_the_name_that_jobs_have_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # of another user's name the list would be empty and whole, and say that no job of ours is there
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.setenv("USER", "somebody-else")
    scheduler = SGETarget().scheduler
    assert isinstance(scheduler, SGE)
    assert scheduler.user == pwd.getpwuid(os.geteuid()).pw_name


def test_an_empty_list_says_that_there_is_no_job() -> None:
    report = SITE.read_queue(answer("room_list_empty"))
    assert report.whole
    assert (dict(report.jobs), report.failed) == ({}, "")


def test_a_list_that_came_to_its_end_is_of_all_jobs() -> None:
    assert SITE.read_queue(answer("queue_dependency")).whole


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("<tasks>3-6:1</tasks>", "<tasks>3-6:1 and more</tasks>"),
        ("<tasks>3-6:1</tasks>", "<tasks>3-9999999:1</tasks>"),
        ("<JB_job_number>2</JB_job_number>", "<JB_job_number>two</JB_job_number>"),
    ],
)
def test_a_list_with_a_row_that_is_not_understood_proves_nothing_by_absence(was: str, now: str) -> None:
    known = answer("queue_dependency")
    assert was in known.stdout
    report = SITE.read_queue(replace(known, stdout=known.stdout.replace(was, now)))
    assert "1" in report.jobs
    assert not report.whole


def test_what_a_site_prints_around_the_list_does_not_hide_it() -> None:
    known = answer("queue_dependency")
    around = replace(known, stdout=f"*** maintenance <b>on Friday ***\n{known.stdout}Have a nice day\n")
    assert SITE.read_queue(around) == SITE.read_queue(known)


@pytest.mark.parametrize(
    ("out", "err"), [("", ""), ("", "queue list is not available"), ("the site's wrapper says hello\n", "")]
)
def test_an_answer_with_exit_code_0_that_is_no_list_has_failed_and_is_quoted(out: str, err: str) -> None:
    for report in (
        SITE.read_queue(Answer(("qstat", "-xml"), 0, out, err)),
        SITE.read_look_for(Answer(("qstat", "-xml", "-j", "7"), 0, out, err)),
        SITE.read_history(Answer(("qacct", "-j", "7"), 0, out, err)),
    ):
        assert not report.whole
        assert not report.unknown
        assert (out or err).strip() in report.failed
        assert "is not understood" in report.failed


# -- one job alone


def test_a_job_is_asked_for_alone_whoevers_it_is() -> None:
    call = SITE.look_for("10")
    assert call.argv == ("qstat", "-xml", "-j", "10")
    known = SITE.read_look_for(answer("look_for_known"))
    assert known.jobs["10"].state is JobState.UNKNOWN  # its words show no letters of a state
    assert "another user's" in known.jobs["10"].reason


def test_a_job_that_grid_engine_does_not_know_is_denied_by_its_id() -> None:
    report = SITE.read_look_for(answer("look_for_unknown"))
    assert (report.unknown, report.failed) == ({"99999"}, "")


def test_the_denial_of_another_job_is_none() -> None:
    report = SITE.read_look_for(replace(answer("look_for_unknown"), argv=("qstat", "-xml", "-j", "12")))
    assert not report.unknown
    assert report.failed


def test_a_master_that_is_down_denies_no_job_though_its_exit_code_is_0() -> None:
    down = answer("look_for_master_down")
    assert down.code == 0
    report = SITE.read_look_for(down)
    assert "unable to send message to qmaster" in report.failed
    assert not report.unknown


def test_an_element_is_looked_for_in_the_list_and_denied_by_its_id() -> None:
    # `qstat -j 3.7` of 8.1.9 describes the whole array, also when this element is gone
    there, gone = SITE.look_for("3.6"), SITE.look_for("3.7")
    assert there.argv[4:] == SITE.queue(()).argv
    listed = answer("queue_dependency").stdout
    assert SITE.read_look_for(Answer(there.argv, 0, listed, "")).jobs["3.6"].state is JobState.PENDING
    assert SITE.read_look_for(Answer(gone.argv, 0, listed, "")).unknown == {"3.7"}
    assert not SITE.read_look_for(Answer(gone.argv, 0, listed[:-20], "")).unknown


# -- the accounting


def record(**cells: str) -> dict[str, str]:
    return {"jobname": "x_abcd2345", "jobnumber": "7", "taskid": "undefined", "slots": "1", **cells}


@pytest.mark.parametrize(
    ("failed", "state", "word"),
    [
        (1, JobState.FAILED, "early"),
        (3, JobState.FAILED, "folder"),
        (4, JobState.FAILED, "pid"),
        (5, JobState.FAILED, "configuration"),
        (6, JobState.FAILED, "processor set"),
        (7, JobState.FAILED, "before the prolog"),
        (8, JobState.FAILED, "prolog failed"),
        (9, JobState.FAILED, "parallel environment"),
        (10, JobState.FAILED, "parallel environment"),
        (11, JobState.FAILED, "shepherd failed"),
        (12, JobState.FAILED, "program had ended"),
        (13, JobState.FAILED, "program had ended"),
        (14, JobState.FAILED, "program had ended"),
        (15, JobState.FAILED, "epilog"),
        (16, JobState.FAILED, "processor set"),
        (17, JobState.FAILED, "died"),
        (18, JobState.FAILED, "shepherd died"),
        (19, JobState.NODE_FAIL, "nobody saw its end"),
        (20, JobState.FAILED, "shepherd"),
        (21, JobState.FAILED, "did not know the job"),
        (24, JobState.PENDING, "another node"),
        (25, JobState.PENDING, "runs again"),
        (26, JobState.FAILED, "output file"),
        (27, JobState.FAILED, "shell"),
        (28, JobState.FAILED, "working directory"),
        (29, JobState.FAILED, "AFS"),
        (30, JobState.FAILED, "exit code 100"),
        (31, JobState.FAILED, "password"),
        (32, JobState.FAILED, "password"),
        (33, JobState.FAILED, "password"),
        (34, JobState.FAILED, "helper"),
        (35, JobState.FAILED, "helper"),
        (36, JobState.FAILED, "daemon"),
        (37, JobState.FAILED, "hard limit"),
        (38, JobState.FAILED, "group"),
        (100, JobState.FAILED, "died"),
        (77, JobState.UNKNOWN, "does not know"),
    ],
)
def test_failed_counts_before_an_exit_status_of_0(failed: int, state: JobState, word: str) -> None:
    # the rows of sge_status(5); the 0 is there whether a program returned it or not
    end = ending_of(record(failed=f"{failed} : words", exit_status="0"))
    assert end.state is state
    assert word in end.reason
    assert f"failed {failed}" in end.reason


@pytest.mark.parametrize(
    ("name", "state", "exit_code", "signal", "word"),
    [
        ("qacct_ok", JobState.COMPLETED, 0, None, ""),
        ("qacct_pe", JobState.COMPLETED, 0, None, ""),
        ("qacct_fail3", JobState.FAILED, 3, None, ""),
        ("qacct_segv", JobState.FAILED, None, 11, "SIGSEGV"),
        ("qacct_rundel", JobState.FAILED, None, 9, "SIGKILL"),  # by qdel without -notify: it does not say
        ("history_deleted_with_notice", JobState.CANCELLED, None, 12, "was deleted"),
        ("qacct_srt", JobState.TIMEOUT, None, 10, "USR1"),
        ("history_memory", JobState.OOM, None, None, "more memory"),
        ("history_node_lost", JobState.NODE_FAIL, None, None, "nobody saw its end"),
        ("qacct_e99", JobState.PENDING, None, None, "runs again"),
        ("documented_history_univa", JobState.CANCELLED, None, None, "carol@login1"),
    ],
)
def test_how_a_job_ended(name: str, state: JobState, exit_code: int | None, signal: int | None, word: str) -> None:
    status = accounted(name)
    assert (status.state, status.exit_code, status.signal) == (state, exit_code, signal)
    assert word in status.reason


def test_an_exit_code_above_128_that_no_signal_has_is_the_programs_own() -> None:
    for code in (160, 190, 255):
        assert ending_of(record(failed="0", exit_status=str(code))).exit_code == code
    assert ending_of(record(failed="0", exit_status="139")).signal == 11


def test_a_hard_limit_is_that_of_time_when_the_time_was_up() -> None:
    cells = {"failed": "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "exit_status": "137     (Killed)"}
    over = {"category": "-l h_rt=5,h_vmem=100M", "ru_wallclock": "6s", "maxvmem": "4.8MB"}
    assert ending_of(record(**cells, **over)).state is JobState.TIMEOUT
    full = {"category": "-l h_rt=500,h_vmem=100M", "ru_wallclock": "6s", "maxvmem": "101.000MB"}
    assert ending_of(record(**cells, **full)).state is JobState.OOM
    shared = record(**cells, **full) | {"slots": "2"}
    assert ending_of(shared).state is JobState.FAILED  # which limit it was, nothing says
    assert ending_of(record(**cells)).state is JobState.FAILED


def test_an_array_has_a_record_for_each_element() -> None:
    jobs = SITE.read_history(answer("qacct_arr")).jobs
    assert {job_id for job_id, status in jobs.items() if status.state is JobState.COMPLETED} < set(jobs)
    assert jobs["12.2"].exit_code == 5
    assert all(job_id.startswith("12.") for job_id in jobs)


def test_of_several_records_of_one_job_the_last_counts() -> None:
    again = answer("qacct_e99").stdout
    at_last = again.replace("25  : rescheduling", "0    ").replace("exit_status  99", "exit_status  0 ")
    both = Answer(("qacct", "-j", "32"), 0, again + at_last, "")
    assert SITE.read_history(both).jobs["32"].state is JobState.COMPLETED
    assert SITE.read_history(replace(both, stdout=at_last + again)).jobs["32"].state is JobState.PENDING


def test_a_job_that_never_started_is_shown_only_to_who_asks_for_it_alone() -> None:
    # `-d` counts from the start of a job: of two whose node was lost, the accounting of both together says nothing
    assert not SITE.read_history(answer("history_without_start")).jobs
    assert accounted("history_without_start_alone").state is JobState.NODE_FAIL


def test_one_command_lists_the_jobs_of_a_user() -> None:
    assert SITE.history(["1", "2"]).argv == ("qacct", "-o", "me", "-d", "30", "-j")
    assert SITE.history(["1"]).argv == ("qacct", "-j", "1")  # of any age
    assert SITE.history(["1.2"]).argv == ("qacct", "-j", "1", "-t", "2")
    jobs = SITE.read_history(answer("history_of_user")).jobs
    assert len({status.job_name for status in jobs.values()}) > 3


@pytest.mark.parametrize(
    "name", ["qacct_unknown", "qacct_del_queued", "qacct_eqw", "history_of_nobody", "history_no_file"]
)
def test_what_the_accounting_does_not_know_yet_is_absent_and_no_failure(name: str) -> None:
    report = SITE.read_history(answer(name))
    assert (dict(report.jobs), report.failed, report.disabled) == ({}, "", False)


def test_an_accounting_that_is_being_written_shows_the_records_before() -> None:
    report = SITE.read_history(answer("history_half_written"))
    assert answer("history_half_written").stderr.startswith("error: ignoring invalid entry")
    assert (set(report.jobs), report.failed) == ({"1.1"}, "")


def test_an_accounting_that_does_not_know_a_job_says_nothing_of_its_absence() -> None:
    # it knows a job some seconds after its end, and not at all once the file was rotated
    for name in ("qacct_unknown", "history_no_file", "history_of_nobody", "history_no_element", "history_without_start"):
        report = SITE.read_history(answer(name))
        assert not report.unknown
        assert not report.whole


def test_an_accounting_that_may_not_be_read_is_not_asked_again() -> None:
    assert SITE.read_history(answer("history_unreadable")).disabled


def test_a_record_that_is_cut_off_proves_nothing() -> None:
    whole = answer("qacct_rundel").stdout
    for length in range(len(whole)):
        cut = SITE.read_history(Answer(("qacct", "-j", "6"), 0, whole[:length], "")).jobs
        assert all(status.state is JobState.FAILED and status.signal == 9 for status in cut.values())


def test_the_figures_have_their_units() -> None:
    metrics = accounted("qacct_rundel").metrics
    assert metrics.elapsed_s == 52
    assert metrics.cpu_time_s == 0.009
    assert metrics.max_rss_mib == pytest.approx(4.754)  # printed as 4.754KB, which are KiB of KiB
    assert (metrics.cores, metrics.node_list) == (1, "vm")
    assert accounted("documented_history_univa").metrics.max_rss_mib == 1536
    never_ran = accounted("history_node_lost").metrics
    assert (never_ran.started_at, never_ran.max_rss_mib) == (None, None)


def test_the_open_cluster_scheduler_prints_times_in_another_order() -> None:
    known = accounted("qacct_rundel")
    text = answer("qacct_rundel").stdout
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key in ("qsub_time", "start_time", "end_time"):
            moment = datetime.strptime(value.strip(), "%a %b %d %H:%M:%S %Y")
            key = "submission_time" if key == "qsub_time" else key
            text = text.replace(line, f"{key:<35}{moment:%Y-%m-%d %H:%M:%S}.000000")
    (status,) = SITE.read_history(Answer(("qacct", "-j", "6"), 0, text, "")).jobs.values()
    assert replace(status.metrics, raw={}) == replace(known.metrics, raw={})
    listed = answer("queue_dependency").stdout
    finer = re.sub(r"(\d\dT\d\d:\d\d:\d\d)<", r"\1.000000<", listed)
    assert finer != listed
    assert SITE.read_queue(Answer(("qstat",), 0, finer, "")).jobs == SITE.read_queue(answer("queue_dependency")).jobs


# -- room


def test_room_is_asked_for_by_an_ordinary_users_commands() -> None:
    assert [call.argv for call in SITE.room("me", "all.q", "")] == [("qconf", "-sconf"), SITE.queue(()).argv]


def room(listed: str, configuration: Answer) -> Room:
    return SITE.read_room([configuration, answer(listed)])


def test_a_user_who_has_all_jobs_that_he_may_has_no_room() -> None:
    # an array of six counts as one job: 3 of max_u_jobs 3
    assert room("room_list_full", answer("room_configuration")) == Room(jobs=0, arrays_are_one=True, elements=75000)


def test_where_there_is_room_for_a_job_there_is_room_for_an_array_of_any_size() -> None:
    assert room("room_list_two", answer("room_configuration")) == Room(jobs=1, arrays_are_one=True, elements=75000)


def test_a_limit_of_0_is_none() -> None:
    known = answer("room_configuration")
    unlimited = known.stdout.replace("max_u_jobs                   3", "max_u_jobs                   0")
    unlimited = unlimited.replace("75000", "0")
    assert room("room_list_full", replace(known, stdout=unlimited)) == Room()


@pytest.mark.parametrize("configuration", [answer("room_master_down"), Answer(("qconf",), 0, "hello", "")])
def test_limits_that_are_not_told_are_unknown(configuration: Answer) -> None:
    assert room("room_list_full", configuration) == Room()


def test_a_list_that_failed_leaves_the_room_open() -> None:
    assert room("queue_master_down", answer("room_configuration")) == Room(elements=75000)


# -- find and cancel


def test_a_job_is_found_by_its_name_in_queue_and_history() -> None:
    queue, history = SITE.find("after_bcde2345")
    assert queue.argv == ("qstat", "-xml", "-j", "after_bcde2345")
    assert history.argv == ("qacct", "-j", "after_bcde2345")
    assert SITE.read_found(answer("find_queued")) == ["2"]
    assert SITE.read_found(answer("qacct_arr")) == ["12"]


@pytest.mark.parametrize("name", ["find_unknown", "find_in_history_unknown"])
def test_a_name_that_nobody_has_is_found_nowhere(name: str) -> None:
    assert SITE.read_found(answer(name)) == []


def test_a_look_up_with_the_master_down_is_no_answer_though_its_exit_code_is_0() -> None:
    assert answer("find_master_down").code == 0
    with pytest.raises(SchedulerUnavailable, match="unable to send message to qmaster"):
        SITE.read_found(answer("find_master_down"))


@pytest.mark.parametrize(
    "name",
    [
        "qdel_queued",
        "qdel_finished",
        "qdel_unknown",
        "qdel_task",
        "qdel_eqw",
        "cancel_running",
        "cancel_again",
        "cancel_element",
    ],
)
def test_a_cancellation_that_was_taken_or_came_too_late_is_fine(name: str) -> None:
    SITE.read_cancel(answer(name))


@pytest.mark.parametrize("name", ["down_qdel", "cancel_master_down", "cancel_denied"])
def test_a_cancellation_that_was_not_taken_is_an_error(name: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        SITE.read_cancel(answer(name))


def test_elements_count_from_1() -> None:
    assert SITE.element_id("12", 0) == "12.1"
    assert SITE.array_id("12.1") == "12"
    assert SITE.log_of("/jobs/x/0", 0) == "/jobs/x/scheduler.1.log"
    assert SITE.log_of("/jobs/x", None) == "/jobs/x/scheduler.log"


# -- the script


def test_a_plain_job() -> None:
    found = directives(replace(SPEC, queue="all.q", project="ab12", reservation="7"))
    assert found["-N"] == "bits_abcd2345"
    assert found["-S"] == "/bin/bash"
    assert found["-l"] == "h_rt=01:00:00"
    assert (found["-q"], found["-P"], found["-ar"]) == ("all.q", "ab12", "7")
    assert "-pe" not in found


def test_memory_is_asked_for_by_the_slot() -> None:
    spec = replace(SPEC, ranks_per_node=3, threads_per_rank=2, memory_per_node_mib=1000)
    found = directives(spec)
    assert found["-pe"] == "smp 6"
    assert found["-l"] == "h_rt=01:00:00,h_vmem=167M"
    assert "mem_free=167M,h_vmem=167M" in directives(spec, replace(SITE, memory_resource="mem_free, h_vmem"))["-l"]


def test_several_nodes_have_an_environment_of_their_own() -> None:
    assert directives(replace(SPEC, nodes=2, ranks_per_node=4))["-pe"] == "mpi_4 8"


def test_gpus_are_counted_as_the_site_counts_them() -> None:
    spec = replace(SPEC, ranks_per_node=2, gpus_per_node=4)
    assert directives(spec)["-l"].endswith("gpu=4")
    assert directives(spec, replace(SITE, gpus_per_slot=True))["-l"].endswith("gpu=2")


def test_an_array_with_a_limit_counts_from_1_there_and_from_0_here() -> None:
    spec = replace(SPEC, elements=(("a",), ("b",), ("c",)), element_limit=2)
    found = directives(spec)
    assert (found["-t"], found["-tc"], found["-o"]) == ("1-3", "2", "/jobs/x/scheduler.$TASK_ID.log")
    assert "$((SGE_TASK_ID - 1))" in render_script(spec, SITE, directory="/jobs/x", token="abcd2345")


def test_a_warning_is_the_soft_limit_of_time() -> None:
    assert "s_rt=00:50:00" in directives(replace(SPEC, signal_name="USR1", signal_before_s=600))["-l"]


def test_dependencies_wait_for_the_end_however_that_was() -> None:
    spec = replace(SPEC, dependencies=(Dependency("afterany", "5"), Dependency("afterany", "6")))
    assert not SITE.unsupported(spec)
    assert directives(spec)["-hold_jid"] == "5,6"


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"dependencies": (Dependency("afterok", "5"),)}, "afterok"),
        ({"dependencies": (Dependency("afternotok", "5"),)}, "afternotok"),
        ({"dependencies": (Dependency("afterany", "5.1"),)}, "whole job"),
        ({"qos": "high"}, "quality of service"),
        ({"launcher": "srun"}, "srun"),
        ({"exclusive": True}, "exclusive_resource"),
        ({"signal_name": "TERM", "signal_before_s": 60}, "USR1"),
        ({"nodes": 2, "gpus_per_node": 1}, "first node"),
        ({"args": ("a\n#$ -l h_rt=99:00:00",)}, "#$"),
        ({"environment": (("A", "b\n#$ -q other"),)}, "#$"),
        ({"pre_commands": ("#$ -q other",)}, "#$"),
    ],
)
def test_what_cannot_be_had_is_said_before_submission(asked: dict[str, object], word: str) -> None:
    faults = SITE.unsupported(replace(SPEC, **asked))  # type: ignore[arg-type]
    assert any(word in fault for fault in faults)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"ranks_per_node": 2}, "parallel_environment"),
        ({"nodes": 2}, "multi_node_environment"),
        ({"gpus_per_node": 1}, "gpu_resource"),
    ],
)
def test_what_only_the_site_can_name_is_asked_of_the_target(asked: dict[str, object], field: str) -> None:
    faults = SGE().unsupported(replace(SPEC, **asked))  # type: ignore[arg-type]
    assert any(field in fault for fault in faults)


@pytest.mark.parametrize("character", "$:,#\"'")
def test_a_folder_that_no_directive_can_name_is_refused(character: str) -> None:
    with pytest.raises(ConfigurationError):
        directives(SPEC, directory=f"/jobs/a{character}b")


def test_blanks_are_kept_together() -> None:
    assert directives(SPEC, directory="/jobs/a b")["-o"] == '"/jobs/a b/scheduler.log"'


@pytest.mark.parametrize("ran", [False, True])
def test_a_job_that_is_deleted_before_its_program_has_begun_ends_at_once(tmp_path: Path, ran: bool) -> None:
    """USR2 goes to all processes that there are; a program that began after it ran on until it was killed."""
    (tmp_path / ".job").mkdir()
    deleted = "kill -USR2 $$"
    program = f'touch ran; {deleted.replace("$$", "$PPID")}; exec sleep 0.5'
    spec = replace(SPEC, shell=program, executable="", pre_commands=() if ran else (deleted,))
    script = tmp_path / "job.sge"
    script.write_text(render_script(spec, SITE, directory=str(tmp_path), token="abcd2345"))
    (tmp_path / ".job" / "command.sh").write_text(program)
    environment = {"PATH": os.environ["PATH"], "JOB_ID": "7", "HOSTNAME": "node1"}
    done = subprocess.run(["bash", str(script)], env=environment, cwd=tmp_path, timeout=30)
    assert done.returncode == (0 if ran else 140)
    assert (tmp_path / "ran").exists() is ran
    assert (tmp_path / ".job" / "signal").read_text() == "USR2\n"


# -- garbage

TEXT = st.one_of(
    st.text(),
    st.binary().map(lambda raw: raw.decode("utf-8", "replace")),
    st.builds(
        lambda text, cut, noise: text[: cut % (len(text) + 1)] + noise + text[cut % (len(text) + 1) :],
        st.sampled_from([answer(name).stdout for name in ("qstat_xml", "qacct_arr", "qstat_j_eqw", "qsub_ok")]),
        st.integers(0, 10**6),
        st.text(max_size=20),
    ),
)
ANSWERS = st.builds(
    Answer,
    st.sampled_from(
        [
            *(SITE.queue(()).argv, SITE.look_for("4").argv, SITE.look_for("4.2").argv, ("qstat", "-j", "4")),
            *(("qacct", "-j", "4"), ("qdel", "4"), ("qsub",)),
        ]
    ),
    st.one_of(st.none(), st.integers(0, 255)),
    TEXT,
    st.text(max_size=50),
)


@given(ANSWERS)
def test_no_answer_leads_to_an_error_that_is_not_ours(given: Answer) -> None:
    SITE.read_history(given)
    SITE.read_queue(given)
    SITE.read_look_for(given)
    SITE.read_room([given, given])
    for read in (SITE.read_submit, SITE.read_found, SITE.read_cancel):
        with contextlib.suppress(SubmitRefused, SchedulerUnavailable):
            read(given)
    for probe in probes(SITE, [Demand("all.q", "", {"p": JobSpec(name="x", walltime_s=60)})], "me"):
        assert probe.read(given).sentence


@given(st.text(), st.text())
def test_garbage_is_never_a_success(failed: str, exit_status: str) -> None:
    end = ending_of(record(failed=failed, exit_status=exit_status))
    words = (failed.split()[:1], exit_status.split()[:1])
    assert end.state is not JobState.COMPLETED or all(int(word[0]) == 0 for word in words)


@given(st.text(max_size=8))
def test_no_letters_are_an_end(letters: str) -> None:
    assert not state_of(letters).is_final


# -- doctor


@pytest.mark.parametrize(
    ("name", "transcript_name", "level", "word"),
    [
        ("qsub", "probe_help", "ok", "SGE 8.1.9"),
        ("qstat", "qstat_xml", "ok", "10 of your jobs"),
        ("qstat", "queue_master_down", "fail", "does not answer"),
        ("qstat", "qstat_default", "fail", "is not understood"),
        ("qacct", "history_of_user", "ok", "its last 30 days"),
        ("limits", "room_configuration", "ok", "at most 3 jobs of yours (an array is one), 75000 elements"),
        ("limits", "room_master_down", "warn", "cannot be read"),
        ("project", "probe_project", "ok", "there is a project ab12"),
        ("project", "probe_no_project", "fail", "no project 'ab12'"),
        ("qacct", "history_unreadable", "warn", "unable to open"),
        ("queue", "probe_queue", "fail", "allows 00:01:00, but profile 'long' asks for 01:00:00"),
        ("queue", "probe_no_queue", "fail", "no queue"),
        ("parallel environment", "probe_environment", "ok", "$pe_slots"),
        ("parallel environment", "probe_no_environment", "fail", "no parallel environment"),
        ("resource", "probe_resources", "ok", "can be requested"),
    ],
)
def test_doctor(name: str, transcript_name: str, level: str, word: str) -> None:
    demands = [Demand("short.q", "ab12", {"long": JobSpec(name="x", walltime_s=3600)})]
    probe = next(probe for probe in probes(SITE, demands, "me") if probe.name == name)
    finding = probe.read(answer(transcript_name))
    assert finding.level == level
    assert word in finding.sentence


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({"parallel_environment": "smp", "multi_node_environment": "mpi"}, "ok"),
        ({"parallel_environment": "smp", "multi_node_environment": "mpi_{cores}"}, "warn"),
        ({"parallel_environment": "openmp"}, "warn"),
    ],
)
def test_doctor_knows_which_environments_a_queue_has(fields: dict[str, str], level: str) -> None:
    site = SGE(**fields)
    demand = Demand("short.q", "", {"short": JobSpec(name="x", walltime_s=60)})
    probe = next(probe for probe in probes(site, [demand], "me") if probe.name == "queue")
    finding = probe.read(answer("probe_queue"))
    assert finding.level == level, finding.sentence
    assert level == "ok" or "would wait for ever" in finding.sentence


def test_doctor_says_that_a_row_of_the_list_is_not_understood() -> None:
    known = answer("queue_dependency")
    strange = replace(known, stdout=known.stdout.replace("<tasks>3-6:1</tasks>", "<tasks>?</tasks>"))
    finding = next(probe for probe in probes(SITE, [], "me") if probe.name == "qstat").read(strange)
    assert (finding.level, bool(finding.advice)) == ("warn", True)


# -- the real one


@pytest.mark.needs("sge")
@pytest.mark.parametrize("folder", ["a b", "ü", "back\\slash"])
def test_grid_engine_takes_our_scripts_in_any_folder(sge: GridEngine, tmp_path: Path, folder: str) -> None:
    here = tmp_path / folder
    (here / ".job").mkdir(parents=True)
    spec = replace(SPEC, ranks_per_node=2, memory_per_node_mib=512, queue="all.q", launcher="mpirun", gpus_per_node=1)
    script = here / "job.sge"
    script.write_text(render_script(spec, SITE, directory=str(here), token="abcd2345"))
    said = sge.run(["qsub", "-terse", "-h", "-w", "e", str(script)])
    job_id = SITE.read_submit(Answer(("qsub",), said.returncode, said.stdout, said.stderr))
    told = sge.run(["qstat", "-j", job_id]).stdout
    sge.run(["qdel", job_id])
    assert f"NONE:NONE:{here}/scheduler.log" in told
    assert "smp range: 2" in told
    assert "h_rt=3600" in told
