"""PBS, from what a real one answered (tests/transcripts/pbs), and through the simulator that answers like it."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import (
    Command,
    ExecutionProfile,
    GadiTarget,
    HPCJobRunner,
    HPCTarget,
    JobResult,
    MiyabiTarget,
    PBSTarget,
)
from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Demand
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import Dependency, JobFailed, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Report, Room, Scheduler
from dagster_hpc.engine.schedulers.miyabi.requests import Miyabi
from dagster_hpc.engine.schedulers.pbs.records import Record, hosts, kib, seconds, stamp
from dagster_hpc.engine.schedulers.pbs.replies import status_of
from dagster_hpc.engine.schedulers.pbs.requests import PBS, PlainPBS, WidePBS
from dagster_hpc.engine.schedulers.pbs.words import PBS_ENDED
from dagster_hpc.engine.script import render_script
from dagster_hpc.engine.target import Patience
from tests.contract.systems.pbs import PBSSystem
from tests.local_batch.system import eventually
from tests.simulators import pbs as simulator
from tests.transcripts import names, transcript

RAN = {"Job_Name": "x_abcd2345", "job_state": "F", "stime": "Fri Nov 20 06:06:00 2026"}
RUN = "Job run at Fri Nov 20 at 06:06 on (pbshost:ncpus=1)"
FORMS = [PBS(), WidePBS(), PlainPBS()]


def answer(name: str) -> Answer:
    return transcript("pbs", name)


def read(name: str) -> Report:
    """A transcript as the class reads it that asks in those words."""
    scheduler = {"plain": PlainPBS(), "wide": WidePBS()}.get(name.partition("_")[0], PBS())
    is_live = name.startswith("queue")
    return scheduler.read_queue(answer(name)) if is_live else scheduler.read_history(answer(name))


def only(name: str) -> JobStatus:
    (status,) = read(name).jobs.values()
    return status


def over(**attributes: object) -> JobStatus:
    return status_of(Record({**RAN, **{name: str(value) for name, value in attributes.items()}}))


def waiting(**attributes: object) -> JobStatus:
    return status_of(Record({"Job_Name": "x", **{name: str(value) for name, value in attributes.items()}}))


# -- submit


@pytest.mark.parametrize(
    ("name", "job_id"),
    [
        ("submit_ok", "2.pbshost"),
        ("submit_array", "16[].pbshost"),
        # the predecessor's pattern saw neither of these, and asked for ever for a job of another name
        ("documented_submit_banner", "123.gadi-pbs"),
        ("documented_submit_dotted_array", "123[].pbs-1.example.org"),
    ],
)
def test_the_id_is_found_whole_and_between_banners(name: str, job_id: str) -> None:
    assert PBS().read_submit(answer(name)) == job_id


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n\r", exclude_categories=["Cs", "Nd"]))))
def test_no_banner_hides_the_id(noise: list[str]) -> None:
    stdout = "\n".join([*noise, "123[].pbs-1.example.org", *noise]) + "\n"
    assert PBS().read_submit(Answer(("qsub",), 0, stdout, "")) == "123[].pbs-1.example.org"


@pytest.mark.parametrize("name", names("pbs", "refused_"))
def test_a_refusal_is_permanent_and_quotes_pbss_own_words(name: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        PBS().read_submit(answer(name))
    assert answer(name).stderr.splitlines()[0].strip() in str(refused.value)
    assert "usage" not in str(refused.value)
    assert refused.value.advice


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("refused_queue", "queue_cpu"),
        ("refused_queue_disabled", "choose another"),
        ("refused_resource", "template"),
        ("refused_walltime_max", "shorter walltime"),
        ("refused_array_size", "fewer elements"),
    ],
)
def test_a_refusal_says_which_setting_to_correct(name: str, advice: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        PBS().read_submit(answer(name))
    assert advice in refused.value.advice


@pytest.mark.parametrize("name", ["capacity_user", "documented_capacity_queue"])
def test_a_limit_of_queued_jobs_is_worth_waiting_for(name: str) -> None:
    with pytest.raises(CapacityReached):
        PBS().read_submit(answer(name))


@pytest.mark.parametrize("name", ["submit_server_down", "submit_unknown_host", "documented_submit_quiet"])
def test_an_answer_that_proves_nothing_leaves_the_submission_open(name: str) -> None:
    with pytest.raises(SchedulerUnavailable) as unavailable:
        PBS().read_submit(answer(name))
    assert not isinstance(unavailable.value, CapacityReached)


# -- states and ends, row by row

STATES = {
    "Q": JobState.PENDING, "T": JobState.PENDING, "H": JobState.HELD, "W": JobState.HELD, "R": JobState.RUNNING,
    "B": JobState.RUNNING, "E": JobState.RUNNING, "S": JobState.SUSPENDED, "U": JobState.SUSPENDED,
    "M": JobState.UNKNOWN,
}  # fmt: skip


@pytest.mark.parametrize("letter", STATES)
def test_each_letter_means_one_of_our_states(letter: str) -> None:
    assert waiting(job_state=letter, Exit_status=0, substate=92).state is STATES[letter]  # both may be there already


@given(st.text())
def test_a_letter_that_is_new_is_unknown_and_never_an_end(letter: str) -> None:
    if letter not in {*STATES, "F", "X"}:
        assert waiting(job_state=letter, Exit_status=0, substate=92).state is JobState.UNKNOWN


@pytest.mark.parametrize(
    ("attributes", "state", "exit_code", "signal"),
    [
        ({"Exit_status": 0, "substate": 92, "comment": f"{RUN} and finished"}, JobState.COMPLETED, 0, None),
        ({"Exit_status": 0, "substate": 93, "comment": f"{RUN} and failed"}, JobState.FAILED, None, None),
        ({"Exit_status": 3, "substate": 93}, JobState.FAILED, 3, None),
        ({"Exit_status": 137, "substate": 93}, JobState.FAILED, 137, None),
        ({"Exit_status": 139, "substate": 93}, JobState.FAILED, 139, None),
        ({"Exit_status": 255, "substate": 93}, JobState.FAILED, 255, None),
        ({"Exit_status": 254, "substate": 93}, JobState.FAILED, 254, None),
        ({"Exit_status": 127, "substate": 93}, JobState.FAILED, 127, None),
        ({"Exit_status": 265, "substate": 93}, JobState.FAILED, None, 9),
        ({"Exit_status": 266, "substate": 93}, JobState.FAILED, None, 10),
        ({"Exit_status": 271, "substate": 93}, JobState.FAILED, None, 15),
        ({"Exit_status": 271, "substate": 91, "comment": f"{RUN} and terminated by me@h"}, JobState.CANCELLED, None, None),
        ({"Exit_status": 143, "substate": 91, "comment": f"{RUN} and terminated by me@h"}, JobState.CANCELLED, None, None),
        ({"Exit_status": 265, "substate": 91, "comment": f"{RUN} and terminated by me@h"}, JobState.CANCELLED, None, None),
        ({"substate": 91, "stime": ""}, JobState.CANCELLED, None, None),
        ({"substate": 91, "stime": "", "comment": "Can Never Run: x and terminated"}, JobState.CANCELLED, None, None),
        ({"substate": 92, "stime": "", "depend": "afterok:1.h@h", "Hold_Types": "s"}, JobState.CANCELLED, None, None),
        ({"substate": 92}, JobState.LOST, None, None),  # the predecessor took a missing Exit_status for 0
        ({"substate": 92, "stime": ""}, JobState.LOST, None, None),
        ({"substate": 93}, JobState.LOST, None, None),
        ({"Exit_status": 0}, JobState.LOST, None, None),
        ({"Exit_status": 1, "substate": 91, "comment": "Subjob finished"}, JobState.LOST, None, None),
        ({"Exit_status": 271, "comment": f"{RUN} and exceeded resource walltime"}, JobState.TIMEOUT, None, None),
        ({"Exit_status": 271, "comment": f"{RUN} and exceeded resource mem"}, JobState.OOM, None, None),
        ({"Exit_status": 271, "comment": f"{RUN} and exceeded resource vmem"}, JobState.OOM, None, None),
        ({"Exit_status": -29, "substate": 93}, JobState.TIMEOUT, None, None),
        ({"Exit_status": -28, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -27, "substate": 93}, JobState.OOM, None, None),
        ({"Exit_status": -26, "substate": 93}, JobState.OOM, None, None),
        ({"Exit_status": -25, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -24, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -23, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -21, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -20, "substate": 93}, JobState.NODE_FAIL, None, None),
        ({"Exit_status": -18, "substate": 93}, JobState.NODE_FAIL, None, None),
        ({"Exit_status": -16, "substate": 93}, JobState.NODE_FAIL, None, None),
        ({"Exit_status": -14, "substate": 93}, JobState.NODE_FAIL, None, None),
        ({"Exit_status": -11, "substate": 93}, JobState.NODE_FAIL, None, None),
        ({"Exit_status": -10, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -6, "substate": 93}, JobState.NODE_FAIL, None, None),
        ({"Exit_status": -5, "substate": 93}, JobState.NODE_FAIL, None, None),
        ({"Exit_status": -4, "substate": 93}, JobState.NODE_FAIL, None, None),
        ({"Exit_status": -3, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -2, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -1, "substate": 93}, JobState.FAILED, None, None),
        ({"Exit_status": -99, "substate": 92}, JobState.FAILED, None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("letter", ["F", "X"])
def test_each_end_means_one_of_our_states(
    attributes: dict[str, object], state: JobState, exit_code: int | None, signal: int | None, letter: str
) -> None:
    status = over(**{"job_state": letter, **attributes})
    assert (status.state, status.exit_code, status.signal) == (state, exit_code, signal)
    assert status.reason or status.state is JobState.COMPLETED or status.exit_code


def test_a_kill_close_to_the_memory_limit_is_suspected() -> None:
    used = {"resources_used.mem": "99000kb", "Resource_List.mem": "100000kb"}
    assert "memory" in over(Exit_status=137, substate=93, **used).reason


def test_every_code_of_pbs_itself_has_a_row_above() -> None:
    assert set(PBS_ENDED) == {*range(-6, 0), -10, -11, -14, -16, -18, -20, -21, *range(-29, -22)}


@pytest.mark.parametrize(
    ("name", "state", "exit_code", "words"),
    [
        ("plain_ok", JobState.COMPLETED, 0, ""),
        ("plain_exit_3", JobState.FAILED, 3, ""),
        ("plain_exit_137", JobState.FAILED, 137, ""),
        ("plain_signal_9", JobState.FAILED, None, "SIGKILL"),
        ("plain_signal_15", JobState.FAILED, None, "SIGTERM"),
        ("plain_signal_usr1", JobState.FAILED, None, "SIGUSR1"),
        ("plain_timeout", JobState.TIMEOUT, None, "walltime"),
        ("plain_timeout_trapped", JobState.TIMEOUT, None, "walltime"),
        ("plain_deleted_running", JobState.CANCELLED, None, "by pbsuser@pbshost"),  # the words are wrapped
        ("plain_deleted_trapped", JobState.CANCELLED, None, "by pbsuser@pbshost"),
        ("plain_deleted_waiting", JobState.CANCELLED, None, "before it started"),
        ("plain_dependency_failed", JobState.CANCELLED, None, "afterok:11.pbshost"),
        ("plain_prologue", JobState.FAILED, None, "prologue"),
        ("plain_no_shell", JobState.FAILED, 254, ""),
        ("plain_node_lost", JobState.NODE_FAIL, None, "node was lost"),
        ("plain_element_exit_5", JobState.FAILED, 5, ""),
        ("plain_element_overwritten", JobState.LOST, None, "array was deleted"),
        ("history_timeout", JobState.TIMEOUT, None, "walltime"),
        ("history_timeout_trapped", JobState.TIMEOUT, None, "walltime"),
        ("history_dependency_failed", JobState.CANCELLED, None, "afterok:11.pbshost"),
        ("history_exit_255", JobState.FAILED, 255, ""),
        ("history_segv", JobState.FAILED, 139, ""),
        ("history_not_utf8", JobState.COMPLETED, 0, ""),
        ("history_name_digits", JobState.COMPLETED, 0, ""),
        ("history_name_nan", JobState.COMPLETED, 0, ""),
    ],
)
def test_a_job_that_is_over_says_how(name: str, state: JobState, exit_code: int | None, words: str) -> None:
    status = only(name)
    assert (status.state, status.exit_code) == (state, exit_code)
    assert words in status.reason


@pytest.mark.parametrize(
    ("name", "state", "words", "stuck"),
    [
        ("queue_running", JobState.RUNNING, "", False),
        ("queue_held_dependency", JobState.HELD, "depends on", False),
        ("plain_running", JobState.RUNNING, "", False),
        ("plain_held_user", JobState.HELD, "qrls", False),
        ("plain_held_dependency", JobState.HELD, "depends on", False),
        ("plain_never", JobState.PENDING, "Can Never Run: Insufficient amount of resource: ncpus (R: 999 A: 16", True),
        ("plain_waiting", JobState.PENDING, "Not enough free nodes", False),
        ("plain_suspended", JobState.SUSPENDED, "", False),
        ("plain_ending", JobState.RUNNING, "ending", False),  # its Exit_status is there already
    ],
)
def test_a_job_that_is_not_over_says_why(name: str, state: JobState, words: str, stuck: bool) -> None:
    status = only(name)
    assert (status.state, status.exit_code, status.stuck) == (state, None, stuck)
    assert words in status.reason


def test_a_job_that_could_not_be_started_twenty_times_is_stuck() -> None:
    status = waiting(job_state="H", substate=20, Hold_Types="s", run_count=21, Exit_status=-3)
    assert (status.state, status.stuck) == (JobState.HELD, True)
    assert not waiting(job_state="H", substate=20, Hold_Types="s", run_count=2).stuck


# -- ways to ask


def test_the_words_of_a_question() -> None:
    assert PBS().queue(["1.h", "2.h"]).argv == ("qstat", "-f", "-F", "json", "1.h", "2.h")
    assert PBS().history(["1[].h"]).argv == ("qstat", "-x", "-f", "-F", "json", "-t", "1[].h")
    assert WidePBS(past="-H").history(["1.h"]).argv == ("qstat", "-H", "-f", "-w", "1.h")
    assert PlainPBS().queue(["1[3].h", "2.h"]).argv == ("qstat", "-f", "1[3].h")  # one at a time


@pytest.mark.parametrize(
    ("name", "asked", "instead"),
    [
        ("documented_history_no_json", PBS(), WidePBS()),
        ("documented_history_no_json", WidePBS(), PlainPBS()),
        ("documented_history_json_broken", PBS(), WidePBS()),
        ("documented_history_no_x", PBS(), PBS(past="-H")),
        ("documented_history_x_without_meaning", PBS(), PBS(past="-H")),
    ],
)
def test_a_qstat_that_wants_other_words_is_asked_in_them(name: str, asked: PBS, instead: PBS) -> None:
    assert asked.read_history(answer(name)).instead == instead


@pytest.mark.parametrize("words", ["usage: qstat", "qstat: unrecognized option\nusage: qstat", "invalid option -- 'f'"])
def test_a_qstat_that_knows_no_words_of_ours_is_not_asked_for_ever(words: str) -> None:
    refused, scheduler = Answer(("qstat",), 2, "", words), PBS()
    for _ in range(10):
        report = scheduler.read_history(refused)
        if not report.instead:
            break
        assert isinstance(report.instead, PBS)
        scheduler = report.instead
    assert report.failed or report.disabled


def test_a_short_table_is_no_answer() -> None:
    # the predecessor took the first thing that `qstat -fH` printed for a job that is over
    for scheduler in (PlainPBS(past="-H"), WidePBS(past="-H")):
        report = scheduler.read_history(answer("short_fH"))
        assert (report.jobs, report.disabled) == ({}, True)
        assert scheduler.read_queue(answer("short_H")).failed


def test_a_running_job_that_dash_H_prints_is_not_over() -> None:
    report = PlainPBS(past="-H").read_history(answer("plain_running"))
    assert [status.state for status in report.jobs.values()] == [JobState.RUNNING]


@pytest.mark.parametrize("name", ["history_disabled", "plain_history_disabled"])
def test_a_history_that_is_off_is_told_from_one_without_the_job(name: str) -> None:
    assert read(name).disabled
    unknown = read("history_unknown")
    assert (unknown.jobs, unknown.failed, unknown.disabled) == ({}, "", False)


def test_one_unknown_job_does_not_hide_the_others() -> None:
    assert answer("history_mixed").code == 153
    report = read("history_mixed")
    assert (list(report.jobs), report.failed) == (["7.pbshost"], "")


@pytest.mark.parametrize("name", ["history_server_down", "no_configuration"])
def test_a_server_that_is_down_proves_nothing(name: str) -> None:
    report = read(name)  # in JSON there is a valid document all the same
    assert report.failed
    assert not report.jobs


# -- arrays


def test_an_array_is_told_by_its_elements_alone() -> None:
    jobs = read("history_array_deleted").jobs
    assert set(jobs) == {f"19[{index}].pbshost" for index in (0, 2, 4, 6, 8)}
    assert jobs["19[0].pbshost"].state is JobState.CANCELLED
    assert jobs["19[2].pbshost"].state is JobState.LOST  # it had ended with 5 before; its own file still knows that
    assert jobs["19[2].pbshost"].metrics.started_at is None


def test_elements_have_the_names_that_pbs_gives_them() -> None:
    assert PBS().element_id("16[].pbshost", 3) == "16[3].pbshost"
    assert PBS().array_id("16[3].pbshost") == "16[].pbshost"
    assert PBS().array_id("16.pbshost") == "16.pbshost"
    assert PlainPBS().array_id("16[3].pbshost") == "16[3].pbshost"


def test_an_array_of_one_is_a_plain_job() -> None:
    one = JobSpec(name="x", elements=(("a",),))
    assert "-J" not in directives(one)
    assert directives(one)["-o"] == "/jobs/x/0/scheduler.log"
    assert PBS().element_id("16.pbshost", 0) == "16.pbshost"


# -- what a job can forge


@pytest.mark.parametrize("name", ["queue_forged", "wide_forged", "plain_forged"])
def test_lines_in_the_environment_of_a_job_are_not_believed(name: str) -> None:
    assert "job_state = F" in answer(name).stdout or name == "queue_forged"
    jobs = read(name).jobs
    assert [status.state for status in jobs.values()] == [JobState.RUNNING]
    assert not {"1.pbshost"} & set(jobs)


@given(st.text(alphabet=" \n\tabJobIdFX=:_.0123456789stateExit,"))
def test_no_environment_can_make_a_job_look_over(value: str) -> None:
    head, _, tail = answer("plain_running").stdout.partition("    Variable_List = ")
    text = f"{head}    Variable_List = A={value}\n    Exit_status = 0\n    substate = 92{tail}"
    for status in PlainPBS().read_queue(Answer(("qstat",), 0, text, "")).jobs.values():
        assert status.state is JobState.RUNNING


@given(st.integers(0, 3000), st.sampled_from(names("pbs", "plain_") + names("pbs", "wide_")))
def test_a_text_that_was_cut_says_nothing(where: int, name: str) -> None:
    whole = answer(name)
    if where < len(whole.stdout):
        cut = replace(whole, stdout=whole.stdout[:where])
        for scheduler in (WidePBS(), PlainPBS()):
            found = scheduler.read_history(cut).jobs
            assert found.items() <= scheduler.read_history(whole).jobs.items()


def test_a_job_that_is_there_twice_proves_nothing() -> None:
    text = answer("wide_forged").stdout
    forged = text.replace("job_state = R", "job_state = F")
    assert WidePBS().read_queue(Answer(("qstat",), 0, text + forged, "")).jobs == {}


# -- garbage

GARBAGE = st.one_of(
    st.text(),
    st.binary().map(lambda content: content.decode("utf-8", "replace")),
    st.lists(
        st.sampled_from(
            ["Job Id: 1.h\n", "    job_state = F\n", "\tjob_state = F\n", "\n", "    Exit_status = 0\n",
             "    Variable_List = A=b\n", '{"Jobs": {', "}", '"1.h": ', '{"job_state": "F"}']
        )
    ).map("".join),
)  # fmt: skip
CODES = st.sampled_from([None, 0, 1, 2, 35, 153, 170, 255, -9])


@given(code=CODES, out=GARBAGE, err=GARBAGE)
def test_no_answer_is_an_error_that_is_not_ours(code: int | None, out: str, err: str) -> None:
    said = Answer(("qstat", "-x"), code, out, err)
    for scheduler in FORMS:
        for report in (scheduler.read_queue(said), scheduler.read_history(said)):
            assert not any(status.state.is_success for status in report.jobs.values())
        with contextlib.suppress(SubmitRefused, SchedulerUnavailable):
            scheduler.read_submit(said)
        with contextlib.suppress(SchedulerUnavailable):
            scheduler.read_found(said)
        with contextlib.suppress(SchedulerUnavailable):
            scheduler.read_cancel(said)
        for probe in probes(scheduler, [Demand("workq", specs={"p": JobSpec(name="x", walltime_s=60)})], "me"):
            assert probe.read(said).sentence


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["Jobs", "1.h", "job_state", "Exit_status"]), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_document_is_an_error(document: object) -> None:
    report = PBS().read_history(Answer(("qstat",), 0, json.dumps(document), ""))
    assert not any(status.state.is_success for status in report.jobs.values())
    for status in report.jobs.values():
        json.dumps(status.metrics.raw).encode("ascii")
        assert "\0" not in str(status)


def test_deep_nesting_is_no_error() -> None:
    assert PBS().read_queue(Answer(("qstat",), 0, "[" * 100_000, "")).instead == WidePBS()


# -- metrics


def test_figures_come_in_our_units() -> None:
    metrics = only("history_timeout").metrics
    assert (metrics.elapsed_s, metrics.cpu_time_s, metrics.nodes, metrics.cores) == (12.0, 0.0, 1, 1)
    assert metrics.max_rss_mib == pytest.approx(7100 / 1024)
    assert metrics.queue_wait_s == 0
    assert metrics.started_at is not None
    assert metrics.ended_at == metrics.started_at + 12
    assert metrics.node_list == "pbshost"
    assert metrics.energy_j is None
    assert metrics.raw["Resource_List.walltime"] == "00:00:05"
    assert not any("PBS_O" in value for value in metrics.raw.values())  # the environment may hold secrets


def test_a_job_that_never_ran_has_no_figures() -> None:
    for name in ("plain_deleted_waiting", "history_dependency_failed"):
        metrics = only(name).metrics
        assert (metrics.started_at, metrics.elapsed_s, metrics.nodes, metrics.cores) == (None, None, None, None)


@pytest.mark.parametrize(
    ("text", "names_"),
    [("n1/0", ["n1"]), ("n1/0*8+n2/0*8", ["n1", "n2"]), ("n1/0+n1/1", ["n1"]), ("", []), ("n1.x.org/3*4", ["n1.x.org"])],
)  # fmt: skip
def test_hosts_are_counted_once(text: str, names_: list[str]) -> None:
    assert hosts(text) == names_


@pytest.mark.parametrize(
    "vnodes", ["(a:ncpus=1+b:ncpus=1)", "(a:ncpus=4:mem=1gb)+(b:ncpus=4)", "", "+:+", "(", "a"]
)  # at the first of these the predecessor broke
def test_any_exec_vnode_is_kept_as_it_is(vnodes: str) -> None:
    assert over(Exit_status=0, substate=92, exec_vnode=vnodes).metrics.raw["exec_vnode"] == vnodes


@pytest.mark.parametrize("figures", ['{"m1": "12gb", "m2": "11gb"}', '\'{"m1": "12gb", "m2": "11gb"}\''])
def test_miyabis_token_and_memory_of_each_node_are_kept(figures: str) -> None:
    status = over(Exit_status=0, substate=92, TOKEN="1.25", **{"resources_used.mem_per_nodes": figures})
    assert status.metrics.raw["TOKEN"] == "1.25"
    assert status.metrics.raw["mem_per_nodes:m2"] == "11gb"


@given(st.text())
def test_memory_of_each_node_that_is_no_json_fails_no_job(figures: str) -> None:
    # the predecessor's success became a failure here
    assert over(Exit_status=0, substate=92, **{"resources_used.mem_per_nodes": figures}).state is JobState.COMPLETED


@given(st.text())
def test_no_value_is_an_error(text: str) -> None:
    seconds(text), kib(text), stamp(text), hosts(text)


def test_values() -> None:
    assert [seconds(text) for text in ("00:01:30", "100:00:00", "45", "1:30", "x")] == [90, 360_000, 45, 90, None]
    assert [kib(text) for text in ("7100kb", "1gb", "1024b", "10")] == [7100, 1024**2, 1, None]
    assert (stamp("Fri Nov 20 06:06:07 2026") or 0) - (stamp("Fri Nov 20 06:06:00 2026") or 0) == 7
    assert stamp("Fri Nov  6 06:06:00 2026") is not None
    assert stamp("Fri Nov 31 06:06:00 2026") is None


# -- look-up and cancel


def test_a_job_is_found_by_its_name() -> None:
    assert PBS().read_found(answer("find_ended")) == ["3.pbshost"]
    assert [call.argv for call in PBS().find("x_abcd2345")] == [
        ("qselect", "-N", "x_abcd2345"),
        ("qselect", "-x", "-N", "x_abcd2345"),
    ]


def test_a_look_up_in_a_history_that_is_off_finds_nothing_and_one_that_failed_is_told() -> None:
    off = "qselect: PBS is not configured to maintain job history"
    assert PBS().read_found(Answer(("qselect", "-x"), 0, "", off)) == []
    assert PBS().read_found(Answer(("qselect", "-x"), 2, "", "qselect: invalid option -- 'x'")) == []
    with pytest.raises(SchedulerUnavailable):
        PBS().read_found(Answer(("qselect", "-x"), 255, "", "Connection refused"))


@pytest.mark.parametrize(
    "name",
    ["cancel_waiting", "cancel_array", "cancel_element", "cancel_unknown", "cancel_expired", "cancel_finished",
     "cancel_ending", "cancel_mixed"],
)  # fmt: skip
def test_cancelling_takes_whatever_there_is(name: str) -> None:
    PBS().read_cancel(answer(name))


@pytest.mark.parametrize("name", ["cancel_foreign", "cancel_no_id", "cancel_node_gone", "cancel_server_down"])
def test_a_cancellation_that_did_not_go_through_is_told(name: str) -> None:
    with pytest.raises(SchedulerUnavailable, match="qdel did not go through") as told:
        PBS().read_cancel(answer(name))
    assert ("force" in told.value.advice) == (name == "cancel_node_gone")


def test_one_unknown_job_does_not_hide_that_another_was_not_cancelled() -> None:
    said = "qdel: Unauthorized Request  74.h\nqdel: Unknown Job Id 99.h\n"
    with pytest.raises(SchedulerUnavailable):
        PBS().read_cancel(Answer(("qdel",), 153, "", said))


# -- the script


def directives(spec: JobSpec, directory: str = "/jobs/x") -> dict[str, str]:
    """The #PBS lines: option (and resource) → value."""
    script = render_script(spec, PBS(), directory=directory, token="abcd2345")
    lines = [line.removeprefix("#PBS ") for line in script.splitlines() if line.startswith("#PBS ")]
    found = {}
    for line in lines:
        option, _, value = line.partition(" ")
        key, equals, rest = value.partition("=")
        found[f"{option} {key}" if option in ("-l", "-W") and equals else option] = (
            rest if option in ("-l", "-W") else value
        )
    assert len(found) == len(lines)
    return found


