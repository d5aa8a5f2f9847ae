"""A ledger that was deleted is rebuilt from the jobs' own directories; nothing is submitted by that, and nothing twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.job import JobHandle, JobSpec, JobState, Request
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.ledger.rows import encode_rows
from dagster_hpc.engine.runner import Runner
from tests.cli.terminal import Terminal, row
from tests.engine.pretend import PretendSlurm, quick, target_on

SPEC = JobSpec(name="count", shell="true", outputs=(("result", "result.txt"),))
SLURM = "slurm@lab"


@pytest.fixture
def host(tmp_path: Path) -> PretendSlurm:
    return PretendSlurm(tmp_path / "slurm")


class Place:
    """One orchestrator whose ledger can be deleted under it."""

    def __init__(self, terminal: Terminal, host: PretendSlurm) -> None:
        self.terminal, self.host, self.ledger = terminal, host, terminal.ledger()

    @property
    def runner(self) -> Runner:
        return Runner(target_on(self.host, 0.1, quick(lost_after_s=0.5, file_delay_s=0.2, epilogue_s=0.3)), self.ledger)

    def submit(self, identity: str = "mine", spec: JobSpec = SPEC) -> list[JobHandle]:
        root = str(self.terminal.folder / "work")
        return self.runner.submit(Request(spec, root, identity=identity, run_id="r1", step_key="s1"))

    def delete(self) -> None:
        self.ledger.close()
        for path in self.terminal.folder.glob("ledger.db*"):
            path.unlink()

    def adopt(self, *words: str) -> str:
        done = self.terminal.run("adopt", str(self.terminal.folder / "work"), *words)
        assert done.returncode == 0, done.stderr
        self.ledger = self.terminal.ledger()
        return done.stdout + done.stderr

    def lose(self) -> str:
        self.delete()
        return self.adopt()

    def settled(self, token: str) -> JobRow:
        """After so many ticks as it takes."""
        runner, deadline = self.runner, time.monotonic() + 20
        while not (found := self.ledger.job(token)).state.is_final:
            assert time.monotonic() < deadline, found
            runner.tick()
            time.sleep(0.05)
        return found


@pytest.fixture
def place(terminal: Terminal, host: PretendSlurm) -> Iterator[Place]:
    made = Place(terminal, host)
    yield made
    made.ledger.close()


def begin(found: JobRow, job_id: str | None = None) -> None:
    Path(jobdir.protocol_path(found.work_dir, jobdir.LOCK)).write_text(f"{job_id or found.job_id}\n")


def end(host: PretendSlurm, found: JobRow, code: int = 0) -> None:
    begin(found)
    Path(found.work_dir, "result.txt").write_text("42")
    host.leave_exit_code(found, code)


def test_a_queued_job_is_found_by_its_name_and_joined_by_the_same_request(place: Place, host: PretendSlurm) -> None:
    (handle,) = place.submit()
    assert "1 have not begun" in place.lose()

    (again,) = place.submit()

    assert (again.token, again.joined) == (handle.token, True)
    place.runner.tick()
    assert place.ledger.job(handle.token).job_id == handle.job_id
    assert host.count("sbatch") == 1


def test_a_running_job_has_its_id_from_its_lock(place: Place, host: PretendSlurm) -> None:
    (handle,) = place.submit()
    begin(place.ledger.job(handle.token))
    assert "1 have begun" in place.lose()

    found = place.ledger.job(handle.token)

    assert (found.job_id, found.state, found.held_identity) == (handle.job_id, JobState.RUNNING, "mine")


def test_a_result_is_taken_from_its_own_files_when_the_scheduler_has_forgotten_the_job(
    place: Place, host: PretendSlurm
) -> None:
    (handle,) = place.submit()
    end(host, place.ledger.job(handle.token))
    host.forget(handle.job_id or "")
    place.lose()

    (again,) = place.submit()
    (result,) = place.runner.wait([again])

    assert (again.token, result.state, result.exit_code) == (handle.token, JobState.COMPLETED, 0)
    assert host.count("sbatch") == 1


def test_a_job_that_ended_badly_gives_its_identity_up(place: Place, host: PretendSlurm) -> None:
    (handle,) = place.submit()
    end(host, place.ledger.job(handle.token), 3)
    host.forget(handle.job_id or "")
    place.lose()

    found = place.settled(handle.token)

    assert (found.state, found.exit_code, found.held_identity) == (JobState.FAILED, 3, None)


def test_what_never_began_and_nobody_knows_is_not_submitted_again_and_can_never_begin(
    place: Place, host: PretendSlurm
) -> None:
    (handle,) = place.submit()
    host.forget(handle.job_id or "")  # as one that was cancelled while it waited, long ago
    place.lose()

    found = place.settled(handle.token)

    assert (found.state, found.held_identity) == (JobState.REFUSED, None)
    assert "is not submitted again" in found.reason
    assert Path(jobdir.protocol_path(found.work_dir, jobdir.LOCK)).read_text() == "closed\n"
    assert host.count("sbatch") == 1
    assert place.submit()[0].token != handle.token


def test_one_that_begins_while_it_is_looked_up_is_followed(place: Place, host: PretendSlurm) -> None:
    (handle,) = place.submit()
    was = place.ledger.job(handle.token)
    place.lose()
    host.forget(handle.job_id or "")
    end(host, was)

    assert place.settled(handle.token).state is JobState.COMPLETED
    assert host.count("sbatch") == 1


def test_one_that_was_cancelled_before_it_began_is_over(place: Place) -> None:
    (handle,) = place.submit()
    begin(place.ledger.job(handle.token), jobdir.CLOSED)
    place.lose()

    found = place.ledger.job(handle.token)

    assert (found.state, found.held_identity) == (JobState.CANCELLED, None)


def test_all_elements_of_an_array_get_the_ids_that_the_lock_of_one_tells(place: Place) -> None:
    array = replace(SPEC, elements=(("a",), ("b",), ("c",)))
    handles = place.submit(spec=array)
    begin(place.ledger.job(handles[1].token))
    place.lose()

    rows = [place.ledger.job(handle.token) for handle in handles]

    assert [one.job_id for one in rows] == [handle.job_id for handle in handles]
    assert [one.state for one in rows] == [JobState.PENDING, JobState.RUNNING, JobState.PENDING]
    assert [one.held_identity for one in rows] == ["mine.0", "mine.1", "mine.2"]


def test_results_are_owed_unless_they_are_called_delivered(place: Place, host: PretendSlurm) -> None:
    (handle,) = place.submit()
    end(host, place.ledger.job(handle.token))
    host.forget(handle.job_id or "")
    place.delete()
    place.adopt("--delivered")

    assert place.settled(handle.token).state is JobState.COMPLETED
    assert place.submit()[0].token != handle.token


# -- what lies in the directories


def leave(folder: Path, *rows: JobRow) -> None:
    (folder / ".job").mkdir(parents=True)
    (folder / ".job" / "row.json").write_bytes(encode_rows(rows))


def a_row(folder: Path, token: str, **more: Any) -> JobRow:
    return row(token, work_dir=str(folder / token), state=JobState.SUBMITTING, identity="same", **more)


def test_the_newest_of_one_identity_holds_it(terminal: Terminal, tmp_path: Path) -> None:
    for token, at in (("older222", 1.0), ("newer333", 3.0), ("middle44", 2.0)):
        leave(tmp_path / "work" / token, a_row(tmp_path / "work", token, created_at=at))

    assert terminal.run("adopt", str(tmp_path / "work")).stdout.startswith("3 of 3 jobs")

    held = {one.token: one.held_identity for one in terminal.ledger().jobs()}
    assert held == {"older222": None, "newer333": "same", "middle44": None}


def test_what_the_ledger_knows_stays_as_it_is(terminal: Terminal, tmp_path: Path) -> None:
    there = a_row(tmp_path / "work", "abcdefgh")
    leave(tmp_path / "work" / "abcdefgh", there)
    terminal.keep(replace(there, state=JobState.RUNNING, job_id="7"))

    assert terminal.run("adopt", str(tmp_path / "work")).stdout.startswith("0 of 1 jobs")
    assert terminal.ledger().job("abcdefgh").job_id == "7"


def test_a_folder_that_was_moved_is_where_it_is_now_and_a_copy_is_told(terminal: Terminal, tmp_path: Path) -> None:
    leave(tmp_path / "new" / "abcdefgh", a_row(tmp_path / "old", "abcdefgh"))
    leave(tmp_path / "new" / "copied22", a_row(tmp_path / "kept", "copied22"))
    leave(tmp_path / "kept" / "copied22", a_row(tmp_path / "kept", "copied22"))

    done = terminal.run("adopt", str(tmp_path / "new"))

    assert "is a copy of" in done.stderr
    assert [one.work_dir for one in terminal.ledger().jobs()] == [str(tmp_path / "new" / "abcdefgh")]


@pytest.mark.parametrize("text", ["nonsense", "[]", "{}", '[{"token": 1}]'])
def test_a_file_that_is_no_row_is_told_and_the_others_are_adopted(
    terminal: Terminal, tmp_path: Path, text: str
) -> None:
    (tmp_path / "work/x/.job").mkdir(parents=True)
    (tmp_path / "work/x/.job/row.json").write_text(text)
    leave(tmp_path / "work" / "abcdefgh", a_row(tmp_path / "work", "abcdefgh"))

    done = terminal.run("adopt", str(tmp_path / "work"))

    assert done.stdout.startswith("1 of 1 jobs")
    assert "row.json cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
