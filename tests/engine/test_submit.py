"""A job is submitted exactly once, whatever becomes of the command, the scheduler or the process that submits it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dagster_hpc.engine.cancel import cancel
from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.errors import (
    ConfigurationError,
    HPCError,
    LedgerUnavailable,
    SchedulerUnavailable,
    SubmitRefused,
)
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobHandle, JobSpec, JobState, Own, Request, WaitTimeout
from dagster_hpc.engine.ledger import Change, JobRow, Ledger
from dagster_hpc.engine.process import NOBODY, this_process
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.schedulers.local.requests import Local
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.submit.claim import claim
from dagster_hpc.engine.submit.recover import is_being_written, send_all, settle, submit_ready
from dagster_hpc.engine.submit.send import adopt, cancel_ids, find, give_up, send
from dagster_hpc.engine.target import Target
from dagster_hpc.engine.workplace import Workplace
from tests.engine.pretend import Heard, PretendSlurm, eventually, quick, target_on

SPEC = JobSpec(name="count", shell="true", outputs=(("result", "result.txt"),))
DEAD = "{host} 1 0 an-earlier-boot"


@pytest.fixture
def runner(host: PretendSlurm, ledger: Ledger, heard: Heard) -> Runner:
    return Runner(target_on(host, poll_interval_s=0.1), ledger, heard.listener)


def request(tmp_path: Path, **more: Any) -> Request:
    return Request(more.pop("spec", SPEC), str(tmp_path / "work"), **more)


def finish(host: PretendSlurm, ledger: Ledger, handle: JobHandle, code: int = 0) -> None:
    """The job runs and ends; the ledger learns of it when somebody waits."""
    row = ledger.job(handle.token)
    (Path(row.work_dir) / "result.txt").write_text("42")
    host.end(row, code)


def names_in_the_queue(host: PretendSlurm) -> list[str]:
    return [job["name"] for job in host.jobs.values()]


# -- the usual way


def test_a_submitted_job_is_in_the_ledger_with_its_id_and_in_the_queue_with_its_token(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    (handle,) = runner.submit(request(tmp_path))
    row = ledger.job(handle.token)
    assert (row.state, row.job_id, handle.job_id, handle.joined) == (JobState.PENDING, "100", "100", False)
    assert names_in_the_queue(host) == [f"count_{handle.token}"]


def test_the_claim_and_all_files_are_there_before_the_submit_command_runs(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    # the predecessor wrote nothing down before, and nothing after
    seen: list[Any] = []

    def look() -> None:
        (row,) = Ledger(ledger.url).jobs()
        folder = Path(row.work_dir)
        seen.append((row.state, (folder / "in.txt").read_bytes(), (folder / ".job/script.slurm").exists()))

    host.before_submit = look
    runner.submit(request(tmp_path, inputs={"in.txt": b"0110"}))
    assert seen == [(JobState.SUBMITTING, b"0110", True)]


def test_every_job_has_a_directory_of_its_own(runner: Runner, tmp_path: Path) -> None:
    # the predecessor wrote output.out of every job into one directory
    handles = [runner.submit(request(tmp_path))[0] for _ in range(3)]
    assert len({handle.work_dir for handle in handles}) == 3


# -- refused


@pytest.mark.parametrize("identity", ["same", None])
def test_a_refused_job_is_an_error_in_the_schedulers_words_and_not_live(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path, identity: str | None
) -> None:
    host.submissions = ["refused"]
    with pytest.raises(SubmitRefused, match="Invalid account") as refused:
        runner.submit(request(tmp_path, identity=identity))
    (row,) = ledger.jobs()
    assert row.state is JobState.REFUSED
    assert "Invalid account" in row.reason
    assert refused.value.work_dir == row.work_dir
    assert ledger.jobs(live=True) == []


def test_a_refused_job_may_be_asked_for_again(runner: Runner, host: PretendSlurm, tmp_path: Path) -> None:
    host.submissions = ["refused"]
    with pytest.raises(SubmitRefused):
        runner.submit(request(tmp_path, identity="same"))
    (handle,) = runner.submit(request(tmp_path, identity="same"))
    assert (handle.job_id, handle.joined) == ("100", False)


def test_a_submit_command_that_is_not_installed_is_an_error_that_names_it(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    host.missing = True
    with pytest.raises(ConfigurationError, match="`sbatch` is not on PATH"):
        runner.submit(request(tmp_path))
    assert ledger.jobs(live=True) == []


def test_a_work_root_that_cannot_be_written_is_an_error_and_nothing_is_submitted(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "work").write_text("a file")
    with pytest.raises(ConfigurationError, match="cannot be written") as refused:
        runner.submit(request(tmp_path))
    assert "work_root" in refused.value.advice
    assert host.asked == []
    assert ledger.jobs(live=True) == []


# -- uncertain


@pytest.mark.parametrize("fate", ["lost", "hangs", "silent"])
def test_a_job_that_was_taken_though_the_reply_was_lost_is_adopted(
    runner: Runner, host: PretendSlurm, heard: Heard, tmp_path: Path, fate: str
) -> None:
    host.submissions = [fate]
    (handle,) = runner.submit(request(tmp_path))
    assert handle.job_id == "100"
    assert host.count("sbatch") == 1
    assert names_in_the_queue(host) == [f"count_{handle.token}"]
    assert any("was taken after all, as job 100" in words for words in heard.warnings)


def test_a_job_that_was_not_taken_is_submitted_again_under_the_same_token_after_two_look_ups(
    runner: Runner, host: PretendSlurm, tmp_path: Path
) -> None:
    host.submissions = ["not taken"]
    (handle,) = runner.submit(request(tmp_path))
    assert [argv[0] for argv in host.asked] == ["sbatch", "squeue", "sacct", "squeue", "sacct", "sbatch"]
    assert names_in_the_queue(host) == [f"count_{handle.token}"]


def test_a_reply_that_is_lost_each_time_makes_one_job(runner: Runner, host: PretendSlurm, tmp_path: Path) -> None:
    host.submissions = ["not taken", "not taken", "lost"]
    runner.submit(request(tmp_path))
    assert len(host.jobs) == 1


def test_an_accounting_that_is_down_does_not_hide_a_job_that_the_queue_shows(
    runner: Runner, host: PretendSlurm, tmp_path: Path
) -> None:
    host.submissions = ["lost"]
    host.down = {"sacct": "sacct: error: Problem talking to the database: Connection refused"}
    (handle,) = runner.submit(request(tmp_path))
    assert handle.job_id == "100"


def test_while_nothing_can_be_looked_up_nothing_is_submitted_again(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    host.submissions = ["lost"]
    host.down = {"squeue": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"}
    runner = Runner(target_on(host, patience=quick(unavailable_s=0.2)), ledger)
    with pytest.raises(SchedulerUnavailable):
        runner.submit(request(tmp_path, identity="same"))
    (row,) = ledger.jobs(live=True)
    assert (row.state, row.owner, host.count("sbatch")) == (JobState.SUBMITTING, NOBODY, 1)


def test_the_next_attempt_settles_what_was_left_open(host: PretendSlurm, ledger: Ledger, tmp_path: Path) -> None:
    test_while_nothing_can_be_looked_up_nothing_is_submitted_again(host, ledger, tmp_path)
    host.down = {}
    runner = Runner(target_on(host, poll_interval_s=0.1), ledger)
    (handle,) = runner.submit(request(tmp_path, identity="same"))
    host.before_submit = lambda: pytest.fail("submitted twice")
    host.end(replace(ledger.job(handle.token), job_id="100"))
    (Path(handle.work_dir) / "result.txt").write_text("42")
    (result,) = runner.wait([handle], timeout_s=20)
    assert (handle.joined, result.state, result.handle.job_id) == (True, JobState.COMPLETED, "100")


def test_a_full_queue_is_waited_for_in_the_ledger(
    runner: Runner, host: PretendSlurm, ledger: Ledger, heard: Heard, tmp_path: Path
) -> None:
    host.submissions = ["full", "full", "taken"]
    (handle,) = runner.submit(request(tmp_path))
    assert (handle.job_id, ledger.job(handle.token).state) == (None, JobState.READY)
    assert "QOSMaxSubmitJobPerUserLimit" in heard.warnings[0]
    assert host.count("squeue") == 0  # nothing was uncertain
    assert (runner.wait_for_id(handle), host.count("sbatch")) == ("100", 3)


def test_a_queue_that_stays_full_is_tried_again_by_whoever_polls(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    host.submissions = ["full"] * 1000
    Runner(target_on(host, poll_interval_s=0.05), ledger).submit(request(tmp_path))  # and this process goes away
    host.submissions = []
    other = Runner(target_on(host, poll_interval_s=0.05), ledger)
    eventually(lambda: other.tick() or ledger.jobs()[0].job_id == "100")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_submission_is_left_open_for_the_next_attempt(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path, interrupt: type[BaseException]
) -> None:
    def interrupted() -> None:
        raise interrupt

    host.before_submit = interrupted
    with pytest.raises(interrupt):
        runner.submit(request(tmp_path, identity="same"))
    (row,) = ledger.jobs(live=True)
    assert (row.state, row.owner) == (JobState.SUBMITTING, NOBODY)


# -- the process that submitted died


def leave_behind(runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path, owner: str) -> JobHandle:
    """What a process leaves that dies during its submit command, before it could write down the id."""

    def die() -> None:
        raise KeyboardInterrupt

    host.before_submit = die
    with pytest.raises(KeyboardInterrupt):
        runner.submit(request(tmp_path, identity="same"))
    host.before_submit = lambda: None
    (row,) = ledger.jobs()
    ledger.claims.take_over(row, owner)
    return ledger.job(row.token).handle()


def a_dead_process() -> str:
    return DEAD.format(host=LocalHost().name)


def test_a_job_that_was_taken_before_its_submitter_died_is_adopted(
    runner: Runner, host: PretendSlurm, ledger: Ledger, heard: Heard, tmp_path: Path
) -> None:
    left = leave_behind(runner, host, ledger, tmp_path, a_dead_process())
    host.put("777", f"count_{left.token}", "RUNNING")
    finish(host, ledger, left) if left.job_id else host.leave_exit_code(ledger.job(left.token))
    (Path(left.work_dir) / "result.txt").write_text("42")
    host.put("777", f"count_{left.token}", "COMPLETED")
    (again,) = runner.submit(request(tmp_path, identity="same"))
    before = host.count("sbatch")
    (result,) = runner.wait([again], timeout_s=20)
    assert (again.token, again.joined) == (left.token, True)
    assert (result.state, result.handle.job_id, host.count("sbatch")) == (JobState.COMPLETED, "777", before)
    assert any("looking for its job" in words for words in heard.warnings)


def test_a_job_that_was_not_taken_before_its_submitter_died_is_submitted_under_the_same_token(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    left = leave_behind(runner, host, ledger, tmp_path, a_dead_process())
    runner.submit(request(tmp_path, identity="same"))
    with pytest.raises(HPCError, match="still PENDING"):
        runner.wait([left], timeout_s=3.0)
    assert names_in_the_queue(host) == [f"count_{left.token}"]


def test_a_job_whose_files_were_never_written_is_refused_and_can_be_asked_for_again(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    left = leave_behind(runner, host, ledger, tmp_path, a_dead_process())
    (Path(left.work_dir) / ".job/script.slurm").unlink()
    (result,) = runner.wait([left], timeout_s=20)
    (again,) = runner.submit(request(tmp_path, identity="same"))
    assert result.state is JobState.REFUSED
    assert (again.token != left.token, again.joined) == (True, False)


def leave_unwritten(runner: Runner, ledger: Ledger, tmp_path: Path, owner: str, spec: JobSpec) -> None:
    """What a process leaves that dies between its claim and its files."""

    class Dying(Clock):
        def point(self, name: str) -> None:
            if name == "claim: after the row":
                raise KeyboardInterrupt

    dying = Runner(runner.target, ledger, clock=Dying())
    with pytest.raises(KeyboardInterrupt):
        dying.submit(request(tmp_path, spec=spec, identity="same"))
    assert ledger.claims.take_over(ledger.jobs()[0], owner)


ARRAY = JobSpec(name="many", shell="true", elements=(("a",), ("b",)))


@pytest.mark.parametrize("spec", [SPEC, ARRAY], ids=["job", "array"])
def test_who_dies_over_the_files_leaves_nothing_that_the_next_one_joins(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path, spec: JobSpec
) -> None:
    # of an array the first element was asked for anew, and the second joined, and refused with the batch
    leave_unwritten(runner, ledger, tmp_path, a_dead_process(), spec)
    again = runner.submit(request(tmp_path, spec=spec, identity="same"))
    assert [(ledger.job(handle.token).state, handle.joined) for handle in again] == [(JobState.PENDING, False)] * len(
        again
    )
    assert len({handle.token.partition(".")[0] for handle in again}) == 1
    assert host.count("sbatch") == 1


def test_a_job_whose_files_are_being_written_is_joined_once_they_are_whole(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    # one who joined it before, and whose submitter died over the files, was told that his own job is refused
    writer = subprocess.Popen(["sleep", "600"])
    stat = Path(f"/proc/{writer.pid}/stat").read_text().rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    leave_unwritten(runner, ledger, tmp_path, f"{LocalHost().name} {writer.pid} {stat[19]} {boot}", SPEC)
    got: list[JobHandle] = []
    joining = threading.Thread(target=lambda: got.extend(runner.submit(request(tmp_path, identity="same"))))
    joining.start()
    joining.join(0.5)
    assert joining.is_alive()
    writer.kill()
    writer.wait()
    joining.join(20.0)
    assert [handle.joined for handle in got] == [False]
    assert host.count("sbatch") == 1


def test_who_was_taken_for_dead_over_the_files_asks_anew(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    # its own request came back refused, for what "the process that submitted it" had not done
    class Stalling(Clock):
        def point(self, name: str) -> None:
            (row,) = ledger.jobs()[-1:] or [None]
            if name == "claim: after the files" and row and row.state is JobState.SUBMITTING:
                ledger.claims.take_over(row, "somebody else")
                ledger.claims.refuse(row.batch, "somebody else", "for dead")

    (handle,) = Runner(runner.target, ledger, clock=Stalling()).submit(request(tmp_path, identity="same"))
    assert [row.state for row in ledger.jobs()] == [JobState.PENDING, JobState.REFUSED]
    assert (ledger.job(handle.token).state, handle.joined, host.count("sbatch")) == (JobState.PENDING, False, 1)


def test_what_waits_for_room_is_not_refused_because_its_script_is_seen_late(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # another host, behind by the cache of its file system, refused it as never written
    target = replace(target_on(host, poll_interval_s=0.1, patience=quick(file_delay_s=600.0)), max_jobs=1)
    first, second = (Runner(target, ledger).submit(request(tmp_path, identity=name))[0] for name in ("one", "two"))
    finish(host, ledger, first)
    read = LocalHost.read

    def late(self: LocalHost, path: str, *args: Any, **options: Any) -> bytes | None:
        return None if path.endswith(".slurm") else read(self, path, *args, **options)

    monkeypatch.setattr(LocalHost, "read", late)
    other = Runner(target, ledger)
    eventually(lambda: other.tick() is None and ledger.job(first.token).state.is_final)
    eventually(lambda: other.tick() is None and ledger.job(second.token).state is JobState.SUBMITTING)
    monkeypatch.undo()
    eventually(lambda: other.tick() is None and ledger.job(second.token).state is JobState.PENDING)


def test_a_recovered_submission_that_is_refused_does_not_stay_live(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    left = leave_behind(runner, host, ledger, tmp_path, a_dead_process())
    host.submissions = ["refused"]
    (result,) = runner.wait([left], timeout_s=20)
    assert result.state is ledger.job(left.token).state is JobState.REFUSED
    assert "Invalid account" in result.reason


def test_a_recovery_that_breaks_off_too_is_left_to_the_next(host: PretendSlurm, ledger: Ledger, tmp_path: Path) -> None:
    runner = Runner(target_on(host, poll_interval_s=0.1, patience=quick(unavailable_s=0.2)), ledger)
    left = leave_behind(runner, host, ledger, tmp_path, a_dead_process())
    host.down = {"squeue": "down", "sacct": "down"}
    with pytest.raises(WaitTimeout):  # what cannot be settled ends nobody's wait
        runner.wait([left], timeout_s=1.0)
    assert ledger.job(left.token).owner == NOBODY


def test_a_submission_whose_process_lives_is_waited_for(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    submitter = subprocess.Popen(["sleep", "600"])
    stat = Path(f"/proc/{submitter.pid}/stat").read_text().rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    left = leave_behind(runner, host, ledger, tmp_path, f"{LocalHost().name} {submitter.pid} {stat[19]} {boot}")
    before = host.count("sbatch")
    with pytest.raises(HPCError, match="still SUBMITTING"):
        runner.wait([left], timeout_s=0.3)
    assert host.count("sbatch") == before
    submitter.kill()
    submitter.wait()
    with pytest.raises(HPCError, match="still PENDING"):
        runner.wait([left], timeout_s=4.0)
    assert host.count("sbatch") == before + 1


def test_a_submission_on_another_host_gets_the_time_that_it_may_take(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    runner = Runner(target_on(host, poll_interval_s=0.1, patience=quick(owner_silent_s=1.0)), ledger)
    left = leave_behind(runner, host, ledger, tmp_path, "another-host 1 2 3")
    with pytest.raises(HPCError, match="still SUBMITTING"):
        runner.wait([left], timeout_s=0.3)
    with pytest.raises(HPCError, match="still PENDING"):
        runner.wait([left], timeout_s=6.0)


def test_one_who_waits_goes_on_with_a_submission_whose_process_gave_its_last_sign_of_life_meanwhile(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    # a waiter that looks at news only knew the owner's heartbeat of before, by which nothing can be taken over
    runner = Runner(target_on(host, poll_interval_s=60.0, patience=quick(owner_silent_s=2.0)), ledger)
    left = leave_behind(runner, host, ledger, tmp_path, "another-host 1 2 3")
    threading.Timer(1.5, ledger.claims.beat, (left.token, "another-host 1 2 3")).start()
    with pytest.raises(HPCError, match="still PENDING"):
        runner.wait([left], timeout_s=9.0)


CRASHING = """
import os, signal, sys
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.ledger import Change, Ledger
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.target import Target
from tests.engine.test_submit import local_request, local_target

