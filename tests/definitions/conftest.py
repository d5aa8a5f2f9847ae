"""A Dagster of its own for each test of the demo's code location."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.definitions.dagster_home import DagsterHome


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DagsterHome:
    """It is this process's Dagster too."""
    made = DagsterHome(tmp_path / "home")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made
