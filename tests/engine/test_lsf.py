"""LSF, from what documents say that it answers (tests/transcripts/lsf)."""

from __future__ import annotations

import contextlib
import json
import shlex
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import Command, ConfigurationError, ExecutionProfile, LSFTarget
from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Demand, Finding
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import Dependency, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers import from_json, to_json
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.lsf.replies import hosts, mebibytes, seconds, time_of
from dagster_hpc.engine.schedulers.lsf.requests import LSF
from dagster_hpc.engine.script import render_script
from dagster_hpc.resources.resolve import resolve
from tests.transcripts import names, transcript

LSF_ = LSF()
PLAIN = LSF(plain=True)
FEW = LSF(plain=True, few=True)


def answer(name: str) -> Answer:
    return transcript("lsf", name)


def status(name: str) -> JobStatus:
    (found,) = LSF_.read_queue(answer(name)).jobs.values()
    return found


def record(**fields: str) -> JobStatus:
    text = json.dumps({"RECORDS": [{"JOBID": "7", "JOBINDEX": "0", **fields}]})
    return LSF_.read_queue(Answer(("bjobs", "7"), 0, text, "")).jobs["7"]


def directives(spec: JobSpec, directory: str = "/jobs/x") -> list[str]:
    """The directives as bsub reads them, without their quotes."""
    text = render_script(spec, LSF_, directory=directory, token="abcd2345")
    lines = [line.removeprefix("#BSUB ") for line in text.splitlines() if line.startswith("#BSUB ")]
    return [" ".join(shlex.split(line)) for line in lines]


def resolved(profile: ExecutionProfile, **fields: Any) -> JobSpec:
    return resolve(Command("/apps/x"), profile, LSFTarget(**fields))


# -- submit


@pytest.mark.parametrize("name", ["submit_ok", "submit_default_queue", "submit_banner"])
def test_the_id_is_found_between_banners(name: str) -> None:
    assert LSF_.read_submit(answer(name)) == "123"


