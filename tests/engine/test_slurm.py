"""Slurm, from what a real one answered (tests/transcripts/slurm), and what a real one thinks of our scripts."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import Dependency, JobMetrics, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Report, Room
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.schedulers.slurm.words import EXPLAINED, cannot_start, explain, state_of
from dagster_hpc.engine.script import render_script
from tests.engine.pretend import eventually
from tests.systems.slurm import SlurmCluster
from tests.transcripts import names, transcript

SLURM = Slurm()


def answer(name: str) -> Answer:
    return transcript("slurm", name)


def queued(name: str) -> JobStatus:
    (status,) = SLURM.read_queue(answer(name)).jobs.values()
    return status


def accounted(name: str) -> JobStatus:
    (status,) = SLURM.read_history(answer(name)).jobs.values()
    return status


def directives(spec: JobSpec, directory: str = "/jobs/x") -> dict[str, str]:
    """The #SBATCH lines as sbatch reads them: option → value ('' for a flag)."""
    script = render_script(spec, SLURM, directory=directory, token="abcd2345")
    lines = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]
    words = [word for line in lines for word in shlex.split(line)]
    return {option: value for option, _, value in (word.partition("=") for word in words)}


# -- submit


@pytest.mark.parametrize(
    ("name", "job_id"),
    [
        ("submit_ok", "1"),
        ("submit_to_cluster", "2"),  # 2;testing
        ("submit_array", "3"),
        ("submit_with_dependency", "4"),
        ("documented_submit_banner", "4242"),
        ("documented_submit_spoken", "4242"),
    ],
)
def test_the_id_is_found_with_and_without_a_cluster_and_between_banners(name: str, job_id: str) -> None:
    assert SLURM.read_submit(answer(name)) == job_id