class Crashing(LocalHost):
    def run(self, call):
        if "submit" in call.argv and sys.argv[1] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = super().run(call)
        if "submit" in call.argv:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

root = sys.argv[2]
Runner(local_target(root, Crashing()), Ledger(f"sqlite:///{root}/ledger.db")).submit(local_request(root))
"""


def local_target(root: str, host: LocalHost) -> Target:
    return Target("local", Local(spool=f"{root}/spool"), host, poll_interval_s=0.2, patience=quick())


def local_request(root: str) -> Request:
    spec = JobSpec(name="once", shell='echo ran >>"$1"', args=(f"{root}/runs",))
    return Request(spec, f"{root}/work", identity="same")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_around_its_submit_command_leaves_one_job_that_the_next_one_brings_home(
    tmp_path: Path, moment: str
) -> None:
    # the predecessor submitted a duplicate after a crash, a restart or a retry
    crashed = subprocess.run([sys.executable, "-c", CRASHING, moment, str(tmp_path)], cwd=Path(__file__).parents[2])
    assert crashed.returncode == -signal.SIGKILL
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    runner = Runner(local_target(str(tmp_path), LocalHost()), ledger)
    (handle,) = runner.submit(local_request(str(tmp_path)))
    (result,) = runner.wait([handle], timeout_s=60)
    assert (handle.joined, result.state) == (True, JobState.COMPLETED)
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert len(ledger.jobs()) == 1


# -- reuse


def test_a_live_job_of_the_same_identity_is_joined(runner: Runner, host: PretendSlurm, tmp_path: Path) -> None:
    (first,) = runner.submit(request(tmp_path, identity="same"))
    (second,) = runner.submit(request(tmp_path, identity="same"))
    assert (second.token, second.joined, host.count("sbatch")) == (first.token, True, 1)


def test_without_identity_equal_jobs_are_jobs_of_their_own(runner: Runner, host: PretendSlurm, tmp_path: Path) -> None:
    handles = [runner.submit(request(tmp_path))[0] for _ in range(10)]
    assert len({handle.token for handle in handles}) == len(host.jobs) == 10


def test_never_means_a_new_job_each_time(runner: Runner, host: PretendSlurm, tmp_path: Path) -> None:
    for _ in range(3):
        runner.submit(request(tmp_path, identity="same", reuse="never"))
    assert len(host.jobs) == 3


@pytest.mark.parametrize(("reuse", "jobs"), [("running", 2), ("succeeded", 1), ("never", 2)])
def test_a_job_that_ended_well_is_reused_only_by_those_who_want_that(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path, reuse: Any, jobs: int
) -> None:
    (first,) = runner.submit(request(tmp_path, identity="same"))
    finish(host, ledger, first)
    runner.wait([first], timeout_s=20)
    runner.submit(request(tmp_path, identity="same", reuse=reuse))
    assert len(host.jobs) == jobs


def test_a_finished_job_whose_outputs_are_gone_is_run_again(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    (first,) = runner.submit(request(tmp_path, identity="same"))
    finish(host, ledger, first)
    (result,) = runner.wait([first], timeout_s=20)
    Path(result.outputs["result"]).unlink()
    (second,) = runner.submit(request(tmp_path, identity="same", reuse="succeeded"))
    assert second.token != first.token


def test_a_failed_job_is_never_reused(runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path) -> None:
    (first,) = runner.submit(request(tmp_path, identity="same"))
    finish(host, ledger, first, code=3)
    runner.wait([first], timeout_s=20)
    (second,) = runner.submit(request(tmp_path, identity="same", reuse="succeeded"))
    assert second.token != first.token


def test_a_job_that_ended_well_without_its_output_has_failed(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    (handle,) = runner.submit(request(tmp_path, identity="same"))
    host.end(ledger.job(handle.token))
    (result,) = runner.wait([handle], timeout_s=20)
    assert result.state is JobState.FAILED
    assert result.reason == "declared output missing: result (result.txt)"
    assert result.outputs == {}
    assert ledger.job(handle.token).state is JobState.FAILED


# -- arrays


def test_an_array_is_one_submission_and_a_row_for_each_element(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    spec = JobSpec(name="many", shell='echo "$1"', elements=(("a",), ("b",), ("c",)))
    handles = runner.submit(request(tmp_path, spec=spec, identity="same"))
    again = runner.submit(request(tmp_path, spec=spec, identity="same"))
    assert [handle.job_id for handle in handles] == ["100_0", "100_1", "100_2"]
    assert [handle.token for handle in again] == [handle.token for handle in handles]
    assert all(handle.joined for handle in again)
    assert host.count("sbatch") == 1
    assert all((Path(handle.work_dir) / ".job").is_dir() for handle in handles)


def test_of_an_array_in_parts_each_element_is_there_when_an_equal_request_was_quicker_for_one(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    # with room for two, the part that was lost to the other was missing among the results
    spec = JobSpec(name="many", shell="true", elements=(("a",), ("b",), ("c",)))
    target = replace(target_on(host), max_jobs=2)
    rival: list[JobHandle] = []

    class Overtaken(Clock):
        def point(self, name: str) -> None:
            if name == "claim: before the row" and ledger.jobs() and not rival:
                rival.extend(Runner(target, ledger).submit(request(tmp_path, spec=spec, identity="same")))

    handles = Runner(target, ledger, clock=Overtaken()).submit(request(tmp_path, spec=spec, identity="same"))
    assert [handle.token for handle in handles] == [handle.token for handle in rival]
    assert [handle.joined for handle in handles] == [False, False, True]
    assert [handle.joined for handle in rival] == [True, True, False]


def test_an_ambiguous_array_is_adopted_as_a_whole(runner: Runner, host: PretendSlurm, tmp_path: Path) -> None:
    host.submissions = ["lost"]
    spec = JobSpec(name="many", shell="true", elements=(("a",), ("b",)))
    assert [handle.job_id for handle in runner.submit(request(tmp_path, spec=spec))] == ["100_0", "100_1"]


def test_of_an_array_only_the_elements_that_ended_badly_are_submitted_again(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    spec = JobSpec(name="many", shell="true", elements=(("a",), ("b",)))
    first, second = runner.submit(request(tmp_path, spec=spec, identity="same"))
    ledger.observations.record([Change(first.token, JobState.FAILED, "why")])
    again = runner.submit(request(tmp_path, spec=spec, identity="same"))
    assert [handle.joined for handle in again] == [False, True]  # only what ended badly is submitted again
    assert again[1].token == second.token
    assert [job["name"].endswith(again[0].token.partition(".")[0]) for job in host.jobs.values()][-1]
    assert host.count("sbatch") == 2


# -- room, and cancelling


def test_submissions_wait_for_room_in_the_ledger_and_whoever_polls_sends_them(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    target = replace(target_on(host, poll_interval_s=0.05), max_jobs=1)
    first, second, third = (Runner(target, ledger).submit(request(tmp_path))[0] for _ in range(3))
    assert [ledger.job(one.token).state for one in (first, second, third)] == ["PENDING", "READY", "READY"]
    finish(host, ledger, first)
    other = Runner(target, ledger)
    eventually(lambda: other.tick() or ledger.job(second.token).job_id)
    assert ledger.job(third.token).state is JobState.READY  # in their order
    assert len(host.jobs) == 2


def test_a_cancelled_job_is_seen_to_end(runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path) -> None:
    (handle,) = runner.submit(request(tmp_path))
    runner.cancel([handle])
    row = ledger.job(handle.token)
    assert (row.state, row.cancel_requested) == (JobState.CANCELLED, True)
    assert host.count("scancel") == 1


@pytest.mark.parametrize(("room", "verb"), [("observations", "request_cancel"), ("", "rows"), ("", "jobs")])
def test_an_array_is_cancelled_though_the_ledger_is_silent_between_the_wish_and_the_order(
    work: Workplace, host: PretendSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str, verb: str
) -> None:
    """A run that was terminated ended with the ledger's silence, and its job went on until somebody polled."""
    handles = Runner(work.target, work.ledger).submit(request(tmp_path, spec=ARRAY))
    silent_once(getattr(work.ledger, room) if room else work.ledger, verb, False, monkeypatch)
    cancel([handle.token for handle in handles], work)
    assert host.count("scancel") == 1


