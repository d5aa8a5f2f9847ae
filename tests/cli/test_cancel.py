from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dagster_hpc import Command
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.schedulers import to_json
from tests.cli.terminal import Terminal, eventually, row


def test_a_running_job_is_cancelled_and_its_process_gone(terminal: Terminal) -> None:
    script = "echo $$ >pid.new; mv pid.new pid; sleep 300"
    handle = terminal.hpc.submit(Command.shell(script), profile="small")
    pid_file = Path(handle.work_dir, "pid")
    eventually(pid_file.exists)
    process = Path("/proc", pid_file.read_text().strip())
    assert process.exists()

    done = terminal.run_alone("cancel", handle.token)

    assert done.returncode == 0
    assert done.stdout == f"{handle.token} (job {handle.job_id}): cancelled\n"
    assert terminal.json("show", handle.token)["state"] == "CANCELLED"
    assert not process.exists()


def test_json_says_what_became_of_each(terminal: Terminal) -> None:
    over = terminal.hpc.run(Command.shell("true"), profile="small").handle
    live = terminal.hpc.submit(Command.shell("sleep 300"), profile="small")

    reports = {report["token"]: report for report in terminal.json("cancel", over.token, str(live.job_id))}

    assert reports[over.token]["state"] == "COMPLETED"
    assert not reports[over.token]["cancelled"]
    assert reports[over.token]["outcome"] == "was over already: COMPLETED"
    assert reports[live.token]["cancelled"]


def test_all_elements_of_an_array_are_cancelled_by_its_id(terminal: Terminal) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(terminal.hpc.map, Command.shell("sleep 300"), [["a"], ["b"]], profile="small")
        element = eventually(lambda: next((job for job in terminal.hpc.jobs() if job.job_id), None))

        reports = terminal.json("cancel", str(element.job_id).partition("_")[0])

        assert [report["token"] for report in reports] == [f"{element.batch}.0", f"{element.batch}.1"]
        assert [report["cancelled"] for report in reports] == [True, True]
        assert {result.state for result in waiting.result(30)} == {JobState.CANCELLED}


def test_one_unknown_word_and_nothing_is_cancelled(terminal: Terminal) -> None:
    live = terminal.hpc.submit(Command.shell("sleep 300"), profile="small")

    done = terminal.run("cancel", live.token, "nowhere2")

    assert done.returncode == 3
    assert terminal.json("jobs", "--refresh")[0]["state"] in ("PENDING", "RUNNING")


def test_a_job_that_was_never_submitted_is_cancelled_in_the_ledger(terminal: Terminal) -> None:
    spool = to_json(terminal.hpc.target.scheduler)
    terminal.keep(
        row(
            "abcdefgh",
            state=JobState.SUBMITTING,
            work_dir=f"{terminal.folder}/abcdefgh",
            scheduler=spool,
            owner=f"{socket.gethostname()} 1 0 boot",
        )
    )

    done = terminal.run("cancel", "abcdefgh")

    assert (done.returncode, done.stdout) == (0, "abcdefgh (job not submitted): cancelled\n")


def test_a_scheduler_that_cannot_be_told_is_an_error_in_its_words(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", state=JobState.RUNNING, job_id="7"))

    done = terminal.run("cancel", "abcdefgh", env={"PATH": str(terminal.folder)})

    assert done.returncode == 1
    assert "not cancelled" in done.stdout
    assert "scancel" in done.stdout
    assert terminal.json("show", "abcdefgh")["state"] == "RUNNING"
