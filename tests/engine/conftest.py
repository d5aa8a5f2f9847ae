"""A pretended Slurm, a ledger and somebody who listens, for the tests of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc.engine.ledger import Ledger
from tests.engine.pretend import Heard, PretendSlurm


@pytest.fixture
def host(tmp_path: Path) -> PretendSlurm:
    return PretendSlurm(tmp_path / "slurm")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()
