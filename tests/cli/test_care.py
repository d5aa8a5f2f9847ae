"""A ledger that was lost is rebuilt, what is old is forgotten, what is lost is released, and all can be taken elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, JobState, LocalTarget
from dagster_hpc.engine.ledger import JobRow, Ledger


def command(ledger: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "dagster_hpc.cli", "--ledger", ledger, *words]
    return subprocess.run(argv, capture_output=True, text=True)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def a_job(token: str, **more: object) -> JobRow:
    values = {"owner": "nobody", "created_at": time.time() - 40 * 86400, "state": JobState.SUBMITTING, **more}
    return JobRow(token, token, "x", "slurm", "{}", f"/x/{token}", **values)  # type: ignore[arg-type]


def over(ledger: Ledger, token: str, state: JobState, **more: object) -> None:
    row = replace(a_job(token, **more), state=state)
    ledger.insert_missing([replace(row, updated_at=row.created_at, held_identity=row.identity)])


def test_a_lost_job_is_released_and_says_what_that_means(url: str) -> None:
    ledger = Ledger(url)
    over(ledger, "aaaa2222", JobState.LOST, identity="same")
    done = command(url, "release", "aaaa2222")
    assert done.returncode == 0
    assert done.stdout.startswith(
        "aaaa2222 is released: the same request makes a new job now. No sign of its beginning"
    )
    assert ledger.claims.holders(["same"]) == {}
    assert "nothing to release" in command(url, "release", "aaaa2222").stdout


def test_a_live_job_is_not_released(url: str) -> None:
    ledger = Ledger(url)
    ledger.insert_missing([replace(a_job("aaaa2222", identity="same"), state=JobState.RUNNING, held_identity="same")])
    done = command(url, "release", "aaaa2222")
    assert done.returncode == 1
    assert "is RUNNING: it is not released; cancel it first" in done.stderr


def test_old_jobs_are_forgotten_only_when_one_says_yes(url: str) -> None:
    ledger = Ledger(url)
    over(ledger, "aaaa2222", JobState.COMPLETED)
    over(ledger, "bbbb3333", JobState.FAILED)
    over(ledger, "cccc4444", JobState.COMPLETED, identity="owed")
    over(ledger, "dddd5555", JobState.COMPLETED, created_at=time.time())
    assert "2 jobs would be forgotten" in command(url, "prune").stdout
    assert len(ledger.jobs()) == 4
    assert "1 jobs are forgotten" in command(url, "prune", "--keep-failed", "--yes").stdout
    assert {row.token for row in ledger.jobs()} == {"bbbb3333", "cccc4444", "dddd5555"}


def test_all_jobs_are_exported_as_json_lines(url: str) -> None:
    ledger = Ledger(url)
    over(ledger, "aaaa2222", JobState.COMPLETED, created_at=1.0)
    over(ledger, "bbbb3333", JobState.FAILED, created_at=2.0)
    lines = [json.loads(line) for line in command(url, "export").stdout.splitlines()]
    assert [(line["token"], line["state"]) for line in lines] == [("aaaa2222", "COMPLETED"), ("bbbb3333", "FAILED")]


def test_a_ledger_that_was_deleted_is_rebuilt_and_nothing_runs_twice(tmp_path: Path, url: str) -> None:
    """All live jobs were invisible, and the next request doubled them."""

    def runner() -> HPCJobRunner:
        return HPCJobRunner(
            target=LocalTarget(spool=str(tmp_path / "spool"), poll_interval=0.3),
            profiles={"small": ExecutionProfile()},
            work_root=str(tmp_path / "work"),
            ledger_url=url,
        )

    gate = tmp_path / "gate"
    job = Command.shell(f"echo ran >>{tmp_path}/traces; while [ ! -e {gate} ]; do sleep 0.1; done")
    lost = runner().submit(job, profile="small", key="mine")
    while not (tmp_path / "traces").exists():
        time.sleep(0.05)
    (tmp_path / "ledger.db").unlink()
    for rest in tmp_path.glob("ledger.db-*"):
        rest.unlink()
    done = command(url, "adopt", str(tmp_path / "work"))
    assert done.stdout.startswith("1 of 1 jobs were not in the ledger"), done.stderr
    again = runner().submit(job, profile="small", key="mine")
    assert (again.token, again.joined) == (lost.token, True)
    gate.touch()
    assert runner().wait(again).handle.job_id == lost.job_id
    assert (tmp_path / "traces").read_text() == "ran\n"
    assert command(url, "adopt", str(tmp_path / "work")).stdout.startswith("0 of 1 jobs")
    assert Ledger(url).job(lost.token).state is JobState.COMPLETED


def test_a_file_that_is_no_row_is_told(tmp_path: Path, url: str) -> None:
    (tmp_path / "work/x/.job").mkdir(parents=True)
    (tmp_path / "work/x/.job/row.json").write_text("nonsense")
    done = command(url, "adopt", str(tmp_path / "work"))
    assert done.returncode == 0
    assert "cannot be used" in done.stderr
