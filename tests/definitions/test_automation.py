"""The schedule and the sensor, by themselves and under the real daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import pytest

from definitions import defs
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


def tick(home: DagsterHome, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    with home.instance() as instance:
        result = samples_in_inbox(dg.build_sensor_context(cursor=cursor, instance=instance))
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def request_of(result: dg.SensorResult | dg.SkipReason) -> tuple[str, str]:
    """The one run that is asked for: its key and its input file."""
    assert isinstance(result, dg.SensorResult), result
    (request,) = result.run_requests or []
    return str(request.run_key), str(request.run_config["ops"]["samples"]["config"]["input_file"])


def cursor_of(result: dg.SensorResult | dg.SkipReason) -> str | None:
    assert isinstance(result, dg.SensorResult)
    return result.cursor


def test_the_sensor_asks_for_one_run_for_each_version_of_a_file(home: DagsterHome) -> None:
    a, b = drop(home.inbox, "a.txt", SAMPLES), drop(home.inbox, "b.txt", SAMPLES)

    first = tick(home)
    second = tick(home, cursor_of(first))
    assert [request_of(first)[1], request_of(second)[1]] == [str(a), str(b)]
    assert isinstance(tick(home, cursor_of(second)), dg.SkipReason)

    drop(home.inbox, "a.txt", SAMPLES[:3])
    again = tick(home, cursor_of(second))
    assert request_of(again)[1] == str(a)
    assert request_of(again)[0] != request_of(first)[0]


def test_the_sensor_waits_for_the_run_under_way(home: DagsterHome) -> None:
    drop(home.inbox, "a.txt", SAMPLES)
    with home.instance() as instance:
        job = defs().resolve_job_def("bitcount_pipeline")
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    reason = tick(home)
    assert isinstance(reason, dg.SkipReason)
    assert "present run" in (reason.skip_message or "")


def test_the_sensor_leaves_a_file_alone_that_is_still_being_written(home: DagsterHome) -> None:
    drop(home.inbox, "a.txt", SAMPLES, age_s=-3600)  # however long this test takes
    assert isinstance(tick(home), dg.SkipReason)
    b = drop(home.inbox, "b.txt", SAMPLES)
    assert request_of(tick(home))[1] == str(b)


def test_the_sensor_says_where_it_looks(home: DagsterHome) -> None:
    home.inbox.rmdir()
    reason = tick(home)
    assert isinstance(reason, dg.SkipReason)
    assert str(home.inbox) in (reason.skip_message or "")


def test_the_schedule_draws_other_samples_each_time(home: DagsterHome) -> None:
    seeds = set()
    for day in (1, 2):
        context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, day, 6, tzinfo=timezone.utc))
        result = daily_samples()(context)
        assert isinstance(result, dg.RunRequest)
        seeds.add(result.run_config["ops"]["samples"]["config"]["seed"])
    assert len(seeds) == 2


@contextmanager
def automated(folder: Path, kind: str, name: str, **variables: str) -> Iterator[DagsterHome]:
    """A Dagster whose daemon runs, with one schedule or sensor turned on."""
    home = DagsterHome(folder, variables)
    home.run("dagster", kind, "start", name)
    with home.running("dagster-daemon", "run", "-w", str(REPOSITORY / "workspace.yaml"), ready=lambda: True):
        yield home


@pytest.fixture(scope="module")
def watched_and_scheduled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DagsterHome, DagsterHome]]:
    """One of each: while the one's sensor is tested, the other's schedule waits for the full minute."""
    with (
        automated(
            tmp_path_factory.mktemp("scheduled"), "schedule", "daily_samples", DAGSTER_HPC_CRON="* * * * *"
        ) as scheduled,
        automated(tmp_path_factory.mktemp("watched"), "sensor", "samples_in_inbox") as watched,
    ):
        yield watched, scheduled


def test_each_new_file_is_materialized_by_the_daemon(watched_and_scheduled: tuple[DagsterHome, DagsterHome]) -> None:
    home, _ = watched_and_scheduled
    by_sensor = {"dagster/sensor_name": "samples_in_inbox"}
    files = drop(home.inbox, "first.txt", SAMPLES), drop(home.inbox, "second.txt", ["11", "10", "11"])
    with home.instance() as instance:
        for count, (file, most_frequent) in enumerate(zip(files, ("0110", "11"), strict=True), 1):
            run = finished_run(instance, by_sensor, count)
            assert metadata_in(instance, run.run_id, "samples")["source"] == str(file)
            assert metadata_in(instance, run.run_id, "bit_counts")["state"] == "COMPLETED"
            assert metadata_in(instance, run.run_id, "histogram")["most_frequent"] == most_frequent
        assert instance.get_runs_count(dg.RunsFilter(tags=by_sensor)) == 2  # each file has had its run


def test_the_schedule_is_run_by_the_daemon(watched_and_scheduled: tuple[DagsterHome, DagsterHome]) -> None:
    _, home = watched_and_scheduled
    with home.instance() as instance:
        run = finished_run(instance, {"dagster/schedule_name": "daily_samples"})
        assert "drawn with seed" in str(metadata_in(instance, run.run_id, "samples")["source"])
        assert metadata_in(instance, run.run_id, "bit_counts")["state"] == "COMPLETED"