@pytest.mark.parametrize("name", [name for name in names("slurm", "refused_") if name != "refused_empty"])
def test_a_refusal_is_permanent_and_quotes_slurms_own_words(name: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        SLURM.read_submit(answer(name))
    assert answer(name).stderr.strip() in str(refused.value)
    assert refused.value.advice


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("refused_partition", "queue_cpu"),
        ("refused_account", "project_cpu"),
        ("refused_qos", "sacctmgr show qos"),
        ("refused_memory", "less memory"),
        ("refused_gpus", "fewer nodes"),
    ],
)
def test_a_refusal_says_which_setting_to_correct(name: str, advice: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        SLURM.read_submit(answer(name))
    assert advice in refused.value.advice


@pytest.mark.parametrize("name", names("slurm", "capacity_"))
def test_a_limit_of_submitted_jobs_is_worth_waiting_for(name: str) -> None:
    with pytest.raises(CapacityReached, match=r"MaxSubmitJob|GrpSubmitJobs"):
        SLURM.read_submit(answer(name))


@pytest.mark.parametrize(
    "words",
    [
        answer("documented_submit_max_job_count").stderr,  # until 26.05
        "sbatch: error: Slurm job queue full, sleeping and retrying\n"
        "sbatch: error: Batch job submission failed: MaxJobCount limit reached\n",
    ],
)
def test_a_controller_that_holds_as_many_jobs_as_it_may_is_worth_waiting_for(words: str) -> None:
    with pytest.raises(CapacityReached):
        SLURM.read_submit(Answer(("sbatch",), 1, "", words))


def test_a_reply_that_was_lost_after_the_controller_was_full_leaves_the_submission_open() -> None:
    words = answer("documented_submit_max_job_count").stderr.replace(
        "Resource temporarily unavailable", "Socket timed out on send/recv operation"
    )
    with pytest.raises(SchedulerUnavailable) as unavailable:
        SLURM.read_submit(Answer(("sbatch",), 1, "", words))
    assert not isinstance(unavailable.value, CapacityReached)


def test_a_controller_that_wants_fewer_questions_has_refused_nothing() -> None:
    words = "sbatch: error: Batch job submission failed: Rate limit exceeded, please retry momentarily"
    with pytest.raises(SchedulerUnavailable):
        SLURM.read_submit(Answer(("sbatch",), 1, "", words))


def test_an_array_that_is_too_large_is_told_the_largest() -> None:
    with pytest.raises(SubmitRefused) as refused:
        SLURM.read_submit(answer("refused_array"))
    assert "MaxArraySize" in refused.value.advice


def test_a_limit_that_no_wait_can_lift_is_permanent_though_its_last_line_is_the_same() -> None:
    with pytest.raises(SubmitRefused, match="QOSMaxWallDurationPerJobLimit"):
        SLURM.read_submit(answer("documented_submit_policy"))


@pytest.mark.parametrize(
    "name",
    [
        "submit_controller_down",
        "submit_munge_down",
        "refused_empty",  # the script had not reached the file server
        "documented_submit_reply_lost",
        "documented_submit_zero_bytes",
        "documented_submit_empty_on_network_disk",
        "documented_submit_quiet",  # exit code 0, and no id
    ],
)
def test_an_answer_that_proves_nothing_leaves_the_submission_open(name: str) -> None:
    with pytest.raises(SchedulerUnavailable) as unavailable:
        SLURM.read_submit(answer(name))
    assert not isinstance(unavailable.value, CapacityReached)


def test_a_submit_command_that_does_not_end_leaves_the_submission_open() -> None:
    # the predecessor's commands had no timeout at all
    with pytest.raises(SchedulerUnavailable, match="no answer in time"):
        SLURM.read_submit(Answer(("sbatch",), None, "", ""))


def test_sbatch_has_the_two_minutes_that_its_own_retries_take() -> None:
    assert SLURM.submit("x").timeout_s >= 150


def test_every_command_has_a_timeout_and_a_fixed_time_format() -> None:
    calls = [SLURM.submit("x"), SLURM.queue(["1"]), SLURM.history(["1"]), SLURM.cancel(["1"]), *SLURM.find("x")]
    assert all(0 < call.timeout_s <= 150 for call in calls)
    assert all(call.environment["SLURM_TIME_FORMAT"] == "standard" for call in calls)


def test_a_cluster_is_named_in_every_command() -> None:
    # the predecessor cut the cluster off the id and then asked the wrong one
    there = Slurm(cluster="lab")
    calls = [there.submit("x"), there.queue(["1"]), there.history(["1"]), there.cancel(["1"]), *there.find("x")]
    calls += [there.look_for("1"), *(call for call in there.room("me", "", "") if call.argv[0] != "sacctmgr")]
    assert all(call.argv[1:3] == ("-M", "lab") for call in calls)
    assert not any("-M" in call.argv for call in there.room("me", "", "") if call.argv[0] == "sacctmgr")


@given(
    noise=st.lists(st.text(alphabet=st.characters(exclude_characters="\n\r0123456789", exclude_categories=["Cs"]))),
    number=st.integers(1, 10**9),
    cluster=st.sampled_from(["", ";lab"]),
)
def test_no_banner_hides_the_id(noise: list[str], number: int, cluster: str) -> None:
    stdout = "\n".join([*noise, f"{number}{cluster}", *noise]) + "\n"
    assert SLURM.read_submit(Answer(("sbatch",), 0, stdout, "")) == str(number)


@given(code=st.one_of(st.none(), st.integers(0, 255)), out=st.text(), err=st.text())
def test_no_answer_to_a_submission_is_worse_than_an_error_of_ours(code: int | None, out: str, err: str) -> None:
    with contextlib.suppress(SubmitRefused, SchedulerUnavailable):
        assert SLURM.read_submit(Answer(("sbatch",), code, out, err)).isascii()


# -- the live queue


@pytest.mark.parametrize(
    ("name", "state", "word"),
    [
        ("queue_held", JobState.HELD, "JobHeldUser"),
        ("queue_held_by_admin", JobState.HELD, "JobHeldAdmin"),
        ("queue_dependency", JobState.HELD, "Dependency"),
        ("queue_dependency_never", JobState.HELD, "DependencyNeverSatisfied"),
        ("queue_begin_time", JobState.HELD, "BeginTime"),
        ("queue_resources", JobState.PENDING, "Resources"),
        ("queue_priority", JobState.PENDING, "Priority"),
        ("queue_reservation", JobState.PENDING, "Reservation"),
        ("queue_partition_down", JobState.PENDING, "PartitionDown"),
        ("queue_partition_time_limit", JobState.PENDING, "PartitionTimeLimit"),
        ("queue_partition_config", JobState.PENDING, "PartitionConfig"),
        ("queue_too_many_nodes", JobState.PENDING, "PartitionConfig"),
        ("queue_node_not_available", JobState.PENDING, "ReqNodeNotAvail, UnavailableNodes:node4"),
        ("queue_qos_limit", JobState.PENDING, "QOSMaxJobsPerUserLimit"),
        ("queue_qos_time", JobState.PENDING, "QOSMaxWallDurationPerJobLimit"),
        ("queue_qos_cores", JobState.PENDING, "QOSMaxCpuPerJobLimit"),
    ],
)
def test_a_waiting_job_says_why_in_a_sentence_that_holds_slurms_word(name: str, state: JobState, word: str) -> None:
    status = queued(name)
    assert status.state is state
    assert status.reason.endswith(f"({word})")
    assert status.reason != f"({word})"


@pytest.mark.parametrize(
    ("name", "stuck"),
    [
        ("queue_dependency_never", True),
        ("queue_partition_time_limit", True),
        ("queue_partition_config", True),
        ("queue_qos_time", True),
        ("queue_qos_cores", True),
        ("queue_resources", False),
        ("queue_held", False),
        ("queue_dependency", False),
        ("queue_node_not_available", False),
        ("queue_qos_limit", False),
        ("queue_running", False),
        ("queue_cancelled", False),
    ],
)
def test_only_what_can_never_start_is_stuck(name: str, stuck: bool) -> None:
    assert queued(name).stuck is stuck


def test_a_job_whose_dependency_failed_was_cancelled_for_that() -> None:
    accounts = answer("history_dependency_killed")  # which have a reason, or not, as it happens
    told = replace(accounts, stdout=re.sub(r"0:0\|\w+\|", "0:0|Dependency|", accounts.stdout, count=1))
    for report in (SLURM.read_queue(answer("queue_dependency_killed")), SLURM.read_history(told)):
        (status,) = report.jobs.values()
        assert status.state is JobState.CANCELLED
        assert "the job that it depends on did not end as required" in status.reason


@pytest.mark.parametrize("name", ["queue_cancelled_while_held", "history_cancelled_while_held"])
def test_what_a_job_once_waited_for_is_not_why_it_ended(name: str) -> None:
    status = queued(name) if name.startswith("queue") else accounted(name)
    assert "is held" not in status.reason


@pytest.mark.parametrize("reason", ["QOSMaxMemoryPerJob", "AssocMaxWallDurationPerJobLimit", "QOSMaxGRESPerJob"])
def test_a_limit_for_any_single_job_is_never_lifted_by_waiting_whatever_it_limits(reason: str) -> None:
    assert cannot_start(reason)
    assert explain(reason).startswith("can never start")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("AssocGrpGRESMinutes", "waits: the account"),
        ("QOSGrpMemLimit", "waits: the quality of service"),
        ("QOSMaxGRESPerUser", "waits: you are"),
        ("MaxCpuRunMinsPerUser", "waits: you are"),  # since 25.11
        ("MaxGRESPerAccount", "waits: the account"),
        ("QOSMaxGRESPerNode", "can never start"),
        ("MaxMemPerLimit", "can never start"),
    ],
)
def test_limits_of_a_kind_are_explained_whatever_they_limit(reason: str, words: str) -> None:
    assert explain(reason).startswith(words)
    assert explain(reason).endswith(f"({reason})")
    assert cannot_start(reason) is words.startswith("can never")


def test_a_reason_without_a_sentence_is_passed_on_as_it_is() -> None:
    assert explain("SomethingNew") == "SomethingNew"
    assert not cannot_start("SomethingNew")


def test_every_sentence_reads_on_from_it() -> None:
    assert all(
        re.match(r"(waits|is |can |could |ran |used |was |a node|its |the system)", s) for s in EXPLAINED.values()
    )


