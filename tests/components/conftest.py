"""Pipelines that are written as YAML, in a Dagster of their own on the embedded batch system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.components.project import Project


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project. `$SPOOL`, `$WORK` in its YAML are folders of the test."""
    monkeypatch.setenv("DAGSTER_HPC_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    return Project.new(tmp_path)