def test_a_small_request_says_what_it_needs_and_nothing_else() -> None:
    assert directives(JobSpec(name="hello", executable="/bin/true")) == {
        "-N": "hello_abcd2345",
        "-S": "/bin/bash",
        "-j": "oe",
        "-o": "/jobs/x/scheduler.log",
        "-l select": "1:ncpus=1:mpiprocs=1",
        "-l walltime": "00:05:00",
        "-r": "n",
    }


LARGEST = JobSpec(
    name="everything", executable="/bin/true", elements=(("a",), ("b",), ("c",)), element_limit=2, nodes=2,
    ranks_per_node=4, threads_per_rank=2, gpus_per_node=1, memory_per_node_mib=512, walltime_s=2 * 86400 + 5,
    launcher="mpirun", exclusive=True, reservation=None, directives=("#PBS -m n",), queue="regular-c", project="gz00",
    dependencies=(Dependency("afterok", "12.h"), Dependency("afterany", "13.h")), options=(("charge", "group"),),
)  # fmt: skip


def test_every_wish_has_its_directive() -> None:
    # the predecessor had: queue, nodes, ranks, threads, walltime, group and two fixed output files
    assert directives(LARGEST) == {
        "-N": "everyt_abcd2345",  # 15 characters, the token whole
        "-S": "/bin/bash",
        "-j": "oe",
        "-o": "/jobs/x/^array_index^/scheduler.log",
        "-l select": "2:ncpus=8:mpiprocs=4:ompthreads=2:ngpus=1:mem=512mb",
        "-l place": "scatter:excl",
        "-l walltime": "48:00:05",
        "-q": "regular-c",
        "-W group_list": "gz00",
        "-J": "0-2%2",
        "-r": "y",
        "-W depend": "afterok:12.h,afterany:13.h",
        "-m": "n",
    }