def test_a_running_job_has_its_nodes_and_its_start() -> None:
    status = queued("queue_running")
    assert status.state is JobState.RUNNING
    assert status.reason == ""
    assert (status.metrics.nodes, status.metrics.cores, status.metrics.node_list) == (3, 24, "node[1-3]")
    assert status.metrics.started_at is not None
    assert status.metrics.ended_at is None  # squeue prints when it would end


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("queue_suspended", JobState.SUSPENDED),
        ("queue_requeued", JobState.RUNNING),  # completing, before it waits again
        ("queue_ok", JobState.COMPLETED),
        ("queue_exit_3", JobState.FAILED),
        ("queue_signal", JobState.FAILED),
        ("queue_killed", JobState.FAILED),
        ("queue_oom", JobState.OOM),
        ("queue_timeout", JobState.TIMEOUT),
        ("queue_timeout_trapped", JobState.TIMEOUT),
        ("queue_cancelled", JobState.CANCELLED),
        ("queue_cancelled_while_held", JobState.CANCELLED),
        ("queue_node_fail", JobState.NODE_FAIL),
        ("documented_queue_blank_state", JobState.UNKNOWN),  # the predecessor raised IndexError
        ("documented_queue_new_word", JobState.UNKNOWN),
        ("documented_queue_warning", JobState.RUNNING),
    ],
)
def test_the_queue_tells_the_state(name: str, state: JobState) -> None:
    assert queued(name).state is state


def test_one_answer_holds_many_jobs_and_leaves_out_the_forgotten() -> None:
    report = SLURM.read_queue(answer("queue_many"))
    assert "999999" not in report.jobs
    assert not report.failed
    assert len(report.jobs) == len(answer("queue_many").stdout.splitlines())


def test_forgotten_jobs_among_several_are_in_doubt() -> None:
    report = SLURM.read_queue(answer("queue_forgotten"))
    assert (report.jobs, report.unknown, report.failed) == ({}, frozenset(), "")


def test_a_forgotten_job_that_is_asked_for_alone_is_denied() -> None:
    assert SLURM.read_queue(answer("queue_forgotten_alone")).unknown == {"999999"}
    assert not SLURM.read_queue(answer("queue_forgotten_alone")).failed


def test_an_error_about_one_of_several_ids_denies_none_of_them() -> None:
    alone = answer("queue_forgotten_alone")
    several = replace(alone, argv=(*alone.argv[: alone.argv.index("-j")], "-j", "7,999999"))
    report = SLURM.read_queue(several)
    assert (report.unknown, report.failed) == (frozenset(), "")


def test_an_element_that_squeue_passes_over_in_silence_is_in_doubt() -> None:
    silent = answer("queue_element_forgotten")  # of an array that it knows: exit code 0, and nothing
    assert (silent.code, silent.stdout, silent.stderr) == (0, "", "")
    assert SLURM.read_queue(silent) == Report()


@pytest.mark.parametrize(
    ("name", "newer"),
    [
        ("look_for_forgotten", False),
        ("look_for_element_forgotten", False),
        ("look_for_element_of_forgotten", False),
        ("look_for_element_forgotten", True),  # which says it on stderr
    ],
)
def test_a_look_for_a_forgotten_job_or_element_is_denied_in_words(name: str, newer: bool) -> None:
    said = answer(name)
    said = replace(said, stdout="", stderr=said.stdout + said.stderr) if newer else said
    report = SLURM.read_look_for(said)
    assert report.unknown == {said.argv[-1]}
    assert (report.jobs, report.failed) == ({}, "")


@pytest.mark.parametrize(
    ("name", "state", "count"),
    [
        ("look_for_ended", JobState.FAILED, 1),
        ("look_for_element", JobState.PENDING, 1),
        ("look_for_array", None, 100),
        ("look_for_components", JobState.RUNNING, 1),
    ],
)
def test_a_job_that_is_looked_for_and_there_is_shown(name: str, state: JobState | None, count: int) -> None:
    said = answer(name)
    jobs = SLURM.read_look_for(said).jobs
    assert len(jobs) == count
    if state:
        assert [(job_id, status.state) for job_id, status in jobs.items()] == [(said.argv[-1], state)]
    assert all(status.job_name.endswith("_abcd2345") for status in jobs.values())


def test_a_job_looks_the_same_to_both_questions() -> None:
    (seen,) = SLURM.read_look_for(answer("look_for_ended")).jobs.values()
    assert seen == queued("queue_exit_3")


@pytest.mark.parametrize("code", [0, 1, None])
def test_a_look_that_was_not_answered_denies_nothing(code: int | None) -> None:
    argv = SLURM.look_for("7").argv
    for words in ("", "Unable to contact slurm controller", "Welcome to the lab", "Job 77 not found"):
        report = SLURM.read_look_for(Answer(argv, code, words, ""))
        assert report.failed
        assert not report.unknown


def test_a_heterogeneous_job_is_its_first_component() -> None:
    (job_id,) = SLURM.read_look_for(answer("look_for_components")).jobs
    assert SLURM.read_queue(answer("queue_components")).jobs[job_id].state is JobState.RUNNING
    assert SLURM.read_history(answer("history_components")).jobs[job_id].state is JobState.RUNNING


@pytest.mark.parametrize("read", ["read_queue", "read_history", "read_look_for"])
def test_an_answer_of_other_words_alone_is_a_failed_query(read: str) -> None:
    argv = SLURM.look_for("7").argv
    strange = getattr(SLURM, read)(Answer(argv, 0, "Welcome to the lab!\nMaintenance on Monday\n", ""))
    assert "Welcome to the lab!" in strange.failed
    assert not strange.unknown


@pytest.mark.parametrize(("read", "name"), [("read_queue", "queue_ok"), ("read_history", "history_ok")])
def test_a_banner_before_the_jobs_does_no_harm(read: str, name: str) -> None:
    said = answer(name)
    with_banner = replace(said, stdout=f"Welcome to the lab!\nCLUSTER: lab\n{said.stdout}")
    assert getattr(SLURM, read)(with_banner) == getattr(SLURM, read)(said)


