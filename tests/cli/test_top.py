"""`dagster-hpc top`: once for scripts, and on a terminal until somebody presses q."""

from __future__ import annotations

import os
import pty
import subprocess

from dagster_hpc import Command
from dagster_hpc.engine.job import JobState
from tests.cli.terminal import COMMAND, Terminal, eventually, row


def test_once_shows_what_is_under_way_with_its_cost(terminal: Terminal) -> None:
    handle = terminal.hpc.submit(Command.shell("sleep 60", name="sleeper"), profile="small")

    view = eventually(lambda: _running(terminal))

    assert (view["lines"][0]["token"], view["nodes"]) == (handle.token, 1)
    said = terminal.run("top", "--once").stdout
    assert said.startswith("1 RUNNING; 1 node in use;")
    assert "sleeper" in said


def test_the_scheduler_is_asked_once_for_all_and_not_at_all_if_so_wished(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", state=JobState.PENDING, job_id="7", reason="waits its turn (Priority)"))

    done = terminal.run("top", "--once", "--no-ask")

    assert (done.returncode, done.stderr) == (0, "")
    assert "waits its turn (Priority)" in done.stdout


def test_nothing_under_way_is_said(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh"))
    assert terminal.run("top", "--once").stdout == "no job is under way; 0 node hours so far\n"


def test_an_array_shows_how_far_it_is(terminal: Terminal) -> None:
    states = [JobState.COMPLETED] * 3 + [JobState.PENDING]
    terminal.keep(*(row(f"abcdefgh.{at}", array_index=at, state=state) for at, state in enumerate(states)))
    assert "███████░░░ 3/4" in terminal.run("top", "--once", "--no-ask").stdout


def test_on_a_terminal_it_goes_on_until_q_and_gives_the_terminal_back(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", state=JobState.PENDING, name="patient"))
    ours, theirs = pty.openpty()
    argv = [*COMMAND, "--ledger", terminal.url, "top", "--no-ask", "--every", "0.5"]
    environment = {**os.environ, "COLUMNS": "120", "LINES": "30", "TERM": "xterm"}
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    while b"patient" not in text:
        text += os.read(ours, 65536)
    assert process.poll() is None

    os.write(ours, b"q")

    assert process.wait(20) == 0
    os.close(ours)


def _running(terminal: Terminal):  # type: ignore[no-untyped-def]
    view = terminal.json("top")
    return view if view["states"].get("RUNNING") else None
