"""The queue of steps as files: who may take a step, what is known of each, and what a crash leaves behind."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc.step_batch import spool
from dagster_hpc.step_batch.directives import Refused, parse
from dagster_hpc.step_batch.folder import Folder
from dagster_hpc.step_batch.holder import Holder
from dagster_hpc.step_batch.running import End
from dagster_hpc.step_batch.spool import Submission


class Played:
    """A step that ends when it is told to."""

    def __init__(self, submission: Submission, index: int, now: float) -> None:
        self.submission, self.index = submission, index
        self.end: End | None = None

    def look(self, now: float) -> End | None:
        return self.end

    def stop(self, state: str, reason: str, now: float) -> None:
        self.end = End(state, reason, 143)


class Held:
    """A holder whose time and whose steps are in the test's hands."""

    def __init__(self, folder: Folder, name: str = "job", cores: int = 2, walltime_s: float = 1000.0) -> None:
        self.time = 0.0
        self.started: list[Played] = []
        self.holder = Holder(folder, name, cores=cores, walltime_s=walltime_s, idle_s=60.0, now=lambda: self.time,
                             clock=lambda: 5000.0 + self.time, start=self._start)  # fmt: skip

    def _start(self, submission: Submission, index: int, now: float) -> Played:
        self.started.append(Played(submission, index, now))
        return self.started[-1]

    @property
    def names(self) -> list[str]:
        return [f"{step.submission.token}_{step.index}" for step in self.started]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(str(tmp_path / "spool"))
    spool.make(made)
    return made


def queue(folder: Folder, token: str, at: float = 0.0, **more: Any) -> None:
    spool.submit(folder, Submission(token, f"n_{token}", "/s", "/o", at, **more))


def states(folder: Folder, token: str) -> list[str]:
    return [record["state"] for record in spool.records(folder, token) or []]


def test_a_submission_that_is_made_twice_is_one(folder: Folder) -> None:
    queue(folder, "a", elements=2)
    queue(folder, "a", at=99.0, elements=2)

    assert folder.list(spool.QUEUE) == ["a"]
    assert states(folder, "a") == ["PENDING", "PENDING"]