@pytest.mark.parametrize(("charge", "option"), [("account", "-A"), ("project", "-P"), ("group", "-W group_list")])
def test_who_pays_is_said_in_the_sites_way(charge: str, option: str) -> None:
    spec = JobSpec(name="x", project="ab12", options=(("charge", charge),))
    assert directives(spec)[option] == "ab12"


def test_a_reservation_is_a_queue() -> None:
    assert directives(JobSpec(name="x", queue="workq", reservation="R12"))["-q"] == "R12"


@pytest.mark.parametrize(
    "asked", [{"qos": "high"}, {"signal_name": "USR1", "signal_before_s": 60}, {"launcher": "srun"}]
)
def test_what_pbs_cannot_express_is_said_before_submission(asked: dict[str, object]) -> None:
    spec = replace(JobSpec(name="x"), **asked)  # type: ignore[arg-type]
    assert PBS().unsupported(spec)
    assert not PBS().unsupported(LARGEST)


@pytest.mark.parametrize("directory", ["/größe", "/a:b", '/a"b', "/a,b", "/a\nb"])
def test_a_log_that_pbs_would_refuse_is_refused_before_it_does(directory: str) -> None:
    with pytest.raises(ConfigurationError):
        directives(JobSpec(name="x"), directory)


@pytest.mark.parametrize("bad", ["a b", "a\n#PBS -A other", "a'b", "größe"])
def test_a_value_cannot_become_a_second_directive(bad: str) -> None:
    with pytest.raises(ConfigurationError):
        directives(JobSpec(name="x", queue=bad))


