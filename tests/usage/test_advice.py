"""What to ask for, from what jobs have used."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dagster_hpc.engine.job import JobMetrics, JobState, RetryPlan
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.usage.advice import Advice, advise, as_toml
from tests.cli.terminal import row

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GIVEN = RetryPlan(walltime_s=3600, memory_mib=4096, profile="mpi-16", nodes=1, ranks_per_node=1)


def jobs(number: int, elapsed_s: float, mib: float | None = 1000.0, **values: Any) -> list[JobRow]:
    metrics = JobMetrics(elapsed_s=elapsed_s, max_rss_mib=mib)
    return [row(f"t{at}", **{"metrics": metrics, "retry": GIVEN, **values}) for at in range(number)]


def advice(rows: list[JobRow], by: str = "profile") -> Advice:
    (one,) = advise(rows, by, least=10, margin=0.2)
    return one


def test_it_is_what_95_in_100_used_and_the_margin_rounded_up() -> None:
    one = advice(jobs(96, 100.0) + jobs(4, 3000.0))

    assert (one.walltime.used, one.walltime.advised, one.walltime.jobs) == (100.0, 120, 100)
    assert (one.memory.advised, one.memory.was) == (1280, 4096)


def test_too_few_jobs_give_no_advice_and_say_so() -> None:
    one = advice(jobs(3, 100.0))

    assert (one.walltime.advised, one.memory.advised) == (None, None)
    assert as_toml([one], least=10, margin=0.2) == "# mpi-16: 3 jobs to learn from, 10 are needed"


def test_a_job_that_ran_into_its_walltime_needs_at_least_what_it_had() -> None:
    one = advice(jobs(10, 100.0) + jobs(2, 3590.0, state=JobState.TIMEOUT))

    assert one.walltime.used is not None
    assert one.walltime.used >= 3600
    assert one.walltime.is_least
    assert "at least: 2 ran into their walltime" in as_toml([one], least=10, margin=0.2)


def test_a_job_that_ran_out_of_memory_counts_though_less_was_seen() -> None:
    one = advice(jobs(10, 100.0) + jobs(3, 5.0, 17.0, state=JobState.OOM))

    assert one.memory.used == 4096
    assert one.memory.advised == 5120
    assert one.memory.is_least
    assert one.walltime.jobs == 10


def test_other_failures_say_nothing_of_what_the_work_needs() -> None:
    assert advice(jobs(10, 100.0) + jobs(90, 1.0, state=JobState.FAILED)).walltime.used == 100.0


def test_it_is_ready_to_be_pasted_into_a_site_file() -> None:
    rows = jobs(20, 100.0) + jobs(20, 7000.0, None, retry=RetryPlan(profile='odd "name"', walltime_s=9000))

    found = tomllib.loads(as_toml(advise(rows, "profile", least=10, margin=0.2), least=10, margin=0.2))

    assert found["profiles"] == {
        "mpi-16": {"walltime": "00:02:00", "memory_per_node": "1280M"},
        'odd "name"': {"walltime": "02:20:00"},
    }


def test_by_asset_each_profile_has_a_line_of_its_own() -> None:
    rows = jobs(10, 1.0, asset_key="energy") + jobs(11, 1.0, asset_key="energy", retry=RetryPlan(profile="small"))

    found = advise(rows, "asset", least=10, margin=0.2)

    assert [(one.name, one.profile) for one in found] == [("energy", "small"), ("energy", "mpi-16")]


@pytest.mark.parametrize(("used", "advised"), [(10, 60), (3000, 3600), (10_000, 12_000), (80_000, 97_200)])
def test_advice_is_a_round_figure(used: float, advised: int) -> None:
    assert advice(jobs(10, used)).walltime.advised == advised
