"""When a system expects a waiting job to start, and its own words on that: from its answers, and from real ones."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers import scheduler_class
from dagster_hpc.engine.schedulers.base import Outlook
from tests.transcripts import transcript

HALF_PAST_8 = datetime(2026, 11, 20, 8, 30).timestamp()


def outlook(kind: str, name: str) -> Outlook:
    told: Outlook = scheduler_class(kind)().read_outlook(transcript(kind, name))
    return told


@pytest.mark.parametrize(
    ("kind", "name", "starts_at", "words"),
    [
        ("slurm", "documented_outlook_backfilled", HALF_PAST_8, "SchedNodeList=node2"),
        ("pbs", "documented_outlook_estimated", HALF_PAST_8, "Not enough free nodes available"),
        ("lsf", "outlook_waiting", HALF_PAST_8, "Job slot limit reached: 12 hosts"),
        ("pjm", "outlook_planned", datetime(2026, 11, 20, 7, 10).timestamp(), ""),
        ("flux", "documented_outlook_estimated", 1795160000.0, "insufficient resources"),
    ],
)
def test_the_estimated_start_is_read_with_the_words_beside_it(
    kind: str, name: str, starts_at: float, words: str
) -> None:
    told = outlook(kind, name)

    assert told.starts_at == starts_at
    assert words in " ".join(told.words)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("slurm", "look_for_array"),
        ("slurm", "look_for_ended"),
        ("slurm", "look_for_forgotten"),
        ("pbs", "plain_waiting"),
        ("pjm", "record_running"),
        ("flux", "json_run"),
        ("flux", "down_jobs"),
        ("lsf", "queue_daemon_down"),
        ("torque", "documented_queue_held"),
    ],
)
def test_nothing_is_expected_where_the_system_names_no_time(kind: str, name: str) -> None:
    assert outlook(kind, name).starts_at is None


def test_grid_engine_gives_its_reasons_in_sentences() -> None:
    assert outlook("sge", "qstat_j_queued").words == (
        'cannot run in queue "debug.q" because it is not contained in its hard queue list (-q)',
        'cannot run in PE "smp" because it only offers 0 slots',
    )
    assert outlook("sge", "qstat_j_unknown") == Outlook()


def test_grid_engine_gives_no_reason_before_it_has_looked_at_a_job() -> None:
    assert _grid_engine_says("There are no messages available").words == ()


def test_grid_engine_says_that_its_site_wants_no_reasons_kept() -> None:
    turned_off = "(Collecting of scheduler job information is turned off)"

    assert _grid_engine_says(turned_off).words == (turned_off,)


def _grid_engine_says(sentence: str) -> Outlook:
    said = f"job_number:                 7\nscheduling info:            {sentence}\n"
    told: Outlook = scheduler_class("sge")().read_outlook(Answer(("qstat", "-j", "7"), 0, said, "", about="7"))
    return told


def test_the_embedded_scheduler_names_the_jobs_before_this_one() -> None:
    def job(number: int, state: str) -> dict[str, object]:
        return {"id": str(number), "array_id": str(number), "name": "x", "state": state, "cores": 2, "time_s": 60}

    jobs = [job(1, "RUNNING"), job(2, "PENDING"), job(3, "PENDING"), job(4, "PENDING")]
    answer = Answer(("query",), 0, json.dumps({"jobs": jobs, "unknown": []}), "", about="3")

    told = scheduler_class("local")().read_outlook(answer)

    assert told.words == (
        "job 1 (x) runs on 2 cores, for 60 s at most",
        "job 2 (x) is before it, and asks for 2 cores",
    )