@given(st.text())
def test_a_job_name_is_short_and_ends_in_the_whole_token(name: str) -> None:
    shown = PBS().job_name(name, "abcd2345")
    assert len(shown) <= 15
    assert shown.endswith("_abcd2345")


def test_miyabi_charges_every_job() -> None:
    assert MiyabiTarget().faults("cpu")
    assert "project_gpu" in MiyabiTarget(project_cpu="gz00").faults("gpu")[0]
    target = MiyabiTarget(project_cpu="gz00")
    assert not target.faults("cpu")
    assert (target.route("cpu").queue, target.route("gpu").queue) == ("regular-c", "regular-g")
    assert target.options() == {"charge": "group"}
    assert target.script_name("batch.slurm") == "batch.pbs"


# -- the simulator


@pytest.mark.parametrize(
    ("in_json", "in_text"),
    [("history_timeout", "plain_timeout"), ("history_dependency_failed", "plain_dependency_failed"),
     ("history_exit_255", "plain_exit_255"), ("history_array_deleted", "plain_array_deleted")],
)  # fmt: skip
def test_the_simulator_writes_text_as_the_real_one_does(in_json: str, in_text: str) -> None:
    document = json.loads(answer(in_json).stdout)
    assert "".join(simulator.as_text(*job) for job in document["Jobs"].items()) == answer(in_text).stdout
    again = json.dumps(document, indent="\t", separators=(",", ":\t")) + "\n"
    assert again == answer(in_json).stdout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The simulator's commands on PATH; its folder."""
    system = PBSSystem()
    system.start(tmp_path)
    simulator.switch(tmp_path, sample_s="0", end_s="0", kill_s="0")
    for name, value in system.environment().items():
        monkeypatch.setenv(name, value)
    try:
        yield tmp_path
    finally:
        system.stop()