@pytest.mark.parametrize("name", names("lsf", "refused_"))
def test_a_refusal_is_permanent_and_quotes_lsfs_own_words(name: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        LSF_.read_submit(answer(name))
    assert (answer(name).stderr or answer(name).stdout).strip() in str(refused.value)
    assert refused.value.advice


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("refused_queue", "bqueues"),
        ("refused_esub", "own check"),
        ("refused_limit", "bqueues -l"),
        ("refused_array", "fewer elements"),
    ],
)
def test_a_refusal_says_what_to_correct(name: str, advice: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        LSF_.read_submit(answer(name))
    assert advice in refused.value.advice


@pytest.mark.parametrize("name", names("lsf", "capacity"))
def test_a_limit_of_jobs_is_worth_waiting_for(name: str) -> None:
    with pytest.raises(CapacityReached):
        LSF_.read_submit(answer(name))


def test_bsub_is_to_try_once_where_too_many_jobs_wait() -> None:
    # else it tries again every minute, and is killed for that with the job neither taken nor refused
    assert LSF_.submit("/jobs/x/x.lsf").environment == {"LSB_NTRIES": "1"}


def test_what_bsub_had_said_before_it_was_killed_is_told() -> None:
    said = "User <me>: Pending job threshold reached. Retrying in 60 seconds...\n"
    with pytest.raises(SchedulerUnavailable, match="Pending job threshold reached"):
        LSF_.read_submit(Answer(("bsub",), None, "", said))


@pytest.mark.parametrize("name", ["submit_daemon_down", "submit_communication", "submit_lsf_down", "submit_quiet"])
def test_an_answer_that_proves_nothing_leaves_the_submission_open(name: str) -> None:
    with pytest.raises(SchedulerUnavailable) as unavailable:
        LSF_.read_submit(answer(name))
    assert not isinstance(unavailable.value, CapacityReached)


def test_the_script_goes_in_by_standard_input() -> None:
    # as an argument it would be run as a command, without its directives
    call = LSF_.submit("/jobs/x/x.lsf")
    assert (call.argv, call.stdin) == (("bsub",), "/jobs/x/x.lsf")


@given(code=st.one_of(st.none(), st.integers(-20, 255)), out=st.text(), err=st.text())
def test_no_answer_to_a_submission_is_worse_than_an_error_of_ours(code: int | None, out: str, err: str) -> None:
    with contextlib.suppress(SubmitRefused, SchedulerUnavailable):
        assert LSF_.read_submit(Answer(("bsub",), code, out, err)).isdigit()


# -- states, row by row


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PEND", JobState.PENDING), ("PROV", JobState.PENDING), ("WAIT", JobState.PENDING), ("PSUSP", JobState.HELD),
        ("RUN", JobState.RUNNING), ("USUSP", JobState.SUSPENDED), ("SSUSP", JobState.SUSPENDED),
        ("DONE", JobState.COMPLETED), ("EXIT", JobState.FAILED), ("UNKWN", JobState.UNKNOWN),
        ("ZOMBI", JobState.NODE_FAIL), ("QUUX", JobState.UNKNOWN),
    ],
)  # fmt: skip
def test_a_word_is_a_state(word: str, state: JobState) -> None:
    assert record(STAT=word).state is state


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("TERM_RUNLIMIT", JobState.TIMEOUT), ("TERM_DEADLINE", JobState.TIMEOUT), ("TERM_WINDOW", JobState.TIMEOUT),
        ("TERM_MEMLIMIT", JobState.OOM), ("TERM_SWAP", JobState.OOM),
        ("TERM_OWNER", JobState.CANCELLED), ("TERM_ADMIN", JobState.CANCELLED),
        ("TERM_FORCE_OWNER", JobState.CANCELLED), ("TERM_FORCE_ADMIN", JobState.CANCELLED),
        ("TERM_ORPHAN_SYSTEM", JobState.CANCELLED), ("TERM_PREEMPT", JobState.PREEMPTED),
        ("TERM_ZOMBI", JobState.NODE_FAIL), ("TERM_UNKNOWN", JobState.FAILED),
        ("TERM_REQUEUE_OWNER", JobState.PENDING), ("TERM_REQUEUE_ADMIN", JobState.PENDING),
        ("TERM_CPULIMIT", JobState.FAILED), ("TERM_PROCESSLIMIT", JobState.FAILED), ("TERM_LOAD", JobState.FAILED),
        ("TERM_CWD_NOTEXIST", JobState.FAILED), ("TERM_SOMETHING_NEW", JobState.FAILED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("code", ["0", "140", ""])
def test_the_reason_goes_before_the_exit_code(reason: str, state: JobState, code: str) -> None:
    found = record(STAT="EXIT", EXIT_CODE=code, EXIT_REASON=f"{reason}: job killed by something")
    assert (found.state, found.exit_code, found.signal) == (state, None, None)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("name", "state", "exit_code", "signal", "words"),
    [
        ("queue_running", JobState.RUNNING, None, None, ""),
        ("queue_waiting", JobState.PENDING, None, None, "waiting for scheduling"),
        ("queue_dependency", JobState.HELD, None, None, "not satisfied"),
        ("queue_never", JobState.HELD, None, None, "can never start"),
        ("queue_held", JobState.HELD, None, None, "suspended by its owner"),
        ("queue_suspended", JobState.SUSPENDED, None, None, "load is too high"),
        ("queue_lost_contact", JobState.UNKNOWN, None, None, "UNKWN"),
        ("queue_zombie", JobState.NODE_FAIL, None, None, "ZOMBI"),
        ("queue_new_word", JobState.UNKNOWN, None, None, "'QUUX'"),
        ("queue_ok", JobState.COMPLETED, 0, None, ""),
        ("queue_exit_3", JobState.FAILED, 3, None, ""),
        ("queue_signal", JobState.FAILED, None, 11, "SIGSEGV"),
        ("queue_exit_140", JobState.FAILED, None, 12, "SIGUSR2"),  # no word of a limit: it may be the program's own
        ("queue_walltime", JobState.TIMEOUT, None, None, "walltime"),
        ("queue_cancelled_waiting", JobState.CANCELLED, None, None, "owner"),
        ("queue_banner", JobState.RUNNING, None, None, ""),
    ],
)
def test_a_status_says_why(name: str, state: JobState, exit_code: int | None, signal: int | None, words: str) -> None:
    found = status(name)
    assert (found.state, found.exit_code, found.signal) == (state, exit_code, signal)
    assert words in found.reason
    assert found.job_name == "x_abcd2345"


