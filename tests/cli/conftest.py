from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal whose local jobs, and the scheduler that runs them, end with the test."""
    monkeypatch.setenv("LOCAL_BATCH_IDLE", "0.5")
    monkeypatch.setenv("LOCAL_BATCH_KILL_AFTER", "0.5")
    monkeypatch.setenv("LOCAL_BATCH_POLL", "0.5")
    terminal = Terminal(tmp_path)
    yield terminal
    if (tmp_path / "spool").exists():
        for live in terminal.hpc.jobs(live=True):
            terminal.hpc.cancel(live.handle())
