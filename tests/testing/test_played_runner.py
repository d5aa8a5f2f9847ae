"""What is said in a test becomes of the job, and what was submitted can be looked at."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import (
    Command,
    ConfigurationError,
    Dependency,
    ExecutionProfile,
    FluxTarget,
    FugakuTarget,
    HPCTarget,
    JobCancelled,
    JobFailed,
    JobLost,
    JobMetrics,
    JobOutOfMemory,
    JobState,
    JobTimedOut,
    LSFTarget,
    MiyabiTarget,
    NodeFailed,
    OutputMissing,
    PBSTarget,
    SGETarget,
    SlurmTarget,
    SubmitRefused,
    TorqueTarget,
    WaitTimeout,
)
from dagster_hpc.testing import Play, PlayedRunner, Submitted

COUNT = Command("bitcount", args=["--input", "samples.txt"], inputs={"samples.txt": "01\n01\n"})
COUNTS = {"counts": "counts.json"}


def test_a_job_leaves_and_prints_what_is_played(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(outputs={"counts.json": '{"01": 2}'}, stdout="read 2 lines", stderr="a warning"))
    result = played_hpc.run(COUNT, profile="small", outputs=COUNTS)
    assert (result.state, result.exit_code) == (JobState.COMPLETED, 0)
    assert Path(result.outputs["counts"]).read_text() == '{"01": 2}'
    assert (result.stdout_tail, result.stderr_tail) == ("read 2 lines", "a warning")


def test_a_file_is_named_as_the_output_that_it_is_and_may_be_bytes_or_another_file(
    played_hpc: PlayedRunner, tmp_path: Path
) -> None:
    (tmp_path / "recorded.bin").write_bytes(b"\0\1")
    played_hpc.play("bitcount", Play(outputs={"counts": b"\xff", "deep/raw.bin": tmp_path / "recorded.bin"}))
    result = played_hpc.run(COUNT, profile="small", outputs={**COUNTS, "raw": "deep/raw.bin"})
    assert [Path(result.outputs[name]).read_bytes() for name in ("counts", "raw")] == [b"\xff", b"\0\1"]


def test_what_was_asked_for_is_recorded(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(outputs={"counts": "{}"}))
    played_hpc.run(COUNT, profile="mpi-16", args=["-v"], overrides={"walltime": "2h", "ompthreads": 4}, outputs=COUNTS)
    (job,) = played_hpc.submitted
    assert job.command == COUNT
    assert (job.args, job.profile) == (("--input", "samples.txt", "-v"), "mpi-16")
    assert (job.spec.walltime_s, job.spec.threads_per_rank) == (7200, 4)
    assert (job.inputs, job.outputs) == ({"samples.txt": "01\n01\n"}, COUNTS)
    assert "bitcount --input samples.txt -v" in job.script
    assert (job.asset_key, job.partition_key, job.run_id, job.elements) == (None, None, None, ())


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (Play(exit_code=3), JobFailed),
        (Play(state="FAILED"), JobFailed),
        (Play(state="TIMEOUT"), JobTimedOut),
        (Play(state=JobState.OOM), JobOutOfMemory),
        (Play(state="NODE_FAIL"), NodeFailed),
        (Play(state="PREEMPTED"), NodeFailed),
        (Play(state="CANCELLED"), JobCancelled),
        (Play(state="LOST"), JobLost),
        (Play(outputs={"other.json": "{}"}), OutputMissing),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_failure_is_the_error_that_production_raises(
    played_hpc: PlayedRunner, play: Play, error: type[JobFailed]
) -> None:
    played_hpc.play("bitcount", play)
    with pytest.raises(JobFailed) as raised:
        played_hpc.run(COUNT, profile="small", outputs=COUNTS)
    assert type(raised.value) is error
    assert raised.value.result.state is (JobState.FAILED if error is OutputMissing else play.end)
    assert raised.value.result.exit_code == (play.exit_code or 1 if play.end is JobState.FAILED else
                                             0 if error is OutputMissing else None)  # fmt: skip


def test_the_schedulers_words_are_told_with_the_last_lines_of_stderr(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(state="NODE_FAIL", reason="node c017 does not answer", stderr="step 17 of 20"))
    with pytest.raises(NodeFailed, match=r"node c017 does not answer(.|\n)*step 17 of 20"):
        played_hpc.run(COUNT, profile="small")


def test_a_job_costs_what_is_played(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(metrics=JobMetrics(elapsed_s=3600.0, max_rss_mib=900.0, energy_j=5e6)))
    metrics = played_hpc.run(COUNT, profile="small", overrides={"num_nodes": 2, "launcher": "srun"}).metrics
    assert (metrics.elapsed_s, metrics.max_rss_mib, metrics.energy_j) == (3600.0, 900.0, 5e6)
    assert metrics.node_hours == pytest.approx(2.0)


def test_a_refused_job_is_refused_in_the_words_of_the_test(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(refused="Invalid account or account/partition combination specified"))
    with pytest.raises(SubmitRefused, match="Invalid account"):
        played_hpc.run(COUNT, profile="small")
    assert [row.state for row in played_hpc.jobs()] == [JobState.REFUSED]


def test_a_job_of_which_nothing_was_said_is_an_error_that_says_how(played_hpc: PlayedRunner) -> None:
    with pytest.raises(SubmitRefused, match=r"hpc\.play\('bitcount', Play\(outputs=\{'counts\.json': …\}\)\)"):
        played_hpc.run(COUNT, profile="small", outputs=COUNTS)


def test_plays_come_in_their_order_and_the_last_one_stays(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(state="OOM"), Play(exit_code=3), Play())
    handles = [played_hpc.submit(COUNT, profile="small") for _ in range(4)]
    states = [result.state for result in played_hpc.wait_all(handles)]
    assert states == [JobState.OOM, JobState.FAILED, JobState.COMPLETED, JobState.COMPLETED]


def test_the_newest_word_counts(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(exit_code=3))
    played_hpc.play("*", Play())
    assert played_hpc.run(COUNT, profile="small").succeeded


@pytest.mark.parametrize("name", ["bitcount", "/apps/bitcount", "count*", "counting", "*"])
def test_a_job_is_meant_by_its_program_or_its_name(played_hpc: PlayedRunner, name: str) -> None:
    played_hpc.play("*", Play(exit_code=3))
    played_hpc.play(name, Play())
    assert played_hpc.run(Command("/apps/bitcount", name="counting"), profile="small").succeeded


def test_a_play_may_depend_on_the_job(played_hpc: PlayedRunner) -> None:
    def count(job: Submitted) -> Play:
        return Play(outputs={"counts": str(len(job.inputs["samples.txt"].split()))})

    played_hpc.play("bitcount", count)
    result = played_hpc.run(COUNT, profile="small", outputs=COUNTS)
    assert Path(result.outputs["counts"]).read_text() == "2"


def test_what_a_play_asserts_reaches_the_test(played_hpc: PlayedRunner) -> None:
    def never(job: Submitted) -> Play:
        raise AssertionError(f"{job.name} was to run no more")

    played_hpc.play("bitcount", never)
    with pytest.raises(AssertionError, match="to run no more"):
        played_hpc.run(COUNT, profile="small")


def test_the_elements_of_an_array_are_played_one_by_one(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", lambda job: Play(exit_code=int(job.args[-1] == "b"), stdout=f"of {job.args[-1]}"))
    results = played_hpc.map(COUNT, [["a"], ["b"], ["c"]], profile="small", max_running=2)
    assert [result.succeeded for result in results] == [True, False, True]
    assert [result.stdout_tail for result in results] == ["of a", "of b", "of c"]
    (array,) = played_hpc.submitted
    assert [element.args for element in array.elements] == [(*COUNT.args, last) for last in "abc"]
    assert array.inputs == {"samples.txt": "01\n01\n"}
    assert array.spec.element_limit == 2


def test_different_commands_of_one_array_show_each_its_own(played_hpc: PlayedRunner) -> None:
    played_hpc.play("*", Play())
    commands = [Command("first", inputs={"a.txt": "1"}), Command.shell("second $1", args=["x"], name="second")]
    played_hpc.wait_all(played_hpc.submit_all(commands, profile="small", partition_keys=["one", "two"]))
    (array,) = played_hpc.submitted
    assert [element.command for element in array.elements] == commands
    assert [element.partition_key for element in array.elements] == ["one", "two"]
    assert [element.inputs for element in array.elements] == [{"a.txt": "1"}, {}]


def test_an_equal_live_job_is_joined_and_not_submitted_again(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(state="RUNNING"))
    first, second = (played_hpc.submit(COUNT, profile="small", key="mine") for _ in range(2))
    assert (second.joined, second.token) == (True, first.token)
    assert len(played_hpc.submitted) == 1


def test_a_job_goes_on_until_the_test_ends_it(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(state="RUNNING", stdout="step 1"))
    handle = played_hpc.submit(COUNT, profile="small")
    with pytest.raises(WaitTimeout):
        played_hpc.wait(handle, timeout=60)
    assert played_hpc.end("bitcount", Play(stdout="step 2")) == 1
    result = played_hpc.wait(handle)
    assert (result.state, result.stdout_tail) == (JobState.COMPLETED, "step 1\nstep 2")
    assert played_hpc.end("bitcount", Play()) == 0


def test_another_thread_may_end_a_job_that_this_one_waits_for(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(state="PENDING"))
    handle = played_hpc.submit(COUNT, profile="small")
    threading.Timer(0.3, lambda: played_hpc.end("bitcount", Play(exit_code=7))).start()
    with pytest.raises(JobFailed) as raised:
        played_hpc.wait(handle)
    assert raised.value.result.exit_code == 7


def test_a_job_that_nobody_ends_is_not_waited_for_for_ever(
    played_hpc: PlayedRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_hpc.testing.system._IN_VAIN_S", 0.1)
    played_hpc.play("bitcount", Play(state="RUNNING"))
    with pytest.raises(ConfigurationError, match=r"hpc\.end"):
        played_hpc.run(COUNT, profile="small")


def test_a_job_is_cancelled(played_hpc: PlayedRunner) -> None:
    played_hpc.play("bitcount", Play(state="RUNNING"))
    handle = played_hpc.submit(COUNT, profile="small")
    played_hpc.cancel(handle)
    (result,) = played_hpc.wait_all([handle])
    assert result.state is JobState.CANCELLED


TARGETS: list[tuple[HPCTarget, str]] = [
    (SlurmTarget(queue_cpu="regular"), "#SBATCH --partition=regular"),
    (PBSTarget(queue_cpu="regular"), "#PBS -q regular"),
    (TorqueTarget(queue_cpu="regular"), "#PBS -q regular"),
    (MiyabiTarget(queue_cpu="regular", project_cpu="gx00"), "#PBS -W group_list=gx00"),
    (FugakuTarget(queue_cpu="small", project_cpu="hp120"), '#PJM -L "rscgrp=small"'),
    (LSFTarget(queue_cpu="regular"), "#BSUB -q"),
    (SGETarget(queue_cpu="regular"), "#$ -q regular"),
    (FluxTarget(queue_cpu="regular"), "# flux: --queue="),
]


@pytest.mark.parametrize(("target", "directive"), TARGETS, ids=lambda value: type(value).__name__)
def test_the_script_is_that_of_the_target(tmp_path: Path, target: HPCTarget, directive: str) -> None:
    hpc = PlayedRunner(tmp_path, target=target)
    hpc.play("*", Play(stdout="done"))
    assert hpc.run(Command("/apps/bitcount"), profile="small").stdout_tail == "done"
    assert [result.state for result in hpc.map(Command("/apps/x"), [["1"], ["2"]], profile="small")] == [
        JobState.COMPLETED
    ] * 2
    assert directive in hpc.submitted[0].script
    assert hpc.submitted[0].script == hpc.render(Command("/apps/bitcount"), profile="small").replace(
        "0" * 8, hpc.submitted[0].work_dir.rpartition("/")[2]
    )


def test_with_a_target_its_faults_are_found_and_its_programs_must_be_known(tmp_path: Path) -> None:
    hpc = PlayedRunner(tmp_path, target=MiyabiTarget(queue_cpu="regular", executable_map={"bitcount": "/apps/bitcount"}))
    with pytest.raises(ConfigurationError, match=r"set project_cpu(.|\n)*bitcont|did you mean 'bitcount'"):
        hpc.run(Command("bitcont"), profile="small")


def test_profiles_that_are_given_must_be_known(tmp_path: Path) -> None:
    hpc = PlayedRunner(tmp_path, profiles={"small": ExecutionProfile(walltime="30m", launcher="srun", mpiprocs=2)})
    hpc.play("*", Play())
    hpc.run(COUNT, profile="small")
    assert hpc.submitted[0].spec.walltime_s == 1800
    with pytest.raises(ConfigurationError, match="did you mean 'small'"):
        hpc.run(COUNT, profile="smal")


def test_dependencies_are_recorded(played_hpc: PlayedRunner) -> None:
    played_hpc.play("*", Play())
    first = played_hpc.submit(COUNT, profile="small")
    after = [Dependency("afterok", first.job_id or "")]
    played_hpc.run(COUNT, profile="small", dependencies=after)
    assert played_hpc.submitted[1].spec.dependencies == tuple(after)


def test_a_mistyped_state_is_an_error_at_once() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'TIMEOUT'"):
        Play(state="TIMEOUTED")  # type: ignore[arg-type]


def test_saying_nothing_of_a_job_is_an_error_at_once(played_hpc: PlayedRunner) -> None:
    with pytest.raises(ConfigurationError, match="at least one Play"):
        played_hpc.play("bitcount")


def test_two_runners_know_nothing_of_each_other(tmp_path: Path) -> None:
    one, other = PlayedRunner(tmp_path / "one"), PlayedRunner(tmp_path / "other")
    one.play("*", Play())
    one.run(COUNT, profile="small")
    assert other.submitted == []
    assert other.jobs() == []


def test_no_process_is_started_and_nothing_is_asked_of_the_network(
    played_hpc: PlayedRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a played job leaves this process")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    played_hpc.play("*", Play())
    assert played_hpc.run(COUNT, profile="small").succeeded


def test_a_played_job_is_quick(played_hpc: PlayedRunner) -> None:
    """Also one that a site would be waited for: minutes for a lost file, a quarter of an hour for a lost job."""
    played_hpc.play("*", Play(), Play(), Play(state="LOST"), Play())
    played_hpc.run(COUNT, profile="small")  # the ledger is made
    began = time.monotonic()
    for _ in range(2):
        played_hpc.wait_all([played_hpc.submit(COUNT, profile="small")])
    assert time.monotonic() - began < 5.0


def test_a_test_may_take_its_time_while_a_job_goes_on(played_hpc: PlayedRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_hpc.testing.system._IN_VAIN_S", 3.0)
    monkeypatch.setattr("dagster_hpc.testing.system._A_LOOK_S", 0.01)
    played_hpc.play("bitcount", Play(state="RUNNING"))
    handle = played_hpc.submit(COUNT, profile="small")
    time.sleep(3.2)  # on a busy machine: much else happens before the job is looked at
    with pytest.raises(WaitTimeout):
        played_hpc.wait(handle, timeout=1)
