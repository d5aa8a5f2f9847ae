"""Every promise of the engine, in thousands of histories that a seed repeats.

`DAGSTER_HPC_HISTORIES` says how many (10,000 unless told), `make simulate` lives through a million. A history that breaks
a promise prints its seed; `python -m tests.simulation.histories SEED` repeats it and makes it small.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.job import JobState, Resume, RetryRule
from dagster_hpc.engine.ledger import observations
from dagster_hpc.engine.ledger.schema import JOBS
from tests.simulation.cluster import Lies
from tests.simulation.database import Storage
from tests.simulation.histories import VERBS, Actor, Plan, all_points, breaks, plan_of

HISTORIES = int(os.environ.get("DAGSTER_HPC_HISTORIES", "10000"))
PARTS = 12  # of the seeds: they run side by side, and small ones leave no worker idle at the end
STORAGE = Storage()
POINTS = all_points(STORAGE)


def _unguarded() -> sa.Update:
    """The statement that writes what a poll has found, without the look whether the job is over already."""
    columns: dict[str, Any] = {name: sa.bindparam(name) for name in observations._LEARNED}
    return JOBS.update().where(JOBS.c.token == sa.bindparam("of")).values(columns)


def _unasked() -> sa.Update:
    """The statement by which an attempt takes the place of another, without the look whether somebody else has made it."""
    return JOBS.update().where(JOBS.c.token == sa.bindparam("old"))


def broken(plans: list[Plan]) -> list[str]:
    return [f"seed {plan.seed}: {why}" for plan in plans if (why := breaks(plan, STORAGE))]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_is_kept_in_every_history(part: int) -> None:
    assert broken([plan_of(seed, POINTS) for seed in range(part, HISTORIES, PARTS)]) == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_process_may_die_at_every_point_of_every_verb(verb: str) -> None:
    """And another, which wants the same, comes while it lives or after it has died."""
    plans: list[Plan] = []
    asking = "array" if verb in ("array", "one_element") else "run"
    for number, point in enumerate(POINTS):
        first = Actor(asking, "a", "h1", dies_at=None if verb in ("cancel", "one_element") else (point, 1))
        second = Actor(verb, "a", "h1", begins=5.0, dies_at=(point, 1))
        third = Actor(asking, "a", "h2", begins=40.0)
        plans.append(Plan(number, (first, second, third), room=2))
    assert broken(plans) == []


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_two_processes_may_die_at_any_two_points(host: str) -> None:
    plans: list[Plan] = []
    for first in POINTS:
        for second in POINTS:
            actors = (
                Actor("run", "a", "h1", dies_at=(first, 1)),
                Actor("run", "a", host, begins=1.0, dies_at=(second, 1)),
                Actor("run", "a", "h2", begins=60.0),
            )
            plans.append(Plan(len(plans), actors, lies=Lies(lost_after=0.5), work_s=30.0))
    assert broken(plans) == []


@pytest.mark.parametrize("verb", ["run", "cancel", "poll", "again"])
def test_a_process_may_die_at_every_point_of_a_chain_of_attempts(verb: str) -> None:
    """Where each attempt runs into its walltime until the third, and where a program goes on until it is finished."""
    plans: list[Plan] = []
    rules = (RetryRule(on=("TIMEOUT",), walltime=2.0, count=2),)
    for again in (Plan(0, (), retry=rules, end=JobState.TIMEOUT), Plan(0, (), resume=Resume(3, 2), code=3)):
        for point in POINTS:
            for time in (1, 2) if point.startswith("retry:") else (1,):
                first = Actor("submit" if verb == "cancel" else "run", "a", "h1", dies_at=(point, time))
                second = Actor(verb, "a", "h1", begins=30.0, dies_at=(point, time))
                third = Actor("run", "a", "h2", begins=60.0)
                plans.append(replace(again, seed=len(plans), actors=(first, second, third), heals_after=2))
    assert broken(plans) == []


def detached_plans() -> list[Plan]:
    """A detached job, sensors that die or stand still over it on two hosts, and somebody who wants the same meanwhile."""
    plans: list[Plan] = []
    for point in (each for each in POINTS if each.startswith("report:")):
        still = Actor("sensor", "a", "h1", begins=5.0, stalls_at=(point, 1, 500.0))
        actors = (Actor("detached", "a", "h1"), still, Actor("sensor", "a", "h2", begins=100.0))
        plans.append(Plan(len(plans), actors, work_s=30.0))
    for point in (each for each in POINTS if each.startswith(("report:", "detached:", "collect:", "deliver:"))):
        for other in ("poll", "step", "run", "detached", "cancel"):
            actors = (
                Actor("detached", "a", "h1", dies_at=(point, 1) if point.startswith("detached:") else None),
                Actor("sensor", "a", "h1", begins=5.0, dies_at=(point, 1)),
                Actor("sensor", "a", "h2", begins=12.0, dies_at=(point, 2)),
                Actor(other, "a", "h2", begins=20.0),
            )
            plans.append(Plan(len(plans), actors, work_s=30.0))
            plans.append(Plan(len(plans), actors, work_s=0.5, fine=True))
    return plans


def test_a_detached_job_is_reported_once_wherever_its_sensors_die() -> None:
    assert broken(detached_plans()) == []


def doubled_plans() -> list[Plan]:
    """A system that takes each submission twice, and somebody who cancels the job while both copies of it wait."""
    actors = (Actor("run", "a", "h1"), Actor("cancel", "a", "h2", begins=10.0))
    return [Plan(seed, actors, lies=Lies(doubled=1.0, waits_s=300.0)) for seed in range(12)]


def test_a_cancelled_job_does_not_run_as_its_copy() -> None:
    assert broken(doubled_plans()) == []


def test_there_are_points_in_all_verbs() -> None:
    verbs = ("retry", "claim", "send", "poll", "cancel", "collect", "deliver", "recover", "ready", "report")
    for verb in verbs:
        assert any(point.startswith(f"{verb}:") for point in POINTS), verb


# How the engine could be wrong, and by which words the simulation notices: it is tried itself.
WRONG: dict[str, tuple[str, Any, str]] = {
    "a finished job owes nobody its result": ("submit.claim._was_delivered", lambda *_: True, "delivered to nobody"),
    "room is not counted": ("ledger.claims._live", lambda *_: 0, "room"),
    "a lock is not closed": ("lock.close", lambda *_: jobdir.CLOSED, "ran"),
    "cancellations are not sent again": ("upkeep.resend", lambda *_: None, "cancelled"),
    "nobody goes on with what a dead process left": ("upkeep.settle", lambda *_: None, "not settled"),
    "a job that an answer leaves out is not there": ("observe.poll.Poller._is_denied", lambda *_: True, "LOST"),
    "accounts that leave a job out know nothing of it": ("observe.poll.Poller._needs_accounts", lambda *_: False, "told"),
    "a report that was begun is not looked for": ("report._was_told", lambda *_: False, "said twice"),
    "an attempt is made whoever else has made it": ("ledger.claims._YIELDS", _unasked(), "UNIQUE constraint failed"),
    "an attempt that is due is made by nobody": ("upkeep.try_again", lambda *_: (False, None), "not settled"),
    "who waits gets an attempt that goes on": ("ledger.rows.JobRow.goes_on", False, "goes on as"),
    "a sensor that was overtaken goes on": ("ledger.reports.Reports.beat", lambda *_: True, "said twice"),
    "a run that waits for a detached job is not asked": ("report._receiver", lambda *_: None, "has received it"),
    "a job that is over may become another": ("ledger.observations._RECORD", _unguarded(), "became"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_simulation_sees_an_engine_that_is_wrong(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, instead, words = WRONG[wrong]
    monkeypatch.setattr(f"dagster_hpc.engine.{name}", instead)
    plans = itertools.chain(detached_plans(), doubled_plans(), (plan_of(seed, POINTS) for seed in range(1500)))
    assert any(words in _crashes_or_breaks(plan) for plan in plans), "all promises kept"


def _crashes_or_breaks(plan: Plan) -> str:
    """The database guards some of it by itself: then nothing happens twice, and a process meets what no user should."""
    try:
        return breaks(plan, STORAGE)
    except IntegrityError as error:
        return str(error)


@pytest.mark.parametrize("right", [True, False])
def test_an_element_that_was_received_is_not_handed_out_once_more(right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its step failed for others, and the ledger has no note of it yet: the event log is asked."""
    if not right:
        monkeypatch.setattr("dagster_hpc.engine.submit.claim._was_delivered", lambda row, *_: row.delivered_at is not None)
    actors = (Actor("elements", "a", "h1"), Actor("elements", "a", "h1", begins=250.0))
    found = [breaks(Plan(seed, actors), STORAGE) for seed in range(12)]
    assert any("handed out once more" in why for why in found) is not right
    assert not right or found == [""] * 12
