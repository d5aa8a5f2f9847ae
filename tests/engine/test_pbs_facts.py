"""What a real OpenPBS does that no document says: answers that leave jobs out, sampled figures, last words in the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SubmitRefused
from dagster_hpc.engine.job import JobSpec, JobState
from dagster_hpc.engine.schedulers.pbs.records import Record, used
from dagster_hpc.engine.schedulers.pbs.replies import status_of
from dagster_hpc.engine.schedulers.pbs.requests import PBS, Gadi, PlainPBS, WidePBS
from dagster_hpc.engine.script import render_script
from tests import transcripts
from tests.transcripts import transcript

FORMS = [PBS(), WidePBS(), PlainPBS()]


def answer(name: str) -> Answer:
    return transcript("pbs", name)


# -- an answer that is not whole


@pytest.mark.parametrize(
    "name",
    ["history_main_json_first_only", "history_main_json_first_and_unknown", "history_main_json_array_and_single"],
)
def test_a_job_that_main_leaves_out_is_asked_for_in_other_words(name: str) -> None:
    # 0.1.0 took the second job, which ran, for gone: LOST after 316 s, and the same work was run twice
    assert PBS().read_history(answer(name)).instead == WidePBS()
    assert PBS().read_queue(answer(name)).instead == WidePBS()


def test_the_release_shows_all_in_json_and_main_in_wide_text() -> None:
    ids = {"4.pbshost", "5.pbshost", "6.pbshost"}
    assert set(PBS().read_history(answer("history_release_json_all")).jobs) == ids
    assert set(WidePBS().read_history(answer("wide_main_all")).jobs) == ids


def test_what_is_named_as_unknown_is_told_in_the_words_of_the_question() -> None:
    report = WidePBS().read_history(answer("wide_main_all_and_unknown"))
    assert (set(report.jobs), report.unknown) == ({"4.pbshost", "6.pbshost"}, {"999999.pbshost"})
    assert PBS().read_history(answer("history_unknown")).unknown == {"99999"}  # named with a server, asked for without
    array = Answer(("qstat", "-f", "-w", "-t", "12[].h"), 153, "", "qstat: Unknown Job Id 12[].h\n")
    assert WidePBS().read_queue(array).unknown == {"12[].h"}


def test_a_job_that_has_finished_is_named_and_not_unknown() -> None:
    said = "qstat: 7.h Job has finished, use -x or -H to obtain historical job information\n"
    report = WidePBS().read_queue(Answer(("qstat", "-f", "-w", "7.h"), 35, "", said))
    assert (report.jobs, report.unknown, report.failed, report.instead) == ({}, frozenset(), "", None)


def test_an_array_is_shown_by_its_elements_alone() -> None:
    whole = answer("history_main_json_array")
    assert set(PBS().read_history(whole).jobs) == {f"8[{index}].pbshost" for index in range(4)}
    parent_only = answer("history_main_json_array_and_single")
    asked = replace(parent_only, argv=("qstat", "-x", "-f", "-F", "json", "-t", "8[].pbshost"))
    assert PBS().read_history(asked).instead == WidePBS()


def test_the_same_server_in_a_longer_spelling_is_the_same_server() -> None:
    text = answer("wide_main_all").stdout.replace("Id: 4.pbshost", "Id: 4.pbshost.example.org")
    assert WidePBS().read_queue(replace(answer("wide_main_all"), stdout=text)).instead is None


@pytest.mark.parametrize(("asked", "instead"), [(PBS(), WidePBS()), (WidePBS(), PlainPBS()), (PlainPBS(), None)])
def test_in_every_form_a_job_is_shown_or_named_or_asked_for_otherwise(asked: PBS, instead: PBS | None) -> None:
    for read in (asked.read_queue, asked.read_history):
        report = read(Answer(("qstat", "-f", "5.h"), 0, "", ""))
        assert (report.jobs, report.unknown, report.instead) == ({}, frozenset(), instead)
        assert bool(report.failed) == (instead is None)
    assert "5.h" in PlainPBS().read_queue(Answer(("qstat", "-f", "5.h"), 0, "", "")).failed


@pytest.mark.parametrize("scheduler", [PBS(), Gadi()])
def test_a_sites_variant_goes_through_all_words_too(scheduler: PBS) -> None:
    refused = Answer(("qstat",), 2, "", "qstat: invalid option -- 'F'\nusage: qstat [-f]")
    wide = scheduler.read_queue(refused).instead
    assert isinstance(wide, WidePBS)
    plain = wide.read_queue(replace(refused, stderr="qstat: invalid option -- 'w'\nusage: qstat [-f]")).instead
    assert isinstance(plain, PlainPBS)


def test_a_record_that_was_cut_is_a_job_that_was_left_out() -> None:
    whole = answer("wide_main_all")
    assert WidePBS().read_queue(replace(whole, stdout=whole.stdout.rstrip("\n"))).instead == PlainPBS()


@given(st.text(min_size=1).filter(str.strip))
def test_text_that_is_none_of_ours_is_never_nothing_there(text: str) -> None:
    for scheduler in FORMS:
        report = scheduler.read_queue(Answer(("qstat", "-f", "5.h"), 0, text, ""))
        assert report.jobs == {}
        assert report.failed or report.instead


def test_an_answer_that_is_not_understood_is_quoted() -> None:
    said = WidePBS().read_queue(Answer(("qstat", "-f", "5.h"), 0, "Scheduled maintenance\nuntil Monday\n", "")).failed
    assert "Scheduled maintenance" in said


def test_an_array_that_was_deleted_before_it_began_has_no_element_that_is_lost() -> None:
    # its elements say "Subjob finished" like those whose records were written over; but nothing of it ever ran
    jobs = WidePBS().read_history(answer("wide_main_array_deleted_waiting")).jobs
    assert [str(status.state) for status in jobs.values()] == ["CANCELLED"] * 4
    assert {status.reason for status in jobs.values()} == {"was deleted before it started"}


# -- figures that are sampled


def test_what_was_not_sampled_is_null_and_not_zero() -> None:
    never = answer("wide_deleted_running_still")
    (running,) = WidePBS().read_history(never).jobs.values()
    assert running.metrics.raw["resources_used.cput"] == "00:00:00"
    assert (running.metrics.cpu_time_s, running.metrics.max_rss_mib) == (None, None)
    assert used(Record({"resources_used.cput": "00:00:00", "resources_used.mem": "100kb"})).cpu_time_s == 0
    assert used(Record({"resources_used.cput": "00:00:07", "resources_used.mem": "0kb"})).cpu_time_s == 7


def test_the_time_of_a_running_job_does_not_pose_as_that_of_its_end() -> None:
    for name in ("wide_running_sampled", "wide_deleted_ending"):
        (status,) = WidePBS().read_history(answer(name)).jobs.values()
        assert (status.state, status.metrics.elapsed_s) == (JobState.RUNNING, None)
        assert "resources_used.walltime" in status.metrics.raw
    (over,) = WidePBS().read_history(answer("wide_exit_124_sampled")).jobs.values()
    assert (over.metrics.elapsed_s, over.metrics.cpu_time_s, over.exit_code) == (3, 1, 124)


# -- how it ended


@pytest.mark.parametrize(("name", "state"), [("wide_timeout", JobState.TIMEOUT), ("wide_memory", JobState.OOM)])
def test_what_pbs_did_to_a_job_is_in_its_record(name: str, state: JobState) -> None:
    (status,) = WidePBS().read_history(answer(name)).jobs.values()
    assert status.state is state


@pytest.mark.parametrize(
    ("code", "word"), [(137, "SIGKILL"), (143, "SIGTERM"), (139, "SIGSEGV"), (255, ""), (254, ""), (3, ""), (128, "")]
)
def test_a_code_is_a_signal_only_where_there_is_such_a_signal(code: int, word: str) -> None:
    record = {"job_state": "F", "stime": "Fri Nov 20 06:06:00 2026", "Exit_status": str(code), "substate": "93"}
    status = status_of(Record(record))
    assert (status.state, status.exit_code) == (JobState.FAILED, code)
    assert word in status.reason
    assert bool(status.reason) == bool(word)


def log(name: str) -> str:
    return (Path(transcripts.__file__).parent / "pbs" / f"log_{name}.txt").read_text()


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        (log("walltime"), JobState.TIMEOUT, "ran into its walltime (walltime 11 exceeded limit 8)"),
        (log("memory"), JobState.OOM, "used more memory than it had asked for (mem 320320kb exceeded limit 102400kb)"),
        ("=>> PBS: job killed: vmem 9kb exceeded limit 8kb\n", JobState.OOM, "virtual memory"),
        ("Cgroup mem limit exceeded: oom-kill of 12\n", JobState.OOM, "(mem limit exceeded: oom-kill"),
        ("=>> PBS: job killed: mem job total 9 kb exceeded limit 8 kb\n", JobState.OOM, "mem job total 9 kb"),
        ("=>> PBS: job killed: ncpus 3.1 exceeded limit 1 (sum)\n", JobState.FAILED, "more cores"),
        ("=>> PBS: job killed: node 1 (n2) requested job terminate\n", JobState.FAILED, "node 1 (n2) requested"),
        ("a line of a prologue\n" + log("walltime") + "and of an epilogue\n", JobState.TIMEOUT, "walltime 11"),
    ],
)  # fmt: skip
def test_pbss_own_words_in_the_log_say_what_was_done_to_a_job(text: str, state: JobState, words: str) -> None:
    # without a history nothing else does: 0.1.0 called these "killed by signal 127 (signal 127)"
    for scheduler in FORMS:
        status = scheduler.read_log(text)
        assert status is not None
        assert status.state is state
        assert words in status.reason


@given(st.text())
def test_a_log_without_such_words_says_nothing(text: str) -> None:
    if "=>> PBS: job killed:" not in text and "Cgroup" not in text:
        assert PBS().read_log(text) is None


# -- refusals


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("#PBS -l select=2:ncpus=4:bigmem=true", {"place", "walltime"}),
        ("#PBS -lselect=2:ncpus=4", {"place", "walltime"}),
        ("#PBS -l nodes=2:ppn=4", {"walltime"}),
        ("#PBS -l walltime=10", {"select", "place"}),
        ("#PBS -m e -l cput=5,walltime=10", {"select", "place"}),
        ("#PBS -N select=1 -m e", {"select", "place", "walltime"}),
        ("# -l select=1 is what a comment says", {"select", "place", "walltime"}),
    ],
)
def test_what_a_line_of_the_profile_asks_for_is_not_asked_for_before_it(line: str, left: set[str]) -> None:
    """Of two -l lines PBS takes the first: the escape hatch was shut for all that a job asks for (seen on main)."""
    spec = JobSpec(name="x", executable="x", nodes=2, directives=(line,))
    assert set(PBS().resources(spec)) == left
    script = render_script(spec, PBS(), directory="/jobs/x", token="abcd2345").splitlines()
    assert line in script
    ours = [each for each in script if each.startswith("#PBS -l ") and each != line]
    assert [each.removeprefix("#PBS -l ").partition("=")[0] for each in ours] == list(PBS().resources(spec))


def test_a_stock_qsub_refuses_an_array_that_may_not_be_rerun_with_a_code_of_its_own() -> None:
    assert answer("refused_array_not_rerunable").code == 2
    with pytest.raises(SubmitRefused, match="non-rerunable"):
        PBS().read_submit(answer("refused_array_not_rerunable"))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (38, "qsub: would exceed queue generic's per-user limit"),
        (38, "qsub: would exceed queue generic's per-user limit of jobs in 'Q' state"),
        (38, "qsub: would exceed complex's per-group limit"),
        (39, "qsub: would exceed group xg25g007's limit on resource njobs-g in complex"),
        (38, "qsub: Maximum number of jobs for user me already in complex"),
        (38, "qsub: Maximum number of jobs in 'Q' state for group g already in queue workq"),
        (198, "qsub: Maximum number of jobs already in queue workq"),
        (1, "qsub: Maximum number of jobs for project p already in queue workq"),
    ],
)
def test_a_limit_on_the_number_of_jobs_is_waited_for_in_all_its_words(code: int, words: str) -> None:
    with pytest.raises(CapacityReached):
        PBS().read_submit(Answer(("qsub", "x"), code, "", words))


def test_an_array_that_may_not_be_rerun_is_refused_and_not_left_open() -> None:
    words = (
        "qsub: cannot submit non-rerunable Array Job\nqsub: directive error: -r n\n"  # with 255, as for a server down
    )
    with pytest.raises(SubmitRefused, match="non-rerunable"):
        PBS().read_submit(Answer(("qsub", "x"), 255, "", words))
