"""Who may die, and what becomes of the job."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from dagster_hpc.engine.process import alive, identify
from dagster_hpc.local_batch import processes, spool
from dagster_hpc.local_batch.spool import Spool
from tests.local_batch.system import Batch, content, eventually, living

GATE = "echo start >> runs; while [ ! -e go ]; do sleep 0.02; done; exit 7"


def kill_daemon(batch: Batch) -> int:
    (daemon,) = eventually(lambda: batch.daemons() if len(batch.daemons()) == 1 else None)
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: not living(daemon))
    return daemon


def test_a_job_outlives_its_submitter_and_its_terminal(batch: Batch) -> None:
    command = " ".join(batch.argv("submit", str(batch.script(GATE, "output=out"))))
    shell = subprocess.Popen(
        ["bash", "-c", f"{command} > id; kill -KILL 0"], cwd=batch.root, env=batch.environment, start_new_session=True
    )
    assert shell.wait() == -signal.SIGKILL
    job = batch.read("id").strip()
    batch.running(job)
    (batch.root / "go").touch()
    assert batch.end(job)["exit_code"] == 7


def test_submit_does_not_keep_its_callers_pipe_open(batch: Batch) -> None:
    begun = time.monotonic()
    batch.submit("sleep 30")  # reads stdout and stderr to their end
    assert time.monotonic() - begun < 20


def test_a_new_daemon_adopts_what_runs(batch: Batch) -> None:
    job = batch.submit(GATE)
    waiting = batch.submit("exit 2", f"after=any:{job}")
    pid = batch.running(job).pid
    old = kill_daemon(batch)
    assert batch.query(job)[0]["state"] == "RUNNING"  # and this starts a daemon
    (new,) = eventually(lambda: batch.daemons() if len(batch.daemons()) == 1 else None)
    assert new != old
    (batch.root / "go").touch()
    end = batch.end(job)
    assert (end["state"], end["exit_code"], end["pid"]) == ("FAILED", 7, pid)
    assert batch.read("runs") == "start\n"
    assert batch.end(waiting)["exit_code"] == 2


def test_the_queue_goes_on_when_a_job_ends_without_a_daemon(batch: Batch) -> None:
    job = batch.submit(GATE, options=("--capacity-cores", "1"))
    waiting = batch.submit("touch second")
    batch.running(job)
    kill_daemon(batch)
    (batch.root / "go").touch()
    eventually((batch.root / "second").exists)  # nobody asked: the shepherd found the daemon gone
    assert batch.end(waiting)["state"] == "COMPLETED"


def test_a_running_job_is_cancelled_without_a_daemon(batch: Batch) -> None:
    job = batch.submit("sleep 60")
    batch.running(job)
    kill_daemon(batch)
    batch.run("cancel", job)
    assert batch.end(job)["state"] == "CANCELLED"


@pytest.mark.parametrize("adopted", [False, True])
def test_a_job_whose_shepherd_dies_is_lost_with_all_its_processes(batch: Batch, adopted: bool) -> None:
    job = batch.submit("trap '' TERM; setsid sleep 64 & echo $! > other; sleep 65 & touch ready; wait")
    running = batch.running(job)
    eventually((batch.root / "ready").exists)
    if adopted:
        kill_daemon(batch)
        batch.query()
    assert running.shepherd
    assert running.pid
    os.kill(running.shepherd, signal.SIGKILL)
    end = batch.end(job)
    assert (end["state"], end["exit_code"]) == ("NODE_FAIL", None)
    assert end["reason"] == "its shepherd process died, so nobody saw how it ended"
    assert not living(running.pid)
    assert not living(int(batch.read("other")))
    assert f"job {job} is lost" in batch.log()


def test_a_restart_of_the_machine_loses_the_running_jobs_only(batch: Batch) -> None:
    job = batch.submit("sleep 60", options=("--capacity-cores", "1"))
    waiting = batch.submit("true")
    running = batch.running(job)
    assert running.shepherd
    assert running.pid
    # First, for a daemon may be there at any moment: the shepherd starts one, or a submission that found none is late.
    with Spool(batch.spool) as opened, opened.change() as sql:
        sql.execute("UPDATE jobs SET boot = 'an earlier one' WHERE state = 'RUNNING'")
    kill_daemon(batch)
    os.kill(running.shepherd, signal.SIGKILL)
    os.killpg(running.pid, signal.SIGKILL)
    batch.query()
    end = batch.end(job)
    assert (end["state"], end["reason"]) == ("NODE_FAIL", "the machine was restarted while it ran")
    assert batch.end(waiting)["state"] == "COMPLETED"


def test_first_submits_at_the_same_time_start_one_daemon(batch: Batch) -> None:
    path = str(batch.script("true"))
    submits = [batch.start("submit", path) for _ in range(6)]
    answers = [submit.communicate() for submit in submits]
    assert [error for _, error in answers] == [""] * 6
    ids = sorted(int(out) for out, _ in answers)
    assert ids == [1, 2, 3, 4, 5, 6]
    assert {end["state"] for end in batch.ended(*map(str, ids))} == {"COMPLETED"}
    eventually(lambda: len(batch.daemons()) == 1)
    assert batch.log().count("the daemon is up") == 1


def test_an_idle_daemon_leaves_and_the_next_submit_starts_another(batch: Batch) -> None:
    batch.environment["LOCAL_BATCH_IDLE"] = "0.1"
    batch.end(batch.submit("true"))
    eventually(lambda: not batch.keepers())
    assert batch.end(batch.submit("true"))["state"] == "COMPLETED"


def test_submits_to_a_daemon_that_is_just_leaving_are_not_lost(batch: Batch) -> None:
    batch.environment["LOCAL_BATCH_IDLE"] = "0"
    for _ in range(8):
        assert batch.end(batch.submit("true"))["state"] == "COMPLETED"


def test_a_daemon_whose_spool_is_removed_leaves(batch: Batch) -> None:
    batch.end(batch.submit("true"))
    (daemon,) = eventually(lambda: batch.daemons() if len(batch.keepers()) == 1 else None)
    batch.spool.rename(batch.root / "gone")
    os.kill(daemon, signal.SIGCHLD)  # wakes it; it would look by itself a little later
    eventually(lambda: not living(daemon))
    shutil.rmtree(batch.root / "gone")


def test_a_waiting_daemon_uses_no_processor(batch: Batch) -> None:
    del batch.environment["LOCAL_BATCH_POLL"]
    job = batch.submit("sleep 60", options=("--capacity-cores", "1"))
    batch.submit("true")
    batch.running(job)
    (daemon,) = eventually(lambda: batch.daemons() if len(batch.daemons()) == 1 else None)

    def ticks() -> int:
        fields = content(daemon, "stat").rpartition(b")")[2].split()
        return int(fields[11]) + int(fields[12])

    before, begun = ticks(), time.monotonic()
    eventually(lambda: time.monotonic() - begun > 1)
    assert ticks() - before <= 1


def test_a_thousand_waiting_jobs_are_rows_and_not_processes(batch: Batch) -> None:
    job = batch.submit("sleep 60", "array=0-999", options=("--capacity-cores", "2"))
    batch.running(f"{job}_1")
    assert len(batch.query()) == 1000
    assert len(batch.keepers()) <= 3


def test_two_hundred_short_jobs_all_end(batch: Batch) -> None:
    path = batch.script("true", "output=/dev/null")
    code = "from sys import argv; from dagster_hpc.local_batch.__main__ import main\n"
    code += "for _ in range(200): assert main(argv[1:]) == 0"
    batch.end(batch.run("submit", str(path)).stdout.strip())  # the spool is there and its daemon awake
    argv = batch.argv("submit", str(path))
    done = subprocess.run([argv[0], "-c", code, *argv[3:]], env=batch.environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    ends = batch.ended(*done.stdout.split())
    assert len(ends) == 200
    assert {end["state"] for end in ends} == {"COMPLETED"}


def test_a_job_may_submit_a_job_that_outlives_it(batch: Batch) -> None:
    inner = batch.script(GATE, "name=inner", name="inner.sh")
    kill_all = " ".join(batch.argv("submit", str(inner)))
    outer = batch.submit(
        f"while [ ! -e free ]; do sleep 0.02; done; {kill_all} > inner-id", options=("--capacity-cores", "4")
    )
    batch.running(outer)
    kill_daemon(batch)
    (batch.root / "free").touch()  # now the job itself starts the next daemon
    assert batch.end(outer)["state"] == "COMPLETED"
    job = batch.read("inner-id").strip()
    batch.running(job)
    (batch.root / "go").touch()
    assert batch.end(job)["exit_code"] == 7


def test_every_job_runs_once_however_often_the_daemon_is_killed(batch: Batch) -> None:
    array = batch.submit("echo $LOCAL_ARRAY_INDEX >> runs; sleep 0.02", "array=0-24", options=("--capacity-cores", "4"))

    while batch.query():  # which starts the next daemon
        done = batch.read("runs")
        eventually(lambda before=done: batch.read("runs") != before or not batch.daemons())  # type: ignore[misc]
        for daemon in batch.daemons():
            os.kill(daemon, signal.SIGKILL)
    assert {end["state"] for end in batch.ended(array)} == {"COMPLETED"}
    assert sorted(map(int, batch.read("runs").split())) == list(range(25))


def test_an_end_waits_for_a_locked_database(batch: Batch) -> None:
    job = batch.submit(GATE)
    pid = batch.running(job).pid
    assert pid
    with Spool(batch.spool) as opened, opened.change():
        (batch.root / "go").touch()
        eventually(lambda: not living(pid))
        assert batch.query(job)[0]["state"] == "RUNNING"
    assert batch.end(job)["exit_code"] == 7


def test_a_full_disk_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    spool.create(tmp_path / "spool")
    with Spool(tmp_path / "spool") as opened:
        pages = opened.sql.execute("PRAGMA page_count").fetchone()[0]
        opened.sql.execute(f"PRAGMA max_page_count = {pages}")
        rows = [(f"{number:0100}",) for number in range(1000)]
        with pytest.raises(sqlite3.OperationalError, match="full"), opened.change() as sql:
            sql.executemany("INSERT INTO capacity VALUES (?, 1)", rows)
        assert opened.sql.execute("SELECT count(*) FROM capacity").fetchone()[0] == 0
        assert not opened.sql.in_transaction


def test_the_same_pid_with_another_start_time_is_another_process() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert alive(me)
    assert not alive(me._replace(start="1"))
    assert not alive(me._replace(boot="an earlier one"))


def test_a_zombie_is_a_finished_process() -> None:
    child = subprocess.Popen(["true"])
    eventually(lambda: b") Z" in content(child.pid, "stat"))
    assert identify(child.pid) is None
    assert identify(child.pid, zombies=True) is not None
    child.wait()


def test_a_session_whose_number_now_belongs_to_a_stranger_is_left_alone() -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        now = identify(stranger.pid)
        assert now is not None
        earlier = now._replace(start=str(int(now.start) - 1))
        assert [each.pid for each in processes.members(now, "none")] == [stranger.pid]
        assert processes.members(earlier, "none") == []
    finally:
        stranger.kill()
        stranger.wait()


def test_a_mark_is_not_taken_for_a_longer_one() -> None:
    mark = processes.mark(Path("/spool"), "12")
    child = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], processes.MARK: mark})
    try:
        eventually(lambda: processes.members(None, mark))
        assert processes.members(None, processes.mark(Path("/spool"), "1")) == []
    finally:
        child.kill()
        child.wait()