def test_the_head_of_another_clusters_jobs_is_no_strange_word() -> None:
    assert SLURM.read_queue(Answer(("squeue",), 0, "CLUSTER: lab\n", "")) == Report()


def test_an_accounting_that_fails_with_exit_code_0_has_failed() -> None:
    # until 23.02, some errors of sacct had it
    assert SLURM.read_history(Answer(("sacct",), 0, "", "sacct: error: slurmdbd: Unknown error 1064")).failed


def test_a_known_job_beside_a_forgotten_one_is_reported() -> None:
    report = SLURM.read_queue(answer("queue_forgotten_and_known"))
    assert [status.state for status in report.jobs.values()] == [JobState.COMPLETED]


@pytest.mark.parametrize(
    "name", ["queue_controller_down", "queue_munge_down", "documented_queue_timed_out"]
)  # the predecessor let a flow fail on any of these while its job ran on
def test_a_query_that_fails_says_why_and_knows_of_no_job(name: str) -> None:
    report = SLURM.read_queue(answer(name))
    assert report.jobs == {}
    assert report.failed == answer(name).words


def test_a_query_without_an_end_is_a_failed_query() -> None:
    assert "no answer in time" in SLURM.read_queue(Answer(("squeue",), None, "", "")).failed


def test_separators_in_a_job_name_do_no_harm() -> None:
    assert queued("queue_name_with_separators").job_name == "a|b ^^^ <><>"


def test_each_element_of_an_array_is_a_job_of_its_own() -> None:
    jobs = SLURM.read_queue(answer("queue_array_waiting")).jobs
    states = [status.state for status in jobs.values()]
    assert len(jobs) == 100
    assert all(re.fullmatch(r"\d+_\d+", job_id) for job_id in jobs)
    assert (states.count(JobState.RUNNING), states.count(JobState.PENDING)) == (2, 98)


def test_an_array_with_a_failed_element_keeps_its_elements_apart() -> None:
    jobs = SLURM.read_queue(answer("queue_array_ended")).jobs
    assert {job_id.partition("_")[2]: status.state for job_id, status in jobs.items()} == {
        "0": JobState.COMPLETED,
        "1": JobState.FAILED,
        "2": JobState.FAILED,
        "3": JobState.FAILED,
    }


@given(st.integers(0, 255), st.text(), st.text())
def test_no_answer_of_squeue_raises(code: int, out: str, err: str) -> None:
    SLURM.read_queue(Answer(("squeue",), code, out, err))


# -- the accounting


@pytest.mark.parametrize(
    ("name", "state", "exit_code", "signal"),
    [
        ("history_ok", JobState.COMPLETED, 0, None),
        ("history_exit_3", JobState.FAILED, 3, None),
        ("history_signal", JobState.FAILED, None, 11),
        ("history_killed", JobState.FAILED, None, 9),
        # Slurm prints 0:0 and 0:125 for these; the predecessor took each for a success
        ("history_timeout", JobState.TIMEOUT, None, None),
        ("history_timeout_trapped", JobState.TIMEOUT, None, None),
        ("history_cancelled", JobState.CANCELLED, None, None),
        ("history_cancelled_while_held", JobState.CANCELLED, None, None),
        ("history_oom", JobState.OOM, None, None),
        ("history_node_fail", JobState.NODE_FAIL, None, None),
        ("documented_history_preempted", JobState.PREEMPTED, None, None),
        ("documented_history_deadline", JobState.TIMEOUT, None, None),
        ("documented_history_truncated", JobState.CANCELLED, None, None),
        ("documented_history_boot_fail", JobState.FAILED, 1, None),
        ("documented_history_new_word", JobState.UNKNOWN, None, None),
        ("history_running", JobState.RUNNING, None, None),
        ("history_requeued", JobState.PENDING, None, None),
    ],
)
def test_the_accounting_tells_state_exit_code_and_signal(
    name: str, state: JobState, exit_code: int | None, signal: int | None
) -> None:
    status = accounted(name)
    assert (status.state, status.exit_code, status.signal) == (state, exit_code, signal)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("history_signal", "killed by signal 11 (SIGSEGV)"),
        ("history_killed", "killed by signal 9 (SIGKILL)"),
        ("history_timeout", "ran into its walltime"),
        ("history_cancelled", "cancelled by user id 0"),
        ("history_oom", "used more memory than it had asked for"),
        ("history_node_fail", "a node of it failed"),
        ("history_ok", ""),
        ("history_oom_in_step", "a step of it ran out of memory, though the job went on"),
    ],
)
def test_the_accounting_says_in_a_sentence_how_it_ended(name: str, words: str) -> None:
    assert accounted(name).reason == words


def test_a_job_whose_node_cannot_write_its_log_was_not_killed_by_a_signal() -> None:
    status = accounted("history_log_folder_missing")  # ExitCode 0:53
    assert (status.state, status.signal) == (JobState.FAILED, None)
    assert "cannot enter the job's directory or write its log" in status.reason


def test_figures_are_numbers_in_the_units_of_their_names() -> None:
    # the predecessor kept strings, and had no memory, no CPU time and no waiting time
    metrics = accounted("history_two_nodes").metrics
    assert (metrics.nodes, metrics.cores) == (2, 2)
    assert re.fullmatch(r"node\[\d-\d\]", metrics.node_list or "")
    assert metrics.elapsed_s is not None
    assert metrics.elapsed_s >= 2
    assert 0 < (metrics.cpu_time_s or 0) < 2 * (metrics.elapsed_s + 1)
    assert 1 < (metrics.max_rss_mib or 0) < 100
    assert metrics.queue_wait_s is not None
    assert metrics.queue_wait_s >= 0
    assert metrics.node_hours == pytest.approx(2 * metrics.elapsed_s / 3600)
    assert 0 < (metrics.cpu_efficiency or 0) <= 1
    assert metrics.energy_j is None  # no power meter: not zero
    assert metrics.raw["AllocTRES"].startswith("billing=")


@pytest.mark.parametrize(("read", "source"), [(accounted, "history"), (queued, "queue")])
def test_a_job_cancelled_while_it_waited_never_began(read: Callable[[str], JobStatus], source: str) -> None:
    metrics = read(f"{source}_cancelled_while_held").metrics  # Slurm prints a start time
    assert metrics.started_at is None
    assert not metrics.elapsed_s
    assert metrics.node_list is None


