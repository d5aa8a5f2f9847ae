from __future__ import annotations

import signal
import subprocess

import pytest

from dagster_hpc import Command
from tests.cli.terminal import Terminal, row


def test_prints_stdout_and_stderr_where_they_belong(terminal: Terminal) -> None:
    handle = terminal.hpc.run(Command.shell("echo out; printf 'no end' ; echo err >&2"), profile="small").handle

    done = terminal.run_alone("logs", handle.token)

    assert (done.returncode, done.stdout, done.stderr) == (0, "out\nno end", "err\n")
    assert terminal.run("logs", "--stderr", handle.token).stdout == "err\n"


def test_bytes_arrive_as_they_were_written(terminal: Terminal) -> None:
    handle = terminal.hpc.run(Command.shell(r"printf '\377\000\n'"), profile="small").handle
    argv = terminal.start("logs", handle.token).args

    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"\xff\x00\n"


def test_follow_prints_while_the_job_runs_and_ends_with_it(terminal: Terminal) -> None:
    gate = terminal.folder / "gate"
    script = f"echo begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo over; echo err >&2"
    handle = terminal.hpc.submit(Command.shell(script), profile="small")

    follower = terminal.start("logs", "-f", handle.token)
    assert follower.stdout
    assert follower.stdout.readline() == "begun\n"
    assert follower.poll() is None
    gate.touch()
    out, err = follower.communicate(timeout=30)

    assert (follower.returncode, out) == (0, "over\n")
    assert "err\n" in err
    assert "COMPLETED" in err


def test_follow_tells_by_its_exit_code_that_the_job_ended_badly(terminal: Terminal) -> None:
    handle = terminal.hpc.submit(Command.shell("sleep 0.5; exit 3"), profile="small")

    assert terminal.run("logs", "-f", handle.token).returncode == 1
    assert terminal.run("logs", "-f", handle.token).returncode == 1  # now that it is over, too
    assert terminal.run("logs", handle.token).returncode == 0


@pytest.mark.usefixtures("ctrl_c")
def test_follow_is_left_by_ctrl_c_and_the_job_goes_on(terminal: Terminal) -> None:
    handle = terminal.hpc.submit(Command.shell("echo begun; sleep 60"), profile="small")
    follower = terminal.start("logs", "-f", handle.token)
    assert follower.stdout
    assert follower.stdout.readline() == "begun\n"

    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=10)

    assert follower.returncode == 130
    assert "Traceback" not in err
    assert terminal.json("jobs", "--refresh")[0]["state"] == "RUNNING"


def test_a_job_without_output_says_so(terminal: Terminal) -> None:
    handle = terminal.hpc.run(Command.shell("true"), profile="small").handle

    done = terminal.run("logs", handle.token)

    assert (done.returncode, done.stdout) == (0, "")
    assert "has written nothing; it is COMPLETED" in done.stderr


def test_a_directory_that_is_gone_is_not_found(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", work_dir=f"{terminal.folder}/gone"))

    done = terminal.run("logs", "abcdefgh")

    assert done.returncode == 3
    assert f"{terminal.folder}/gone" in done.stderr


def test_the_elements_of_an_array_are_looked_at_one_by_one(terminal: Terminal) -> None:
    results = terminal.hpc.map(Command.shell("echo $1"), [["a"], ["b"]], profile="small")
    batch = results[0].handle.token.split(".")[0]

    refused = terminal.run("logs", batch)

    assert refused.returncode == 2
    assert f"{batch}.0" in refused.stderr
    assert terminal.run("logs", f"{batch}.1").stdout == "b\n"


def test_follow_ends_when_the_job_is_cancelled(terminal: Terminal) -> None:
    handle = terminal.hpc.submit(Command.shell("echo begun; sleep 60"), profile="small")
    follower = terminal.start("logs", "-f", handle.token)
    assert follower.stdout
    assert follower.stdout.readline() == "begun\n"

    terminal.run("cancel", handle.token)
    _, err = follower.communicate(timeout=30)

    assert follower.returncode == 1
    assert "is over: CANCELLED" in err
