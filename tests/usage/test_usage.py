"""From rows to figures: what was used of what was given."""

from __future__ import annotations

from typing import Any

import pytest

from dagster_hpc.engine.job import JobMetrics, JobState, RetryPlan
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.usage.figures import quantile, usage_of
from dagster_hpc.usage.job import cause, memory_per_node_mib, node_hours
from dagster_hpc.usage.report import report_on
from dagster_hpc.usage.span import moment
from tests.cli.terminal import row

GIVEN = RetryPlan(walltime_s=1000, memory_mib=400, profile="mpi", user="ada", nodes=2, ranks_per_node=4, cores_per_node=4)
USED = JobMetrics(
    queue_wait_s=10.0, elapsed_s=500.0, cpu_time_s=2000.0, max_rss_mib=50.0, nodes=2, cores=8, energy_j=100.0
).derived()
NOW = 10_000.0


def job(token: str, **values: Any) -> JobRow:
    return row(token, **{"created_at": 5000.0, "retry": GIVEN, "metrics": USED, **values})


def test_used_is_compared_with_given() -> None:
    usage = usage_of("all", [job("a"), job("b", state=JobState.TIMEOUT)], NOW)

    assert (usage.jobs, usage.well, usage.badly, usage.live) == (2, 1, 1, 0)
    assert usage.walltime.ratio == 0.5
    assert usage.cores.ratio == 0.5
    assert usage.memory.ratio == 0.5  # 4 ranks of 50 MiB on each node, of 400
    assert usage.node_hours == pytest.approx(2 * 2 * 500 / 3600)
    assert usage.lost_node_hours == pytest.approx(2 * 500 / 3600)
    assert (usage.energy_j, usage.causes) == (200.0, {"TIMEOUT": 1})


def test_what_is_not_known_is_left_out_and_not_counted_as_nothing() -> None:
    usage = usage_of("all", [job("a"), job("b", retry=None, metrics=JobMetrics())], NOW)

    assert (usage.walltime.jobs, usage.walltime.ratio) == (1, 0.5)
    assert usage_of("none", [], NOW).wait_median_s is None


def test_a_running_job_costs_what_it_has_cost_so_far() -> None:
    running = job("a", state=JobState.RUNNING, metrics=JobMetrics(started_at=NOW - 3600))
    assert node_hours(running, NOW) == 2.0


@pytest.mark.parametrize(
    ("kind", "mib"),
    [("slurm", 200.0), ("local", 50.0), ("pjm", 50.0), ("pbs", 25.0), ("lsf", 25.0), ("sge", 25.0)],
)
def test_a_peak_is_taken_per_node_whatever_the_scheduler_measures(kind: str, mib: float) -> None:
    assert memory_per_node_mib(job("a", scheduler=f'{{"kind": "{kind}"}}')) == mib


def test_what_slurm_saw_of_a_job_that_ended_between_two_looks_is_no_peak() -> None:
    short = JobMetrics(elapsed_s=20.0, max_rss_mib=3.0)

    assert memory_per_node_mib(job("a", scheduler='{"kind": "slurm"}', metrics=short)) is None
    assert memory_per_node_mib(job("a", scheduler='{"kind": "local"}', metrics=short)) == 3.0


def test_no_job_has_used_more_memory_than_it_was_given() -> None:
    assert memory_per_node_mib(job("a", metrics=JobMetrics(elapsed_s=500.0, max_rss_mib=300.0))) == 400


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"state": JobState.OOM}, "OOM"),
        ({"state": JobState.FAILED, "exit_code": 3}, "exit code 3"),
        ({"state": JobState.FAILED, "exit_code": 139}, "exit code 139 (SIGSEGV)"),
        ({"state": JobState.FAILED, "exit_code": 255}, "exit code 255"),
        ({"state": JobState.FAILED, "reason": "it never began to run"}, "FAILED before it began"),
        ({"missing": ("x",)}, "output missing"),
        ({"state": JobState.RUNNING}, ""),
        ({}, ""),
    ],
)
def test_a_failure_has_a_cause(values: dict[str, Any], words: str) -> None:
    assert cause(job("a", **values)) == words


def test_a_quantile_lies_between_its_neighbours() -> None:
    assert (quantile([1.0, 2.0, 3.0], 0.5), quantile([0.0, 10.0], 0.95), quantile([], 0.5)) == (2.0, 9.5, None)


def test_jobs_are_told_apart_by_what_is_known_of_them_the_dearest_first() -> None:
    cheap = job("b", asset_key="cheap", metrics=JobMetrics(elapsed_s=1.0, nodes=1).derived(), retry=None)

    report = report_on([cheap, job("a", asset_key="dear")], 0.0, NOW, NOW)

    assert [usage.name for usage in report.groups["asset"]] == ["dear", "cheap"]
    assert [usage.name for usage in report.groups["profile"]] == ["mpi", "-"]
    assert [usage.name for usage in report.groups["user"]] == ["ada", "-"]


def test_the_steps_of_the_span_hold_all_node_hours() -> None:
    rows = [job(f"a{number}", created_at=number * 100.0) for number in range(50)]

    report = report_on(rows, 0.0, NOW, NOW)

    assert sum(step.well + step.badly for step in report.steps) == pytest.approx(report.total.node_hours)


@pytest.mark.parametrize(("text", "at"), [("2h", NOW - 7200), ("7d", NOW - 604800), ("90m", NOW - 5400)])
def test_a_time_may_be_so_long_ago(text: str, at: float) -> None:
    assert moment(text, NOW) == at


def test_a_time_may_be_a_day_and_nothing_else_is_guessed() -> None:
    assert moment("2026-11-02", NOW) - moment("2026-11-01", NOW) == 86400
    with pytest.raises(ValueError, match="'soon' is no time: write 7d"):
        moment("soon", NOW)
