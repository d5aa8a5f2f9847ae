"""Walltime, memory, cancellation and slots."""

import os
import signal
import sys

from dagster_hpc.local_batch.job import Job
from dagster_hpc.local_batch.plan import turns
from dagster_hpc.local_batch.spool import Capacity
from tests.local_batch.system import Batch, content, eventually, living, pids


def test_walltime_ends_a_job_with_term(batch: Batch) -> None:
    end = batch.end(batch.submit("trap 'echo asked; exit 0' TERM; sleep 60 & wait", "time=0.3", "output=out"))
    assert (end["state"], end["exit_code"]) == ("TIMEOUT", 0)
    assert end["reason"] == "ran into its walltime of 0.3 s"
    assert batch.read("out") == "asked\n"


def test_walltime_ends_a_job_that_ignores_term_with_kill(batch: Batch) -> None:
    end = batch.end(batch.submit("trap '' TERM; while :; do sleep 0.05; done", "time=0.3"))
    assert (end["state"], end["signal"]) == ("TIMEOUT", signal.SIGKILL)
    assert end["ended_at"] - end["started_at"] >= 0.6


def test_kill_after_is_a_matter_of_the_submission(batch: Batch) -> None:
    job = batch.submit("trap '' TERM; while :; do sleep 0.05; done", "time=0.1", options=("--kill-after", "1"))
    end = batch.end(job)
    assert end["ended_at"] - end["started_at"] >= 1.1


def test_a_signal_comes_before_the_walltime(batch: Batch) -> None:
    body = "trap 'echo warned; exit 5' USR1; while :; do sleep 0.02; done"
    end = batch.end(batch.submit(body, "time=30", "signal=USR1@29.8", "output=out"))
    assert (end["state"], end["exit_code"]) == ("FAILED", 5)
    assert batch.read("out") == "warned\n"


def test_more_memory_than_asked_for_is_oom(batch: Batch) -> None:
    hog = f"exec {sys.executable} -c 'x = bytearray(120 * 2**20); import time; time.sleep(60)'"
    end = batch.end(batch.submit(hog, "memory=60"))
    assert (end["state"], end["signal"]) == ("OOM", signal.SIGKILL)
    assert "60 MiB" in end["reason"]
    assert end["max_rss_mib"] > 60  # it may be seen while it still grows


def test_memory_within_the_request_is_no_offence(batch: Batch) -> None:
    body = f"{sys.executable} -c 'x = bytearray(40 * 2**20); import time; time.sleep(0.4)'"
    end = batch.end(batch.submit(body, "memory=200"))
    assert end["state"] == "COMPLETED"
    assert 40 < end["max_rss_mib"] < 200


def test_a_running_job_is_cancelled_with_all_its_processes(batch: Batch) -> None:
    # One in the script's group, one in a group and one in a session of its own.
    body = "set -m; sleep 61 & sleep 62 & setsid sleep 63 & touch ready; wait"
    job = batch.submit(body)
    eventually((batch.root / "ready").exists)
    mark = os.fsencode(f"{batch.spool}:{job}\0")
    members: list[int] = []

    def all_are_there() -> bool:  # one that becomes another program has no environment for a moment
        members[:] = [pid for pid in pids() if mark in content(pid, "environ")]
        return len(members) == 4

    eventually(all_are_there)
    assert batch.run("cancel", job).returncode == 0
    end = batch.end(job)
    assert (end["state"], end["reason"]) == ("CANCELLED", "cancelled while it ran")
    assert not any(living(pid) for pid in members)


def test_a_job_that_traps_term_is_cancelled_none_the_less(batch: Batch) -> None:
    job = batch.submit("trap '' TERM; touch ready; while :; do sleep 0.05; done")
    eventually((batch.root / "ready").exists)
    batch.run("cancel", job)
    assert batch.end(job)["state"] == "CANCELLED"


def test_a_stopped_job_is_cancelled_too(batch: Batch) -> None:
    job = batch.submit("kill -STOP $$")
    pid = batch.running(job).pid
    assert pid
    eventually(lambda: b") T" in content(pid, "stat"))
    batch.run("cancel", job)
    assert batch.end(job)["signal"] == signal.SIGTERM