def test_an_exit_code_above_128_that_no_signal_has_is_the_programs_own() -> None:
    for code in (160, 190, 255):
        found = record(STAT="EXIT", EXIT_CODE=str(code))
        assert (found.exit_code, found.signal) == (code, None)


def test_only_what_can_never_start_is_stuck() -> None:
    assert status("queue_never").stuck
    assert not any(status(name).stuck for name in ("queue_waiting", "queue_dependency", "queue_held", "queue_running"))


# -- the list


def test_elements_are_jobs_of_their_own() -> None:
    jobs = LSF_.read_queue(answer("queue_array")).jobs
    assert {job_id: found.state for job_id, found in jobs.items()} == {
        "123[1]": JobState.COMPLETED,
        "123[2]": JobState.FAILED,
        "123[3]": JobState.RUNNING,
    }
    assert {found.job_name for found in jobs.values()} == {"x_abcd2345"}
    assert [LSF_.element_id("123", index) for index in (0, 2)] == ["123[1]", "123[3]"]  # LSF counts from 1
    assert LSF_.array_id("123[3]") == "123"


def test_a_forgotten_job_is_named_beside_a_known_one() -> None:
    report = LSF_.read_queue(answer("queue_known_and_unknown"))
    assert (set(report.jobs), report.unknown, report.failed) == ({"123"}, {"999"}, "")


@pytest.mark.parametrize(("name", "job_id"), [("queue_unknown", "999"), ("queue_no_matching", "123")])
def test_a_forgotten_job_is_no_failure_of_the_query(name: str, job_id: str) -> None:
    report = LSF_.read_queue(answer(name))
    assert (report.jobs, report.unknown, report.failed) == ({}, {job_id}, "")


def test_no_unfinished_job_denies_none_that_may_be_over() -> None:
    report = LSF_.read_queue(Answer(("bjobs", "-a", "123"), 255, "", "No unfinished job found\n"))
    assert not report.unknown
    assert "No unfinished job found" in report.failed


def test_one_element_is_asked_for_alone_and_denied_by_its_id() -> None:
    call = LSF_.look_for("123[3]")
    assert call.argv[-1] == "123[3]"
    gone = Answer(call.argv, 255, "", "Job <123[3]> is not found\n")
    assert LSF_.read_look_for(gone).unknown == {"123[3]"}


def test_the_denial_of_an_element_is_none_of_its_array() -> None:
    report = PLAIN.read_queue(Answer(("bjobs", "123"), 0, "", "Job <123[3]> is not found\n"))
    assert not report.unknown


@pytest.mark.parametrize("name", ["queue_cut", "queue_daemon_down"])
def test_an_answer_that_did_not_come_to_its_end_has_failed(name: str) -> None:
    report = LSF_.read_queue(answer(name))
    assert report.jobs == {}
    assert "says nothing of 123" in report.failed


@pytest.mark.parametrize("name", ["queue_empty_list", "queue_one_unmentioned"])
def test_a_whole_document_that_leaves_a_job_out_is_asked_for_as_lines(name: str) -> None:
    assert LSF_.read_queue(answer(name)).instead == PLAIN


def test_an_empty_answer_is_a_failed_query() -> None:
    # seen by users of other programs, for jobs that were running
    report = PLAIN.read_queue(Answer(("bjobs", "-a", "123"), 0, "", ""))
    assert "says nothing of 123" in report.failed


def test_of_lines_one_that_is_left_out_is_in_doubt_and_the_others_count() -> None:
    mixed = answer("plain_mixed")
    report = PLAIN.read_queue(Answer((*mixed.argv, "125"), 0, mixed.stdout, mixed.stderr))
    assert (set(report.jobs), report.unknown, report.failed) == ({"123", "124"}, {"999"}, "")


def test_a_query_without_an_end_is_a_failed_query() -> None:
    assert "no answer in time" in LSF_.read_queue(Answer(("bjobs", "1"), None, "", "")).failed


def test_an_older_bjobs_is_asked_without_json() -> None:
    assert LSF_.read_queue(answer("queue_without_json")).instead == PLAIN
    assert "-json" not in PLAIN.queue(["1"]).argv
    assert from_json(to_json(PLAIN)) == PLAIN


