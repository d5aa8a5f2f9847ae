"""Whatever dies while a job is under way, the next attempt finds that job, and it runs once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, JobResult
from tests.faults.place import PLAIN, Client, Place, commands_first, eventually, materialize, metadata_of


class Once:
    """A job that leaves a trace each time it runs, and ends when it may."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.ran, self.go = place.folder / "ran", place.folder / "go"
        self.script = f"echo ran >>{self.ran}\nwhile [ ! -e {self.go} ]; do sleep 0.05; done"
        self.wishes: dict[str, Any] = {"script": self.script, "key": "once"}

    def client(self, **wishes: Any) -> Client:
        return self.place.client(**self.wishes, **wishes)

    def next_attempt(self) -> JobResult:
        """The same in this process."""
        hpc = self.place.runner(target=self.wishes.get("target"), profile=self.wishes.get("profile"))
        return hpc.run(Command.shell(self.script, name="subject"), profile=PLAIN, key="once")

    def times(self) -> int:
        return len(self.ran.read_text().splitlines()) if self.ran.exists() else 0

    def runs(self) -> None:
        eventually(self.times, "the job runs")

    def was_one(self, result: JobResult, *, joined: bool = True) -> None:
        """One job in the ledger, one at the scheduler, one trace."""
        rows = [row for row in self.place.rows() if row.name == "subject"]
        assert [row.state for row in rows] == ["COMPLETED"]
        assert self.place.rows(live=True) == []
        assert result.handle.joined is joined
        assert rows[0].job_id == result.handle.job_id
        assert result.handle.job_id in self.place.submitted()
        assert self.times() == 1


@pytest.fixture
def once(place: Place) -> Iterator[Once]:
    job = Once(place)
    yield job
    job.go.touch()


def test_killed_while_the_job_waits(once: Once) -> None:
    place = once.place
    once.wishes |= place.keep_waiting()
    with once.client() as client:
        row = eventually(lambda: next((row for row in place.rows() if row.job_id and row.name == "subject"), None))
        place.wait_for_state("PENDING", "HELD", job_id=row.job_id)
        client.kill()
    attempt = place.meanwhile(once.next_attempt)
    place.let_go(row.job_id)
    once.runs()
    once.go.touch()
    result = attempt.result(timeout=90)
    assert result.handle.job_id == row.job_id
    once.was_one(result)


def test_killed_while_the_job_runs(once: Once) -> None:
    with once.client() as client:
        once.runs()
        client.kill()
    job_id = once.place.only_row().job_id
    attempt = once.place.meanwhile(once.next_attempt)
    once.go.touch()
    result = attempt.result(timeout=90)
    assert result.handle.job_id == job_id
    once.was_one(result)


def test_killed_and_looked_for_when_the_job_is_long_over(once: Once) -> None:
    """Nobody saw it end: the next attempt does, before it may call for a new one."""
    with once.client() as client:
        once.runs()
        client.kill()
    once.go.touch()
    eventually(lambda: Path(once.place.only_row().work_dir, ".job", "exit_code").exists(), "the job ends")
    once.was_one(once.next_attempt())


def test_killed_and_seen_to_end_by_somebody_else(once: Once) -> None:
    """One who waits for another job of the target, or lists them all, sees it end: its result is owed all the same."""
    with once.client() as client:
        once.runs()
        client.kill()
    once.go.touch()
    other = once.place.runner()._engine()
    eventually(lambda: other.tick() or once.place.only_row().state.is_final, "somebody sees it end")
    once.was_one(once.next_attempt())


def test_killed_between_claim_and_submission(once: Once) -> None:
    """Nothing of it was written yet: the next attempt starts afresh, and need not know."""
    with once.client(die_before_files=True) as client:
        client.process.communicate(timeout=60)
        assert client.process.returncode == -signal.SIGKILL
    assert [row.state for row in once.place.rows()] == ["SUBMITTING"]
    once.go.touch()
    result = once.next_attempt()
    assert not result.handle.joined
    assert [row.state for row in once.place.rows()] == ["COMPLETED", "REFUSED"]
    assert once.times() == 1


def test_killed_before_the_scheduler_could_answer(once: Once) -> None:
    """The scheduler has the job, the ledger has no id of it."""
    note = once.place.folder / "note"
    with once.client(hang_after_submit=str(note)) as client:
        eventually(note.exists, "the job is submitted")
        client.kill()
    assert [(row.state, row.job_id) for row in once.place.rows()] == [("SUBMITTING", None)]
    once.runs()
    once.go.touch()
    once.was_one(once.next_attempt())


@pytest.mark.needs("slurm")
@pytest.mark.parametrize("taken", [True, False])
def test_killed_together_with_a_hanging_sbatch(on_slurm: Place, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether sbatch had submitted before it hung is for the next attempt to find out."""
    once, note, path = Once(on_slurm), on_slurm.folder / "note", os.environ["PATH"]
    submit = '/usr/bin/env PATH="${PATH#*:}" sbatch "$@"' if taken else ":"
    commands_first(on_slurm, monkeypatch, sbatch=f"{submit} >/dev/null\ntouch {note}\nsleep 600")
    with once.client() as client:
        eventually(note.exists, "sbatch hangs")
        client.kill()
    monkeypatch.setenv("PATH", path)
    assert [(row.state, row.job_id) for row in on_slurm.rows()] == [("SUBMITTING", None)]
    once.go.touch()
    result = once.next_attempt()
    once.was_one(result)
    assert on_slurm.submitted() == [result.handle.job_id]


# ---------------------------------------------------------------------- in Dagster


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_materialization_that_dies_is_joined_by_the_next(once: Once, number: signal.Signals) -> None:
    """A crash, or a deploy: the run is not being cancelled, so the job lives on."""
    with once.client(asset=True) as client:
        once.runs()
        client.kill(number)
    row = once.place.only_row()
    assert not row.state.is_final
    attempt = once.place.meanwhile(materialize, once.place, Command.shell(once.script, name="subject"))
    eventually(lambda: attempt.running() or attempt.done())
    once.go.touch()
    assert metadata_of(attempt.result(timeout=90))["job_id"] == row.job_id
    assert once.place.submitted() == [row.job_id]
    assert once.times() == 1


def test_two_materializations_at_the_same_time_share_one_job(once: Once) -> None:
    with once.client(asset=True) as one, once.client(asset=True) as other:
        once.runs()
        once.go.touch()
        answers = [one.answer(), other.answer()]
    assert answers[0] == answers[1]
    assert once.place.submitted() == [answers[0]["job_id"]]
    assert [row.state for row in once.place.rows()] == ["COMPLETED"]
    assert once.times() == 1
