"""Jobs that Slurm sends back to the queue, or never lets out of it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, JobFailed, JobState
from dagster_hpc.engine.target import Patience
from tests.faults.place import PLAIN, QUICK, Place, eventually, fails

pytestmark = pytest.mark.needs("slurm")


@pytest.mark.parametrize("trapping", [False, True])
def test_a_requeued_job_goes_on_under_its_id(on_slurm: Place, trapping: bool) -> None:
    """The script of its first run may have left an exit code: that is not the end of it."""
    # As users have it, but shorter where patience would hide a hasty verdict: the job waits for longer than this.
    patience = replace(Patience(), accounting_delay_s=1.0, epilogue_s=1.0, file_delay_s=0.5)
    hpc = on_slurm.runner(
        patience=patience, target={"poll_interval": 3.0}, profile={"directives": ["#SBATCH --requeue"]}
    )
    ran, go = on_slurm.folder / "ran", on_slurm.folder / "go"
    trap = "trap 'exit 0' TERM; " if trapping else ""
    handle = hpc.submit(
        Command.shell(f"{trap}echo ran >>{ran}; while [ ! -e {go} ]; do sleep 0.1; done"), profile=PLAIN
    )
    assert handle.job_id
    waiting = on_slurm.meanwhile(hpc.wait, handle)
    eventually(ran.exists, "it runs")
    on_slurm.wait_for_state("RUNNING")
    on_slurm.slurm("scontrol", "requeue", handle.job_id)
    eventually(lambda: state_there(on_slurm, handle.job_id) == "PENDING", "it is back in the queue")
    on_slurm.wait_for_state("PENDING", "HELD")
    hasty = time.monotonic() + 5.0
    while time.monotonic() < hasty:
        assert on_slurm.only_row().state in ("PENDING", "HELD")
        time.sleep(0.2)
    on_slurm.slurm("scontrol", "update", f"jobid={handle.job_id}", "StartTime=now")  # or it would wait for two minutes
    eventually(lambda: ran.read_text() == "ran\nran\n", "it runs again")
    go.touch()
    result = waiting.result(timeout=90)
    assert result.state is JobState.COMPLETED
    assert result.handle.job_id == handle.job_id
    assert on_slurm.submitted() == [handle.job_id]
    assert on_slurm.rows(live=True) == []


def state_there(place: Place, job_id: str | None) -> str:
    return place.slurm("squeue", "-h", "-t", "all", "-j", job_id or "", "-o", "%T").stdout.strip()


@pytest.mark.parametrize(
    ("target", "profile", "words"),
    [
        (
            {"queue_cpu": "short"},
            {"walltime": "2m"},
            "more time than the partition allows (PartitionTimeLimit)",
        ),
        ({}, {"ompthreads": 99}, "can never start"),
    ],
)
def test_a_job_that_can_never_start_is_given_up(
    on_slurm: Place, target: dict[str, Any], profile: dict[str, Any], words: str
) -> None:
    hpc = on_slurm.runner(patience=QUICK, target=target, profile=profile)
    seen = fails(on_slurm, Command("/bin/true"), JobFailed, JobState.FAILED, runner=hpc)
    assert words in seen.result.reason
    assert "it can never start" in seen.result.reason
    assert words in seen.metadata["reason"]
    assert seen.row.job_id
    eventually(lambda: state_there(on_slurm, seen.row.job_id) == "CANCELLED", "Slurm has it no more")
    assert not Path(seen.row.work_dir, ".job", "started").exists()