def test_a_half_written_record_has_a_state_and_no_name_that_could_be_mistaken() -> None:
    status = accounted("history_half_written")  # called "allocation"
    assert (status.state, status.job_name) == (JobState.CANCELLED, "")
    assert status.metrics.started_at is None


def test_the_accounting_knows_the_elements_of_an_array() -> None:
    jobs = SLURM.read_history(answer("history_array")).jobs
    codes = {job_id.partition("_")[2]: status.exit_code for job_id, status in jobs.items()}
    assert codes == {"0": 0, "1": 1, "2": 2, "3": 3}


def test_elements_that_never_started_share_a_line_and_are_each_reported() -> None:
    jobs = SLURM.read_history(answer("history_array_cancelled")).jobs  # …_[2-99%2]
    assert len(jobs) == 100
    assert {status.state for status in jobs.values()} == {JobState.CANCELLED}


@pytest.mark.parametrize(
    ("shown", "elements"),
    [("7_[3]", [3]), ("7_[0,2-4]", [0, 2, 3, 4]), ("7_[0-6:3%2]", [0, 3, 6]), ("7_[1-2,9%1]", [1, 2, 9])],
)
def test_every_spelling_of_a_range_is_understood(shown: str, elements: list[int]) -> None:
    line = answer("history_ok").stdout.splitlines()[0]
    report = SLURM.read_history(Answer(("sacct",), 0, f"{shown}|{line.partition('|')[2]}\n", ""))
    assert list(report.jobs) == [f"7_{index}" for index in elements]


@pytest.mark.parametrize("shown", ["7_[0-1,...]", "7_[0-1,3...]", "7_[0-1,13-1...]", "7_[0-1,4...%2]"])
def test_of_a_list_of_elements_that_is_cut_those_are_known_that_stand_there_whole(shown: str) -> None:
    line = answer("history_ok").stdout.splitlines()[0]
    report = SLURM.read_history(Answer(("sacct",), 0, f"{shown}|{line.partition('|')[2]}\n", ""))
    assert set(report.jobs) == {"7_0", "7_1"}  # 3 may have been 35


def test_of_several_runs_of_a_job_the_last_one_counts() -> None:
    every = answer("history_of_every_run")
    (status,) = SLURM.read_history(every).jobs.values()
    backwards = "".join(reversed(every.stdout.splitlines(keepends=True)))
    (reversed_status,) = SLURM.read_history(replace(every, stdout=backwards)).jobs.values()
    assert {status.state, reversed_status.state} <= {JobState.PENDING, JobState.HELD}
    assert status.metrics.max_rss_mib is None  # the first run's steps are not its own


def test_an_exit_code_that_sacct_has_made_a_success_is_not_told() -> None:
    # until 25.05 it takes 128 off the codes above 127
    assert (accounted("history_exit_128").state, accounted("history_exit_128").exit_code) == (JobState.FAILED, None)
    assert accounted("history_exit_200").exit_code == 72


def test_many_jobs_come_in_one_answer() -> None:
    jobs = SLURM.read_history(answer("history_many")).jobs
    asked = answer("history_many").argv
    assert set(jobs) == set(asked[asked.index("-j") + 1].split(",")) - {"999999"}


def test_a_job_that_the_accounting_has_not_heard_of_is_absent() -> None:
    report = SLURM.read_history(answer("history_unknown"))
    assert (report.jobs, report.failed, report.disabled) == ({}, "", False)


def test_accounting_that_a_site_does_not_have_is_told_from_one_that_is_down() -> None:
    disabled = SLURM.read_history(answer("history_accounting_disabled"))
    down = SLURM.read_history(answer("history_accounting_down"))
    also_down = SLURM.read_history(answer("documented_history_database_down"))
    assert (disabled.disabled, disabled.failed) == (True, "")
    assert not down.disabled
    assert "Connection refused" in down.failed
    assert not also_down.disabled
    assert "Problem talking to the database" in also_down.failed


@given(st.integers(0, 255), st.text(), st.text())
def test_no_answer_of_sacct_raises(code: int, out: str, err: str) -> None:
    SLURM.read_history(Answer(("sacct",), code, out, err))


@given(st.lists(st.text(alphabet="0123456789:-.KMGTUnkow_[],%", max_size=12), min_size=26, max_size=26))
def test_no_cell_of_sacct_raises(cells: list[str]) -> None:
    line = "|".join(["7", *cells[1:]])
    SLURM.read_history(Answer(("sacct",), 0, line + "\n", ""))


# -- look-up and cancel


