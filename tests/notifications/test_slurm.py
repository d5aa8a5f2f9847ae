"""On a real Slurm: a job that can never start, one that comes near its walltime, and an array of which one element fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, SlurmTarget
from tests.notifications.test_sensor import Letterbox, switched_on
from tests.sensors.conftest import Watch
from tests.systems.daemon import wait_until
from tests.systems.slurm import SlurmCluster

pytestmark = pytest.mark.needs("slurm")


@pytest.fixture
def watching(
    watch: Watch, slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Watch, Letterbox]]:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setattr("dagster_hpc.notifications.occasions._STUCK_S", 0.0)
    watch.hpc = HPCJobRunner(
        target=SlurmTarget(queue_cpu="cpu", project_cpu=slurm.account, poll_interval=1.0),
        profiles={"small": ExecutionProfile(walltime="00:05:00")},
        work_root=str(slurm.folder / "notifications"), ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )  # fmt: skip
    box = Letterbox()
    yield switched_on(watch, box, walltime_share=0.01), box
    for row in watch.hpc.jobs(live=True):
        watch.hpc.cancel(row.handle())


def first(watching: tuple[Watch, Letterbox]) -> str:
    """The subject of the first message, once there is one."""
    watch, box = watching

    def told() -> bool:
        watch.look()
        return bool(box.received)

    wait_until(told, 120, lambda: str((watch.said[-3:], watch.hpc.jobs())))
    return box.subjects[0]


def test_a_job_that_can_never_start_is_told_in_slurms_words(watching: tuple[Watch, Letterbox]) -> None:
    watch, box = watching
    watch.hpc.submit(Command.shell("true", name="endless"), profile="small", overrides={"walltime": "300-00:00:00"})
    assert first(watching) == "[slurm] endless cannot start"
    assert re.search(r"Partition(TimeLimit|Config)", box.received[0].text)  # Slurm says the one, and soon the other


def test_a_job_near_its_walltime_is_told(watching: tuple[Watch, Letterbox]) -> None:
    watching[0].hpc.submit(Command.shell("sleep 600", name="slow"), profile="small")
    assert first(watching).startswith("[slurm] slow comes to the end of its walltime in ")


def test_an_array_of_which_an_element_fails_is_one_message(watching: tuple[Watch, Letterbox]) -> None:
    watching[0].hpc.map(Command.shell('exit "$1"', name="sweep"), [["0"], ["1"], ["0"]], profile="small")
    assert first(watching) == "[slurm] sweep: 1 of 3 elements ended badly"
    assert "its program ended with exit code 1" in watching[1].received[0].text