def runner(site: Path, target: HPCTarget) -> HPCJobRunner:
    hpc = HPCJobRunner(target=target, profiles={"p": ExecutionProfile(walltime="60")}, work_root=str(site / "work"))
    hpc._patience = Patience(recheck_s=0.2, accounting_delay_s=0.5, file_delay_s=0.2, stuck_after_s=0.5, lost_after_s=20)
    return hpc


def ending(hpc: HPCJobRunner, script: str, **overrides: object) -> JobResult:
    try:
        return hpc.run(Command.shell(script), profile="p", overrides=overrides)
    except JobFailed as error:
        return error.result


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"history": "off"},
        {"client": "main"},
        {"flavour": "miyabi"},
        {"flavour": "gadi"},
        {"banner": "*** maintenance on 23.11 ***", "bytes": "foreign"},
    ],
    ids=["stock", "no history", "main", "miyabi", "gadi", "banner and bytes"],
)
def test_a_site_is_served_however_its_commands_answer(site: Path, switches: dict[str, str]) -> None:
    simulator.switch(site, **switches)
    kinds = {"miyabi": MiyabiTarget, "gadi": GadiTarget}
    target = kinds.get(switches.get("flavour", ""), PBSTarget)(poll_interval=0.3, project_cpu="gz00")
    hpc = runner(site, target)
    good = ending(hpc, "echo ${PBS_JOBID%%.*} $PBS_QUEUE")
    assert good.state is JobState.COMPLETED
    assert good.stdout_tail == f"{(good.handle.job_id or '').partition('.')[0]} {target.queue_cpu or 'workq'}"
    bad = ending(hpc, "exit 3")
    assert (bad.state, bad.exit_code) == (JobState.FAILED, 3)
    elements = hpc.map(Command.shell('[ "$1" != b ]'), [["a"], ["b"], ["c"]], profile="p", max_running=2)
    assert [element.exit_code for element in elements] == [0, 1, 0]
    assert hpc.map(Command.shell('[ "$1" = a ]'), [["a"]], profile="p")[0].state is JobState.COMPLETED
    if switches.get("flavour") == "miyabi":
        assert good.metrics.raw["TOKEN"] == "0.0123"
        assert good.metrics.raw["mem_per_nodes:pbshost"].endswith("kb")


