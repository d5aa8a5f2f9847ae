"""Steps and the job that holds them, as `dagster-hpc` shows them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from dagster_hpc import JobState
from tests.allocations.place import Place


def hpc(place: Place, *words: str) -> str:
    ledger = f"sqlite:///{place.folder}/ledger.db"
    done = subprocess.run([sys.executable, "-m", "dagster_hpc.cli", "--ledger", ledger, *words],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_step_and_its_allocation_are_jobs_at_a_terminal(tmp_path: Path) -> None:
    place = Place(tmp_path, idle=60.0)
    ended = place.hpc.run(place.counted("echo said"), profile="step", args=["a"])
    runs = place.hpc.submit(place.counted("exec sleep 300"), profile="step", args=["b"])
    place.eventually(lambda: place.ran == ["a", "b"])

    names = [row["name"] for row in json.loads(hpc(place, "jobs", "--json"))]
    assert sorted(names) == ["allocation", "shell", "shell"]
    assert hpc(place, "logs", ended.handle.token) == "said\n"
    assert "holds 2 cores" in hpc(place, "logs", place.held[0].token)
    assert "COMPLETED" in hpc(place, "show", ended.handle.token)
    assert "cancelled" in hpc(place, "cancel", runs.token)
    assert place.engine.ledger.job(runs.token).state is JobState.CANCELLED

    assert "cancelled" in hpc(place, "cancel", place.held[0].token)
    assert place.is_given_back()


def test_whoever_refreshes_sees_that_steps_ended_with_their_allocation(tmp_path: Path) -> None:
    place = Place(tmp_path, idle=60.0)
    step = place.hpc.submit(place.counted("exec sleep 300"), profile="step", args=["a"])
    place.eventually(lambda: place.ran == ["a"])
    hpc(place, "cancel", place.held[0].token)

    def state() -> JobState:
        hpc(place, "jobs", "--refresh")
        return place.engine.ledger.job(step.token).state

    assert JobState.CANCELLED in [state() for _ in range(10)]


def test_an_allocation_of_another_ledger_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The queue outlives the ledger: what it says of jobs that nobody knows is passed over."""
    place = Place(tmp_path)
    place.hpc.run(place.counted(), profile="step", args=["a"])
    place.eventually(place.is_given_back)
    (tmp_path / "ledger.db").rename(tmp_path / "lost.db")

    after = place.again()
    assert after.hpc.run(after.counted(), profile="step", args=["b"]).succeeded
    assert place.ran == ["a", "b"]
    after.eventually(after.is_given_back)