def test_one_of_9_1_is_asked_without_the_fields_that_it_does_not_know() -> None:
    assert PLAIN.read_queue(answer("plain_unknown_field")).instead == FEW
    fields = FEW.queue(["1"]).argv[4].split()
    assert "pend_reason" not in fields
    report = FEW.read_queue(answer("few_running"))
    assert (report.jobs["123"].state, report.jobs["123"].job_name) == (JobState.RUNNING, "x_abcd2345")


def test_one_that_takes_no_such_question_at_all_fails_in_its_own_words() -> None:
    report = FEW.read_queue(answer("queue_without_json"))
    assert report.instead is None
    assert "illegal option" in report.failed


def test_lines_are_read_whatever_a_name_holds() -> None:
    report = PLAIN.read_queue(answer("plain_mixed"))
    assert {job_id: found.state for job_id, found in report.jobs.items()} == {
        "123": JobState.RUNNING,
        "124": JobState.TIMEOUT,
    }
    assert report.jobs["124"].job_name == "y|with bars_abcd2345"
    assert not report.failed


def test_a_line_that_is_cut_is_left_out() -> None:
    report = PLAIN.read_queue(answer("plain_cut"))
    assert (report.jobs, bool(report.failed)) == ({}, True)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["RECORDS", "JOBID", "STAT", "JOBINDEX", "EXIT_REASON", "ERROR", "x"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(_JSON, st.booleans(), st.integers(0, 255))
def test_no_document_raises_and_only_done_is_success(document: object, listed: bool, code: int) -> None:
    text = json.dumps({"RECORDS": document} if listed else document)
    report = LSF_.read_queue(Answer(("bjobs", "7"), code, text, ""))
    assert "DONE" in text or not any(found.state is JobState.COMPLETED for found in report.jobs.values())


@given(st.binary(max_size=400))
def test_no_bytes_raise_and_none_prove_a_state(noise: bytes) -> None:
    text = noise.decode("utf-8", "replace")
    for scheduler in (LSF_, PLAIN, FEW):
        report = scheduler.read_queue(Answer(("bjobs", "7"), 0, text, text))
        assert report.failed or report.jobs
        scheduler.read_room([Answer(("bparams", "-a"), 0, text, ""), Answer(("busers", "-w", "me"), 0, text, "")])
        with contextlib.suppress(SchedulerUnavailable):
            scheduler.read_found(Answer(("bjobs", "x"), 0, text, text))


def test_no_depth_of_brackets_raises() -> None:
    assert LSF_.read_queue(Answer(("bjobs", "7"), 0, '{"RECORDS":' + "[" * 100_000, "")).failed


# -- figures


def test_figures_are_numbers_in_the_units_of_their_names() -> None:
    metrics = status("queue_walltime").metrics
    assert (metrics.elapsed_s, metrics.cpu_time_s) == (12, 12.5)
    assert metrics.max_rss_mib == pytest.approx(1.2 * 1024)
    assert (metrics.nodes, metrics.cores, metrics.node_list) == (2, 16, "h1,h2")
    assert metrics.node_hours == pytest.approx(2 * 12 / 3600)
    assert metrics.started_at is None  # to the minute: the job's own note is better
    assert metrics.raw["START_TIME"] == "Nov 20 06:08"
    assert metrics.energy_j is None


def test_a_running_job_has_not_ended_though_an_end_is_estimated() -> None:
    metrics = record(STAT="RUN", EXEC_HOST="h1", FINISH_TIME="Nov 20 07:08:00 L").metrics
    assert metrics.ended_at is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nov 20 06:07:12", datetime(2026, 11, 20, 6, 7, 12)),
        ("Dec 31 23:59:59", datetime(2025, 12, 31, 23, 59, 59)),  # the year has turned since
        ("Nov 20 06:07:12 2024", datetime(2024, 11, 20, 6, 7, 12)),
        ("Feb 29 12:00:00", datetime(2024, 2, 29, 12)),
        ("Nov 20 06:07:12 L", datetime(2026, 11, 20, 6, 7, 12)),
        ("Nov  1 06:07:12", datetime(2026, 11, 1, 6, 7, 12)),
        ("Nov 20 06:07", None),
        ("Foo 20 06:07:12", None),
        ("Nov 99 06:07:12", None),
        ("-", None),
        ("", None),
    ],
)
def test_a_time_without_a_year_is_the_latest_that_has_been(text: str, expected: datetime | None) -> None:
    now = datetime(2026, 11, 20, 8)
    assert time_of(text, now) == (expected.timestamp() if expected else None)