def test_a_cancelled_job_is_seen_to_end_though_the_ledger_is_silent_after_the_order(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (handle,) = runner.submit(request(tmp_path))
    silent_once(ledger.leases, "hurry", False, monkeypatch)
    assert runner.cancel([handle])


def test_cancelling_a_job_that_is_over_does_nothing(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    (handle,) = runner.submit(request(tmp_path))
    finish(host, ledger, handle)
    runner.wait([handle], timeout_s=20)
    runner.cancel([handle])
    assert host.count("scancel") == 0
    assert ledger.job(handle.token).state is JobState.COMPLETED


def test_cancelling_a_submission_that_was_left_open_stops_every_copy_of_it(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    left = leave_behind(runner, host, ledger, tmp_path, a_dead_process())
    host.put("777", f"count_{left.token}", "PENDING", "Priority")
    runner.cancel([left])
    late = subprocess.run(
        ["bash", f"{left.work_dir}/.job/script.slurm"], env={**os.environ, "SLURM_JOB_ID": "888"}, capture_output=True
    )
    assert ledger.job(left.token).state is JobState.CANCELLED
    assert host.jobs["777"]["state"].startswith("CANCELLED")
    assert late.returncode == 94


def test_a_slow_submission_that_is_cancelled_meanwhile_stays_cancelled(
    runner: Runner, host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    host.before_submit = lambda: runner.cancel([ledger.jobs()[0].handle()])
    (handle,) = runner.submit(request(tmp_path))
    eventually(lambda: runner.tick() or ledger.job(handle.token).state.is_final)
    assert ledger.job(handle.token).state is JobState.CANCELLED
    assert host.jobs["100"]["state"].startswith("CANCELLED")  # and it does not stay in the queue for ever


def test_a_job_is_young_by_the_time_of_its_claim(runner: Runner, ledger: Ledger, tmp_path: Path) -> None:
    before = time.time()
    (handle,) = runner.submit(request(tmp_path))
    assert before <= ledger.job(handle.token).created_at <= time.time()


# -- each step of a submission by itself, on a clock on which an hour passes in a moment


class Hours(Clock):
    def __init__(self) -> None:
        self.passed = 0.0
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None  # what happens while somebody sleeps

    def now(self) -> float:
        return 5000.0 + self.passed

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds
        self.meanwhile()


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
def work(host: PretendSlurm, tmp_path: Path, heard: Heard, hours: Hours) -> Iterator[Workplace]:
    ledger = Ledger(f"sqlite:///{tmp_path}/hours.db", hours)
    patience = quick(recheck_s=30.0, unavailable_s=100.0, capacity_retry_s=15.0, owner_silent_s=300.0)
    yield Workplace(target_on(host, patience=patience), ledger, heard.listener, hours)
    ledger.close()


def claimed(work: Workplace, tmp_path: Path, **more: Any) -> list[JobRow]:
    """What a process has claimed, and is about to send."""
    return claim(request(tmp_path, **more), work).to_send[0]


def unwritten(rows: Sequence[JobRow], work: Workplace) -> list[JobRow]:
    """As its process has left it before all of its files were there."""
    with work.ledger._database._engine.begin() as connection:
        connection.execute(sa.text("UPDATE dagster_hpc_jobs SET script_sha256 = ''"))
    return now_of(rows, work)


def now_of(rows: Sequence[JobRow], work: Workplace) -> list[JobRow]:
    return [work.ledger.job(row.token) for row in rows]


def lock_by(row: JobRow, job_id: str) -> None:
    """A copy of this job has begun, on some node."""
    folder = Path(row.work_dir, ".job")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock").write_text(f"{job_id}\n")


def name_of(rows: Sequence[JobRow]) -> str:
    return f"{rows[0].name}_{rows[0].batch}"


def test_the_second_look_gives_queue_and_history_the_time_to_learn_of_a_job(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["not taken"]
    hours.meanwhile = lambda: host.put("777", name_of(rows), "PENDING")
    send(rows, rows[0].owner, work)
    assert (work.ledger.job(rows[0].token).job_id, host.count("sbatch"), hours.slept) == ("777", 1, [30.0])


def test_an_orphan_that_was_never_sent_is_not_looked_for_and_one_that_was_is(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.put("777", name_of(rows), "PENDING")
    work.ledger.claims.begin_attempt(rows[0].batch, rows[0].owner)
    send(now_of(rows, work), rows[0].owner, work)
    assert (work.ledger.job(rows[0].token).job_id, host.count("sbatch")) == ("777", 0)
    new = claimed(work, tmp_path)
    send(new, new[0].owner, work)
    assert (host.count("sbatch"), host.count("squeue")) == (1, 1)


def test_a_submission_that_stays_open_is_left_to_the_next_after_the_patience_and_not_before(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["not taken"] * 100
    with pytest.raises(SchedulerUnavailable, match="could not be submitted for 100 s"):
        send(rows, rows[0].owner, work)
    (row,) = now_of(rows, work)
    assert (row.state, row.owner, row.attempts) == (JobState.SUBMITTING, NOBODY, host.count("sbatch"))
    assert 100.0 < hours.passed <= 140.0


def test_a_look_up_that_nobody_answers_is_repeated_as_long_as_there_is_patience(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions, host.down = ["lost"], {"squeue": "slurm_load_jobs error: down"}
    hours.meanwhile = lambda: host.down.clear() if hours.passed >= 90.0 else None
    send(rows, rows[0].owner, work)
    (row,) = now_of(rows, work)
    assert (row.job_id, set(hours.slept), hours.passed) == ("100", {5.0}, 90.0)
    assert row.heartbeat_at == 5090.0  # it has shown that it lives


def test_one_who_is_overtaken_while_he_looks_stops(work: Workplace, host: PretendSlurm, tmp_path: Path) -> None:
    rows = claimed(work, tmp_path)
    assert work.ledger.claims.take_over(*now_of(rows, work), "other")
    with pytest.raises(SchedulerUnavailable, match="settled by another process"):
        adopt(rows, rows[0].owner, work)
    send(rows, rows[0].owner, work)  # nor does he submit, or keep the other's job from running
    assert (work.ledger.job(rows[0].token).owner, host.count("sbatch")) == ("other", 0)
    assert not Path(rows[0].work_dir, ".job/lock").exists()


def test_a_refusal_that_comes_to_one_who_was_overtaken_is_no_error_of_the_others_job(
    work: Workplace, host: PretendSlurm, heard: Heard, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["refused"]
    host.before_submit = lambda: work.ledger.claims.take_over(*now_of(rows, work), "other")
    send(rows, rows[0].owner, work)
    assert [(row.state, row.owner) for row in now_of(rows, work)] == [(JobState.SUBMITTING, "other")]
    assert "in another process's hands" in heard.warnings[-1]


def test_an_id_that_the_ledger_does_not_take_leaves_the_submission_open(
    work: Workplace, host: PretendSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be lost if it were called refused: the scheduler has it."""
    rows = claimed(work, tmp_path)

    def silent(*_: object, **__: object) -> bool:
        raise LedgerUnavailable("the ledger does not answer")

    monkeypatch.setattr(work.ledger.claims, "submitted", silent)
    with pytest.raises(LedgerUnavailable):
        send(rows, rows[0].owner, work)
    assert [(row.state, row.owner) for row in now_of(rows, work)] == [(JobState.SUBMITTING, NOBODY)]


@pytest.mark.parametrize("done", [False, True], ids=["not done", "answer lost"])
@pytest.mark.parametrize("verb", ["new_token", "holders", "claim", "placed"])
def test_a_ledger_that_is_silent_while_a_job_is_claimed_costs_a_moment(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, done: bool
) -> None:
    """It was claimed anew, and its own first claim waited for until that seemed dead: five minutes."""
    silent_once(work.ledger.claims, verb, done, monkeypatch)
    Runner(work.target, work.ledger, clock=hours).submit(request(tmp_path, identity="same"))
    assert [row.job_id for row in work.ledger.jobs()] == ["100"]
    assert hours.passed < 5


def test_no_part_of_an_array_is_forgotten_where_the_ledger_is_silent_at_the_next(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were claimed before were taken for somebody else's, who would send them."""
    spec = replace(SPEC, elements=((), (), (), ()))
    own = tuple(Own(identity=f"e{index}") for index in range(4))
    silent_once(work.ledger.claims, "placed", False, monkeypatch, at=2)
    Runner(replace(work.target, max_jobs=2), work.ledger, clock=hours).submit(request(tmp_path, spec=spec, own=own))
    assert host.count("sbatch") == 1  # of the first two; the others wait for room
    assert sorted(row.state.value for row in work.ledger.jobs()) == ["PENDING", "PENDING", "READY", "READY"]
    assert hours.passed < 5


def silent_once(ledger: object, verb: str, done: bool, monkeypatch: pytest.MonkeyPatch, *, at: int = 1) -> None:
    """The ledger does not answer to this, once; whether it was `done` nobody hears."""
    really, calls = getattr(ledger, verb), count(1)

    def silent(*args: Any, **more: Any) -> Any:
        number = next(calls)
        answer = really(*args, **more) if number != at or done else None
        if number == at:
            raise LedgerUnavailable("the ledger does not answer: database is locked")
        return answer

    monkeypatch.setattr(ledger, verb, silent)


def test_a_full_queue_after_a_lost_reply_leaves_the_submission_doubtful(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["not taken", "full"]
    send(rows, rows[0].owner, work)
    (row,) = now_of(rows, work)
    assert (row.state, row.owner, row.attempts) == (JobState.READY, NOBODY, 2)
    assert row.not_before == hours.now() + 15.0
    host.put("777", name_of(rows), "PENDING")  # it had been taken by the first
    submit_ready(work)
    assert host.count("sbatch") == 2  # not yet
    hours.passed += 15.0
    submit_ready(work)
    assert (work.ledger.job(row.token).job_id, host.count("sbatch")) == ("777", 2)


def test_a_full_queue_that_was_met_first_makes_nothing_doubtful(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["full"]
    send(rows, rows[0].owner, work)
    assert [(row.state, row.attempts) for row in now_of(rows, work)] == [(JobState.READY, 0)]


@pytest.mark.parametrize("spec", [SPEC, ARRAY], ids=["job", "array"])
def test_what_has_begun_is_adopted_by_its_lock_though_nobody_knows_it(
    work: Workplace, host: PretendSlurm, tmp_path: Path, spec: JobSpec
) -> None:
    rows = claimed(work, tmp_path, spec=spec)
    host.submissions = ["not taken"]
    host.before_submit = lambda: lock_by(rows[-1], "555" if len(rows) == 1 else "555_1")
    send(rows, rows[0].owner, work)
    expected = ["555"] if len(rows) == 1 else ["555_0", "555_1"]
    assert [row.job_id for row in now_of(rows, work)] == expected
    assert host.count("sbatch") == 1


def test_a_lock_that_is_closed_is_no_job(work: Workplace, hours: Hours, tmp_path: Path) -> None:
    rows = claimed(work, tmp_path)
    lock_by(rows[0], "closed")
    assert not adopt(rows, rows[0].owner, work)
    assert work.ledger.job(rows[0].token).state is JobState.SUBMITTING
    assert hours.slept == [30.0]  # between the two looks


@pytest.mark.parametrize("known_by", ["lock", "queue"])
def test_one_who_adopts_a_job_says_so(work: Workplace, host: PretendSlurm, tmp_path: Path, known_by: str) -> None:
    rows = claimed(work, tmp_path)
    lock_by(rows[0], "555") if known_by == "lock" else host.put("555", name_of(rows), "PENDING")
    assert adopt(rows, rows[0].owner, work)
    assert work.ledger.job(rows[0].token).job_id == "555"


@pytest.mark.parametrize("fate", ["refused", "full"])
def test_a_job_that_is_adopted_in_the_end_can_still_begin(
    work: Workplace, host: PretendSlurm, tmp_path: Path, fate: str
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["not taken", fate]
    host.before_submit = lambda: host.put("555", name_of(rows), "PENDING") if len(host.submissions) == 1 else None
    send(rows, rows[0].owner, work)
    assert [(row.state, row.job_id) for row in now_of(rows, work)] == [(JobState.PENDING, "555")]
    assert not Path(rows[0].work_dir, ".job/lock").exists()


def test_of_a_certain_refusal_nothing_has_to_be_looked_up_or_closed(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["refused"]
    with pytest.raises(SubmitRefused):
        send(rows, rows[0].owner, work)
    assert [argv[0] for argv in host.asked] == ["sbatch"]
    assert not Path(rows[0].work_dir, ".job/lock").exists()


@pytest.mark.parametrize(("interval_s", "due_s"), [(10.0, 2.0), (0.5, 0.5)])
def test_a_new_job_is_asked_for_soon(work: Workplace, tmp_path: Path, interval_s: float, due_s: float) -> None:
    work = replace(work, target=replace(work.target, poll_interval_s=interval_s))
    leases, key = work.ledger.leases, work.target.key
    assert leases.take(key, "me").taken
    leases.release(key, "me", interval_s=60.0)
    rows = claimed(work, tmp_path)
    send(rows, rows[0].owner, work)
    assert leases.take(key, "me").due_in_s == due_s


@pytest.mark.parametrize("spec", [SPEC, ARRAY], ids=["job", "array"])
def test_what_has_begun_is_not_given_up(work: Workplace, tmp_path: Path, spec: JobSpec) -> None:
    rows = claimed(work, tmp_path, spec=spec)
    lock_by(rows[-1], "555" if len(rows) == 1 else "555_1")
    assert not give_up(rows, rows[0].owner, work, "no", JobState.REFUSED)
    assert {row.state for row in now_of(rows, work)} == {JobState.PENDING}
    assert now_of(rows, work)[-1].job_id == ("555" if len(rows) == 1 else "555_1")


@pytest.mark.parametrize("spec", [SPEC, ARRAY], ids=["job", "array"])
def test_what_is_given_up_can_begin_nowhere(work: Workplace, tmp_path: Path, spec: JobSpec) -> None:
    rows = claimed(work, tmp_path, spec=spec)
    assert give_up(rows, rows[0].owner, work, "no", JobState.CANCELLED)
    assert {(row.state, row.reason) for row in now_of(rows, work)} == {(JobState.CANCELLED, "no")}
    assert {Path(row.work_dir, ".job/lock").read_text() for row in rows} == {"closed\n"}


def test_a_refusal_is_no_error_where_a_copy_begins_in_the_same_moment(
    work: Workplace, host: PretendSlurm, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["not taken", "refused"]
    monkeypatch.setattr("dagster_hpc.engine.submit.send.close", lambda rows, work: "555")
    send(rows, rows[0].owner, work)
    assert [(row.state, row.job_id) for row in now_of(rows, work)] == [(JobState.PENDING, "555")]
    assert not any("refused" in words for words in heard.warnings)


def test_a_submission_that_was_cancelled_before_its_command_is_never_sent(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    work.ledger.observations.request_cancel([rows[0].token])
    send(rows, rows[0].owner, work)
    (row,) = now_of(rows, work)
    assert (row.state, row.reason) == (JobState.CANCELLED, "cancelled before the scheduler had taken it")
    assert host.asked == []


def test_of_two_that_are_found_one_is_the_job_and_the_other_its_copy(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["not taken"]
    host.before_submit = lambda: [host.put(job_id, name_of(rows), "PENDING") for job_id in ("77", "78")]
    send(rows, rows[0].owner, work)
    assert [row.ids for row in now_of(rows, work)] == [("77", "78")]
    assert host.count("scancel") == 0


@pytest.mark.parametrize("refused", [True, False])
def test_the_id_that_comes_to_one_who_was_overtaken_is_a_copy_and_lives_on_only_if_its_job_does(
    work: Workplace, host: PretendSlurm, tmp_path: Path, refused: bool
) -> None:
    rows = claimed(work, tmp_path)

    def overtake() -> None:
        work.ledger.claims.take_over(*now_of(rows, work), "other")
        if refused:
            work.ledger.claims.refuse(rows[0].batch, "other", "no")

    host.before_submit = overtake
    send(rows, rows[0].owner, work)
    (row,) = now_of(rows, work)
    assert (row.job_id, row.copies) == (None, ("100",))
    assert [argv for argv in host.asked if argv[0] == "scancel"] == ([["scancel", "100"]] if refused else [])


@pytest.mark.parametrize(("unwanted", "told"), [([0], ["100_0"]), ([0, 1], ["100"]), ([], None)])
def test_of_an_array_only_what_was_cancelled_meanwhile_is_cancelled(
    work: Workplace, host: PretendSlurm, tmp_path: Path, unwanted: list[int], told: list[str] | None
) -> None:
    rows = claimed(work, tmp_path, spec=ARRAY)
    host.before_submit = lambda: work.ledger.observations.request_cancel([rows[n].token for n in unwanted])
    send(rows, rows[0].owner, work)
    assert [argv[1:] for argv in host.asked if argv[0] == "scancel"] == ([told] if told else [])
    assert [row.job_id for row in now_of(rows, work)] == ["100_0", "100_1"]


def test_cancellations_are_cut_into_bearable_command_lines_and_each_is_told_once(
    work: Workplace, host: PretendSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slurm, "ids_per_call", 2)
    cancel_ids(["1", "2", "1", "3", "4", "5"], work)
    assert [argv[1:] for argv in host.asked] == [["1", "2"], ["3", "4"], ["5"]]
    host.missing = True
    with pytest.raises(SchedulerUnavailable, match="`scancel` is not on PATH"):
        cancel_ids(["1"], work)
    with pytest.raises(SchedulerUnavailable, match="`squeue` is not on PATH"):
        find("x", work)


@pytest.mark.parametrize("witness", ["create", "read"])
def test_nothing_is_given_up_or_sent_again_while_its_directory_cannot_be_seen(
    work: Workplace, host: PretendSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, witness: str
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["not taken", "refused"]

    def stale(path: str, *_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", path)

    monkeypatch.setattr(host, witness, stale)
    with pytest.raises(SchedulerUnavailable, match="whether count has begun cannot be seen"):
        send(rows, rows[0].owner, work)
    assert [(row.state, row.owner) for row in now_of(rows, work)] == [(JobState.SUBMITTING, NOBODY)]
    assert host.count("sbatch") == (2 if witness == "create" else 1)


def test_a_script_that_cannot_be_seen_for_a_moment_is_sent_later(
    work: Workplace, host: PretendSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, looks = claimed(work, tmp_path), [0]

    def stale_at_first(path: str) -> bool:
        looks[0] += 1
        if looks[0] == 1:
            raise OSError(errno.ESTALE, "Stale file handle", path)
        return True

    monkeypatch.setattr(host, "is_private", stale_at_first)
    send(rows, rows[0].owner, work)
    assert ([row.job_id for row in now_of(rows, work)], host.count("sbatch")) == (["100"], 1)


@pytest.mark.parametrize("path", [".job", ".job/script.slurm"])
def test_a_script_that_others_may_change_is_not_submitted(
    work: Workplace, host: PretendSlurm, tmp_path: Path, path: str
) -> None:
    rows = claimed(work, tmp_path)
    Path(rows[0].work_dir, path).chmod(0o777)
    with pytest.raises(ConfigurationError, match="may be written by others"):
        send(rows, rows[0].owner, work)
    assert [row.state for row in now_of(rows, work)] == [JobState.REFUSED]
    assert host.asked == []


def test_what_cannot_be_sent_again_after_a_lost_reply_cannot_start_later_either(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path
) -> None:
    rows = claimed(work, tmp_path)
    host.submissions = ["not taken"]
    script = Path(rows[0].work_dir, ".job/script.slurm")
    hours.meanwhile = lambda: script.chmod(0o777)
    with pytest.raises(ConfigurationError, match="may be written by others"):
        send(rows, rows[0].owner, work)
    assert [row.state for row in now_of(rows, work)] == [JobState.REFUSED]
    assert Path(rows[0].work_dir, ".job/lock").read_text() == "closed\n"
    assert host.count("squeue") == 4  # twice after the command, and twice before it was given up


# -- each step of a recovery by itself


def orphaned(work: Workplace, tmp_path: Path, owner: str = NOBODY, *, attempts: int = 1, **more: Any) -> list[JobRow]:
    """What a process has left that died after so many commands."""
    rows = claimed(work, tmp_path, **more)
    for _ in range(attempts):
        assert work.ledger.claims.begin_attempt(rows[0].batch, rows[0].owner)
    assert work.ledger.claims.take_over(now_of(rows, work)[0], owner)
    return now_of(rows, work)


def test_an_orphan_of_another_host_is_settled_when_it_was_silent_for_longer_than_any_command(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path
) -> None:
    (row,) = orphaned(work, tmp_path, "another-host 1 2 3", attempts=0)
    for passed, commands in ((300.0, 0), (301.0, 1)):
        hours.passed = passed
        settle(row, work)
        assert host.count("sbatch") == commands
    assert work.ledger.job(row.token).state is JobState.PENDING


def test_nothing_is_settled_that_is_in_the_queue_or_that_waits_for_room_or_that_another_has_taken(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    (orphan,) = orphaned(work, tmp_path, attempts=0)
    work.ledger.claims.take_over(orphan, a_dead_process())
    settle(orphan, work)  # as it was seen before
    assert host.asked == []
    for state in (JobState.PENDING, JobState.READY, JobState.COMPLETED):
        settle(replace(work.ledger.job(orphan.token), state=state, owner=NOBODY), work)
    assert host.asked == []
    settle(work.ledger.job(orphan.token), work)
    assert host.count("sbatch") == 1


def test_one_who_comes_too_late_to_settle_a_submission_leaves_it_alone(work: Workplace, tmp_path: Path) -> None:
    (seen,) = orphaned(work, tmp_path, attempts=0)
    work.ledger.observations.request_cancel([seen.token])
    assert work.ledger.claims.take_over(seen, "quicker")
    settle(seen, work)
    assert work.ledger.job(seen.token).owner == "quicker"
    assert not Path(seen.work_dir, ".job/lock").exists()


@pytest.mark.parametrize("state", [JobState.SUBMITTING, JobState.READY])
def test_files_are_being_written_while_they_are_not_whole_and_no_command_was_given_them(
    work: Workplace, tmp_path: Path, state: JobState
) -> None:
    rows = claimed(work, tmp_path)
    if state is JobState.READY:
        work.ledger.claims.give_back(rows[0].batch, rows[0].owner, "no room", after_s=0.0, certain=True)
        assert work.ledger.claims.take_over(*now_of(rows, work), this_process())
    (row,) = now_of(rows, work)
    assert not is_being_written(row, work)
    (row,) = unwritten(rows, work)
    assert is_being_written(row, work)
    assert work.ledger.job(row.token) == row  # its process lives
    for later in (replace(row, attempts=1), replace(row, state=JobState.PENDING), replace(row, state=JobState.LOST)):
        assert not is_being_written(later, work)  # what was purged since is joined
    assert work.ledger.claims.take_over(row, a_dead_process())
    assert is_being_written(row, work)  # as it was seen before: it is another's now
    assert work.ledger.job(row.token).state is state
    assert is_being_written(work.ledger.job(row.token), work)
    assert work.ledger.job(row.token).state is JobState.REFUSED


def test_a_directory_that_cannot_be_read_keeps_nobody_from_joining(
    work: Workplace, host: PretendSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(path: str, *_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", path)

    (row,) = claimed(work, tmp_path)
    monkeypatch.setattr(host, "read", stale)
    assert not is_being_written(row, work)
    assert work.ledger.claims.take_over(work.ledger.job(row.token), a_dead_process())
    settle(work.ledger.job(row.token), work)
    assert work.ledger.job(row.token).state is JobState.SUBMITTING
    assert work.ledger.job(row.token).owner == NOBODY  # the next who comes may try at once


@pytest.mark.parametrize("spec", [SPEC, ARRAY], ids=["job", "array"])
@pytest.mark.parametrize(
    ("attempts", "placed", "unwanted", "state", "words"),
    [
        (0, False, False, JobState.REFUSED, "died before its files were written"),
        (0, False, True, JobState.CANCELLED, "cancelled before the scheduler had taken it"),
        (0, True, True, JobState.CANCELLED, "cancelled before the scheduler had taken it"),
        (1, True, True, JobState.CANCELLED, "cancelled before the scheduler had taken it"),
        (1, False, False, JobState.REFUSED, "its directory is gone, and the scheduler does not know it"),
        (1, False, True, JobState.CANCELLED, "cancelled before the scheduler had taken it"),
    ],
)
def test_how_an_orphan_is_called_that_is_not_sent_any_more(
    work: Workplace,
    host: PretendSlurm,
    hours: Hours,
    heard: Heard,
    tmp_path: Path,
    spec: JobSpec,
    attempts: int,
    placed: bool,
    unwanted: bool,
    state: JobState,
    words: str,
) -> None:
    rows = orphaned(work, tmp_path, attempts=attempts, spec=spec)
    if not placed and attempts:
        shutil.rmtree(rows[0].batch_dir)
        hours.passed += 1.0  # a file of just now may be seen late
    elif not placed:
        unwritten(rows, work)
    if unwanted:
        work.ledger.observations.request_cancel([row.token for row in rows])
    settle(rows[0], work)
    assert {row.state for row in now_of(rows, work)} == {state}
    assert all(words in row.reason for row in now_of(rows, work))
    assert (host.count("sbatch"), heard.warnings) == (0, [])
    assert host.count("squeue") == 2 * attempts


@pytest.mark.parametrize(("placed", "unwanted"), [(True, True), (False, False)])
def test_an_orphan_that_is_found_is_adopted_and_cancelled_only_if_that_was_wished(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path, placed: bool, unwanted: bool
) -> None:
    rows = orphaned(work, tmp_path)
    hours.passed += 1.0
    host.put("777", name_of(rows), "RUNNING")
    if not placed:
        shutil.rmtree(rows[0].batch_dir)
    if unwanted:
        work.ledger.observations.request_cancel([rows[0].token])
    settle(rows[0], work)
    assert work.ledger.job(rows[0].token).job_id == "777"
    assert host.count("scancel") == int(unwanted)
    assert not Path(rows[0].work_dir, ".job/lock").exists()  # so that what runs is not stopped by us


def test_an_array_without_files_of_which_one_element_is_still_wanted_was_not_cancelled(
    work: Workplace, tmp_path: Path
) -> None:
    rows = unwritten(orphaned(work, tmp_path, attempts=0, spec=ARRAY), work)
    work.ledger.observations.request_cancel([rows[0].token])
    settle(rows[0], work)
    assert {row.state for row in now_of(rows, work)} == {JobState.REFUSED}


@pytest.mark.parametrize("unwanted", [True, False])
def test_one_that_waits_for_room_and_was_being_settled_goes_on_waiting_or_is_gone(
    work: Workplace, host: PretendSlurm, heard: Heard, tmp_path: Path, unwanted: bool
) -> None:
    (row,) = orphaned(work, tmp_path, "dying")
    assert work.ledger.claims.give_back(row.batch, "dying", "no room", after_s=0.0, certain=False)
    assert work.ledger.claims.take_over(work.ledger.job(row.token), a_dead_process())
    if unwanted:
        work.ledger.observations.request_cancel([row.token])
    settle(work.ledger.job(row.token), work)
    now = work.ledger.job(row.token)
    assert now.state is (JobState.CANCELLED if unwanted else JobState.READY)
    assert unwanted or (now.owner, host.asked) == (NOBODY, [])
    assert (host.count("sbatch"), heard.warnings) == (0, [])


def test_an_id_that_arrives_cancels_no_other_job_that_is_to_be_cancelled(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    first = claimed(work, tmp_path)
    send(first, first[0].owner, work)
    work.ledger.observations.request_cancel([first[0].token])
    second = claimed(work, tmp_path)
    send(second, second[0].owner, work)
    assert (work.ledger.job(second[0].token).job_id, host.count("scancel")) == ("101", 0)


def test_an_array_of_which_one_element_is_still_wanted_is_sent(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    rows = orphaned(work, tmp_path, attempts=0, spec=ARRAY)
    work.ledger.observations.request_cancel([rows[0].token])
    settle(rows[0], work)
    assert [argv[0] for argv in host.asked] == ["sbatch", "scancel"]
    assert host.asked[-1] == ["scancel", "100_0"]
    assert {row.state for row in now_of(rows, work)} == {JobState.PENDING}


def test_a_job_that_was_adopted_from_its_directory_is_not_called_purged(work: Workplace, tmp_path: Path) -> None:
    (row,) = orphaned(work, tmp_path)
    unwritten([row], work)
    settle(row, work)
    assert "it was found in its directory" in work.ledger.job(row.token).reason


def test_a_script_that_is_not_the_one_of_the_claim_is_not_sent(
    work: Workplace, host: PretendSlurm, hours: Hours, tmp_path: Path
) -> None:
    (row,) = orphaned(work, tmp_path, attempts=0)
    script = Path(row.work_dir, ".job/script.slurm")
    script.write_text(script.read_text()[:-10])
    settle(row, work)  # it may be on its way through the file system
    assert (work.ledger.job(row.token).state, host.count("sbatch")) == (JobState.SUBMITTING, 0)
    hours.passed += 1.0
    settle(work.ledger.job(row.token), work)
    assert (work.ledger.job(row.token).state, host.count("sbatch")) == (JobState.REFUSED, 0)


def test_who_settles_for_others_tells_what_went_wrong_and_lets_go(
    work: Workplace, host: PretendSlurm, heard: Heard, tmp_path: Path
) -> None:
    (row,) = orphaned(work, tmp_path, attempts=0)
    host.submissions = ["not taken"] * 100
    settle(row, work)
    assert (work.ledger.job(row.token).owner, work.ledger.job(row.token).state) == (NOBODY, JobState.SUBMITTING)
    assert "could not be submitted for 100 s" in heard.warnings[-1]
    host.submissions = ["refused"]
    settle(work.ledger.job(row.token), work)
    assert work.ledger.job(row.token).state is JobState.REFUSED
    assert heard.warnings[-1].startswith("count was refused: ")


def waiting(work: Workplace, tmp_path: Path, count: int) -> list[str]:
    """The tokens of so many jobs for which there was no room, in their order; the room is there now."""
    full = replace(work, target=replace(work.target, max_jobs=1))
    rows = []
    for _ in range(count + 1):
        rows += claim(request(tmp_path), full).rows
        work.clock.sleep(1.0)
    work.ledger.claims.refuse(rows[0].batch, rows[0].owner, "makes room")
    assert [work.ledger.job(row.token).state for row in rows[1:]] == [JobState.READY] * count
    return [row.token for row in rows[1:]]


def test_one_that_waits_for_room_is_no_orphan(work: Workplace, host: PretendSlurm, tmp_path: Path) -> None:
    (token,) = waiting(work, tmp_path, 1)
    before = work.ledger.job(token)
    settle(before, work)
    assert (work.ledger.job(token), host.asked) == (before, [])


@pytest.mark.parametrize("side_by_side", [1, 2, 5])
def test_all_that_wait_are_sent_as_soon_as_there_is_room_for_them(
    work: Workplace, host: PretendSlurm, tmp_path: Path, side_by_side: int
) -> None:
    tokens = waiting(work, tmp_path, 3)
    work = replace(work, target=replace(work.target, parallel_submissions=side_by_side))
    submit_ready(work)
    assert {work.ledger.job(token).state for token in tokens} == {JobState.PENDING}
    assert sorted(names_in_the_queue(host)) == sorted(f"count_{token}" for token in tokens)


def test_those_who_wait_are_sent_as_far_as_there_is_room(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    tokens = waiting(work, tmp_path, 3)
    submit_ready(replace(work, target=replace(work.target, max_jobs=2, parallel_submissions=3)))
    assert [work.ledger.job(token).state for token in tokens] == ["PENDING", "PENDING", "READY"]


def test_one_whose_files_are_written_just_now_is_waited_for_and_one_whose_process_died_over_them_is_not(
    work: Workplace, host: PretendSlurm, tmp_path: Path
) -> None:
    first, second = waiting(work, tmp_path, 2)
    work.ledger.claims.take_over(work.ledger.job(first), this_process())
    submit_ready(work)
    assert host.count("sbatch") == 0
    work.ledger.claims.take_over(work.ledger.job(first), a_dead_process())
    submit_ready(work)
    assert [work.ledger.job(token).state for token in (first, second)] == [JobState.PENDING] * 2


class Crowd:
    """Submit commands that wait until so many run at once."""

    def __init__(self, awaited: int) -> None:
        self.awaited, self.now, self.most, self._lock = awaited, 0, 0, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        eventually(lambda: self.most >= self.awaited, within_s=5.0)
        time.sleep(0.05)  # so that one too many would be seen
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_as_many_submissions_run_side_by_side_as_the_target_gains_from(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path, side_by_side: int
) -> None:
    host.before_submit = crowd = Crowd(side_by_side)
    target = replace(target_on(host), parallel_submissions=side_by_side)
    handles = Runner(target, ledger).submit_all([request(tmp_path) for _ in range(3)])
    assert crowd.most == side_by_side
    assert {ledger.job(handle.token).state for (handle,) in handles} == {JobState.PENDING}


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_so_do_those_that_waited_for_room(
    work: Workplace, host: PretendSlurm, tmp_path: Path, side_by_side: int
) -> None:
    tokens = waiting(work, tmp_path, 4)
    host.before_submit = crowd = Crowd(side_by_side)
    submit_ready(replace(work, target=replace(work.target, parallel_submissions=side_by_side)))
    assert crowd.most == side_by_side
    assert {work.ledger.job(token).state for token in tokens} == {JobState.PENDING}


def test_what_goes_wrong_in_one_of_several_submissions_is_an_error_when_all_were_tried(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    work = Workplace(replace(target_on(host), parallel_submissions=2), ledger)
    submissions = [claimed(work, tmp_path) for _ in range(3)]
    host.submissions = ["refused"]
    with pytest.raises(SubmitRefused):
        send_all(submissions, work)
    states = sorted(row.state for row in ledger.jobs())
    assert states == [JobState.PENDING, JobState.PENDING, JobState.REFUSED]
