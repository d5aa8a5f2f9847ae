"""The scheduler says no, or is not there at all: its own words reach the user, and nothing is left as live."""

from __future__ import annotations

from typing import Any

import pytest

from dagster_hpc import Command, ConfigurationError, JobState, SubmitRefused
from tests.faults.place import PLAIN, Place, fails, over, run_failing, told

TRUE = Command("/bin/true", name="subject")


@pytest.mark.needs("slurm")
@pytest.mark.parametrize(
    ("target", "profile", "words", "advice"),
    [
        ({"queue_cpu": "nope"}, {}, "invalid partition specified: nope", "queue_cpu"),
        ({"project_cpu": "nope"}, {}, "Invalid account or account/partition combination", "project_cpu"),
        ({}, {"qos": "nope"}, "Invalid qos specification", "qos of the profile"),
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
    assert on_slurm.submitted() == []


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


def test_an_array_that_is_too_large(place: Place) -> None:
    hpc = place.runner()
    most = 10_001 if place.kind == "slurm" else 100_000
    error = run_failing(lambda: hpc.map(TRUE, [[]] * (most + 1), profile=PLAIN), SubmitRefused)
    assert "Invalid job array specification" in str(error) or "more than" in str(error)
    row = place.rows(limit=1)[0]
    assert "Work directory: " in str(error)
    assert "What to do: " in str(error)
    assert row.state is JobState.REFUSED
    assert place.rows(live=True) == []


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