def test_a_job_that_is_cancelled_where_nothing_is_remembered_is_seen_to_be_gone(site: Path) -> None:
    simulator.switch(site, history="off")
    hpc = runner(site, PBSTarget(poll_interval=0.3))
    held = hpc.submit(Command.shell("true"), profile=ExecutionProfile(directives=["#PBS -h"]))
    hpc.cancel(held)
    with pytest.raises(JobFailed) as ended:
        hpc.wait(held, timeout=15)
    assert ended.value.result.state is JobState.CANCELLED


def test_a_job_that_main_does_not_show_is_neither_lost_nor_run_twice(site: Path) -> None:
    # with 0.1.0 the older of two running jobs was LOST after lost_after, and the same key then ran it again
    simulator.switch(site, client="main")
    hpc = runner(site, PBSTarget(poll_interval=0.2))
    hpc._patience = replace(hpc._patience, lost_after_s=1.0)
    jobs = [hpc.submit(Command.shell("sleep 5"), profile="p", key=key) for key in ("a", "b")]
    results = [hpc.wait(job, timeout=60) for job in jobs]
    assert [result.state for result in results] == [JobState.COMPLETED] * 2
    assert hpc.submit(Command.shell("sleep 5"), profile="p", key="c").job_id == "2.pbshost"  # the third ever


