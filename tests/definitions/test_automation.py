"""The schedule and the sensor, by themselves and under the real daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from definitions.automation import SETTLED_S, daily_samples, samples_in_inbox
from tests.definitions.dagster_home import DagsterHome, finished_run, metadata_in
from tests.systems.needs import REPOSITORY

SAMPLES = ["0110", "1111", "0110", "0000", "0110"]


def drop(folder: Path, name: str, samples: list[str], age_s: float = SETTLED_S + 1) -> Path:
    """A file that somebody finished writing a while ago."""
    part, file = folder / f"{name}.part", folder / name
    part.write_text("\n".join(samples))
    written = part.stat().st_mtime - age_s
    os.utime(part, (written, written))
    return part.rename(file)


def tick(cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    result = samples_in_inbox(dg.build_sensor_context(cursor=cursor))
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_the_sensor_asks_for_one_run_for_each_version_of_a_file(home: DagsterHome) -> None:
    file = drop(home.inbox, "a.txt", SAMPLES)
    drop(home.inbox, "b.txt", SAMPLES)

    first = tick()
    assert isinstance(first, dg.SensorResult)
    requests = first.run_requests or []
    assert [one.run_config["ops"]["samples"]["config"]["input_file"] for one in requests] == [
        str(file), str(home.inbox / "b.txt"),
    ]  # fmt: skip

    second = tick(first.cursor)
    assert isinstance(second, dg.SkipReason)

    drop(home.inbox, "a.txt", SAMPLES[:3])
    third = tick(first.cursor)
    assert isinstance(third, dg.SensorResult)
    (again,) = third.run_requests or []
    assert again.run_key not in {one.run_key for one in requests}


def test_the_sensor_leaves_a_file_alone_that_is_still_being_written(home: DagsterHome) -> None:
    drop(home.inbox, "a.txt", SAMPLES, age_s=0)
    assert isinstance(tick(), dg.SkipReason)
    drop(home.inbox, "b.txt", SAMPLES)
    result = tick()
    assert isinstance(result, dg.SensorResult)
    assert len(result.run_requests or []) == 1


def test_the_sensor_says_where_it_looks(home: DagsterHome) -> None:
    home.inbox.rmdir()
    reason = tick()
    assert isinstance(reason, dg.SkipReason)
    assert str(home.inbox) in (reason.skip_message or "")


def test_the_schedule_draws_other_samples_each_time(home: DagsterHome) -> None:
    from datetime import datetime, timezone

    seeds = set()
    for day in (1, 2):
        context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, day, 6, tzinfo=timezone.utc))
        result = daily_samples()(context)
        assert isinstance(result, dg.RunRequest)
        seeds.add(result.run_config["ops"]["samples"]["config"]["seed"])
    assert len(seeds) == 2


@pytest.fixture(scope="module")
def automated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterHome]:
    """A Dagster whose daemon runs, with sensor and schedule on; the schedule fires each minute."""
    home = DagsterHome(tmp_path_factory.mktemp("automated"), {"DAGSTER_HPC_CRON": "* * * * *"})
    home.run("dagster", "sensor", "start", "samples_in_inbox")
    home.run("dagster", "schedule", "start", "daily_samples")
    with home.running("dagster-daemon", "run", "-w", str(REPOSITORY / "workspace.yaml"), ready=lambda: True):
        yield home


def test_a_new_file_is_materialized_by_the_daemon_once(automated: DagsterHome) -> None:
    by_sensor = {"dagster/sensor_name": "samples_in_inbox"}
    with automated.instance() as instance:
        first = drop(automated.inbox, "first.txt", SAMPLES)
        run = finished_run(instance, by_sensor)
        assert metadata_in(instance, run.run_id, "samples")["source"] == str(first)
        assert metadata_in(instance, run.run_id, "bit_counts")["state"] == "COMPLETED"
        assert metadata_in(instance, run.run_id, "histogram")["most_frequent"] == "0110"

        second = drop(automated.inbox, "second.txt", ["11", "10", "11"])
        run = finished_run(instance, by_sensor, count=2)
        assert metadata_in(instance, run.run_id, "samples")["source"] == str(second)
        assert metadata_in(instance, run.run_id, "histogram")["most_frequent"] == "11"
        assert instance.get_runs_count(dg.RunsFilter(tags=by_sensor)) == 2  # the first file has had its run


def test_the_schedule_is_run_by_the_daemon(automated: DagsterHome) -> None:
    with automated.instance() as instance:
        run = finished_run(instance, {"dagster/schedule_name": "daily_samples"})
        assert "drawn with seed" in str(metadata_in(instance, run.run_id, "samples")["source"])
        assert metadata_in(instance, run.run_id, "bit_counts")["state"] == "COMPLETED"
