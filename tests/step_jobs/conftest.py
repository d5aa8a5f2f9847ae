from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc.engine.job import JobState
from tests.step_jobs import pipeline
from tests.step_jobs.place import StepHome


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepHome]:
    """On the embedded scheduler, with SQLite. What still runs at the end is cancelled."""
    made = StepHome(tmp_path / "home", {pipeline.PASSWORD: "open sesame"})
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    if any(row.state is JobState.RUNNING for row in made.jobs()):
        hpc = pipeline.runner()
        for row in hpc.jobs(live=True):
            hpc.cancel(row.handle())
