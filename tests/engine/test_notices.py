"""What those who watch jobs were told: nothing is forgotten, nothing is told twice."""

# ruff: noqa: F811 - a fixture is an argument by its own name

from __future__ import annotations

from dataclasses import replace

import pytest

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import Change, JobRow, Ledger, Subject, end_of
from tests.engine.test_ledger import a_job, all_at_once, ledger, url  # noqa: F401 - on SQLite and on PostgreSQL

MAIL, WEBHOOK = "jobs by mail", "jobs by webhook"


def put(ledger: Ledger, token: str, state: JobState = JobState.COMPLETED, **more: object) -> JobRow:
    (row,) = ledger.insert_missing([replace(a_job(token, state=state), **more)])
    return row


def array(ledger: Ledger, *states: JobState) -> None:
    for index, state in enumerate(states):
        put(ledger, f"arr.{index}", state, array_index=index)


def news(ledger: Ledger, watcher: str = MAIL) -> list[list[str]]:
    return [[row.token for row in rows] for rows in ledger.notices.ended(watcher, "slurm")]


def test_what_was_over_before_somebody_watched_is_no_news(ledger: Ledger) -> None:
    put(ledger, "old")
    put(ledger, "live", JobState.RUNNING)
    assert ledger.notices.begin(MAIL, "slurm")
    ledger.observations.record([Change("live", JobState.FAILED)])
    assert news(ledger) == [["live"]]
    assert not ledger.notices.begin(MAIL, "slurm")  # it has begun; what ended since stays news
    assert news(ledger) == [["live"]]


def test_each_watcher_hears_of_an_end_once(ledger: Ledger) -> None:
    row = put(ledger, "one")
    assert ledger.notices.take(MAIL, [end_of(row)], "me")
    ledger.notices.tell(MAIL, [end_of(row)], "me")
    assert news(ledger) == []
    assert not ledger.notices.take(MAIL, [end_of(row)], "another")
    assert news(ledger, WEBHOOK) == [["one"]]


def test_only_one_tells_it_at_a_time(ledger: Ledger) -> None:
    end = end_of(put(ledger, "one"))
    assert ledger.notices.take(MAIL, [end], "me")
    assert not ledger.notices.take(MAIL, [end], "another")
    ledger.notices.let_go(MAIL, [end], "me")
    assert ledger.notices.take(MAIL, [end], "another")


def test_of_several_processes_one_tells_it(ledger: Ledger, url: str) -> None:
    end = end_of(put(ledger, "one"))
    answers = all_at_once(url, lambda opened, number: opened.notices.take(MAIL, [end], f"process {number}"))
    assert sorted(answers) == [False] * (len(answers) - 1) + [True]


def test_taking_may_be_repeated_when_the_answer_was_lost(ledger: Ledger) -> None:
    end = end_of(put(ledger, "one"))
    assert ledger.notices.take(MAIL, [end], "me")
    assert ledger.notices.take(MAIL, [end], "me")
    ledger.notices.tell(MAIL, [end], "me")
    assert not ledger.notices.take(MAIL, [end], "me")


def test_what_a_process_that_died_has_taken_is_told_by_another(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = end_of(put(ledger, "one"))
    assert ledger.notices.take(MAIL, [end], "who dies")
    assert news(ledger) == [["one"]]
    monkeypatch.setattr("dagster_hpc.engine.ledger.notices._SILENT_S", -60.0)  # a while later
    assert ledger.notices.take(MAIL, [end], "another")
    ledger.notices.tell(MAIL, [end], "who dies")  # a late word of one who was overtaken
    assert news(ledger) == [["one"]]


def test_an_array_is_news_when_all_of_it_is_over(ledger: Ledger) -> None:
    array(ledger, JobState.FAILED, JobState.RUNNING, JobState.COMPLETED)
    assert news(ledger) == []
    ledger.observations.record([Change("arr.1", JobState.COMPLETED)])
    assert news(ledger) == [["arr.0", "arr.1", "arr.2"]]


def test_a_job_that_is_tried_again_is_no_news_until_its_last_attempt_is_over(ledger: Ledger) -> None:
    put(ledger, "first", JobState.FAILED, next_token="second")
    put(ledger, "second", JobState.RUNNING, first_token="first")
    assert news(ledger) == []
    ledger.observations.record([Change("second", JobState.COMPLETED)])
    assert news(ledger) == [["second"]]


def test_a_job_that_turns_up_again_is_news_again(ledger: Ledger) -> None:
    lost = put(ledger, "one", JobState.LOST)
    ledger.notices.note(MAIL, [end_of(lost)])
    assert news(ledger) == []
    ledger.observations.record([Change("one", JobState.COMPLETED)])
    assert news(ledger) == [["one"]]


def test_jobs_of_another_target_are_no_news(ledger: Ledger) -> None:
    put(ledger, "far", target="pbs")
    assert news(ledger) == []


def test_what_was_told_while_a_job_lives_is_known(ledger: Ledger) -> None:
    stuck, late = Subject("stuck", "one"), Subject("late", "one")
    ledger.notices.note(MAIL, [stuck])
    ledger.notices.note(MAIL, [stuck])
    assert ledger.notices.told(MAIL, [stuck, late]) == {stuck}


def test_thousands_of_elements_are_taken_together(ledger: Ledger) -> None:
    ends = [Subject("ended", f"arr.{index}") for index in range(2000)]
    assert ledger.notices.take(MAIL, ends, "me")
    ledger.notices.tell(MAIL, ends, "me")
    assert ledger.notices.told(MAIL, ends) == set(ends)


def test_what_was_said_of_a_job_is_forgotten_with_it(ledger: Ledger) -> None:
    end = end_of(put(ledger, "one"))
    ledger.notices.note(MAIL, [end])
    ledger.delete(["one"])
    assert ledger.notices.told(MAIL, [end]) == set()
