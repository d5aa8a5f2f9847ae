"""Torque, from its documents; and Slurm's commands for its users, from what real ones answered and do."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, TorqueTarget
from dagster_hpc.checks import probes
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import Dependency, JobFailed, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.pbs.records import Record
from dagster_hpc.engine.schedulers.torque.requests import Torque, TorqueOverSlurm
from dagster_hpc.engine.schedulers.torque.words import TORQUE_ENDED
from dagster_hpc.engine.script import render_script
from dagster_hpc.engine.target import Patience
from tests.systems import torque
from tests.systems.slurm import SlurmCluster
from tests.transcripts import names, transcript

BOTH = [Torque(), TorqueOverSlurm()]


def answer(name: str) -> Answer:
    return transcript("torque", name)


def only(name: str) -> JobStatus:
    """A transcript as the class reads it from whose commands it is."""
    scheduler = Torque() if name.startswith("documented_") else TorqueOverSlurm()
    (status,) = scheduler.read_queue(answer(name)).jobs.values()
    return status


# -- submit


@pytest.mark.parametrize(
    ("name", "job_id"),
    [
        ("submit_ok", "3"),
        ("documented_submit_ok", "123.torque.example.org"),
        ("documented_submit_array", "123[].torque.example.org"),
    ],
)
def test_the_id_is_found_with_and_without_a_server(name: str, job_id: str) -> None:
    assert Torque().read_submit(answer(name)) == job_id


@pytest.mark.parametrize("name", ["submit_controller_down", "submit_empty", "documented_submit_server_down"])
def test_an_answer_that_proves_nothing_leaves_the_submission_open(name: str) -> None:
    with pytest.raises(SchedulerUnavailable) as unavailable:
        Torque().read_submit(answer(name))
    assert not isinstance(unavailable.value, CapacityReached)


@pytest.mark.parametrize("name", ["refused_option", "refused_script", "documented_refused_queue"])
def test_a_refusal_is_permanent(name: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        Torque().read_submit(answer(name))
    assert refused.value.advice


def test_a_full_queue_is_worth_waiting_for() -> None:
    with pytest.raises(CapacityReached):
        Torque().read_submit(answer("documented_capacity"))


# -- states and ends, row by row

STATES = {
    "Q": JobState.PENDING, "T": JobState.PENDING, "H": JobState.HELD, "W": JobState.HELD, "R": JobState.RUNNING,
    "E": JobState.RUNNING, "S": JobState.SUSPENDED, "U": JobState.UNKNOWN,
}  # fmt: skip


def state_of(**attributes: object) -> JobStatus:
    lines = "".join(f"    {name} = {value}\n" for name, value in attributes.items())
    (status,) = Torque().read_queue(Answer(("qstat",), 0, f"Job Id: 1.h\n{lines}\n", "")).jobs.values()
    return status


@pytest.mark.parametrize("letter", STATES)
def test_each_letter_means_one_of_our_states(letter: str) -> None:
    assert state_of(job_state=letter, exit_status=0).state is STATES[letter]


@given(st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=["Cs"])))
def test_a_letter_that_is_new_is_unknown(letter: str) -> None:
    if letter not in {*STATES, "C"}:
        assert state_of(job_state=letter, exit_status=0).state is JobState.UNKNOWN


@pytest.mark.parametrize(("code", "state"), [(code, state) for code, (state, _) in TORQUE_ENDED.items()])
def test_each_code_of_torque_itself_means_one_of_our_states(code: int, state: JobState) -> None:
    status = state_of(job_state="C", exit_status=code)
    assert (status.state, status.exit_code) == (state, None)
    assert status.reason


@pytest.mark.parametrize(
    ("name", "state", "exit_code", "words"),
    [
        ("documented_queue_ok", JobState.COMPLETED, 0, ""),
        ("documented_queue_exit_3", JobState.FAILED, 3, ""),
        ("documented_queue_walltime", JobState.TIMEOUT, None, "walltime"),
        ("documented_queue_walltime_by_term", JobState.TIMEOUT, None, "walltime"),
        ("documented_queue_deleted", JobState.CANCELLED, None, "at request of me@login"),
        ("documented_queue_dependency_failed", JobState.CANCELLED, None, "can never be satisfied"),
        ("documented_queue_memory", JobState.OOM, None, "memory"),
        ("documented_queue_killed_for_memory", JobState.OOM, None, "memory"),
        ("documented_queue_signal_9", JobState.FAILED, None, "SIGKILL"),
        ("documented_queue_node_daemon", JobState.NODE_FAIL, None, "restarted"),
        ("documented_queue_no_exit_status", JobState.LOST, None, "does not say"),
        # Slurm's commands: one C for all of them
        ("queue_ok", JobState.LOST, None, "does not say"),
        ("queue_exit_3", JobState.LOST, None, "does not say"),
        ("queue_timeout", JobState.TIMEOUT, None, "walltime"),  # it ran for longer than that
    ],
)
def test_a_job_that_is_over_says_how_if_it_can(name: str, state: JobState, exit_code: int | None, words: str) -> None:
    status = only(name)
    assert (status.state, status.exit_code) == (state, exit_code)
    assert words in status.reason


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("documented_queue_held", JobState.HELD),
        ("documented_queue_running", JobState.RUNNING),
        ("documented_queue_exiting", JobState.RUNNING),  # its exit_status is there already
        ("documented_queue_new_state", JobState.UNKNOWN),
        ("queue_running", JobState.RUNNING),
        ("queue_dependency", JobState.PENDING),
    ],
)
def test_a_job_that_is_not_over_has_no_end(name: str, state: JobState) -> None:
    status = only(name)
    assert (status.state, status.exit_code, status.metrics.ended_at) == (state, None, None)


def test_over_slurm_the_letter_u_is_for_memory_and_a_job_without_a_node_never_ran() -> None:
    ran = answer("queue_ok").stdout
    u = TorqueOverSlurm().read_queue(Answer(("qstat",), 0, ran.replace("job_state = C", "job_state = U"), "")).jobs["1"]
    assert u.state is JobState.OOM
    never = "\n".join(line for line in ran.split("\n") if "exec_host" not in line)
    status = TorqueOverSlurm().read_queue(Answer(("qstat",), 0, never, "")).jobs["1"]
    assert (status.state, status.metrics.started_at) == (JobState.CANCELLED, None)


def test_one_unknown_job_does_not_hide_the_others() -> None:
    report = Torque().read_queue(answer("documented_queue_mixed"))
    assert (list(report.jobs), report.failed) == (["12.torque.example.org"], "")
    unknown = Torque().read_queue(answer("queue_unknown"))
    assert (unknown.jobs, unknown.failed) == ({}, "")


def test_what_is_named_as_unknown_is_told_and_what_is_missing_is_in_doubt() -> None:
    assert Torque().read_queue(answer("documented_queue_mixed")).unknown == {"99"}
    assert TorqueOverSlurm().read_queue(answer("queue_unknown")).unknown == {"99999"}  # by the exit code alone
    two = replace(answer("queue_unknown"), argv=("qstat", "-f", "-1", "7", "8"))
    assert TorqueOverSlurm().read_queue(two).unknown == frozenset()  # of which of them does it speak?
    ids = ("12.torque.example.org", "13.torque.example.org")
    one = replace(answer("documented_queue_ok"), argv=("qstat", "-f", "-1", *ids))
    report = Torque().read_queue(one)
    assert (report.unknown, report.failed, report.whole) == (frozenset(), "", False)


@pytest.mark.parametrize("text", ["", "Maintenance until Monday\n", '<Data></Data>'])
def test_code_0_with_text_that_is_none_of_ours_is_a_failure(text: str) -> None:
    for scheduler in BOTH:
        report = scheduler.read_queue(Answer(("qstat", "-f", "-1", "7"), 0, text, ""))
        assert report.failed
        assert (report.jobs, report.unknown) == ({}, frozenset())


def test_figures_of_a_running_job_do_not_pose_as_those_of_its_end() -> None:
    for name in ("documented_queue_running", "queue_running"):
        assert only(name).metrics.elapsed_s is None
    never_looked_at = {"resources_used.cput": "00:00:00", "resources_used.mem": "0kb"}
    assert state_of(job_state="R", **never_looked_at).metrics.cpu_time_s is None


QUEUE = "Queue: batch\n    total_jobs = 4\n    max_user_queuable = 10\n    max_queuable = {most}\n\n"
SERVER = "Server: torque.example.org\n    default_queue = batch\n    max_user_queuable = 7\n    max_job_array_size = 500\n\n"


@pytest.mark.parametrize("queue", ["", "batch"])
@pytest.mark.parametrize(("most", "room"), [(100, Room(5, 7)), (6, Room(2, 6)), (3, Room(0, 3))])
def test_room_is_what_the_documented_limits_leave(queue: str, most: int, room: Room) -> None:
    calls = Torque().room("me", queue, "")
    replies = [QUEUE.format(most=most), SERVER, "1.torque.example.org\n2[].torque.example.org\n"]
    answers = [Answer(call.argv, 0, out, "") for call, out in zip(calls, replies, strict=True)]
    assert Torque().read_room(answers) == room
    assert Torque().read_room([replace(one, code=1) for one in answers]) == Room()


def test_a_users_limit_is_waited_for_in_both_wordings() -> None:
    for words in (
        "qsub: submit error (Maximum number of jobs already in queue MSG=total number of current user's jobs exceeds the "
        "queue limit: user me, queue batch)",
        "qsub: submit error (Maximum number of jobs already in complex)",
    ):
        with pytest.raises(CapacityReached):
            Torque().read_submit(Answer(("qsub",), 185, "", words))


@pytest.mark.parametrize("name", ["queue_controller_down", "queue_no_library"])
def test_a_question_that_was_not_answered_proves_nothing(name: str) -> None:
    assert TorqueOverSlurm().read_queue(answer(name)).failed


def test_there_is_no_history() -> None:
    assert Torque().history(["1.h"]) is None


# -- metrics, look-up, cancel


def test_figures_come_in_our_units() -> None:
    metrics = only("documented_queue_ok").metrics
    assert (metrics.elapsed_s, metrics.cpu_time_s, metrics.nodes, metrics.node_list) == (20, 1, 2, "n1,n2")
    assert (metrics.max_rss_mib, metrics.queue_wait_s) == (4, 10)
    over_slurm = only("queue_timeout").metrics
    assert (over_slurm.elapsed_s, over_slurm.queue_wait_s, over_slurm.cores, over_slurm.nodes) == (66, 1, 1, 1)


def test_a_job_is_found_by_its_name() -> None:
    assert Torque().read_found(answer("documented_find_ok")) == ["12.torque.example.org"]
    (call,) = TorqueOverSlurm().find("runjob")
    assert TorqueOverSlurm().read_found(replace(answer("find_brief"), argv=call.argv)) == ["3"]
    assert TorqueOverSlurm().read_found(replace(answer("find_brief"), argv=("qstat", "-W", "okjo"))) == []


@pytest.mark.parametrize(
    "name", ["cancel_running", "cancel_finished", "documented_cancel_unknown", "documented_cancel_complete"]
)
def test_cancelling_takes_whatever_there_is(name: str) -> None:
    Torque().read_cancel(answer(name))


def test_a_cancellation_that_did_not_go_through_is_told() -> None:
    with pytest.raises(SchedulerUnavailable):
        Torque().read_cancel(answer("cancel_no_library"))
    down = "qdel: Kill job error on job id 6: Unable to contact slurm controller (connect failure)\n"
    with pytest.raises(SchedulerUnavailable):
        TorqueOverSlurm().read_cancel(Answer(("qdel",), 1, down, ""))


def test_elements_have_the_names_that_torque_gives_them() -> None:
    assert Torque().element_id("16[].h", 3) == "16[3].h"
    assert Torque().array_id("16[3].h") == "16[].h"


# -- garbage

GARBAGE = st.one_of(
    st.text(),
    st.lists(st.sampled_from(["Job Id: 1.h\n", "Job Id:\t1\n", "    job_state = C\n", "\tjob_state = C\n", "\n",
                              "\texec_host = n/1\n", "    exit_status = -4\n", "    Variable_List = A=b\n"])).map("".join),
)  # fmt: skip


@given(code=st.sampled_from([None, 0, 1, 2, 8, 153, -9]), out=GARBAGE, err=GARBAGE)
def test_no_answer_is_an_error_that_is_not_ours(code: int | None, out: str, err: str) -> None:
    said = Answer(("qstat", "x"), code, out, err)
    for scheduler in BOTH:
        assert not any(status.state.is_success for status in scheduler.read_queue(said).jobs.values())
        with contextlib.suppress(SubmitRefused, SchedulerUnavailable):
            scheduler.read_submit(said)
        with contextlib.suppress(SchedulerUnavailable):
            scheduler.read_found(said)
        with contextlib.suppress(SchedulerUnavailable):
            scheduler.read_cancel(said)
        for probe in probes(scheduler, [], "me"):
            assert probe.read(said).sentence


@given(st.text(alphabet=" \n\tabJobIdC=:_.0123456789stateExit,"))
def test_no_environment_can_make_a_job_look_over(value: str) -> None:
    head, _, tail = answer("documented_queue_running").stdout.partition("    Variable_List = ")
    text = f"{head}    Variable_List = A={value.replace(chr(10) * 2, chr(10))}\n    job_state = C\n    exit_status = 0{tail}"
    for job_id, status in Torque().read_queue(Answer(("qstat",), 0, text, "")).jobs.items():
        assert job_id != "12.torque.example.org" or status.state is JobState.RUNNING


@given(st.integers(0, 3000), st.sampled_from(names("torque", "documented_queue") + names("torque", "queue")))
def test_a_text_that_was_cut_says_nothing(where: int, name: str) -> None:
    whole = answer(name)
    if where < len(whole.stdout):
        for scheduler in BOTH:
            cut = scheduler.read_queue(replace(whole, stdout=whole.stdout[:where])).jobs
            assert cut.items() <= scheduler.read_queue(whole).jobs.items()


def test_a_record_is_read_in_any_case() -> None:
    assert Record({"exit_status": "3"}).of("Exit_status") == "3"


# -- the script

LARGEST = JobSpec(
    name="everything", executable="/bin/true", elements=(("a",), ("b",), ("c",)), element_limit=2, nodes=2,
    ranks_per_node=4, threads_per_rank=2, gpus_per_node=1, memory_per_node_mib=512, walltime_s=90_000,
    launcher="mpirun", directives=("#PBS -m n",), queue="batch", project="ab12",
    dependencies=(Dependency("afterok", "12.h"), Dependency("afterany", "13[].h")),
)  # fmt: skip


def directives(spec: JobSpec, scheduler: Torque, directory: str = "/jobs/x") -> list[str]:
    script = render_script(spec, scheduler, directory=directory, token="abcd2345")
    return [line for line in script.splitlines() if line.startswith(("#PBS ", "#SBATCH "))]


def test_every_wish_has_its_directive() -> None:
    assert directives(LARGEST, Torque()) == [
        "#PBS -N everyt_abcd2345",
        "#PBS -S /bin/bash",
        "#PBS -j oe",
        "#PBS -o /jobs/x/scheduler.log",
        "#PBS -l nodes=2:ppn=8:gpus=1,walltime=25:00:00,mem=1024mb",  # in one list, and memory of the whole job
        "#PBS -q batch",
        "#PBS -A ab12",
        "#PBS -t 0-2%2",
        "#PBS -W depend=afterok:12.h,afteranyarray:13[].h",
        "#PBS -m n",
    ]
    assert Torque().log_of("/jobs/x/2", 2) == "/jobs/x/scheduler.log-2"


def test_over_slurm_a_job_whose_dependency_failed_does_not_wait_for_ever() -> None:
    spec = replace(LARGEST, elements=(), dependencies=(Dependency("afterok", "12"),))
    lines = directives(spec, TorqueOverSlurm())
    assert "#SBATCH --kill-on-invalid-dep=yes" in lines
    assert "#PBS -l nodes=2:ppn=8:gpus=1,walltime=25:00:00,mem=512mb" in lines  # memory of a node
    assert not any("SBATCH" in line for line in directives(LARGEST, Torque()))


def test_over_slurm_no_path_can_become_a_command_of_the_shell() -> None:
    argv = TorqueOverSlurm().submit("/a b/$(touch x)/job.torque").argv
    assert shlex.split(" ".join(argv))[-1] == "/a b/$(touch x)/job.torque"
    assert TorqueOverSlurm().submit("/50%j/job.torque").argv[4] == "/50%%j/scheduler.log"


@pytest.mark.parametrize(
    "asked",
    [{"qos": "x"}, {"reservation": "x"}, {"exclusive": True}, {"signal_name": "USR1"}, {"launcher": "srun"}],
)
def test_what_torque_cannot_express_is_said_before_submission(asked: dict[str, object]) -> None:
    assert Torque().unsupported(replace(JobSpec(name="x"), **asked))  # type: ignore[arg-type]
    assert not Torque().unsupported(LARGEST)
    assert TorqueOverSlurm().unsupported(LARGEST)  # it is an array


@pytest.mark.parametrize("bad", ["a b", "a\n#PBS -A other", "a;b", "$(b)", "größe"])
def test_a_value_cannot_become_a_second_directive(bad: str) -> None:
    with pytest.raises(ConfigurationError):
        directives(JobSpec(name="x", queue=bad), Torque())


# -- the real commands


@pytest.mark.needs("slurm", "torque")
def test_real_commands_take_a_job_and_give_it_back(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{torque.install(tmp_path)}:{os.environ['PATH']}")
    profile = ExecutionProfile(walltime="60", num_nodes=2, mpiprocs=2, launcher="mpirun")
    target = TorqueTarget(over_slurm=True, poll_interval=0.3, project_cpu=slurm.account)
    hpc = HPCJobRunner(target=target, profiles={"p": profile}, work_root=str(tmp_path / "with blanks"))
    hpc._patience = Patience(accounting_delay_s=2, file_delay_s=0.5)
    # its log cannot have blanks in its path on a real Torque, and is refused here too
    with pytest.raises(ConfigurationError, match="Torque log"):
        hpc.submit(Command.shell("true"), profile="p")
    hpc = HPCJobRunner(target=target, profiles={"p": profile}, work_root=str(tmp_path / "work"))
    hpc._patience = Patience(accounting_delay_s=2, file_delay_s=0.5)
    one = {"num_nodes": 1, "mpiprocs": 1, "launcher": "single"}
    good = hpc.run(Command.shell("echo $SLURM_JOB_ACCOUNT"), profile="p", overrides=one)
    assert (good.state, good.exit_code, good.stdout_tail) == (JobState.COMPLETED, 0, slurm.account)
    with pytest.raises(JobFailed) as bad:
        hpc.run(Command.shell("exit 3"), profile="p", overrides=one)
    assert (bad.value.result.state, bad.value.result.exit_code) == (JobState.FAILED, 3)
    assert hpc.submit(Command.shell("true"), profile="p").job_id
    found = subprocess.run(["qstat", "-f"], capture_output=True, text=True, check=True).stdout
    assert "Resource_List.nodect = 2" in found