@pytest.mark.parametrize("name", ["find_live", "find_live_in_history", "find_array", "find_ended"])
def test_a_job_is_found_again_by_its_name(name: str) -> None:
    found = SLURM.read_found(answer(name))
    assert found
    assert all(job_id.isdigit() for job_id in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", ["find_nothing", "find_nothing_in_history", "find_accounting_disabled"])
def test_a_name_that_nobody_knows_is_not_found(name: str) -> None:
    assert SLURM.read_found(answer(name)) == []


def test_a_look_up_that_failed_is_not_a_job_that_is_not_there() -> None:
    with pytest.raises(SchedulerUnavailable):
        SLURM.read_found(answer("find_accounting_down"))


@pytest.mark.parametrize("name", ["cancel_held", "cancel_element", "cancel_ended", "cancel_unknown"])
def test_cancelling_takes_whatever_there_is(name: str) -> None:
    SLURM.read_cancel(answer(name))


def test_a_cancellation_that_did_not_reach_slurm_is_told() -> None:
    # the predecessor's failing cancel lost the cancellation
    with pytest.raises(SchedulerUnavailable, match="Unable to contact slurm controller"):
        SLURM.read_cancel(answer("cancel_controller_down"))


def test_a_job_in_a_hidden_partition_is_found_by_its_name() -> None:
    # without -a, squeue hides it from its owner, and the job would be submitted a second time
    queue, _ = SLURM.find("x")
    assert "-a" in queue.argv


@pytest.mark.parametrize("stdout", ["Welcome to the lab!\n", "7|another_zzzz9999\n"])
def test_a_look_up_that_is_answered_in_other_words_has_failed(stdout: str) -> None:
    for call in SLURM.find("nothing_zzzz2222"):
        with pytest.raises(SchedulerUnavailable):
            SLURM.read_found(Answer(call.argv, 0, stdout, ""))


def test_one_job_that_is_over_does_not_hide_that_another_was_not_cancelled() -> None:
    words = "scancel: error: Invalid job id 7\nscancel: error: Kill job error on job id 8: Socket timed out"
    with pytest.raises(SchedulerUnavailable):
        SLURM.read_cancel(Answer(("scancel", "7", "8"), 1, "", words))


# -- steps that srun has started inside a job


STEPS = {"long", "short", "wide", "fails", "nowhere", "twin", "killed", "runs"}


def steps(**changed: str) -> Mapping[str, JobMetrics]:
    """The figures in the transcript of `steps`, with these words in place of others in the configuration."""
    config = answer("steps_1")
    for old, new in changed.items():
        config = replace(config, stdout=config.stdout.replace(old, new))
    figures = SLURM.read_steps([answer("steps_0"), config], STEPS)
    assert figures is not None
    return figures


def test_each_step_that_is_over_has_figures_under_its_name() -> None:
    figures = steps()
    # Not the one that runs, nor those two that have one name.
    assert set(figures) == {"long", "short", "wide", "fails", "nowhere", "killed"}
    assert figures["long"].cpu_time_s == 2.742
    assert figures["long"].max_rss_mib == pytest.approx(76558336 / 2**20)
    assert figures["wide"].cpu_time_s == 5.338  # of both ranks
    assert figures["long"].node_list == "node1"
    assert (figures["long"].nodes, figures["long"].energy_j) == (None, None)  # shared with other steps
    assert figures["long"].raw["JobID"] == "4.0"


def test_memory_of_a_step_is_not_told_where_slurm_did_not_look_at_it() -> None:
    figures = steps()
    assert figures["short"].raw["MaxRSS"] == "2777088"  # it had 60 MiB
    assert figures["short"].max_rss_mib is None
    assert figures["short"].cpu_time_s == 0.732


def test_of_a_step_that_was_killed_the_time_is_not_told() -> None:
    assert steps()["killed"].cpu_time_s is None
    assert steps()["fails"].cpu_time_s == 0.002


@pytest.mark.parametrize(
    ("said", "told"),
    [("task=2", False), ("30", False), ("energy=1", False), ("task=0", False), ("1", True), ("energy=30,task=1", True)],
)
def test_how_often_slurm_looks_at_the_memory_is_in_its_configuration(said: str, told: bool) -> None:
    assert (steps(**{"task=1\n": f"{said}\n"})["long"].max_rss_mib is not None) is told


def test_figures_that_are_zero_were_not_gathered() -> None:
    nothing = re.sub(r"\|00:02\.742\|", "|00:00:00|", answer("steps_0").stdout).replace("|76558336|", "|0|")
    figures = SLURM.read_steps([replace(answer("steps_0"), stdout=nothing), answer("steps_1")], STEPS)
    assert figures is not None
    assert (figures["long"].cpu_time_s, figures["long"].max_rss_mib) == (None, None)


def test_an_accounting_that_does_not_answer_tells_no_figures_and_one_that_is_not_there_never_will() -> None:
    config = answer("steps_1")
    assert SLURM.read_steps([answer("history_accounting_down"), config], STEPS) == {}
    assert SLURM.read_steps([answer("steps_0"), answer("identify_controller_down")], STEPS) == {}
    assert SLURM.read_steps([answer("history_accounting_disabled"), config], STEPS) is None


# -- room


def rooms(name: str, **changed: str) -> Room:
    """What is read of this record's answers, some of them changed: `q4="…"` is the fourth one's text."""
    answers = [answer(f"{name}_{number}") for number in range(5)]
    return SLURM.read_room(
        [replace(one, stdout=changed.get(f"q{number}", one.stdout)) for number, one in enumerate(answers)]
    )


def usage(name: str, *words: tuple[str, str]) -> str:
    text = answer(f"{name}_2").stdout
    for old, new in words:
        assert old in text
        text = text.replace(old, new)
    return text


def test_room_is_what_the_tightest_limit_leaves() -> None:
    # of the job's QOS: group 12, user 7, account 8; five jobs are there
    assert rooms("room") == Room(jobs=2, elements=7)


def test_limits_that_nobody_has_used_yet_hold_all_the_same() -> None:
    assert rooms("room_unused") == Room(jobs=7, elements=7)  # Slurm shows use only where there was any


def test_a_limit_of_the_qos_is_in_the_place_of_that_of_the_association() -> None:
    unlimited = "shared|||\n"
    text = usage("room", ("GrpSubmitJobs=12(5)", "GrpSubmitJobs=N(5)"), ("MaxSubmitJobsPU=7(5)", "MaxSubmitJobsPU=N(5)"),
                 ("MaxSubmitJobsPA=8(5)", "MaxSubmitJobsPA=N(5)"))  # fmt: skip
    assert rooms("room", q2=text, q4=unlimited) == Room(jobs=4, elements=9)  # the user's 9, the account's 30


def test_a_limit_of_the_partitions_qos_comes_first() -> None:
    partition = answer("room_1").stdout.replace("QoS=N/A", "QoS=wide")
    assert partition != answer("room_1").stdout
    qualities = answer("room_4").stdout + "wide||100|\n"
    assert rooms("room", q1=partition, q4=qualities) == Room(jobs=3, elements=8)  # the account's 8


def test_limits_that_slurm_does_not_enforce_limit_nothing() -> None:
    config = answer("room_0").stdout.replace("associations,limits,qos", "associations")
    assert rooms("room", q0=config) == Room(jobs=None, elements=10001)


def test_the_largest_array_is_what_is_configured() -> None:
    config = answer("room_0").stdout
    assert rooms("room", q0=config, q2="", q3="", q4="") == Room(None, 10001)
    assert (
        rooms("room", q0=f"{config}SchedulerParameters = defer,max_array_tasks=500\n", q2="", q3="", q4="").elements
        == 500
    )


def test_the_users_of_a_newer_slurm_are_told_by_name_and_number() -> None:
    text = usage("room", (" 0={MaxJobsPU", " root(0)={MaxJobsPU"), ("Lft=", "Lineage=/proj1/0-root/ Lft="))
    assert rooms("room", q2=text) == rooms("room")


def test_a_default_account_is_found_where_none_is_named() -> None:
    answers = [answer(f"room_{number}") for number in range(5)]
    answers[2] = replace(answers[2], argv=SLURM.room("root", "cpu", "")[2].argv)
    assert SLURM.read_room(answers) == Room(jobs=2, elements=7)


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 2)), st.text()), max_size=6))
def test_what_cannot_be_read_of_room_is_none_and_no_error(texts: list[tuple[int | None, str]]) -> None:
    assert SLURM.read_room([Answer(("scontrol", "users=me"), code, text, "") for code, text in texts]) == Room()