def test_an_order_to_delete_takes_its_time_and_is_obeyed(site: Path) -> None:
    simulator.switch(site, kill_s="3", end_s="1")
    hpc = runner(site, PBSTarget(poll_interval=0.2))
    job = hpc.submit(Command.shell("echo began; sleep 60"), profile="p")
    eventually(lambda: Path(job.work_dir, "stdout.log").exists())
    subprocess.run(["qdel", str(job.job_id)], check=True)
    shown = PBS().read_queue(_asked(PBS().queue([str(job.job_id)]))).jobs[str(job.job_id)]
    assert shown.state is JobState.RUNNING
    assert subprocess.run(["qdel", str(job.job_id)], check=False).returncode in (0, 168)
    with pytest.raises(JobFailed) as ended:
        hpc.wait(job, timeout=30)
    assert ended.value.result.state is JobState.CANCELLED


def test_an_end_that_is_learned_of_late_and_figures_that_were_sampled_spoil_nothing(site: Path) -> None:
    simulator.switch(site, sample_s="100", end_s="1.5")
    hpc = runner(site, PBSTarget(poll_interval=0.2))
    hpc._patience = replace(hpc._patience, accounting_delay_s=5.0)
    metrics = ending(hpc, "for i in $(seq 100000); do :; done; sleep 1").metrics
    assert metrics.cpu_time_s is not None
    assert metrics.cpu_time_s > 0  # by the job's own count: PBS never looked
    assert metrics.max_rss_mib is None
    assert metrics.elapsed_s is not None
    assert metrics.elapsed_s >= 1


def test_a_daemon_that_is_restarted_is_a_node_that_failed(site: Path) -> None:
    hpc = runner(site, PBSTarget(poll_interval=0.2))
    job = hpc.submit(Command.shell("echo began; sleep 60"), profile="p")
    eventually(lambda: Path(job.work_dir, "stdout.log").exists())
    simulator.switch(site, restarted=str(job.job_id))
    with pytest.raises(JobFailed) as ended:
        hpc.wait(job, timeout=30)
    assert ended.value.result.state is JobState.NODE_FAIL
    assert "Exit_status -4" in ended.value.result.reason


def test_the_words_of_the_log_are_those_that_are_read(site: Path) -> None:
    simulator.switch(site, history="off")
    hpc = runner(site, PBSTarget(poll_interval=0.2))
    result = ending(hpc, "sleep 60", walltime="2")
    assert result.state is JobState.TIMEOUT, result.reason
    log = Path(result.handle.work_dir, "scheduler.log").read_text()
    said = PBS().read_log(log)
    assert said is not None
    assert said.state is JobState.TIMEOUT


def test_a_stock_server_has_no_gpus_to_ask_for(site: Path) -> None:
    hpc = runner(site, PBSTarget())
    with pytest.raises(SubmitRefused, match="Unknown resource: ngpus"):
        hpc.submit(Command.shell("true"), profile="p", overrides={"gpus_per_node": 1})


def test_what_the_simulator_tells_of_its_room_is_what_it_then_takes(site: Path) -> None:
    simulator.switch(site, max_queued="[u:PBS_GENERIC=3]")
    hpc = runner(site, PBSTarget(poll_interval=0.2))
    hpc.submit(Command.shell("true"), profile=ExecutionProfile(directives=["#PBS -h"]))

    def room() -> Room:
        return PBS().read_room([_asked(call) for call in PBS().room(getpass.getuser(), "workq", "")])

    assert room() == Room(jobs=2, elements=3)
    script = site / "more.sh"
    script.write_text("#PBS -h\n#PBS -J 0-2\ntrue\n")
    done = subprocess.run(["qsub", str(script)], capture_output=True, text=True, check=False)
    with pytest.raises(CapacityReached):
        PBS().read_submit(Answer(("qsub",), done.returncode, done.stdout, done.stderr))
    script.write_text("#PBS -h\n#PBS -J 0-1\ntrue\n")
    subprocess.run(["qsub", str(script)], check=True)
    assert room().jobs == 0


