"""The promises of an allocation, in histories that a seed repeats: no step runs twice, and nothing waits for ever."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from dagster_hpc.engine.step_figures import StepFigures
from dagster_hpc.engine.target import Target
from tests.simulation.allocations import Client, Plan, all_points, breaks, plan_of
from tests.simulation.cluster import Lies
from tests.simulation.database import Storage

HISTORIES = int(os.environ.get("DAGSTER_HPC_HISTORIES", "10000")) // 20
PARTS = 4
STORAGE = Storage()
POINTS = all_points(STORAGE)


def broken(plans: list[Plan]) -> list[str]:
    return [f"seed {plan.seed}: {why}" for plan in plans if (why := breaks(plan, STORAGE))]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_is_kept_in_every_history(part: int) -> None:
    assert broken([plan_of(seed, POINTS) for seed in range(part, HISTORIES, PARTS)]) == []


def deadly_plans() -> list[Plan]:
    """Clients that die at each of the named points, while their allocation waits, runs, or has lost its node."""
    plans: list[Plan] = []
    for point in POINTS:
        for time in (1, 2):
            first = Client("array", "a", "h1", 0.0, dies_at=(point, time))
            second = Client("array", "a", "h2", 90.0, dies_at=(point, time))
            plans.append(Plan(len(plans), (first, second), Lies(lost_after=0.3, waits_s=30.0), node_loss=0.7))
    return plans


def test_a_client_may_die_at_every_point_and_another_finds_its_steps() -> None:
    assert broken(deadly_plans()) == []


def test_there_are_points_in_the_keeping_of_an_allocation() -> None:
    assert len([point for point in POINTS if point.startswith("allocation:")]) >= 2


def _next_ones(self: StepFigures, key: str, inner: Target, ids: Sequence[str], names: Collection[str]) -> Any:
    answers = [inner.host.run(question) for question in inner.scheduler.steps(ids)]
    told = dict(inner.scheduler.read_steps(answers, names) or {})
    return dict(zip(told, reversed(told.values()), strict=True))


# How the keeping could be wrong, and by which words the simulation notices: it is tried itself.
WRONG: dict[str, tuple[str, Any, str]] = {
    "nobody says that an allocation is over": (
        "dagster_hpc.engine.allocation.Keeper._say_that_it_is_over", lambda *_: None, "not settled"),
    "no job follows one that is draining": (
        "dagster_hpc.engine.allocation.Keeper._without_what_waits_in_vain", lambda *_: [], "not settled"),
    "figures are taken for those of the step beside": (
        "dagster_hpc.engine.step_figures.StepFigures._ask", _next_ones, "is said to have cost"),
    "nobody asks for figures": (
        "dagster_hpc.engine.step_figures.StepFigures.take_in", lambda *_: None, "nobody took that in"),
    "a job that nobody kept is not looked for": (
        "dagster_hpc.engine.allocation.Keeper._keep_those_that_nobody_kept", lambda *_: False, "not settled"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_the_simulation_sees_a_keeper_that_is_wrong(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, instead, words = WRONG[wrong]
    monkeypatch.setattr(name, instead)
    plans = itertools.chain(deadly_plans(), (plan_of(seed, POINTS) for seed in range(1500)))
    assert any(words in breaks(plan, STORAGE) for plan in plans), "all promises kept"
