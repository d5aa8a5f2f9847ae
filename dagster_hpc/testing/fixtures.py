"""Fixtures for pytest: `pytest_plugins = ["dagster_hpc.testing.fixtures"]` in a conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc.testing.runner import PlayedRunner

__all__ = ["played_hpc"]


@pytest.fixture
def played_hpc(tmp_path: Path) -> PlayedRunner:
    """A `PlayedRunner` in a folder of this test alone."""
    return PlayedRunner(tmp_path / "played")