@pytest.mark.needs("slurm")
def test_a_real_slurm_tells_an_ordinary_user_its_largest_array(slurm: SlurmCluster) -> None:
    done = [slurm.run(list(call.argv), check=False) for call in SLURM.room(slurm.user, "", "")]
    room = SLURM.read_room([Answer(tuple(one.args), one.returncode, one.stdout, one.stderr) for one in done])
    assert room == Room(jobs=None, elements=501)


@pytest.mark.needs("slurm")
def test_a_real_slurm_denies_what_it_does_not_know(slurm: SlurmCluster) -> None:
    array = slurm.run(
        ["sbatch", "--parsable", "--hold", "--array=0-3", "-o/dev/null", "-D/", "--wrap=true"]
    ).stdout.strip()
    reports = {}
    for job_id in (f"{array}_2", f"{array}_7", "999999", "999999_1"):
        done = slurm.run(list(SLURM.look_for(job_id).argv), check=False)
        reports[job_id] = SLURM.read_look_for(Answer(tuple(done.args), done.returncode, done.stdout, done.stderr))
    slurm.run(["scancel", array])

    assert {job_id for job_id, report in reports.items() if report.unknown == {job_id}} == {
        f"{array}_7",
        "999999",
        "999999_1",
    }
    assert reports[f"{array}_2"].jobs[f"{array}_2"].state is JobState.HELD


# -- words


TABLE = {
    JobState.PENDING: "PENDING PD CONFIGURING CF REQUEUED RQ REQUEUE_FED RF",
    JobState.HELD: "RESV_DEL_HOLD RD REQUEUE_HOLD RH SPECIAL_EXIT SE",
    JobState.RUNNING: "RUNNING R COMPLETING CG RESIZING RS SIGNALING SI STAGE_OUT SO UPDATE_DB EXPEDITING",
    JobState.SUSPENDED: "SUSPENDED S STOPPED ST",
    JobState.COMPLETED: "COMPLETED CD",
    JobState.FAILED: "FAILED F BOOT_FAIL BF LAUNCH_FAILED RECONFIG_FAIL",
    JobState.CANCELLED: "CANCELLED CA",
    JobState.TIMEOUT: "TIMEOUT TO DEADLINE DL",
    JobState.OOM: "OUT_OF_MEMORY OOM",
    JobState.NODE_FAIL: "NODE_FAIL NF",
    JobState.PREEMPTED: "PREEMPTED PR",
}


@pytest.mark.parametrize(("word", "state"), [(word, state) for state, row in TABLE.items() for word in row.split()])
def test_each_word_of_slurm_means_one_of_our_states(word: str, state: JobState) -> None:
    assert state_of(word) is state
    assert state_of(f"{word}+") is state  # a column cut it


@pytest.mark.parametrize("reason", ["Dependency", "JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "BeginTime"])
def test_a_pending_job_that_something_holds_is_held(reason: str) -> None:
    assert state_of("PD", reason) is JobState.HELD
    assert state_of("RUNNING", reason) is JobState.RUNNING


@pytest.mark.parametrize("word", ["REVOKED", "RV"])
def test_a_job_that_another_cluster_of_the_federation_has_taken_is_not_over(word: str) -> None:
    assert state_of(word) is JobState.UNKNOWN  # called cancelled, it would be submitted a second time while it runs


def test_who_cancelled_does_not_hide_that_it_was_cancelled() -> None:
    assert state_of("CANCELLED by 1000") is JobState.CANCELLED


@given(st.text())
def test_an_unknown_word_is_unknown_and_never_an_error(word: str) -> None:
    known = {word for row in TABLE.values() for word in row.split()}
    first = word.split()[0].rstrip("+") if word.split() else ""
    if first not in known:
        assert state_of(word) is JobState.UNKNOWN


# -- the script


def test_a_small_request_says_what_it_needs_and_nothing_else() -> None:
    assert directives(JobSpec(name="hello", executable="/bin/true")) == {
        "--job-name": "hello_abcd2345",
        "--output": "/jobs/x/scheduler.log",
        "--error": "/jobs/x/scheduler.log",
        "--open-mode": "append",
        "--nodes": "1",
        "--ntasks": "1",
        "--ntasks-per-node": "1",
        "--time": "00:05:00",
        "--no-requeue": "",
    }


LARGEST = JobSpec(
    name="everything",
    executable="/bin/true",
    elements=(("a",), ("b",), ("c",)),
    element_limit=2,
    nodes=2,
    ranks_per_node=2,
    threads_per_rank=2,
    gpus_per_node=1,
    memory_per_node_mib=512,
    walltime_s=2 * 86400 + 3 * 3600 + 4 * 60 + 5,
    launcher="srun",
    exclusive=True,
    qos="normal",
    reservation="maintenance window",
    signal_name="USR1",
    signal_before_s=120,
    directives=("#SBATCH --nice=10", "#SBATCH --comment='by hand'"),
    dependencies=(Dependency("afterok", "12"), Dependency("afterany", "13"), Dependency("afterok", "14")),
    queue="cpu",
    project="proj1",
    options=(("qpu", "ibm"),),
)


def test_every_wish_has_its_directive() -> None:
    # the predecessor had none for memory, GPUs, arrays, dependencies, qos, reservation, signal or the job's name
    assert directives(LARGEST) == {
        "--job-name": "everything_abcd2345",
        "--output": "/jobs/x/%a/scheduler.log",
        "--error": "/jobs/x/%a/scheduler.log",
        "--open-mode": "append",
        "--nodes": "2",
        "--ntasks": "4",
        "--ntasks-per-node": "2",
        "--cpus-per-task": "2",
        "--mem": "512M",
        "--gpus-per-node": "1",
        "--time": "2-03:04:05",
        "--partition": "cpu",
        "--account": "proj1",
        "--qos": "normal",
        "--reservation": "maintenance window",
        "--exclusive": "",
        "--signal": "B:USR1@120",
        "--qpu": "ibm",
        "--array": "0-2%2",
        "--dependency": "afterok:12,afterany:13,afterok:14",
        "--kill-on-invalid-dep": "yes",
        "--no-requeue": "",
        "--nice": "10",
        "--comment": "by hand",
    }


def test_every_id_of_a_dependency_carries_its_kind() -> None:
    # `afterok:1,2` is old syntax in which the second id means afterany
    spec = JobSpec(name="x", dependencies=(Dependency("afterok", "1"), Dependency("afterok", "2")))
    assert SLURM.dependency(spec) == "afterok:1,afterok:2"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(1, "00:00:01"), (60, "00:01:00"), (5400, "01:30:00"), (86399, "23:59:59"), (86400, "1-00:00:00")],
)
def test_time_is_written_so_that_it_has_one_meaning(seconds: int, written: str) -> None:
    assert SLURM.time_limit(JobSpec(name="x", walltime_s=seconds)) == written


