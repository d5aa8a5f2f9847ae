"""`dagster-hpc report`: on jobs that really ran, and as a page."""

from __future__ import annotations

import getpass
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dagster_hpc import Command
from dagster_hpc.engine.job import JobMetrics, JobState, RetryPlan
from tests.cli.terminal import Terminal, row

GIVEN = RetryPlan(walltime_s=600, memory_mib=64, profile="small", user="ada", nodes=1, ranks_per_node=1)


def test_jobs_that_ran_are_reported_by_profile_user_and_target(terminal: Terminal) -> None:
    terminal.hpc.run(Command.shell("sleep 0.2"), profile="small")

    report = terminal.json("report")

    assert (report["total"]["jobs"], report["total"]["well"]) == (1, 1)
    assert [usage["name"] for usage in report["by_profile"]] == ["small"]
    assert [usage["name"] for usage in report["by_user"]] == [getpass.getuser()]
    assert [usage["name"] for usage in report["by_target"]] == ["laptop"]
    assert 0 < report["total"]["walltime"]["ratio"] < 0.1
    assert 0 < report["total"]["memory"]["ratio"] <= 1


def test_the_table_shows_what_was_asked_for(terminal: Terminal) -> None:
    metrics = JobMetrics(elapsed_s=300.0, queue_wait_s=60.0, nodes=1).derived()
    terminal.keep(
        row("abcdefgh", asset_key="energy", retry=GIVEN, metrics=metrics),
        row("abcdefgi", asset_key="energy", retry=GIVEN, state=JobState.OOM),
    )

    said = terminal.run("report", "--by", "asset", "--by", "profile").stdout

    assert "2 jobs: 1 ended well, 1 badly, 0 under way" in said
    assert re.search(r"^energy +2 +1 +0\.0833 +50%", said, re.MULTILINE), said
    assert re.search(r"^small +2 +1", said, re.MULTILINE)
    assert re.search(r"^OOM +1", said, re.MULTILINE)


def test_only_jobs_of_the_span_count(terminal: Terminal) -> None:
    now = time.time()
    terminal.keep(row("old22222", created_at=now - 86400 * 3), row("new22222", created_at=now - 60))

    assert terminal.json("report", "--since", "1d")["total"]["jobs"] == 1
    assert terminal.json("report", "--since", "4d", "--until", "2d")["total"]["jobs"] == 1
    assert terminal.json("report", "--since", "4d")["total"]["jobs"] == 2


@pytest.mark.parametrize("words", [("--since", "soon"), ("--since", "1d", "--until", "2d"), ("--by", "moon")])
def test_a_span_that_is_none_is_wrong_usage(terminal: Terminal, words: tuple[str, ...]) -> None:
    assert terminal.run("report", *words).returncode == 2


def test_an_empty_span_says_so(terminal: Terminal) -> None:
    terminal.keep(row("old22222", created_at=1.0))
    assert "no jobs in this span" in terminal.run("report").stderr


class Outside(HTMLParser):
    """What a page would have to fetch, and the tables and pictures that it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.captions = 0
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.fetched += [value for name, value in attrs if name in ("src", "href") and value]
        self.fetched += [tag] if tag in ("script", "link", "iframe") else []
        self.captions += tag == "caption"
        if tag == "svg":
            assert values["role"] == "img"
            self.said.append(values["aria-label"] or "")


def test_the_page_needs_nothing_else_and_says_in_words_what_its_plots_show(terminal: Terminal) -> None:
    metrics = JobMetrics(elapsed_s=3600.0, nodes=2).derived()
    terminal.keep(
        row("abcdefgh", asset_key="<b>&energy", retry=GIVEN, metrics=metrics),
        row("abcdefgi", retry=GIVEN, state=JobState.OOM, metrics=metrics),
    )

    done = terminal.run("report", "--html", "report.html")

    text = Path(terminal.folder / "report.html").read_text()
    page = Outside()
    page.feed(text)
    assert (done.returncode, page.fetched, page.captions) == (0, [], 4)
    assert page.said == ["Node hours over time: 2 used well or still running, 2 ended badly", "Failures by cause"]
    assert "&lt;b&gt;&amp;energy" in text
    assert "prefers-color-scheme: dark" in text


def test_a_page_that_cannot_be_written_is_a_sentence(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh"))
    done = terminal.run("report", "--html", "nowhere/report.html")
    assert (done.returncode, "the page cannot be written" in done.stderr) == (1, True)
