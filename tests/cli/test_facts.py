"""What the ledger knows beside a job's state is shown: that it waits for room, is owed, is being cancelled, has copies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import Recipient
from tests.cli.terminal import Terminal, row


def test_a_job_without_room_says_what_it_waits_for(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", state=JobState.READY))
    assert "waits in the ledger for room on its target" in terminal.run("jobs").stdout
    assert "waits in the ledger for room on its target" in terminal.run("show", "abcdefgh").stdout


def test_a_result_that_nobody_has_received_is_owed(terminal: Terminal) -> None:
    terminal.keep(row("owed2222", identity="a"), row("returned", identity="b"), row("plain222"))
    terminal.ledger().deliveries.returned(["returned"], Recipient("run7", "count"))

    lines = {line.split()[0]: line for line in terminal.run("jobs").stdout.splitlines()}

    assert "its result is owed" in lines["owed2222"]
    assert "owed" not in lines["returned"] + lines["plain222"]
    assert {job["token"]: job["owed"] for job in terminal.json("jobs")} == {
        "owed2222": True,
        "returned": False,
        "plain222": False,
    }
    assert terminal.json("show", "owed2222")["owed"] is True
    assert "owed: nobody has received it" in terminal.run("show", "owed2222").stdout
    assert "returned to step count of run run7; received if" in terminal.run("show", "returned").stdout
    assert "result" not in terminal.run("show", "plain222").stdout


def test_a_delivered_result_says_when_and_a_lost_job_how_it_is_released(terminal: Terminal) -> None:
    terminal.keep(row("done2222", delivered_at=1.0), row("lost2222", identity="a", state=JobState.LOST))
    assert "delivered 1970" in terminal.run("show", "done2222").stdout
    assert "before `dagster-hpc release lost2222`" in terminal.run("show", "lost2222").stdout


def test_a_cancellation_that_is_under_way_copies_and_cluster_are_shown(terminal: Terminal) -> None:
    terminal.keep(
        row(
            "abcdefgh",
            state=JobState.RUNNING,
            job_id="7",
            cancel_requested=True,
            copies=("8", "9"),
            target="slurm@lab",
            cluster="lab",
        )
    )

    page = terminal.run("show", "abcdefgh").stdout

    assert "asked for; the scheduler is told until the job is gone" in page
    assert "also taken as 8, 9" in page
    assert "cluster lab" in page
    assert "is being cancelled" in terminal.run("jobs").stdout
    assert terminal.json("show", "abcdefgh")["copies"] == ["8", "9"]


# -- export


def test_jobs_are_exported_as_json_lines_the_oldest_first(terminal: Terminal) -> None:
    terminal.keep(
        row("older222", created_at=1.0, identity="a", reason="ünïcode\nand a break"),
        row("newer333", created_at=2.0, state=JobState.FAILED, target="miyabi"),
    )

    lines = [json.loads(line) for line in terminal.run("export").stdout.splitlines()]

    assert [(line["token"], line["owed"]) for line in lines] == [("older222", True), ("newer333", False)]
    assert lines[0] == terminal.json("show", "older222")
    assert json.loads(terminal.run("export", "--target", "miyabi").stdout)["token"] == "newer333"
    assert terminal.run("export", "--state", "running").stdout == ""


# -- release


@pytest.mark.parametrize(
    ("in_the_lock", "meaning"),
    [
        ("closed", "It had not begun, and cannot begin any more."),
        ("42", "It had begun, as job 42: if that still runs, the work is done twice."),
        (None, "No sign of its beginning is seen"),
    ],
)
def test_a_lost_job_is_released_with_a_word_on_what_it_may_still_do(
    terminal: Terminal, tmp_path: Path, in_the_lock: str | None, meaning: str
) -> None:
    (tmp_path / "job" / ".job").mkdir(parents=True)
    if in_the_lock:
        (tmp_path / "job" / ".job" / "lock").write_text(in_the_lock + "\n")
    terminal.keep(row("lost2222", state=JobState.LOST, identity="a", work_dir=str(tmp_path / "job")))

    done = terminal.run("release", "lost2222")

    assert done.returncode == 0
    assert "lost2222 is released: the same request makes a new job now." in done.stdout
    assert meaning in done.stdout
    assert terminal.ledger().claims.holders(["a"]) == {}


def test_an_owed_result_is_released_and_stays_where_it_is(terminal: Terminal) -> None:
    terminal.keep(row("owed2222", identity="a"))
    assert "Its result stays in /scratch/owed2222" in terminal.run("release", "owed2222").stdout
    assert "nothing to release" in terminal.run("release", "owed2222").stdout


def test_of_an_array_the_live_elements_are_not_released(terminal: Terminal) -> None:
    terminal.keep(
        row("abcdefgh.0", array_index=0, identity="a.0", state=JobState.LOST),
        row("abcdefgh.1", array_index=1, identity="a.1", state=JobState.RUNNING),
    )

    done = terminal.run("release", "abcdefgh")

    assert done.returncode == 1
    assert "abcdefgh.1 is RUNNING: it is not released" in done.stderr
    assert list(terminal.ledger().claims.holders(["a.0", "a.1"])) == ["a.1"]


def test_a_scheduler_of_another_version_is_an_error_in_a_sentence(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", state=JobState.RUNNING, scheduler='{"kind": "quantum"}'))
    done = terminal.run("cancel", "abcdefgh")
    assert done.returncode == 1
    assert "a scheduler that this version does not know" in done.stdout
