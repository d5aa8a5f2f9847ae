"""A step that runs: when its end is told, and as what."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dagster_hpc.step_batch.folder import Folder
from dagster_hpc.step_batch.running import End, Running
from dagster_hpc.step_batch.spool import Submission

NOW = 1000.0  # of the holder's clock, which starts where it likes


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(str(tmp_path))
    made.make(".job")
    return made


def started(folder: Folder, script: str) -> Running:
    (Path(folder.path) / ".job" / "script.step").write_text(script)
    submission = Submission("k7m2x9qd", "n_k7m2x9qd", f"{folder.path}/.job/script.step", f"{folder.path}/log", 0.0)
    return Running(submission, 0, NOW, umask=0o077)


def looked(running: Running, now: float) -> End | None:
    """What a look finds once the process has had time to end."""
    deadline = time.monotonic() + 30
    while running._ended is None and time.monotonic() < deadline:
        running.look(now)
        time.sleep(0.01)
    return running.look(now)


@pytest.mark.parametrize("script", ["kill -TERM $$", "sleep 100 & kill -TERM $!; wait $!"])
def test_an_end_by_a_sigterm_of_somebody_else_is_told_once_the_allocation_lives_on(folder: Folder, script: str) -> None:
    began = time.time()
    running = started(folder, script)

    assert looked(running, NOW) is None
    told_late = time.time()
    assert running.look(NOW + 14) is None
    end = running.look(NOW + 16)
    assert end is not None
    assert end.state == "FAILED"
    assert end.signal == 15 or end.exit_code == 143
    assert began <= (end.ended_at or 0) <= told_late


def test_an_end_by_a_sigterm_is_told_at_once_where_the_allocation_is_told_to_end_too(folder: Folder) -> None:
    running = started(folder, "kill -TERM $$")
    assert looked(running, NOW) is None

    running.stop("CANCELLED", "its allocation was told to end", NOW + 1)

    assert running.look(NOW + 1) is not None


def test_an_end_by_our_own_sigterm_is_told_at_once(folder: Folder) -> None:
    running = started(folder, "sleep 100")
    running.stop("CANCELLED", "cancelled while it ran", NOW)

    end = looked(running, NOW)

    assert end is not None
    assert (end.state, end.signal) == ("CANCELLED", 15)


@pytest.mark.parametrize(
    ("script", "state", "code", "number"),
    [("true", "COMPLETED", 0, None), ("exit 3", "FAILED", 3, None), ("kill -KILL $$", "FAILED", None, 9)],
)
def test_any_other_end_is_told_at_once(
    folder: Folder, script: str, state: str, code: int | None, number: int | None
) -> None:
    end = looked(started(folder, script), NOW)

    assert end is not None
    assert (end.state, end.exit_code, end.signal) == (state, code, number)
