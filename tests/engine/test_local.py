"""The embedded scheduler, from what it prints."""

from __future__ import annotations

import json

import pytest

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.local.requests import Local

LOCAL = Local(spool="/var/spool/me")


def test_ids_that_it_does_not_know_are_named() -> None:
    told = {"jobs": [{"id": "7", "array_id": 7, "state": "RUNNING"}], "unknown": ["8"]}
    report = LOCAL.read_queue(Answer(LOCAL.queue(["7", "8"]).argv, 0, json.dumps(told), ""))
    assert report.jobs["7"].state is JobState.RUNNING
    assert report.unknown == {"8"}


@pytest.mark.parametrize("out", ["", "hello", "[]", '{"jobs": []}', '{"jobs": [], "unknown": [[]]}', '{"jobs": [{"id": '])
def test_an_answer_that_is_not_what_was_asked_for_has_failed_and_is_quoted(out: str) -> None:
    report = LOCAL.read_queue(Answer(LOCAL.queue(["7"]).argv, 0, out, ""))
    assert "is not understood" in report.failed
    assert out.strip() in report.failed
    assert not report.unknown


def test_it_takes_any_number_of_jobs() -> None:
    assert LOCAL.room("me", "", "") == []
    assert LOCAL.read_room([]) == Room()
