from __future__ import annotations

import json
import time

from dagster_hpc import Command
from dagster_hpc.engine.job import JobMetrics, JobState
from tests.cli.terminal import Terminal, eventually, plain, row


def test_lists_newest_first_with_state_and_reason(terminal: Terminal) -> None:
    now = time.time()
    terminal.keep(
        row("oldest22", created_at=now - 7200, job_id="11", metrics=JobMetrics(elapsed_s=83.0)),
        row("newest22", created_at=now, state=JobState.FAILED, reason="its program ended with exit code 3"),
    )

    lines = terminal.run("jobs").stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["TOKEN", "newest22", "oldest22"]
    assert "FAILED" in lines[1]
    assert "its program ended with exit code 3" in lines[1]
    assert "2h00m ago" in lines[2]
    assert "1m23s" in lines[2]


def test_options_choose_among_the_jobs(terminal: Terminal) -> None:
    terminal.keep(
        row("waiting2", state=JobState.PENDING, target="miyabi", run_id="0f3c0000-0000-0000-0000-000000000001"),
        row("failed22", state=JobState.FAILED, asset_key="chem/energy", run_id="77770000-0000-0000-0000-000000000001"),
        row("worked22", asset_key="chem/orbitals"),
    )

    def tokens(*options: str) -> set[str]:
        return {job["token"] for job in terminal.json("jobs", *options)}

    assert tokens("--live") == {"waiting2"}
    assert tokens("--over") == {"failed22", "worked22"}
    assert tokens("--state", "failed") == {"failed22"}
    assert tokens("--target", "miyabi") == {"waiting2"}
    assert tokens("--asset", "chem/energy") == {"failed22"}
    assert tokens("--run", "0f3c") == {"waiting2"}
    assert tokens("--run", "77770000-0000-0000-0000-000000000001") == {"failed22"}


def test_limit_is_told_on_stderr(terminal: Terminal) -> None:
    terminal.keep(*(row(f"token{number:03}", created_at=number) for number in range(5)))

    done = terminal.run("jobs", "--limit", "2")

    assert [line.split()[0] for line in done.stdout.splitlines()] == ["TOKEN", "token004", "token003"]
    assert "newest 2" in done.stderr
    assert terminal.run("jobs", "--limit", "5").stderr == ""


def test_in_a_pipe_nothing_is_coloured_cut_or_folded(terminal: Terminal) -> None:
    target, name, job_id = "cluster-" + "t" * 60, "n" * 90, "1234567890123[4567].server.example.org"
    terminal.keep(row("abcdefgh.12345", target=target, name=name, job_id=job_id, reason="r" * 200))

    done = terminal.run("jobs", env={"COLUMNS": "80"})

    line = done.stdout.splitlines()[1]
    assert all(word in line for word in ("abcdefgh.12345", target, name, job_id, "r" * 200))
    assert "\x1b" not in done.stdout


def test_on_a_narrow_terminal_ids_stay_whole_and_states_have_colours(terminal: Terminal) -> None:
    terminal.keep(
        row(
            "abcdefgh.12345",
            target="local@login1.example.org:/scratch/me/spool",
            name="x" * 60,
            job_id="12345678_12345",
        )
    )

    text = terminal.on_tty("jobs", columns=80)

    assert "\x1b[32mCOMPLETED" in text
    assert max(len(line) for line in plain(text).splitlines()) <= 80
    assert "abcdefgh.12345 " in plain(text)
    assert "12345678_12345 " in plain(text)


def test_names_are_no_markup_and_move_no_cursor(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", asset_key="bonds", partition_key="red", reason="\x1b[2Jgone"))

    text = terminal.run("jobs").stdout

    assert "bonds [red]" in text
    assert "\x1b" not in text


def test_without_a_ledger_there_are_no_jobs_and_none_is_made(terminal: Terminal) -> None:
    done = terminal.run("jobs", "--json")

    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert "there is no ledger" in done.stderr
    assert not list(terminal.folder.glob("ledger.db*"))


def test_what_is_no_ledger_is_an_error_and_no_traceback(terminal: Terminal) -> None:
    (terminal.folder / "ledger.db").write_text("this is a letter to my aunt, and no database\n" * 50)

    done = terminal.run_alone("jobs")

    assert done.returncode == 1
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_refresh_asks_the_scheduler(terminal: Terminal) -> None:
    handle = terminal.hpc.submit(Command.shell("true"), profile="small")
    assert terminal.json("jobs")[0]["state"] == "PENDING"  # nobody has looked since

    eventually(lambda: terminal.json("jobs", "--refresh")[0]["state"] == "COMPLETED")

    assert terminal.hpc.wait(handle).succeeded


def test_refresh_leaves_local_jobs_of_another_machine_alone(terminal: Terminal) -> None:
    scheduler = '{"kind": "local", "spool": "/var/spool/there", "cores": null, "memory_mib": null}'
    terminal.keep(row("abcdefgh", state=JobState.RUNNING, job_id="7", scheduler=scheduler, target="local@elsewhere"))

    done = terminal.run("jobs", "--refresh", "--json")

    assert json.loads(done.stdout)[0]["state"] == "RUNNING"
    assert "run this command on elsewhere" in done.stderr
    assert terminal.ledger().job("abcdefgh").absent_since is None
