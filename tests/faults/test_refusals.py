"""The scheduler says no, or is not there at all: its own words reach the user, and nothing is left as live."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, ConfigurationError, JobState, SubmitRefused
from tests.faults.place import PLAIN, Place, fails, nothing_submitted, over, run_failing, told
from tests.systems.slurm import SlurmCluster

TRUE = Command("/bin/true", name="subject")


@pytest.mark.needs("slurm")
@pytest.mark.parametrize(
    ("target", "profile", "words", "advice"),
    [
        ({"queue_cpu": "nope"}, {}, "invalid partition specified: nope", "queue_cpu"),
        ({"project_cpu": "nope"}, {}, "Invalid account or account/partition combination", "project_cpu"),
        ({}, {"reservation": "nope"}, "reservation is invalid", "correct what Slurm names"),
        ({}, {"memory_per_node": "99G"}, "Memory specification can not be satisfied", "less memory"),
        ({}, {"directives": ["#SBATCH --constraint=nope"]}, "Invalid feature specification", "render"),
    ],
)
def test_slurm_refuses(
    on_slurm: Place, target: dict[str, Any], profile: dict[str, Any], words: str, advice: str
) -> None:
    hpc = on_slurm.runner(target=target, profile=profile)
    seen = fails(on_slurm, TRUE, SubmitRefused, JobState.REFUSED, runner=hpc)
    assert words in seen.text
    assert words in seen.row.reason
    assert advice in seen.text
    assert seen.row.job_id is None
    assert live_there(on_slurm) == []


@pytest.mark.needs("slurm")
def test_slurm_refuses_an_unknown_qos(on_slurm: Place) -> None:
    """Where the site enforces them; elsewhere Slurm takes any word."""
    hpc = on_slurm.runner(profile={"qos": "nope"})
    with enforced(on_slurm, "associations,qos"):
        seen = fails(on_slurm, TRUE, SubmitRefused, JobState.REFUSED, runner=hpc)
    assert "Invalid qos specification" in seen.text
    assert "Invalid qos specification" in seen.row.reason
    assert "qos of the profile" in seen.text
    assert live_there(on_slurm) == []


@contextmanager
def enforced(place: Place, what: str) -> Iterator[None]:
    """A controller that enforces this; afterwards as it was."""
    assert place.cluster
    file = Path(place.cluster.environment["SLURM_CONF"])
    before = file.read_text()
    after, changed = re.subn("(?m)^AccountingStorageEnforce=.*", f"AccountingStorageEnforce={what}", before)
    assert changed == 1
    try:
        restart(place.cluster, file, after)
        yield
    finally:
        restart(place.cluster, file, before)


def restart(cluster: SlurmCluster, file: Path, text: str) -> None:
    cluster.stop_controller()
    file.write_text(text)
    cluster.start_controller()


def live_there(place: Place) -> list[str]:
    """What Slurm has of this test and is not over; some that it refuses it keeps as FAILED for a while."""
    tokens = {row.batch for row in place.rows()}
    names = place.slurm("squeue", "-h", "-o", "%j").stdout.split()
    return [name for name in names if name.rpartition("_")[2] in tokens]


@pytest.mark.needs("slurm")
@pytest.mark.parametrize("lacking", ["missing", "not executable"])
def test_there_is_no_sbatch(on_slurm: Place, lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = on_slurm.folder / "bin"
    folder.mkdir()
    if lacking == "not executable":
        (folder / "sbatch").write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(folder))
    seen = fails(on_slurm, TRUE, ConfigurationError, JobState.REFUSED)
    assert "`sbatch` is not on PATH" in seen.text or "`sbatch` cannot be run" in seen.text
    assert "dagster-hpc doctor" in seen.text


def test_an_array_that_is_too_large_for_this_machine(on_local: Place) -> None:
    """Known beforehand: nobody waits for a hundred thousand folders."""
    hpc = on_local.runner()
    error = run_failing(lambda: hpc.map(TRUE, [[]] * 100_001, profile=PLAIN), ConfigurationError)
    assert "100000" in str(error)
    nothing_submitted(on_local)


@pytest.mark.needs("slurm")
def test_outside_dagster_the_error_is_the_same(on_slurm: Place) -> None:
    hpc = on_slurm.runner(target={"queue_cpu": "nope"})
    error = run_failing(lambda: hpc.run(TRUE, profile=PLAIN, key="k"), SubmitRefused)
    row = on_slurm.only_row()
    told(error, row)
    over(on_slurm, row.token, JobState.REFUSED)
    good = on_slurm.runner().run(TRUE, profile=PLAIN, key="k")  # the refused one is in nobody's way
    assert good.succeeded
    assert not good.handle.joined
