"""Runners on this machine and on a real Slurm, whose functions run under the interpreter of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dagster_hpc import HPCJobRunner
from tests.detached.conftest import lab
from tests.faults.conftest import place, quick_local_batch
from tests.faults.place import Place
from tests.partitions.conftest import instance
from tests.resources.conftest import hpc

__all__ = ["hpc", "instance", "lab", "place", "quick_local_batch"]

ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.fixture
def anywhere(place: Place) -> HPCJobRunner:
    """The embedded scheduler, and a real Slurm."""
    return place.runner(target={"python": sys.executable})


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """An interpreter that has its own library only, as on a node where nothing is installed."""
    path = tmp_path / "bare-python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    path.chmod(0o755)
    return str(path)
