"""`dagster-hpc retry`: one further attempt, whoever asks for it how often, linked to the one before."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_hpc import Command
from dagster_hpc.engine.job import JobHandle, JobState
from tests.cli.terminal import Terminal, eventually, row


def failed(terminal: Terminal, text: str, **more: object) -> JobHandle:
    """A job that ended badly."""
    handle = terminal.hpc.submit(Command.shell(text, name="work", **more), profile="small")  # type: ignore[arg-type]
    terminal.run("logs", "-f", handle.token)
    return handle


def fails_first(terminal: Terminal) -> str:
    mark = terminal.folder / "mark"
    return f"test -e {mark} || {{ touch {mark}; exit 7; }}"


def test_a_failed_job_is_submitted_again_and_linked(terminal: Terminal) -> None:
    handle = failed(terminal, fails_first(terminal))

    (report,) = terminal.json("retry", handle.token)

    shown = terminal.json("show", handle.token)
    assert shown["next_token"] == report["next_token"]
    assert terminal.run("logs", "-f", report["next_token"]).returncode == 0
    assert [one["state"] for one in terminal.json("show", handle.token)["attempts"]] == ["FAILED", "COMPLETED"]


def test_said_twice_it_makes_one_attempt(terminal: Terminal) -> None:
    handle = failed(terminal, f"{fails_first(terminal)}; sleep 60")

    codes = [terminal.run("retry", handle.token).returncode for _ in range(2)]

    assert codes == [0, 1]
    assert len(terminal.json("show", handle.token)["attempts"]) == 2


def test_two_who_ask_at_once_get_one_attempt(terminal: Terminal) -> None:
    handle = failed(terminal, "exit 7")
    plan = terminal.ledger().job(handle.token).retry
    assert plan is not None

    assert terminal.ledger().observations.try_again(handle.token, plan)
    assert not terminal.ledger().observations.try_again(handle.token, plan)


def test_more_time_and_memory_may_be_given(terminal: Terminal) -> None:
    handle = failed(terminal, fails_first(terminal))

    terminal.run("retry", handle.token, "--walltime", "00:20:00", "--memory", "128M")

    script = eventually(lambda: terminal.run("show", "--script", _next(terminal, handle)).stdout)
    assert "#LOCAL --time=1200" in script
    assert "#LOCAL --memory=128" in script


def _next(terminal: Terminal, handle: JobHandle) -> str:
    return str(terminal.json("show", handle.token)["next_token"])


def test_of_an_array_only_what_failed_is_tried_again(terminal: Terminal) -> None:
    results = terminal.hpc.map(Command.shell("exit $1", name="arr"), [["0"], ["3"], ["0"]], profile="small")
    batch = results[0].handle.token.partition(".")[0]

    reports = terminal.json("retry", batch)

    assert [report["token"] for report in reports] == [f"{batch}.1"]


def test_of_a_run_all_jobs_that_failed_are_tried_again(terminal: Terminal) -> None:
    run = "abcd1234-1111-2222-3333-444444444444"
    terminal.keep(
        row("lost2222", run_id=run, state=JobState.LOST),
        row("good2222", run_id=run),
        row("fail2222", run_id=run, state=JobState.FAILED, work_dir=str(terminal.folder)),
    )

    done = terminal.run("retry", "abcd1234")

    assert done.returncode == 1
    assert "lost2222: may still run" in done.stderr
    assert "fail2222: what was asked for is not kept" in done.stderr
    assert "good2222" not in done.stdout + done.stderr


def test_work_that_was_asked_for_anew_is_not_done_twice(terminal: Terminal) -> None:
    work = Path(terminal.folder / "job" / ".job")
    work.mkdir(parents=True)
    (work / "request.json").write_text("{}")
    ledger = terminal.ledger()
    ledger.insert_missing(
        [
            row("fail2222", state=JobState.FAILED, identity="same", work_dir=str(work.parent)),
            row("live2222", state=JobState.RUNNING, identity="same", held_identity="same"),
        ]
    )

    done = terminal.run("retry", "fail2222")

    assert (done.returncode, "the same work is with another job" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("state", "why"), [(JobState.RUNNING, "is not over"), (JobState.COMPLETED, "ended well")], ids=str
)
def test_what_did_not_end_badly_is_refused(terminal: Terminal, state: JobState, why: str) -> None:
    terminal.keep(row("abcdefgh", state=state))
    done = terminal.run("retry", "abcdefgh")
    assert (done.returncode, why in done.stderr) == (1, True)


def test_a_job_with_inputs_and_no_rule_is_refused_in_a_sentence(terminal: Terminal) -> None:
    handle = failed(terminal, "exit 7", inputs={"x.txt": "1"})
    done = terminal.run("retry", handle.token)
    assert (done.returncode, "RetryRule" in done.stderr) == (1, True)


@pytest.mark.parametrize("words", [("--walltime", "soon"), ("--memory", "much")])
def test_sizes_that_are_none_are_wrong_usage(terminal: Terminal, words: tuple[str, str]) -> None:
    terminal.keep(row("abcdefgh", state=JobState.FAILED))
    assert terminal.run("retry", "abcdefgh", *words).returncode == 2


def test_an_unknown_word_is_not_found(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh"))
    assert terminal.run("retry", "nowhere2").returncode == 3


def test_the_same_request_takes_the_result_of_the_new_attempt(terminal: Terminal) -> None:
    """As a step does that is executed again after its run has failed."""
    mark = terminal.folder / "mark"
    ran = f"test -e {mark} || {{ touch {mark}; exit 7; }}; echo once >>{terminal.folder}/ran"
    command = Command.shell(ran, name="work")
    handle = terminal.hpc.submit(command, profile="small", key="same")
    terminal.run("logs", "-f", handle.token)
    (report,) = terminal.json("retry", handle.token)
    terminal.run("logs", "-f", report["next_token"])

    result = terminal.hpc.run(command, profile="small", key="same")

    assert result.handle.token == report["next_token"]
    assert (terminal.folder / "ran").read_text() == "once\n"