def test_of_many_who_take_a_step_one_gets_it(folder: Folder) -> None:
    queue(folder, "a", elements=40)
    held = [Held(folder, f"job{number}", cores=100) for number in range(4)]
    threads = [threading.Thread(target=each.holder.round) for each in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(name for each in held for name in each.names) == sorted(f"a_{index}" for index in range(40))


def test_steps_start_in_their_order_as_far_as_there_are_cores(folder: Folder) -> None:
    queue(folder, "late", at=2.0)
    queue(folder, "wide", at=1.0, cores=2)
    queue(folder, "first", at=0.0)
    held = Held(folder)

    held.holder.round()
    assert held.names == ["first_0"]  # the wide one waits for both cores, and is not overtaken
    held.started[0].end = End("COMPLETED", exit_code=0)
    held.holder.round()
    assert held.names == ["first_0", "wide_0"]


def test_an_array_runs_no_more_at_once_than_it_says(folder: Folder) -> None:
    queue(folder, "a", elements=3, at_once=1)
    held = Held(folder)
    held.holder.round()
    held.holder.round()
    assert held.names == ["a_0"]


def test_a_step_that_would_outlive_the_allocation_is_left_to_the_next(folder: Folder) -> None:
    queue(folder, "long", walltime_s=600)
    queue(folder, "short", walltime_s=10)
    held = Held(folder, walltime_s=1000.0)
    held.time = 500.0
    held.holder.round()

    assert held.names == ["short_0"]
    assert folder.has("holders/job.1/drains")
    held.started[0].end = End("COMPLETED", exit_code=0)
    assert not held.holder.round()  # and it ends, as nothing that waits can run in it
    assert states(folder, "long") == ["PENDING"]


def test_an_allocation_is_given_back_when_it_is_idle_or_asked(folder: Folder) -> None:
    idle, asked = Held(folder, "idle"), Held(folder, "asked")
    assert idle.holder.round()
    idle.time = 61.0
    assert not idle.holder.round()

    folder.create(f"holders/asked.1/wishes/{spool.GIVE_BACK}", b"")
    queue(folder, "a")
    assert not asked.holder.round()
    assert states(folder, "a") == ["PENDING"]


def test_a_step_is_cancelled_while_it_waits_for_good(folder: Folder) -> None:
    queue(folder, "a", elements=2)
    spool.cancel(folder, "a", [1], at=7.0)
    held = Held(folder)
    held.holder.round()

    assert held.names == ["a_0"]
    assert states(folder, "a") == ["RUNNING", "CANCELLED"]


def test_a_step_is_cancelled_while_it_runs_by_its_holder(folder: Folder) -> None:
    queue(folder, "a")
    held = Held(folder)
    held.holder.round()
    spool.cancel(folder, "a", [0], at=7.0)
    held.holder.round()
    held.holder.round()

    (record,) = spool.records(folder, "a") or []
    assert (record["state"], record["exit_code"], record["reason"]) == ("CANCELLED", 143, "cancelled while it ran")


def test_what_a_dead_holder_ran_has_ended_only_once_its_end_is_proven(folder: Folder) -> None:
    queue(folder, "a", elements=3)
    held = Held(folder)
    held.holder.round()
    held.started[0].end = End("COMPLETED", exit_code=0)
    held.holder.round()  # takes the third
    assert states(folder, "a") == ["COMPLETED", "RUNNING", "RUNNING"]

    folder.create("holders/job.1/over", json.dumps({"state": "NODE_FAIL", "reason": "gone"}).encode())
    assert states(folder, "a") == ["COMPLETED", "NODE_FAIL", "NODE_FAIL"]


def test_a_holder_that_died_between_taking_a_step_and_starting_it_has_it_still(folder: Folder) -> None:
    queue(folder, "a")
    Held(folder)
    folder.link("holders/job.1/name", "steps/a/0")  # and then nothing
    assert states(folder, "a") == ["RUNNING"]
    assert not Held(folder, "other").started

    folder.create("holders/job.1/over", b'{"state": "TIMEOUT", "reason": "gone"}')
    assert states(folder, "a") == ["TIMEOUT"]


def test_steps_of_a_lost_allocation_are_as_lost_until_something_is_heard_of_it(folder: Folder) -> None:
    queue(folder, "a")
    held = Held(folder)
    held.holder.round()
    folder.create("holders/job.1/lost", b"")
    assert states(folder, "a") == []

    held.started[0].end = End("COMPLETED", exit_code=0)
    held.holder.round()
    assert states(folder, "a") == ["COMPLETED"]


def test_a_held_job_that_was_started_again_has_lost_its_steps_and_takes_others(folder: Folder) -> None:
    queue(folder, "a")
    Held(folder).holder.round()
    again = Held(folder)
    queue(folder, "b")
    again.holder.round()

    assert again.holder.name == "job.2"
    assert states(folder, "a") == ["NODE_FAIL"]
    assert again.names == ["b_0"]


def test_an_end_that_the_file_system_did_not_take_is_written_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(folder, "a")
    held = Held(folder)
    held.holder.round()
    held.started[0].end = End("COMPLETED", exit_code=0)
    with monkeypatch.context() as full:
        full.setattr(folder, "append", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            held.holder.round()
    assert states(folder, "a") == ["RUNNING"]

    held.holder.round()
    assert states(folder, "a") == ["COMPLETED"]


def test_half_a_line_of_a_log_says_nothing_yet(folder: Folder) -> None:
    queue(folder, "a")
    Held(folder).holder.round()
    folder.append("steps/a/job.1.log", b'{"step": 0, "state": "COMPL')
    assert states(folder, "a") == ["RUNNING"]


def test_a_submission_that_broke_off_before_it_was_queued_is_not_found_and_can_be_made_again(folder: Folder) -> None:
    folder.make("steps/a")
    whole = Submission("a", "n_a", "/s", "/o", 0.0)
    folder.create("steps/a/submission.json", json.dumps(whole._asdict()).encode())
    assert spool.named(folder, "n_a") == []

    spool.submit(folder, whole)
    assert spool.named(folder, "n_a") == ["a"]


def test_a_submission_all_of_whose_steps_are_taken_leaves_the_queue_and_is_still_found(folder: Folder) -> None:
    queue(folder, "a", elements=2)
    Held(folder).holder.round()
    assert folder.list(spool.QUEUE) == []
    assert spool.named(folder, "n_a") == ["a"]


def test_what_was_pruned_is_forgotten_and_nothing_else(folder: Folder, tmp_path: Path) -> None:
    there = tmp_path / "script.step"
    there.touch()
    for token, script in (("gone", "/no/such/script"), ("kept", str(there)), ("waits", "/no/such/script")):
        spool.submit(folder, Submission(token, f"n_{token}", script, "/o", 0.0))
    for token in ("gone", "kept"):
        spool.end_waiting(folder, token, [0], "CANCELLED", "", at=0.0)

    spool.tidy(folder)

    assert folder.list(spool.STEPS) == ["kept", "waits"]


@pytest.mark.parametrize("line", ["#STEP --cores=many", "#STEP --colour=red", ""])
def test_a_script_that_is_not_understood_is_refused(line: str) -> None:
    with pytest.raises(Refused):
        parse(f"#!/bin/bash\n{line}\n", "/s", 0.0)


def test_an_allocation_whose_folder_is_gone_is_given_back(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool.make(Folder(str(folder)))
    words = ["--spool", str(folder), "--name", "job", "--cores", "1", "--walltime", "600", "--idle", "1"]
    holder = subprocess.Popen([sys.executable, "-m", "dagster_hpc.step_batch.holder", *words], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline().startswith("job.1 holds 1 cores")
    shutil.rmtree(folder)

    assert holder.wait(timeout=60) == 0
    holder.stdout.close()


def test_the_holder_needs_nothing_but_python_and_its_own_files(tmp_path: Path) -> None:
    """As it lies beside the held job: `python3 -m` finds it in the folder that it is started in."""
    from dagster_hpc.resources.targets.allocation import _holder_files

    for name, content in _holder_files().items():
        ast.parse(content, feature_version=(3, 9))
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    words = ["--spool", str(tmp_path / "spool"), "--name", "job", "--cores", "1", "--walltime", "60", "--idle", "0"]
    (tmp_path / "spool").mkdir()
    done = subprocess.run([sys.executable, "-S", "-m", "dagster_hpc.step_batch.holder", *words], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "job.1 is given back"