def test_what_is_no_figure_is_none() -> None:
    assert [seconds(text) for text in ("", "-", "x second(s)", "0 second(s)")] == [None, None, None, 0]
    assert [mebibytes(text) for text in ("", "-", "1 Pbytes", "512 Kbytes")] == [None, None, None, 0.5]
    assert hosts("2*a:b:2*a") == {"a": 4, "b": 1}
    assert hosts("-") == {}


@given(st.text(max_size=40))
def test_no_figure_raises(text: str) -> None:
    time_of(text, datetime(2026, 11, 20))
    seconds(text), mebibytes(text), hosts(text)


# -- room


def room(users: str, parameters: str = "room_parameters") -> Room:
    return LSF_.read_room([answer(parameters), answer(users)])


def test_room_is_what_may_wait_and_does_not_yet() -> None:
    assert [call.argv for call in LSF_.room("carol", "normal", "")] == [("bparams", "-a"), ("busers", "-w", "carol")]
    assert room("room_user") == Room(jobs=40, elements=1000)  # 60 of 100 jobs; of slots 150 are left


def test_a_user_with_as_many_waiting_jobs_as_he_may_has_no_room() -> None:
    assert room("room_user_full").jobs == 0


@pytest.mark.parametrize("name", ["room_user_unlimited", "room_user_unknown", "identify_down"])
def test_what_busers_does_not_limit_or_does_not_say_is_open(name: str) -> None:
    assert room(name) == Room(elements=1000)


def test_what_bparams_does_not_say_is_open() -> None:
    assert room("room_user", "identify_down") == Room(jobs=40)


# -- find and cancel


@pytest.mark.parametrize(("name", "ids"), [("found", ["123"]), ("found_array", ["123"]), ("found_none", [])])
def test_a_job_is_found_by_its_name(name: str, ids: list[str]) -> None:
    assert LSF_.read_found(answer(name)) == ids