def test_a_percent_sign_in_the_directory_is_no_pattern() -> None:
    assert directives(JobSpec(name="x"), "/jobs/100%j")["--output"] == "/jobs/100%%j/scheduler.log"


def test_a_backslash_in_the_directory_is_refused_because_slurm_drops_it() -> None:
    with pytest.raises(ConfigurationError, match="backslash"):
        directives(JobSpec(name="x"), "/jobs/back\\slash")


@pytest.mark.parametrize("field", ["queue", "project", "qos", "reservation"])
@pytest.mark.parametrize("bad", ["a\n#SBATCH --account=other", "a\rb", "a\0b"])
def test_a_line_break_in_a_value_cannot_become_a_second_directive(field: str, bad: str) -> None:
    with pytest.raises(ConfigurationError, match="line break"):
        directives(replace(JobSpec(name="x"), **{field: bad}))


@given(st.text(alphabet=st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs", "Cc"]), min_size=1))
def test_a_value_with_blanks_and_quotes_is_one_value(value: str) -> None:
    assert directives(JobSpec(name="x", reservation=value))["--reservation"] == value


@given(st.text())
def test_a_job_name_is_plain_short_and_ends_in_the_token(name: str) -> None:
    shown = SLURM.job_name(name, "abcd2345")
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*_abcd2345", shown)
    assert len(shown) <= 128


def sbatch_accepts(cluster: SlurmCluster, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "job.slurm"
    path.write_text(script)
    return cluster.run(["sbatch", "--test-only", str(path)], check=False, cwd=folder)


@pytest.mark.needs("slurm")
@pytest.mark.parametrize("gpus", [0, 2])
def test_a_real_sbatch_takes_everything_that_can_be_asked_for(slurm: SlurmCluster, tmp_path: Path, gpus: int) -> None:
    there = replace(LARGEST, reservation=None, options=(), gpus_per_node=gpus, walltime_s=3600)
    spec = replace(there, queue="gpu", nodes=1) if gpus else there
    script = render_script(replace(spec, dependencies=()), SLURM, directory=str(tmp_path), token="abcd2345")
    said = sbatch_accepts(slurm, script, tmp_path)
    assert said.returncode == 0, said.stderr


@pytest.mark.needs("slurm")
def test_a_real_slurm_writes_its_log_where_we_look_for_it(slurm: SlurmCluster, tmp_path: Path) -> None:
    names = ["plain", "with blanks", 'it\'s "quoted"', "größe", "hash#tag", "100%j"]
    for name in names:
        (tmp_path / name).mkdir()
        script = render_script(JobSpec(name="log"), SLURM, directory=str(tmp_path / name), token="abcd2345")
        head = [line for line in script.splitlines() if line.startswith("#")]
        (tmp_path / name / "job.slurm").write_text("\n".join([*head, "echo it writes", ""]))
        slurm.run(["sbatch", str(tmp_path / name / "job.slurm")])
    logs = [tmp_path / name / "scheduler.log" for name in names]
    eventually(lambda: all(log.exists() and log.read_text() == "it writes\n" for log in logs))


def test_a_long_queue_is_read_in_no_time() -> None:
    """It is read at every poll, beside everything else. The limit is ten times what a slow machine needs."""
    line = "{0}|RUNNING|None|2026-11-25T05:00:{1:02d}|2026-11-25T05:59:{1:02d}|N/A|2|32|node[1-2]|many_k7m2x9qd"
    text = "\n".join(line.format(number, number % 60) for number in range(10_000))
    before = time.process_time()
    report = Slurm().read_queue(Answer(("squeue",), 0, text, ""))
    assert time.process_time() - before < 1
    assert len(report.jobs) == 10_000
    assert report.jobs["61"].metrics.submitted_at == datetime(2026, 11, 25, 5, 0, 1).timestamp()


@pytest.mark.parametrize(
    "text", ["N/A", "Unknown", "", "2026-11-25", "20261125T050001Z000", "2026-11-25T05:00+01", "2026-13-25T05:00:00"]
)
def test_what_is_no_time_of_slurms_is_none(text: str) -> None:
    row = f"1|RUNNING|None|{text}|{text}|N/A|1|1|node1|x"
    metrics = Slurm().read_queue(Answer(("squeue",), 0, row, "")).jobs["1"].metrics
    assert (metrics.submitted_at, metrics.started_at) == (None, None)
