"""What Dagster itself offers, with assets that are jobs, under one real daemon: schedule, on_cron, pool, freshness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState

from tests.definitions.dagster_home import DagsterHome
from tests.systems.daemon import wait_until

WITHIN_S = 240.0  # cron counts in minutes

PIPELINE = """
from datetime import timedelta
import dagster as dg
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, hpc_asset

EVERY_MINUTE = "* * * * *"

@hpc_asset(profile="small", freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=10)))
def nightly() -> Command:
    return Command.shell("true")

@dg.asset(automation_condition=dg.AutomationCondition.on_cron(EVERY_MINUTE))
def samples() -> str:
    return "0110"

@hpc_asset(profile="small", automation_condition=dg.AutomationCondition.on_cron(EVERY_MINUTE))
def counts(samples: str) -> Command:
    return Command.shell("wc -c", stdin=samples)

@hpc_asset(profile="small", pool="heavy")
def first() -> Command:
    return Command.shell("sleep 2")

@hpc_asset(profile="small", pool="heavy")
def second() -> Command:
    return Command.shell("sleep 2")

defs = dg.Definitions(
    assets=[nightly, samples, counts, first, second],
    schedules=[dg.ScheduleDefinition(
        name="every_minute", target="nightly", cron_schedule=EVERY_MINUTE,
    )],
    jobs=[dg.define_asset_job("heavy", selection=["first", "second"])],
    resources={{"hpc": HPCJobRunner(
        target=LocalTarget(spool={spool!r}, poll_interval=0.5), profiles={{"small": ExecutionProfile()}}, work_root={work!r}
    )}},
)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterHome]:
    folder = tmp_path_factory.mktemp("automation")
    dagster, file = DagsterHome(folder / "home", {"FRESHNESS_DAEMON_INTERVAL_SECONDS": "1"}), folder / "pipeline.py"
    with (dagster.folder / "dagster.yaml").open("a") as config:
        config.write("freshness:\n  enabled: true\nconcurrency:\n  pools:\n    granularity: op\n")
    file.write_text(PIPELINE.format(spool=str(folder / "spool"), work=str(folder / "work")))
    dagster.run("dagster", "instance", "concurrency", "set", "heavy", "1")
    dagster.run("dagster", "schedule", "start", "every_minute", "-f", str(file))
    dagster.run("dagster", "sensor", "start", "default_automation_condition_sensor", "-f", str(file))
    dagster.run("dagster", "job", "launch", "-j", "heavy", "-f", str(file))
    with dagster.running("dagster-daemon", "run", "-f", str(file), ready=lambda: True):
        yield dagster


def materialized(home: DagsterHome, asset: str) -> float:
    """When the asset was last materialized; 0 if never."""
    with home.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    return event.timestamp if event is not None else 0.0


def made(home: DagsterHome, asset: str) -> float:
    wait_until(lambda: materialized(home, asset) > 0, WITHIN_S, lambda: str(home.jobs()))
    return materialized(home, asset)


def test_a_schedule_runs_an_asset(home: DagsterHome) -> None:
    assert made(home, "nightly") > 0


def test_on_cron_waits_for_what_is_upstream(home: DagsterHome) -> None:
    assert made(home, "counts") > made(home, "samples")


def test_a_pool_keeps_two_expensive_assets_from_running_at_once(home: DagsterHome) -> None:
    for asset in ("first", "second"):
        made(home, asset)
    one, other = (home.newest(asset) for asset in ("first", "second"))
    assert one is not None
    assert other is not None
    spans = sorted((row.metrics.started_at or 0.0, row.metrics.ended_at or 0.0) for row in (one, other))
    assert 0.0 < spans[0][1] <= spans[1][0]


def test_an_asset_that_was_made_is_fresh(home: DagsterHome) -> None:
    made(home, "nightly")

    def is_fresh() -> bool:
        with home.instance() as instance:
            found = instance.get_freshness_state_records([dg.AssetKey("nightly")])
        return [record.freshness_state for record in found.values()] == [FreshnessState.PASS]

    wait_until(is_fresh, WITHIN_S, lambda: "not known to be fresh")


def test_nothing_of_this_is_on_by_itself(tmp_path: Path) -> None:
    """A code location that is loaded for the first time starts nothing."""
    file = tmp_path / "pipeline.py"
    file.write_text(PIPELINE.format(spool=str(tmp_path / "spool"), work=str(tmp_path / "work")))
    listed = DagsterHome(tmp_path / "home").run("dagster", "schedule", "list", "-f", str(file))
    assert "every_minute [STOPPED]" in listed
