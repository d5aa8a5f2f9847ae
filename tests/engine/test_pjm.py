"""PJM, from what documents say that it answers (tests/transcripts/pjm)."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import (
    Command,
    ConfigurationError,
    ExecutionProfile,
    FugakuTarget,
    HPCJobRunner,
    HPCTarget,
    PJMTarget,
)
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import Dependency, JobMetrics, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers import from_json, to_json
from dagster_hpc.engine.schedulers.pjm.requests import PJM, PJMWithoutBulk
from dagster_hpc.engine.script import render_script
from dagster_hpc.resources.resolve import resolve
from tests.transcripts import names, transcript

PJM_ = PJM()
PLAIN = PJM(plain=True)
STATISTICS = Path(__file__).parents[1] / "transcripts" / "pjm" / "job.stats"


def answer(name: str) -> Answer:
    return transcript("pjm", name)


def status(name: str, scheduler: PJM = PJM_) -> JobStatus:
    (found,) = scheduler.read_queue(answer(name)).jobs.values()
    return found


def row(state: str, exit_code: str = "-", code: str = "-", signal: str = "-") -> JobStatus | None:
    head = "H|JOB_ID|JOB_NAME|ST|EC|PC|SN|REASON\n"
    text = f"{head}|7|x|{state}|{exit_code}|{code}|{signal}|-\n"
    return PJM_.read_history(Answer(("pjstat",), 0, text, "")).jobs.get("7")


def script(target: HPCTarget, profile: ExecutionProfile, directory: str = "/vol0004/jobs/x") -> str:
    spec = resolve(Command("/apps/x"), profile, target)
    return render_script(spec, target.scheduler, directory=directory, token="abcd2345")


def pjm_lines(text: str) -> list[str]:
    """The directives as pjsub reads them, without their quotes."""
    lines = [line for line in text.splitlines() if line.startswith("#PJM ")]
    return [" ".join(shlex.split(line.removeprefix("#PJM "))) for line in lines]


# -- submit


@pytest.mark.parametrize(
    ("name", "job_id"),
    [
        ("submit_ok", "9714"),  # not 0000, the first word of digits
        ("submit_with_a_dot", "9714"),
        ("submit_step", "71080_0"),
        ("submit_id_only", "9714"),
        ("submit_banner", "9714"),
        ("submit_on_stderr", "9714"),
    ],
)
def test_the_id_is_found_wherever_it_stands(name: str, job_id: str) -> None:
    assert PJM_.read_submit(answer(name)) == job_id


@pytest.mark.parametrize("name", names("pjm", "refused_"))
def test_an_error_is_a_refusal_in_pjms_words_whatever_the_exit_code(name: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        PJM_.read_submit(answer(name))
    assert (answer(name).stderr or answer(name).stdout).strip() in str(refused.value)
    assert refused.value.advice


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("refused_group", "queue_cpu"),
        ("refused_limit", "pjacl"),
        ("refused_bulk", "bulk_jobs=False"),
        ("refused_project", "project_cpu"),
        ("refused_home", "--no-check-directory"),
    ],
)
def test_a_refusal_says_what_to_correct(name: str, advice: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        PJM_.read_submit(answer(name))
    assert advice in refused.value.advice


def test_a_limit_of_the_number_of_jobs_is_worth_waiting_for_and_one_of_their_size_is_not() -> None:
    with pytest.raises(CapacityReached):
        PJM_.read_submit(answer("capacity"))
    with pytest.raises(SubmitRefused):
        PJM_.read_submit(answer("refused_limit"))


@pytest.mark.parametrize(
    "name", ["submit_error_and_sentence", "submit_unreachable", "submit_timed_out", "submit_silent"]
)
def test_an_answer_that_proves_nothing_leaves_the_submission_open(name: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        PJM_.read_submit(answer(name))


def test_a_submit_command_that_does_not_end_leaves_the_submission_open() -> None:
    with pytest.raises(SchedulerUnavailable, match="no answer in time"):
        PJM_.read_submit(Answer(("pjsub",), None, "", ""))


def test_a_job_starts_where_its_nodes_see_it() -> None:
    assert PJM_.submit("/vol0004/jobs/x/x.pjm").directory == "/vol0004/jobs/x"


@given(code=st.one_of(st.none(), st.integers(-20, 255)), out=st.text(), err=st.text())
def test_no_answer_to_a_submission_is_worse_than_an_error_of_ours(code: int | None, out: str, err: str) -> None:
    with contextlib.suppress(SubmitRefused, SchedulerUnavailable):
        assert PJM_.read_submit(Answer(("pjsub",), code, out, err)).replace("_", "").isdigit()


# -- states, row by row


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("ACC", JobState.PENDING), ("QUE", JobState.PENDING), ("RDY", JobState.PENDING),
        ("HLD", JobState.HELD), ("ERR", JobState.HELD),
        ("RNA", JobState.RUNNING), ("RNP", JobState.RUNNING), ("RUN", JobState.RUNNING), ("RNE", JobState.RUNNING),
        ("RNO", JobState.RUNNING), ("SIN", JobState.RUNNING), ("SOT", JobState.RUNNING),
        ("SPP", JobState.SUSPENDED), ("SPD", JobState.SUSPENDED), ("RSM", JobState.SUSPENDED),
        ("SWO", JobState.SUSPENDED), ("SWD", JobState.SUSPENDED), ("SWI", JobState.SUSPENDED),
        ("CCL", JobState.CANCELLED), ("RJT", JobState.FAILED),
        ("QQQ", JobState.UNKNOWN), ("", JobState.UNKNOWN),
    ],
)  # fmt: skip
def test_a_word_is_a_state(word: str, state: JobState) -> None:
    found = row(word)
    assert found is not None
    assert found.state is state


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (1, JobState.CANCELLED), (2, JobState.FAILED), (3, JobState.FAILED), (4, JobState.CANCELLED),
        (6, JobState.CANCELLED), (7, JobState.TIMEOUT), (8, JobState.CANCELLED), (9, JobState.NODE_FAIL),
        (11, JobState.TIMEOUT), (12, JobState.OOM), (13, JobState.FAILED), (16, JobState.FAILED),
        (18, JobState.PREEMPTED), (20, JobState.NODE_FAIL), (21, JobState.FAILED), (22, JobState.NODE_FAIL),
        (23, JobState.OOM), (25, JobState.FAILED), (26, JobState.FAILED), (27, JobState.FAILED),
        (28, JobState.FAILED), (77, JobState.FAILED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("exit_code", ["0", "-", "9"])
def test_the_pjm_code_goes_before_the_exit_code(code: int, state: JobState, exit_code: str) -> None:
    # the predecessor looked at neither
    found = row("EXT", exit_code, str(code), "24")
    assert found is not None
    assert (found.state, found.exit_code, found.signal) == (state, None, None)
    assert f"(PJM code {code})" in found.reason


@pytest.mark.parametrize(
    ("exit_code", "signal", "state"),
    [("0", "-", JobState.COMPLETED), ("0", "0", JobState.COMPLETED), ("3", "-", JobState.FAILED),
     ("127", "0", JobState.FAILED), ("-", "11", JobState.FAILED), ("0", "9", JobState.FAILED)],
)  # fmt: skip
def test_where_the_pjm_code_is_0_the_exit_code_and_the_signal_tell(
    exit_code: str, signal: str, state: JobState
) -> None:
    found = row("EXT", exit_code, "0", signal)
    assert found is not None
    assert found.state is state


@pytest.mark.parametrize("name", ["history_no_codes", "history_no_exit_code"])
def test_an_end_of_which_nothing_is_told_is_no_end(name: str) -> None:
    # the predecessor took each for a success; here the job's own files decide
    report = PJM_.read_history(answer(name))
    assert (report.jobs, report.failed) == ({}, "")


@pytest.mark.parametrize(("code", "word"), [("1", "pjdel"), ("6", "depends"), ("7", "deadline")])
def test_a_cancelled_job_says_by_what(code: str, word: str) -> None:
    found = row("CCL", code=code)
    assert found is not None
    assert found.state is JobState.CANCELLED
    assert word in found.reason


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("history_ok", JobState.COMPLETED, ""),
        ("history_signal", JobState.FAILED, "killed by signal 11 (SIGSEGV)"),
        ("history_elapse", JobState.TIMEOUT, "ran into its elapse limit (PJM code 11)"),
        ("history_elapse_trapped", JobState.TIMEOUT, "ran into its elapse limit (PJM code 11)"),
        ("history_rejected", JobState.FAILED, "(RJT): RESOURCE GROUP IS CLOSED"),
        ("history_dependency", JobState.CANCELLED, "did not end as required"),
        ("history_new_code", JobState.FAILED, "ended abnormally (PJM code 77)"),
        ("queue_error", JobState.HELD, "error state"),
        ("queue_held", JobState.HELD, "pjrls"),
        ("queue_new_word", JobState.UNKNOWN, "'XYZ'"),
    ],
)
def test_a_status_says_why(name: str, state: JobState, words: str) -> None:
    found = status(name)
    assert found.state is state
    assert words in found.reason
    assert bool(words) == bool(found.reason)


def test_rejected_and_in_error_do_not_wait_for_ever() -> None:
    # the predecessor waited for EXT and CCL only
    rejected, broken, held = status("history_rejected"), status("queue_error"), status("queue_held")
    assert rejected.state.is_final
    assert broken.stuck
    assert not held.stuck


def test_an_exit_code_and_a_name_are_passed_on() -> None:
    found = status("history_exit_3")
    assert (found.exit_code, found.job_name) == (3, "x_abcd2345")


# -- the tables


def test_elements_are_jobs_of_their_own() -> None:
    jobs = PJM_.read_history(answer("history_bulk")).jobs
    assert {job_id: found.state for job_id, found in jobs.items()} == {
        "101": JobState.FAILED,
        "101[0]": JobState.COMPLETED,
        "101[1]": JobState.FAILED,
        "101[2]": JobState.TIMEOUT,
    }
    assert PJM_.element_id("101", 2) == "101[2]"
    assert PJM_.array_id("101[2]") == "101"


def test_summaries_and_quotes_around_the_table_do_no_harm() -> None:
    assert status("queue_quoted").state is JobState.RUNNING


@pytest.mark.parametrize(
    "name", ["queue_head_only", "queue_empty", "queue_no_job_found", "queue_silent_code_1", "found_none"]
)
def test_nothing_found_is_an_answer(name: str) -> None:
    # the predecessor asked for ever when only the head was printed
    assert PJM_.read_queue(answer(name)) == replace(PJM_.read_queue(answer(name)), jobs={}, failed="", instead=None)


@pytest.mark.parametrize(
    "name",
    ["queue_unreachable", "queue_unreachable_with_code_0", "queue_bad_id", "queue_maintenance"],
)
def test_a_query_that_fails_says_why_and_knows_of_no_job(name: str) -> None:
    report = PJM_.read_queue(answer(name))
    assert report.jobs == {}
    assert report.failed in (answer(name).stderr.strip(), answer(name).stdout.strip())


def test_a_query_without_an_end_is_a_failed_query() -> None:
    assert "no answer in time" in PJM_.read_queue(Answer(("pjstat",), None, "H|JOB_ID|ST\n", "")).failed


def test_a_row_that_is_cut_is_left_out() -> None:
    assert set(PJM_.read_queue(answer("queue_cut")).jobs) == {"101"}


def test_an_older_pjstat_is_asked_in_its_own_words() -> None:
    report = PJM_.read_queue(answer("queue_unknown_option"))
    assert report.instead == PLAIN
    assert "--choose" not in PLAIN.queue(["1"]).argv
    assert PLAIN.read_queue(answer("queue_unknown_option")).failed


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("plain_running", {"101": JobState.RUNNING}),
        ("plain_waiting", {"101": JobState.PENDING}),
        ("plain_no_date", {"101": JobState.PENDING}),
        ("plain_error", {"101": JobState.HELD}),
        ("plain_history", {"101": JobState.FAILED, "102": JobState.TIMEOUT, "103": JobState.COMPLETED}),
        ("plain_blank_cell", {}),  # what moves is not believed
        ("plain_chosen", {"167728": JobState.FAILED}),  # EXT COMPLETED, without a PJM code, proves nothing
        ("plain_default", {"238": JobState.RUNNING, "239": JobState.PENDING}),
    ],
)
def test_columns_are_read_though_a_date_has_a_blank(name: str, states: dict[str, JobState]) -> None:
    # in the predecessor the exit code was read from the column before
    report = PLAIN.read_queue(answer(name))
    assert {job_id: found.state for job_id, found in report.jobs.items()} == states
    assert not report.failed


def test_the_exit_code_is_that_of_its_column() -> None:
    assert PLAIN.read_history(answer("plain_history")).jobs["101"].exit_code == 127
    assert ": FILE IO ERROR" in PLAIN.read_queue(answer("plain_error")).jobs["101"].reason


def test_a_name_in_columns_may_be_cut_and_is_not_compared() -> None:
    assert status("plain_running", PLAIN).job_name == ""


_CELL = st.one_of(
    st.sampled_from(["101", "101[3]", "EXT", "RUN", "CCL", "-", "0", "11", "JOB_ID", "ST", "PC", "REASON", "H", ""]),
    st.text(max_size=6),
)
_TABLE = st.lists(st.lists(_CELL, max_size=9), max_size=6)


@given(_TABLE, st.booleans(), st.integers(0, 255), st.text(max_size=20))
def test_no_table_raises_and_no_end_without_its_code(cells: list[list[str]], plain: bool, code: int, err: str) -> None:
    text = "\n".join((" " if plain else "|").join(line) for line in cells)
    report = (PLAIN if plain else PJM_).read_queue(Answer(("pjstat",), code, text, err))
    for job_id, found in report.jobs.items():
        assert job_id in text
        if found.state is JobState.COMPLETED:
            assert "EXT" in text
            assert "PC" in text


@given(st.binary(max_size=400))
def test_no_bytes_raise_and_none_prove_a_state(noise: bytes) -> None:
    text = noise.decode("utf-8", "replace")
    for scheduler in (PJM_, PLAIN):
        assert not scheduler.read_queue(Answer(("pjstat",), 0, text, text)).jobs or "JOB_ID" in text
        with contextlib.suppress(SchedulerUnavailable):
            assert not scheduler.read_found(Answer(("pjstat", "jnam=x"), 0, text, text)) or "JOB_ID" in text


# -- find and cancel


def test_a_job_is_found_by_its_name_in_queue_and_history() -> None:
    assert PJM_.read_found(answer("found")) == ["101"]
    assert PJM_.read_found(answer("found_bulk")) == ["101"]
    assert [("-H" in call.argv) for call in PJM_.find("x")] == [False, True]


@pytest.mark.parametrize("name", ["found_another", "found_none"])
def test_another_job_is_not_mistaken_for_it(name: str) -> None:
    assert PJM_.read_found(answer(name)) == []


def test_a_look_up_that_fails_finds_nothing_and_says_so() -> None:
    with pytest.raises(SchedulerUnavailable, match="Cannot connect"):
        PJM_.read_found(answer("found_unreachable"))


def test_a_cancellation_of_what_is_over_is_no_error() -> None:
    PJM_.read_cancel(answer("cancel_ok"))
    PJM_.read_cancel(answer("cancel_ended"))
    with pytest.raises(SchedulerUnavailable):
        PJM_.read_cancel(answer("cancel_unreachable"))


# -- the script


FUGAKU = FugakuTarget(
    queue_cpu="small",
    project_cpu="hp200999",
    gfscache="/vol0004:/vol0002",
    spack_modules=["fftw@3.3", "hdf5"],
    mpi_options_for_pjm=["rank-map-bychip"],
    pjm_resources=["freq=2000,eco_state=2", "rscunit=rscunit_ft01"],
    llio=["localtmp-size=10Gi"],
)
PROFILE = ExecutionProfile(
    num_nodes=12, mpiprocs=4, ompthreads=12, walltime="01:00:00", launcher="mpiexec", modules=["lang/tcsds"],
    pre_commands=["ulimit -s unlimited"], environments={"FLIB_BARRIER": "HARD"}, mpi_options=["-stdout-proc", "out"],
)  # fmt: skip


def test_fugakus_script_has_every_directive_of_the_predecessor() -> None:
    here = "/vol0004/jobs/x/.job/scheduler"
    theirs = [
        "-L rscgrp=small", "-L elapse=01:00:00", "-L node=12", "-L freq=2000,eco_state=2", "-L rscunit=rscunit_ft01",
        "-g hp200999", "--mpi rank-map-bychip", "-x PJM_LLIO_GFSCACHE=/vol0004:/vol0002", f"-o {here}.out",
        f"-e {here}.log", "-S", f"--spath {here}.stats", "--name x_abcd2345",
    ]  # fmt: skip
    assert set(theirs) <= set(pjm_lines(script(FUGAKU, PROFILE)))


def test_fugakus_script_has_what_the_predecessor_dropped() -> None:
    text = script(FUGAKU, PROFILE)
    lines = pjm_lines(text)
    assert {"--mpi proc=48", "--mpi max-proc-per-node=4", "--llio localtmp-size=10Gi"} <= set(lines)
    order = [
        "module load lang/tcsds", ". /vol0004/apps/oss/spack/share/spack/setup-env.sh", "spack load fftw@3.3",
        "spack load hdf5", "export OMP_NUM_THREADS=12", "export FLIB_BARRIER=HARD", "eval 'ulimit -s unlimited'",
        "mpiexec -n 48 -stdout-proc out /apps/x",
    ]  # fmt: skip
    places = [text.index(f"\n{line}") for line in order]
    assert places == sorted(places)
    assert 'cd -- "$hpc_here"' in text
    assert text.startswith("#!/bin/bash -l\n")


def test_where_fugaku_is_told_nothing_it_has_the_predecessors_default() -> None:
    text = script(FugakuTarget(project_cpu="hp"), ExecutionProfile())
    assert "-x PJM_LLIO_GFSCACHE=/vol0002" in pjm_lines(text)
    assert "spack" not in text
    assert "rscgrp" not in text


def test_fugaku_charges_every_job() -> None:
    with pytest.raises(ConfigurationError, match="set project_cpu"):
        resolve(Command("/apps/x"), ExecutionProfile(), FugakuTarget())
    resolve(Command("/apps/x"), ExecutionProfile(), PJMTarget())


def test_memory_is_of_a_node() -> None:
    lines = pjm_lines(script(PJMTarget(), ExecutionProfile(num_nodes=2, memory_per_node="28G", launcher="mpiexec")))
    assert "-L node-mem=28672Mi" in lines


def test_a_shape_of_nodes_stands_for_their_number() -> None:
    target = PJMTarget(pjm_resources=["node=2x3x2:torus"], mpi_options_for_pjm=["max-proc-per-node=4"])
    lines = pjm_lines(script(target, PROFILE))
    assert "-L node=2x3x2:torus" in lines
    assert "-L node=12" not in lines
    assert lines.count("--mpi max-proc-per-node=4") == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pjm_resources": ["node=2x2x2"]}, "asks for node=2x2x2"),
        ({"pjm_resources": ["freq=2000,elapse=10:00"]}, "elapse=10:00, which is for walltime"),
        ({"pjm_resources": ["rscgrp=large"]}, "rscgrp=large, which is for queue_cpu"),
        ({"mpi_options_for_pjm": ["proc=4"]}, "asks for proc=4"),
    ],
)
def test_a_target_does_not_contradict_the_profile(fields: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resolve(Command("/apps/x"), PROFILE, PJMTarget(**fields))


def test_a_job_may_be_ended_early_for_another_after_a_time_that_is_its_own() -> None:
    lines = pjm_lines(script(PJMTarget(pjm_resources=["elapse=00:30:00-01:00:00"]), PROFILE))
    assert [line for line in lines if "elapse" in line] == ["-L elapse=00:30:00-01:00:00"]
    assert "-L elapse=01:00:00" in pjm_lines(script(PJMTarget(), PROFILE))


@pytest.mark.parametrize("elapse", ["00:30:00-02:00:00", "02:00:00-01:00:00", "01:00:00", "soon-01:00:00", "1-2-3"])
def test_a_range_of_times_ends_with_the_walltime(elapse: str) -> None:
    with pytest.raises(ConfigurationError, match="which is for walltime"):
        resolve(Command("/apps/x"), PROFILE, PJMTarget(pjm_resources=[f"elapse={elapse}"]))


def test_fugakus_power_is_named_by_fields() -> None:
    lines = pjm_lines(script(FugakuTarget(project_cpu="hp", freq=2200, eco=2, retention=False), PROFILE))
    assert {"-L freq=2200", "-L eco_state=2", "-L retention_state=0"} <= set(lines)
    assert not [line for line in pjm_lines(script(FugakuTarget(project_cpu="hp"), PROFILE)) if "freq" in line]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"project_cpu": "fugaku"}, "may submit no jobs"),
        ({"project_cpu": "trial", "queue_cpu": "small"}, "spot-small"),
        ({"freq": 1800}, "2000 or 2200"),
        ({"eco": 3}, "eco_state is 0, 1 or 2"),
        ({"gfscache": "/vol0002,/vol0004"}, "put ':' between two volumes"),
        ({"freq": 2200, "pjm_resources": ["freq=2000,eco_state=2"]}, "freq=, and so has a field"),
    ],
)
def test_what_fugaku_would_refuse_is_said_before_submission(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resolve(Command("/apps/x"), PROFILE, FugakuTarget(**{"project_cpu": "hp200999", **fields}))


def test_a_startup_project_uses_the_spot_groups() -> None:
    resolve(Command("/apps/x"), PROFILE, FugakuTarget(project_cpu="trial", queue_cpu="spot-small"))


HELLO = Command("/home/me/x")


def placed(folder: str, command: Command = HELLO, **fields: Any) -> list[str]:
    """What is said of a job whose directory is below this folder."""
    try:
        resolve(
            command, PROFILE, FugakuTarget(**{"project_cpu": "hp", "gfscache": "/vol0002", **fields}), folder=folder
        )
    except ConfigurationError as error:
        return error.faults
    return []


@pytest.mark.parametrize("folder", ["/home/u10001/jobs", "/vol0002/mdt0/data/hp/jobs", "/2ndfs/hp/jobs"])
def test_a_work_root_that_the_nodes_see_is_fine(folder: str) -> None:
    assert placed(folder) == []


def test_a_work_root_on_a_volume_that_gfscache_does_not_name_is_an_error_that_names_it() -> None:
    # pjsub refuses it, or the job ends with PJM code 16
    (fault,) = placed("/vol0004/mdt1/data/hp/jobs")
    assert "add /vol0004 to gfscache" in fault
    assert placed("/vol0004/mdt1/data/hp/jobs", gfscache="/vol0002:/vol0004") == []
    assert "/vol0004" in placed("/vol00040/jobs", gfscache="/vol0004")[0]
    (elsewhere,) = placed("/scratch/jobs")
    assert "/home" in elsewhere


def test_a_link_counts_as_the_volume_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/vol0004/mdt1/data/hp")
    assert "add /vol0004 to gfscache" in placed(f"{tmp_path}/data/jobs")[0]
    assert placed(f"{tmp_path}/data/jobs", gfscache="/vol0004") == []


@pytest.mark.parametrize(
    ("command", "fields", "what"),
    [
        (Command("/vol0004/apps/x"), {}, "the executable /vol0004/apps/x"),
        (HELLO, {"spack_modules": ["fftw"]}, "spack_setup /vol0004"),
    ],
)
def test_what_a_job_reads_at_its_start_is_on_a_volume_that_it_sees(
    command: Command, fields: dict[str, object], what: str
) -> None:
    (fault,) = placed("/home/me/jobs", command, **fields)
    assert fault.startswith(what)
    assert placed("/home/me/jobs", command, gfscache="/vol0002:/vol0004", **fields) == []


def test_programs_of_the_system_are_on_no_volume() -> None:
    assert placed("/home/me/jobs", Command("/usr/bin/true")) == []


def test_a_runner_says_so_before_anything_is_submitted() -> None:
    target = FugakuTarget(project_cpu="hp")
    hpc = HPCJobRunner(target=target, profiles={"mpi": PROFILE}, work_root="/vol0004/data/hp/jobs")
    with pytest.raises(ConfigurationError, match="add /vol0004 to gfscache"):
        hpc.render(HELLO, profile="mpi")


@pytest.mark.parametrize(
    "fields",
    [{"gpus_per_node": 1}, {"qos": "high"}, {"reservation": "r1"}, {"signal_before_end": "USR1@60"},
     {"launcher": "srun"}],
)  # fmt: skip
def test_what_pjm_cannot_express_is_an_error_before_submission(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        resolve(Command("/apps/x"), ExecutionProfile(**fields), PJMTarget())
    assert set(refused.value.faults) <= set(PJM.lacks.values())


def test_dependencies_and_limits_of_arrays_are_told_before_submission() -> None:
    needs = [Dependency("afterok", "1")]
    with pytest.raises(ConfigurationError, match="between the steps of one step job"):
        resolve(Command("/apps/x"), ExecutionProfile(), PJMTarget(), dependencies=needs)
    with pytest.raises(ConfigurationError, match="cannot limit how many elements"):
        resolve(Command("/apps/x"), ExecutionProfile(), PJMTarget(), elements=[["a"], ["b"]], element_limit=1)


def test_an_array_is_a_bulk_job_with_files_of_its_own_for_each_element() -> None:
    spec = JobSpec(name="x", executable="/apps/x", elements=(("a",), ("b",), ("c",)))
    text = render_script(spec, PJM_, directory="/jobs/x", token="abcd2345")
    lines = pjm_lines(text)
    assert {"--bulk", "--sparam 0-2", "-e /jobs/x/.job/scheduler.%b.log"} <= set(lines)
    assert PJM_.log_of("/jobs/x/2", 2) == "/jobs/x/.job/scheduler.2.log"
    assert PJM_.statistics_of("/jobs/x/2", 2) == "/jobs/x/.job/scheduler.2.stats"
    assert PJM_.statistics_of("/jobs/x", None) == "/jobs/x/.job/scheduler.stats"
    assert "PJM_BULKNUM - 0" in text


def test_where_bulk_jobs_are_not_permitted_that_is_said_before() -> None:
    target = PJMTarget(bulk_jobs=False)
    assert "array" in target.scheduler.lacks
    assert target.engine_target().name == PJMTarget().engine_target().name
    assert from_json(to_json(target.scheduler)) == PJMWithoutBulk()
    assert from_json(to_json(PLAIN)) == PLAIN


@pytest.mark.parametrize("name", ["007 (final) größe", "(x)", "9lives", "x" * 200])
def test_a_name_is_one_that_pjm_takes(name: str) -> None:
    made = PJM_.job_name(name, "abcd2345")
    assert len(made) <= 63
    assert made.endswith("_abcd2345")
    assert made[0].isalpha()
    assert not set("()") & set(made)


@pytest.mark.parametrize("directory", ['/jobs/a"b', "/jobs/a\\b", "/jobs/50%"])
def test_a_directory_that_no_directive_can_hold_is_refused(directory: str) -> None:
    with pytest.raises(ConfigurationError, match="PJM"):
        render_script(JobSpec(name="x"), PJM_, directory=directory, token="abcd2345")


# -- statistics


def test_statistics_become_figures() -> None:
    metrics = PJM_.read_statistics(STATISTICS.read_text())
    assert metrics.energy_j == pytest.approx(1500.5 * 3600)
    assert metrics.max_rss_mib == 1024
    assert metrics.cpu_time_s == pytest.approx(3601.5)
    assert (metrics.nodes, metrics.cores, metrics.elapsed_s) == (12, 576, 6605)
    assert metrics.submitted_at == datetime(2026, 11, 20, 7).timestamp()
    assert metrics.queue_wait_s == 600
    assert metrics.node_hours == pytest.approx(12 * 6605 / 3600)
    assert metrics.raw["PJM CODE"] == "0"
    assert "COMMENT" not in metrics.raw


def test_a_figure_without_its_unit_is_kept_as_it_is_and_not_guessed() -> None:
    text = " ENERGY CONSUMPTION OF NODE (MEASURED) : 1500.5\n USER CPU TIME (USE) : 12\n"
    metrics = PJM_.read_statistics(text)
    assert (metrics.energy_j, metrics.cpu_time_s) == (None, None)
    assert metrics.raw["ENERGY CONSUMPTION OF NODE (MEASURED)"] == "1500.5"


@pytest.mark.parametrize("text", ["", "\0", "JOB START DATE : 9999/99/99", " A : \n : b\n"])
def test_broken_statistics_are_none(text: str) -> None:
    assert replace(PJM_.read_statistics(text), raw={}) == JobMetrics()


@given(st.text(max_size=300), st.integers(0, 400))
def test_no_statistics_raise(noise: str, cut: int) -> None:
    PJM_.read_statistics(noise)
    PJM_.read_statistics(STATISTICS.read_text()[: 4 * cut] + noise)
