"""A batch system of its own for each test, gone when the test ends."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc.local_batch import spool
from tests.local_batch.system import LIVE, Batch, eventually


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    system = Batch(tmp_path)
    yield system
    if spool.exists(system.spool):
        live = [each["id"] for each in system.query()]
        if live:
            system.run("cancel", *live)
            eventually(lambda: all(each.state not in LIVE for each in system.jobs(*live)))
    for daemon in system.daemons():
        os.kill(daemon, signal.SIGTERM)
    eventually(lambda: not system.keepers())
