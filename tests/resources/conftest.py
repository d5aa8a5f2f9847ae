"""A runner on this machine for the tests of this folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget


@pytest.fixture
def hpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HPCJobRunner]:
    """The embedded scheduler with a spool of its own; whatever still runs at the end is cancelled."""
    for name, value in {"KILL_AFTER": "0.3", "POLL": "0.5", "SAMPLE": "0.1", "IDLE": "0.5"}.items():
        monkeypatch.setenv(f"LOCAL_BATCH_{name}", value)
    runner = HPCJobRunner(
        target=LocalTarget(poll_interval=0.3, spool=str(tmp_path / "spool"), executable_map={"python": sys.executable}),
        profiles={"small": ExecutionProfile(walltime="00:05:00"), "wide": ExecutionProfile(mpiprocs=2)},
        work_root=str(tmp_path / "work"),
        ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )
    yield runner
    live = [row.job_id for row in runner.jobs(live=True) if row.job_id]
    if live:
        cancel = [sys.executable, "-m", "dagster_hpc.local_batch", "cancel", "--spool", str(tmp_path / "spool")]
        subprocess.run([*cancel, *live], check=True)
