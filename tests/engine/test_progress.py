"""How far several jobs are that are waited for together: told when it changes, and so seldom that no log is buried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dagster_hpc.engine.job import JobState, Progress
from dagster_hpc.engine.target import Listener
from dagster_hpc.engine.wait import _HowFar


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([JobState.PENDING, JobState.READY, JobState.HELD, JobState.UNKNOWN], "4 pending"),
        ([JobState.RUNNING, JobState.SUSPENDED, JobState.COMPLETED], "2 running, 1 done"),
        ([JobState.TIMEOUT, JobState.LOST, JobState.REFUSED, JobState.COMPLETED], "1 done, 3 failed"),
        ([], "none"),
    ],
)
def test_every_state_is_one_of_four(states: list[JobState], words: str) -> None:
    assert str(Progress.of(states)) == words


class Array:
    """So many elements, of which all that is known is their state."""

    def __init__(self, count: int) -> None:
        self.live: dict[str, Any] = {str(index): job(JobState.PENDING) for index in range(count)}
        self.told: list[tuple[float, str]] = []
        self.now = 0.0
        self.how_far = _HowFar(Listener(on_progress=lambda progress: self.told.append((self.now, str(progress)))), 0.0)

    def at(self, now: float, **states: JobState) -> None:
        self.now = now
        for index, state in states.items():
            self.live[index.lstrip("_")] = job(state)
        self.how_far.tell(self.live, now, news=bool(states))
        for index in [index.lstrip("_") for index, state in states.items() if state.is_final]:
            self.how_far.ended.append(self.live.pop(index).row.state)


def job(state: JobState, *, goes_on: bool = False) -> Any:
    return SimpleNamespace(asked=["x"], row=SimpleNamespace(state=state, is_over=state.is_final and not goes_on))


def test_ten_thousand_elements_that_end_one_after_the_other_in_a_day_are_a_few_dozen_lines() -> None:
    array, seconds = Array(10_000), 24 * 3600
    array.at(0.0)
    for index in range(10_000):
        array.at(index * seconds / 10_000, **{f"_{index}": JobState.COMPLETED})
    assert len(array.told) < 60
    assert array.told[0] == (0.0, "10000 pending")
    assert array.told[-1][1] == "10000 done"


def test_what_has_changed_in_between_is_told_when_it_is_time_though_nothing_changes_any_more() -> None:
    array = Array(3)
    array.at(0.0, _0=JobState.RUNNING)
    array.at(0.2, _0=JobState.COMPLETED)
    array.at(0.9)
    array.at(5.0)
    array.at(500.0)
    assert array.told == [(0.0, "2 pending, 1 running"), (5.0, "2 pending, 1 done")]


def test_a_single_job_has_no_progress() -> None:
    array = Array(1)
    array.at(0.0, _0=JobState.RUNNING)
    array.at(100.0, _0=JobState.COMPLETED)
    assert array.told == []


def test_one_that_ended_badly_and_is_to_be_tried_again_is_pending() -> None:
    array = Array(2)
    array.live["0"] = job(JobState.TIMEOUT, goes_on=True)
    array.at(0.0, _1=JobState.RUNNING)
    assert array.told == [(0.0, "1 pending, 1 running")]
