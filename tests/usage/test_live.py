"""What is shown of many jobs on a small screen."""

from __future__ import annotations

from typing import Any

from dagster_hpc.engine.job import JobMetrics, JobState
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.usage.live import live_view
from tests.cli.terminal import row

NOW = 10_000.0


def job(token: str, state: JobState, **values: Any) -> JobRow:
    return row(token, **{"state": state, "created_at": 5000.0, **values})


def test_what_runs_comes_first_and_of_each_the_oldest() -> None:
    rows = [
        job("ready", JobState.READY),
        job("pending", JobState.PENDING, created_at=4000.0),
        job("young", JobState.RUNNING, metrics=JobMetrics(started_at=9000.0)),
        job("old", JobState.RUNNING, metrics=JobMetrics(started_at=8000.0)),
    ]

    view = live_view(rows, {}, NOW, 10)

    assert [line.token for line in view.lines] == ["old", "young", "pending", "ready"]
    assert view.states == {"RUNNING": 2, "PENDING": 1, "READY": 1}


def test_an_array_is_one_line_with_its_progress() -> None:
    rows = [job(f"arr.{at}", JobState.RUNNING if at < 3 else JobState.PENDING, array_index=at) for at in range(10)]

    (line,) = live_view(rows, {"arr": 30}, NOW, 10).lines

    assert (line.token, line.over, line.of) == ("arr", 30, 40)
    assert line.states == {"RUNNING": 3, "PENDING": 7}


def test_where_the_screen_is_too_small_an_asset_is_a_line() -> None:
    rows = [job(f"t{at}", JobState.PENDING, asset_key=f"asset{at % 3}", reason="(Priority)") for at in range(3000)]

    view = live_view(rows, {}, NOW, 2)

    assert [(line.name, line.of, line.token, line.reason) for line in view.lines] == [
        ("asset0", 1000, "", "(Priority)"),
        ("asset1", 1000, "", "(Priority)"),
    ]
    assert view.left_out == 1


def test_the_cost_is_that_of_what_runs_so_far() -> None:
    rows = [job("a", JobState.RUNNING, metrics=JobMetrics(started_at=NOW - 3600, nodes=4)), job("b", JobState.PENDING)]

    view = live_view(rows, {}, NOW, 10)

    assert (view.nodes, view.node_hours) == (4, 4.0)
