from __future__ import annotations

import time

from dagster_hpc.engine.job import JobMetrics, JobState
from tests.cli.terminal import Terminal, row

BAD, GOOD, LIVE = (f"{letter * 8}-1111-2222-3333-444444444444" for letter in "abc")


def filled(terminal: Terminal) -> None:
    now = time.time()
    cost = JobMetrics(node_hours=1.5)
    terminal.keep(
        row("bad22222", run_id=BAD, state=JobState.FAILED, asset_key="energy", created_at=now - 300, metrics=cost),
        row("bad33333", run_id=BAD, asset_key="density", created_at=now - 300, metrics=cost),
        row("timeout2", run_id=GOOD, state=JobState.TIMEOUT, next_token="good2222", created_at=now - 200),
        row("good2222", run_id=GOOD, first_token="timeout2", retry_number=1, created_at=now - 100),
        row("live2222", run_id=LIVE, state=JobState.RUNNING, created_at=now - 50),
        row("norun222"),
    )


def test_runs_are_listed_newest_first_with_their_jobs(terminal: Terminal) -> None:
    filled(terminal)

    lines = [line.split() for line in terminal.run("runs").stdout.splitlines()[1:]]

    assert [line[:2] for line in lines] == [["cccccccc", "running"], ["bbbbbbbb", "succeeded"], ["aaaaaaaa", "failed"]]
    assert terminal.json("runs", "--status", "failed") == [
        {
            "run_id": BAD, "status": "failed", "jobs": 2, "states": {"FAILED": 1, "COMPLETED": 1}, "node_hours": 3.0,
            "began_at": terminal.json("show", "bad22222")["created_at"], "assets": ["density", "energy"],
        }
    ]  # fmt: skip


def test_a_job_that_was_tried_again_with_success_has_not_failed_its_run(terminal: Terminal) -> None:
    filled(terminal)
    assert [run["run_id"] for run in terminal.json("runs", "--status", "succeeded")] == [GOOD]


def test_only_the_last_and_only_those_since(terminal: Terminal) -> None:
    filled(terminal)

    assert [run["run_id"] for run in terminal.json("runs", "--last", "1")] == [LIVE]
    assert [run["run_id"] for run in terminal.json("runs", "--since", "4m")] == [LIVE, GOOD]
    assert "the newest 1; --last shows more" in terminal.run("runs", "--last", "1").stderr


def test_no_run_says_so(terminal: Terminal) -> None:
    terminal.keep(row("norun222"))
    assert "no such runs" in terminal.run("runs").stderr
