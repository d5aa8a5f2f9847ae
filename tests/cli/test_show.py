from __future__ import annotations

from dagster_hpc import Command
from dagster_hpc.engine.job import JobState
from tests.cli.terminal import Terminal, row


def test_shows_everything_about_a_job(terminal: Terminal) -> None:
    result = terminal.hpc.run(Command.shell("echo 1 >o.txt", name="count"), profile="small", outputs={"one": "o.txt"})

    page = terminal.run_alone("show", result.handle.token).stdout

    facts = dict(line.strip().split("  ", 1) for line in page.splitlines() if "  " in line.strip())
    assert page.startswith("count\n")
    assert facts["state"].strip() == "COMPLETED, exit code 0"
    assert facts["job id"].strip() == result.handle.job_id
    assert facts["target"].strip() == "laptop (local)"
    assert facts["directory"].strip() == result.handle.work_dir
    assert facts["memory peak"].strip().endswith("MiB")
    assert facts["ended"].strip().endswith("ago)")
    assert facts["one"].strip() == result.outputs["one"]


def test_json_has_the_same_with_numbers(terminal: Terminal) -> None:
    result = terminal.hpc.run(Command.shell("true"), profile="small")

    record = terminal.json("show", result.handle.token)

    assert record["state"] == "COMPLETED"
    assert record["scheduler"] == "local"
    assert record["metrics"]["elapsed_s"] == result.metrics.elapsed_s
    assert record["created_at"] < record["metrics"]["ended_at"]


def test_asset_run_and_reason_are_shown(terminal: Terminal) -> None:
    terminal.keep(
        row(
            "abcdefgh",
            asset_key="chem/energy",
            partition_key="h2o",
            run_id="0f3c",
            state=JobState.PENDING,
            reason="waits its turn behind jobs of higher priority (Priority)",
            queue="regular",
            project="ab12",
        )
    )

    page = terminal.run("show", "abcdefgh").stdout

    for words in ("chem/energy", "h2o", "0f3c", "(Priority)", "queue regular", "project ab12", "none yet"):
        assert words in page


def test_script_is_the_one_that_was_submitted(terminal: Terminal) -> None:
    result = terminal.hpc.run(Command.shell("true"), profile="small")

    assert terminal.run("show", result.handle.token, "--script").stdout == result.script


def test_a_script_that_is_gone_is_not_found(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", work_dir=f"{terminal.folder}/nowhere"))

    done = terminal.run_alone("show", "abcdefgh", "--script")

    assert (done.returncode, done.stdout) == (3, "")


def test_a_job_is_found_by_the_start_of_its_token_and_by_its_job_id(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", job_id="4711"), row("zyxwvuts", job_id="4712"))

    assert terminal.json("show", "abc")["token"] == "abcdefgh"
    assert terminal.json("show", "4712")["token"] == "zyxwvuts"


def test_a_word_that_means_several_jobs_lists_them(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh", job_id="7"), row("abcxwvut", job_id="7", target="laptop"), row("zyxwvuts"))

    for word in ("abc", "7"):
        done = terminal.run("show", word)
        assert (done.returncode, done.stdout) == (2, "")
        assert "abcdefgh" in done.stderr
        assert "abcxwvut" in done.stderr
        assert "zyxwvuts" not in done.stderr


def test_unknown_words_are_not_found(terminal: Terminal) -> None:
    assert terminal.run("show", "abcdefgh").returncode == 3  # no ledger at all
    terminal.keep(row("abcdefgh"))
    for word in ("nowhere2", "", "%", "_"):
        done = terminal.run("show", word)
        assert done.returncode == 3
        assert "no job" in done.stderr


def test_an_array_is_shown_as_its_elements(terminal: Terminal) -> None:
    results = terminal.hpc.map(Command.shell("exit $1", name="arr"), [["0"], ["3"]], profile="small")
    batch, element = results[0].handle.token.split(".")[0], results[1].handle
    array_id = str(element.job_id).partition("_")[0]

    assert "array job" in terminal.run("show", batch).stdout
    for word in (batch, array_id):
        assert [each["state"] for each in terminal.json("show", word)["elements"]] == ["COMPLETED", "FAILED"]
    assert terminal.json("show", str(element.job_id))["exit_code"] == 3
    assert terminal.json("show", element.token)["array_index"] == 1


def test_what_a_job_was_given_is_shown(terminal: Terminal) -> None:
    handle = terminal.hpc.run(Command.shell("true"), profile="small").handle

    record, page = terminal.json("show", handle.token), terminal.run("show", handle.token).stdout

    assert (record["profile"], record["memory_per_node_mib"]) == ("small", 64)
    assert "64 MiB per node" in page