@pytest.mark.parametrize("name", ["found_silent", "found_daemon_down", "found_another"])
def test_a_look_up_that_fails_finds_nothing_and_says_so(name: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        LSF_.read_found(answer(name))


@pytest.mark.parametrize("name", ["cancel_ok", "cancel_ended", "cancel_unknown", "cancel_mixed"])
def test_a_cancellation_of_what_is_over_is_no_error(name: str) -> None:
    LSF_.read_cancel(answer(name))


@pytest.mark.parametrize("name", ["cancel_daemon_down", "cancel_denied"])
def test_a_cancellation_that_fails_says_so(name: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        LSF_.read_cancel(answer(name))


# -- the script


FULL = ExecutionProfile(
    num_nodes=2, mpiprocs=4, ompthreads=3, gpus_per_node=2, memory_per_node="10G", walltime="00:10:01",
    launcher="mpirun", exclusive=True, qos="gold", reservation="r1", signal_before_end="USR2@90",
)  # fmt: skip


def test_every_field_of_a_profile_is_a_directive() -> None:
    spec = resolved(FULL, queue_cpu="normal", project_cpu="ab12", user_group="chem")
    assert set(directives(spec)) == {
        "-J x_abcd2345", "-o /jobs/x/.job/scheduler.log", "-cwd /jobs/x", "-n 8", "-R span[ptile=4]",
        "-R affinity[core(3)]", "-R rusage[mem=10240MB]", "-M 10240MB", "-gpu num=2", "-W 11", "-q normal",
        "-P ab12", "-G chem", "-sla gold", "-U r1", "-x", "-wa USR2", "-wt 2", "-rn",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("walltime", "minutes"), [("1", 1), ("60", 1), ("61", 2), ("01:00:00", 60), ("2-00:00:00", 2880)]
)
def test_a_walltime_is_rounded_up_to_minutes(walltime: str, minutes: int) -> None:
    assert f"-W {minutes}" in directives(resolved(ExecutionProfile(walltime=walltime)))


def test_memory_is_told_as_the_site_counts_it() -> None:
    spec = resolved(FULL, memory_per_slot=True, memory_limit_per_job=True)
    assert {"-R rusage[mem=2560MB]", "-M 20480MB"} <= set(directives(spec))


def test_an_array_counts_from_1_in_its_name_and_its_files() -> None:
    spec = JobSpec(name="x", executable="/apps/x", elements=(("a",), ("b",), ("c",)), element_limit=2)
    lines = directives(spec)
    assert {"-J x_abcd2345[1-3]%2", "-o /jobs/x/.job/scheduler.%I.log"} <= set(lines)
    assert LSF_.log_of("/jobs/x/0", 0) == "/jobs/x/.job/scheduler.1.log"
    assert "LSB_JOBINDEX - 1" in render_script(spec, LSF_, directory="/jobs/x", token="abcd2345")


def test_dependencies_are_one_condition_and_a_job_whose_is_lost_is_ended() -> None:
    needs = (Dependency("afterok", "1"), Dependency("afterany", "2"), Dependency("afternotok", "3[4]"))
    lines = directives(JobSpec(name="x", dependencies=needs))
    assert {"-w done(1) && ended(2) && exit(3[4])", "-ti"} <= set(lines)


def test_srun_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match="srun belongs to Slurm"):
        resolved(ExecutionProfile(launcher="srun"))


@pytest.mark.parametrize("directory", ['/jobs/a"b', "/jobs/a\\b", "/jobs/%J", "/jobs/%I"])
def test_a_directory_that_no_directive_can_hold_is_refused(directory: str) -> None:
    with pytest.raises(ConfigurationError, match="LSF"):
        directives(JobSpec(name="x"), directory)


# -- the doctor


def finding(probe: str, out: str = "", err: str = "", code: int = 0) -> Finding:
    demand = Demand("normal", "", {"long": JobSpec(name="x", walltime_s=7200)})
    found = next(each for each in probes(LSF_, [demand], "me") if each.name == probe)
    return found.read(Answer(found.call.argv, code, out, err))


def test_the_doctor_knows_lsf() -> None:
    assert finding("bsub", "", "IBM Spectrum LSF Standard 10.1.0.9, Oct 16 2019\n").level == "ok"
    assert finding("bsub", "", "Platform LSF 8.3.0.0, May 2012\n").level == "warn"
    assert finding("bsub", "", "", 1).level == "fail"
    assert finding("lsid", "My cluster name is lab\nMy master name is h1\n").sentence == "cluster lab answers"
    assert finding("lsid", "", "LIM is down", 255).level == "fail"
    assert finding("bjobs", "", "No unfinished job found\n", 255).level == "ok"
    assert finding("bjobs", "", "batch system daemon not responding\n", 255).level == "fail"
    head = "QUEUE_NAME PRIO STATUS MAX\n"
    assert finding("queue", f"{head}normal 30 Open:Active -\n").level == "ok"
    assert finding("queue", f"{head}normal 30 Closed:Active -\n").level == "warn"
    assert finding("queue", "", "normal: No such queue\n", 255).level == "fail"


def test_the_doctor_says_in_which_words_an_old_bjobs_is_asked() -> None:
    old = answer("queue_without_json")
    assert "asked for lines" in finding("bjobs", old.stdout, old.stderr, 255).sentence
    assert finding("bjobs", answer("queue_running").stdout).sentence.endswith("1 of your jobs are known to it")


def test_the_doctor_tells_arrays_and_how_long_jobs_are_known() -> None:
    told = finding("limits", answer("room_parameters").stdout)
    assert told.sentence == "arrays of up to 1000 elements; bjobs shows jobs for 01:00:00 after their end"
    assert finding("limits", "CLEAN_PERIOD = 60\n").level == "warn"
    assert finding("limits", "", "batch system daemon not responding\n", 255).level == "warn"


def test_the_doctor_compares_walltimes_with_the_queues_limit() -> None:
    text = "QUEUE: normal\n\nMAXIMUM LIMITS:\n RUNLIMIT\n {} min\n\nSCHEDULING POLICIES:\n"
    short = finding("queue limit", text.format("60.0"))
    assert (short.level, short.sentence) == ("fail", "queue normal allows 01:00:00, but profile 'long' asks for 02:00:00")
    assert finding("queue limit", text.format("1440.0")).level == "ok"
    assert finding("queue limit", "QUEUE: normal\n").level == "ok"