def test_a_waiting_job_is_cancelled_and_never_runs(batch: Batch) -> None:
    blocker = batch.submit("sleep 60", options=("--capacity-cores", "1"))
    batch.running(blocker)
    waiting = batch.submit("touch ran")
    done = batch.run("cancel", waiting, "99", blocker)
    assert (done.returncode, done.stderr) == (1, "local_batch: error: no job 99 in this spool\n")
    ends = batch.ended(blocker, waiting)
    assert [end["state"] for end in ends] == ["CANCELLED", "CANCELLED"]
    assert ends[1]["started_at"] is None
    assert not (batch.root / "ran").exists()


def test_cancelling_a_finished_job_changes_nothing(batch: Batch) -> None:
    job = batch.submit("exit 4")
    before = batch.end(job)
    assert batch.run("cancel", job).returncode == 0
    assert batch.query(job) == [before]


def test_what_a_script_leaves_behind_ends_with_it(batch: Batch) -> None:
    job = batch.submit("sleep 60 & setsid sleep 60 & echo $! > left")
    assert batch.end(job)["state"] == "COMPLETED"
    assert not living(int(batch.read("left")))


def test_never_more_jobs_than_cores(batch: Batch) -> None:
    body = "mkdir in.$LOCAL_ARRAY_INDEX; ls -d in.* | wc -l >> seen; sleep 0.05; rmdir in.$LOCAL_ARRAY_INDEX"
    job = batch.submit(body, "array=0-19", options=("--capacity-cores", "3"))
    assert {end["state"] for end in batch.ended(job)} == {"COMPLETED"}
    counts = [int(line) for line in batch.read("seen").split()]
    assert len(counts) == 20
    assert 2 <= max(counts) <= 3


def test_the_capacity_given_last_is_kept(batch: Batch) -> None:
    first = batch.submit("sleep 60", options=("--capacity-cores", "3", "--capacity-memory", "1000"))
    batch.running(first)
    big = batch.submit("true", "cores=3")
    fat = batch.submit("true", "memory=2000")
    reasons = {job["id"]: job["reason"] for job in batch.query(big, fat)}
    assert reasons == {big: "waits for 3 cores, 2 free", fat: f"waits behind job {big}"}
    batch.run("cancel", first)
    assert {end["state"] for end in batch.ended(big, fat)} == {"COMPLETED"}


def test_a_request_beyond_the_machine_gets_the_whole_machine(batch: Batch) -> None:
    options = ("--capacity-cores", "2", "--capacity-memory", "1000")
    job = batch.submit("echo $LOCAL_CORES", "cores=64", "memory=999999", "output=out", options=options)
    end = batch.end(job)
    assert (end["state"], end["cores"]) == ("COMPLETED", 2)
    assert batch.read("out") == "2\n"


def some_job(seq: int, **changes: object) -> Job:
    fields = dict.fromkeys(Job._fields)
    known = {"seq": seq, "submission": seq, "element": 0, "is_array": False, "state": "PENDING", "cores": 1}
    return Job(**{**fields, **known, "memory_mib": 0, **changes})  # type: ignore[arg-type]


def test_a_big_job_at_the_head_is_not_passed_by_small_ones() -> None:
    running = [some_job(1, cores=1)]
    queue = [some_job(2, cores=2), some_job(3), some_job(4)]
    verdicts = [(turn.starts, turn.reason) for turn in turns(queue, running, Capacity(2, 1000))]
    assert verdicts == [
        (False, "waits for 2 cores, 1 free"),
        (False, "waits behind job 2"),
        (False, "waits behind job 2"),
    ]


def test_memory_is_a_slot_as_well() -> None:
    queue = [some_job(1, memory_mib=600), some_job(2, memory_mib=600)]
    verdicts = [(turn.starts, turn.reason) for turn in turns(queue, [], Capacity(8, 1000))]
    assert verdicts == [(True, "is about to start"), (False, "waits for 600 MiB of memory, 400 free")]


def test_an_element_that_waits_for_its_siblings_only_may_be_passed() -> None:
    array = [some_job(seq, submission=1, is_array=True, at_once=1, element=seq) for seq in (1, 2)]
    verdicts = [turn.starts for turn in turns([*array, some_job(3)], [], Capacity(2, 1000))]
    assert verdicts == [True, False, True]
