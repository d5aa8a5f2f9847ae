"""Jobs that end badly: each way of ending has its own error, and ledger and metadata tell the same story."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dagster_hpc import (
    Command,
    Dependency,
    JobCancelled,
    JobFailed,
    JobOutOfMemory,
    JobState,
    JobTimedOut,
    OutputMissing,
)
from tests.faults.place import PLAIN, Place, eventually, fails, over, run_failing, told

LAST_WORDS = "echo last words >&2\n"


@pytest.mark.parametrize(
    ("script", "exit_code", "reason"),
    [
        ("exit 3", 3, "its program ended with exit code 3"),
        ("kill -SEGV $$", 139, "its program was killed by signal 11 (SIGSEGV)"),
        ("kill -KILL $$", 137, "its program was killed by signal 9 (SIGKILL)"),
    ],
)
def test_a_program_that_fails(place: Place, script: str, exit_code: int, reason: str) -> None:
    seen = fails(place, Command.shell(LAST_WORDS + script), JobFailed, JobState.FAILED)
    assert (seen.result.exit_code, seen.row.exit_code, seen.metadata["exit_code"]) == (exit_code,) * 3
    assert seen.result.reason == seen.row.reason == seen.metadata["reason"] == reason
    assert "Last lines of stderr:\nlast words" in seen.text
    assert "last words" in seen.metadata["stderr_tail"]
    assert seen.metadata["elapsed_s"] is not None


def test_a_job_that_is_killed_whole(place: Place) -> None:
    """Not even its script can say how it ended: the scheduler has to."""
    seen = fails(place, Command.shell(LAST_WORDS + "kill -KILL 0; sleep 100"), JobFailed, JobState.FAILED)
    assert seen.result.exit_code is None
    assert "KILL" in seen.result.reason or "killed" in seen.result.reason
    assert "last words" in seen.text


@pytest.mark.parametrize("script", ["sleep 100", "trap '' TERM; while :; do sleep 0.1; done"])
def test_a_local_job_that_runs_into_its_walltime(on_local: Place, script: str) -> None:
    """TERM first; what ignores it is killed."""
    seen = fails(
        on_local, Command.shell(LAST_WORDS + script), JobTimedOut, JobState.TIMEOUT, overrides={"walltime": "1s"}
    )
    assert "walltime" in seen.result.reason
    assert "longer walltime" in seen.text
    assert "last words" in seen.metadata["stderr_tail"]


@pytest.mark.needs("slurm")
def test_a_slurm_job_that_runs_into_its_walltime(on_slurm: Place) -> None:
    run = on_slurm.meanwhile(fails, on_slurm, Command.shell(LAST_WORDS + "sleep 100"), JobTimedOut, JobState.TIMEOUT)
    job_id = on_slurm.wait_for_state("RUNNING").job_id
    assert on_slurm.cluster
    assert job_id
    on_slurm.cluster.expire(job_id)
    seen = run.result(timeout=90)
    assert "ran into its walltime" in seen.result.reason
    assert "longer walltime" in seen.text
    assert "DUE TO TIME LIMIT" in seen.metadata["stderr_tail"]  # Slurm's own words


def test_a_job_that_takes_too_much_memory(place: Place) -> None:
    if place.cluster and not place.cluster.enforces_memory:
        pytest.skip("this Slurm enforces memory as root with a writable cgroup v1 only")
    hungry = Command(sys.executable, args=["-c", "x = bytearray(400_000_000); import time; time.sleep(60)"])
    seen = fails(place, hungry, JobOutOfMemory, JobState.OOM, overrides={"memory_per_node": "100M"})
    assert "memory" in seen.result.reason
    assert "more memory_per_node" in seen.text


def test_a_running_job_that_somebody_cancels(place: Place) -> None:
    hpc = place.runner()
    handle = hpc.submit(Command.shell(LAST_WORDS + "touch started; sleep 100"), profile=PLAIN)
    waiting = place.meanwhile(run_failing, lambda: hpc.wait(handle), JobCancelled)
    row = place.wait_for_state("RUNNING")
    eventually(Path(row.work_dir, "started").exists)
    place.cancel_outside(row.job_id or "")
    error = waiting.result(timeout=90)
    assert error.result.state is JobState.CANCELLED
    assert "cancelled" in error.result.reason
    assert "last words" in error.result.stderr_tail
    told(error, row)
    over(place, row.token, JobState.CANCELLED)


def test_a_waiting_job_that_somebody_cancels(place: Place) -> None:
    hpc = place.runner(**place.keep_waiting())
    handle = hpc.submit(Command.shell("touch started"), profile=PLAIN)
    waiting = place.meanwhile(run_failing, lambda: hpc.wait(handle), JobCancelled)
    row = place.wait_for_state("PENDING", "HELD")
    place.cancel_outside(row.job_id or "")
    error = waiting.result(timeout=90)
    assert "it never began to run" in error.result.reason
    assert error.result.metrics.started_at is None
    told(error, row)
    over(place, row.token, JobState.CANCELLED)


def test_a_declared_output_that_is_missing(place: Place) -> None:
    command = Command.shell("echo here >there.txt; echo last words >&2")
    seen = fails(place, command, OutputMissing, JobState.FAILED, outputs={"there": "there.txt", "gone": "sub/gone.txt"})
    assert isinstance(seen.error, OutputMissing)
    assert seen.error.missing == ["gone (gone.txt)"]
    assert seen.result.exit_code == 0
    assert "declared output missing: gone (gone.txt)" in seen.text
    assert seen.metadata["outputs"] == {}


def test_a_pre_command_that_fails(place: Place) -> None:
    seen = fails(
        place,
        Command.shell("touch ran"),
        JobFailed,
        JobState.FAILED,
        overrides={"pre_commands": ["true", "ls /no/such/place", "touch went-on"]},
    )
    assert seen.result.reason == "pre_command ls /no/such/place failed with exit code 2"
    assert "dagster_hpc: pre_command ls /no/such/place failed with exit code 2" in seen.metadata["stderr_tail"]
    assert not any(Path(seen.row.work_dir, name).exists() for name in ("ran", "went-on"))


def test_an_element_that_fails_fails_alone(place: Place) -> None:
    hpc = place.runner()
    script = 'echo "$1"; [ "$1" != b ] || { echo last words >&2; exit 3; }'
    good, bad, also_good = hpc.map(Command.shell(script), [["a"], ["b"], ["c"]], profile=PLAIN)
    assert [good.state, bad.state, also_good.state] == [JobState.COMPLETED, JobState.FAILED, JobState.COMPLETED]
    error = run_failing(bad.raise_for_state, JobFailed)
    assert (error.result.exit_code, error.result.stderr_tail) == (3, "last words")
    assert bad.handle.work_dir.endswith("/1")
    assert "What to do: " in str(error)
    assert [row.state for row in place.rows()] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert hpc.jobs(live=True) == []


def test_a_job_that_waits_for_one_that_fails(place: Place) -> None:
    hpc = place.runner()
    first = hpc.submit(Command.shell("sleep 0.5; exit 3", name="first"), profile=PLAIN)
    assert first.job_id
    second = hpc.submit(
        Command.shell("touch ran", name="second"), profile=PLAIN, dependencies=[Dependency("afterok", first.job_id)]
    )
    waiting = place.meanwhile(run_failing, lambda: hpc.wait(first), JobFailed)
    error = run_failing(lambda: hpc.wait(second), JobCancelled)
    assert waiting.result(timeout=90).result.exit_code == 3
    assert "never" in error.result.reason or "did not end as required" in error.result.reason
    assert "waits for" not in error.result.reason  # it is over
    told(error, place.rows()[0])
    over(place, second.token, JobState.CANCELLED)
