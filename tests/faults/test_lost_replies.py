"""sbatch says that it failed, and nobody knows whether it did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dagster_hpc import Command, JobState
from tests.faults.place import PLAIN, Place, commands_first, eventually

pytestmark = pytest.mark.needs("slurm")

REAL = '/usr/bin/env PATH="${PATH#*:}" sbatch "$@"'
LIE = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"


@pytest.fixture
def counted(on_slurm: Place) -> Command:
    return Command.shell(f"echo ran >>{on_slurm.folder}/ran", name="subject")


def was_one(place: Place) -> None:
    row = place.only_row()
    assert row.state is JobState.COMPLETED
    assert place.submitted() == [row.job_id]
    assert (place.folder / "ran").read_text() == "ran\n"


def test_a_job_that_was_taken_all_the_same_is_adopted(
    on_slurm: Place, counted: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands_first(on_slurm, monkeypatch, sbatch=f"{REAL} >/dev/null\n{LIE}")
    assert on_slurm.runner().run(counted, profile=PLAIN).succeeded
    was_one(on_slurm)


def test_it_is_adopted_while_the_accounting_is_down(
    on_slurm: Place, counted: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue shows the job: that is enough."""
    commands_first(
        on_slurm, monkeypatch, sbatch=f"{REAL} >/dev/null\n{LIE}", sacct="echo 'Connection refused' >&2; exit 1"
    )
    assert on_slurm.runner().run(counted, profile=PLAIN).succeeded
    was_one(on_slurm)


def test_a_job_that_was_not_taken_is_submitted_again(
    on_slurm: Place, counted: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = on_slurm.folder / "note"
    commands_first(on_slurm, monkeypatch, sbatch=f"[ -e {note} ] || {{ touch {note}; {LIE}; }}\n{REAL}")
    assert on_slurm.runner().run(counted, profile=PLAIN).succeeded
    assert note.exists()
    was_one(on_slurm)


def test_a_job_that_is_taken_twice_runs_once(
    on_slurm: Place, counted: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy that comes second steps aside; the one that runs is followed, though its id was not the one we got."""
    go, ran = on_slurm.folder / "go", on_slurm.folder / "ran"
    commands_first(
        on_slurm, monkeypatch, sbatch=f"{REAL} >/dev/null\nwhile [ ! -e {ran} ]; do sleep 0.05; done\n{REAL}"
    )
    slow = replace(counted, script=f"{counted.script}; while [ ! -e {go} ]; do sleep 0.1; done")
    run = on_slurm.meanwhile(on_slurm.runner().run, slow, profile=PLAIN)
    first, _ = eventually(lambda: pair if len(pair := on_slurm.submitted()) == 2 else None)
    eventually(lambda: on_slurm.only_row().job_id == first, "the one that runs is followed")
    go.touch()
    result = run.result(timeout=90)
    assert (result.state, result.exit_code, result.handle.job_id) == (JobState.COMPLETED, 0, first)
    assert on_slurm.rows(live=True) == []
    assert ran.read_text() == "ran\n"
    assert f"job {first} is this same submission; this copy stops" in result.stderr_tail