def _asked(call: Call) -> Answer:
    done = subprocess.run(call.argv, capture_output=True, text=True, check=False)
    return Answer(call.argv, done.returncode, done.stdout, done.stderr, call.about)


def test_the_simulator_answers_questions_as_the_real_one_does(site: Path) -> None:
    def run(*words: str) -> tuple[int, bytes, bytes]:
        done = subprocess.run(words, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run("qstat", "-f", "99999") == (153, b"", b"qstat: Unknown Job Id 99999.pbshost\n")
    assert run("qdel", "99999") == (153, b"", answer("cancel_unknown").stderr.encode())
    assert run("qdel", "abc") == (1, b"", answer("cancel_no_id").stderr.encode())
    assert run("qsub", "-q", "nosuch", os.devnull)[0] in (1, 170)
    simulator.switch(site, history="off")
    code, _, said = run("qstat", "-x", "-f", "-F", "json", "1.pbshost")
    assert (code, said) == (0, answer("history_disabled").stderr.encode())
    simulator.switch(site, server="down")
    code, _, said = run("qstat", "-x", "-f", "-F", "json", "7")
    assert (code, said) == (255, answer("history_server_down").stderr.encode())
    assert run("qdel", "7") == (162, b"", answer("cancel_server_down").stderr.encode())


# -- doctor


def findings(site: Path, scheduler: Scheduler | None = None, **specs: JobSpec) -> dict[str, tuple[str, str]]:
    demands = [Demand("debug", specs=specs), Demand("debig"), Demand("")]
    said = {}
    for probe in probes(scheduler or PBS(), demands, "me"):
        if probe.name == "mpi":
            continue
        finding = probe.read(_asked(probe.call))
        said.setdefault(probe.name, (finding.level, finding.sentence))
    return said


def test_the_doctor_finds_a_healthy_site_healthy(site: Path) -> None:
    said = findings(site, short=JobSpec(name="x", walltime_s=60, ranks_per_node=16))
    assert {level for level, _ in said.values()} == {"ok"}
    assert said["job history"] == ("ok", "the server keeps a history of jobs")
    assert said["dialect"] == ("ok", "jobs are asked for in JSON")
    assert said["arrays"] == ("ok", "arrays of up to 10000 elements; jobs in all: no limit")
    assert said["nodes"] == ("ok", "the largest of 1 nodes has 16 cores, no GPUs that PBS knows (ngpus)")


def test_the_doctor_knows_a_qstat_that_shows_the_first_job_only(site: Path) -> None:
    simulator.switch(site, client="main")
    level, sentence = findings(site)["dialect"]
    assert level == "ok"
    assert "the first of several jobs only" in sentence
    for name, word in (("history_main_json_first_only", "first"), ("history_release_json_all", "in JSON")):
        (probe,) = (probe for probe in probes(PBS(), [Demand()], "me") if probe.name == "dialect")
        assert word in probe.read(answer(name)).sentence


def test_the_doctor_sees_a_profile_that_can_never_run(site: Path) -> None:
    level, sentence = findings(site, huge=JobSpec(name="x", ranks_per_node=999, gpus_per_node=2, nodes=3))["nodes"]
    assert level == "fail"
    for fault in ("999 cores a node, of 16", "2 GPUs a node, of 0", "3 nodes, of 1"):
        assert fault in sentence


def test_the_doctor_reads_the_nodes_of_a_real_pbs() -> None:
    demand = Demand(specs={"x": JobSpec(name="x", ranks_per_node=17)})
    (probe,) = (one for one in probes(PBS(), [demand], "me") if one.name == "nodes")
    assert probe.call.argv == answer("nodes_json").argv
    assert "17 cores a node, of 16" in probe.read(answer("nodes_json")).sentence


def test_the_doctor_says_how_mpirun_finds_its_nodes() -> None:
    two = JobSpec(name="x", nodes=2, launcher="mpirun")
    (probe,) = (one for one in probes(PBS(), [Demand(specs={"two": two})], "me") if one.name == "mpi")
    seen = "ompi:version:full:4.1.4\nmca:ras:{}:version:mca:2.1.0\n"
    with_tm = Answer(probe.call.argv, 0, seen.format("tm"), "")
    assert probe.read(with_tm).level == "ok"
    assert "lacks the component tm" in probe.read(replace(with_tm, stdout=seen.format("slurm"))).sentence


def test_the_doctor_sees_what_is_not_as_it_should_be(site: Path) -> None:
    assert findings(site, long=JobSpec(name="x", walltime_s=7200))["queue"] == (
        "fail",
        "queue debug allows 00:30:00, but profile 'long' asks for 02:00:00",
    )
    (probe,) = (one for one in probes(PBS(), [Demand("debig")], "me") if one.name == "queue")
    assert probe.read(_asked(probe.call)).sentence == "there is no queue 'debig': did you mean 'debug'?"
    simulator.switch(site, history="off", max_queued="[u:PBS_GENERIC=5]")
    assert findings(site)["job history"][0] == "warn"
    assert "jobs in all: [u:PBS_GENERIC=5]" in findings(site)["arrays"][1]
    simulator.switch(site, server="down")
    assert {level for level, _ in findings(site).values()} <= {"fail", "warn", "ok"}
    assert findings(site)["qstat"][0] == "fail"


def test_the_doctor_reads_the_simulated_miyabi(site: Path) -> None:
    simulator.switch(site, flavour="miyabi")
    said = {}
    for probe in probes(Miyabi(), [Demand("regular-g", "gz00")], "me"):
        said[probe.name] = probe.read(_asked(probe.call))
    assert {name: finding.level for name, finding in said.items()} == dict.fromkeys(said, "ok")
    assert "room for 1000 more jobs" in said["limits"].sentence
