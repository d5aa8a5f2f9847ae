"""Looking at, following and cancelling jobs of a real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, SlurmTarget
from tests.cli.terminal import Terminal
from tests.systems.slurm import SlurmCluster

pytestmark = pytest.mark.needs("slurm")


@pytest.fixture
def login_node(terminal: Terminal, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal whose runner submits to the cluster."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    terminal.hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=0.5),
        profiles={"small": ExecutionProfile(memory_per_node="64M")},
        work_root=str(terminal.folder / "work"),
        ledger_url=terminal.url,
    )
    yield terminal
    for live in terminal.hpc.jobs(live=True):
        terminal.hpc.cancel(live.handle())


def test_a_job_is_shown_with_what_slurm_accounts_for(login_node: Terminal) -> None:
    handle = login_node.hpc.run(Command.shell("sleep 1"), profile="small").handle

    page = login_node.run("show", str(handle.job_id)).stdout

    for words in ("COMPLETED", "queue cpu project proj1", "1 node, 1 core", "node hours", "efficiency"):
        assert words in page


def test_a_running_job_is_cancelled_in_the_queue(login_node: Terminal, slurm: SlurmCluster) -> None:
    handle = login_node.hpc.submit(Command.shell("sleep 300"), profile="small")

    (report,) = login_node.json("cancel", str(handle.job_id))

    assert report["cancelled"], report
    assert login_node.json("show", handle.token)["state"] == "CANCELLED"
    assert slurm.run(["squeue", "-h", "-t", "PD,R", "-j", f"{handle.job_id},{handle.job_id}"]).stdout == ""


def test_follow_ends_with_the_job(login_node: Terminal) -> None:
    handle = login_node.hpc.submit(Command.shell("for i in 1 2 3; do echo $i; sleep 0.3; done"), profile="small")

    done = login_node.run("logs", "-f", handle.token)

    assert (done.returncode, done.stdout) == (0, "1\n2\n3\n")
