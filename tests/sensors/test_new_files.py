"""Each new file becomes a partition, and is materialized once, together with the others of one look."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, ConfigurationError, build_new_files_sensor, hpc_asset
from dagster_hpc.sensors import new_files
from tests.definitions.dagster_home import DagsterHome
from tests.sensors.conftest import Watch
from tests.systems.daemon import wait_until

SCANS = dg.DynamicPartitionsDefinition(name="scans")
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@hpc_asset(profile="small", partitions_def=SCANS)
def spectrum(context: dg.AssetExecutionContext) -> Command:
    return Command.shell(f"echo {context.partition_key}")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def watching(watch: Watch, inbox: Path) -> Watch:
    watch.sensor = build_new_files_sensor(folder=str(inbox), asset=spectrum, settled_after_s=0.0)
    watch.assets = [spectrum]
    return watch


def drop(inbox: Path, *names: str) -> None:
    for name in names:
        (inbox / name).write_text(name)


def test_the_files_of_one_look_are_one_run(watching: Watch, inbox: Path) -> None:
    drop(inbox, "b", "a", "c")
    assert watching.requests() == []
    found = watching.look()
    (added,) = found.dynamic_partitions_requests or []
    (request,) = found.run_requests or []
    assert (added.partitions_def_name, list(added.partition_keys)) == ("scans", ["a", "b", "c"])
    assert (request.tags[START], request.tags[END]) == ("a", "c")


def test_one_file_is_one_partition(watching: Watch, inbox: Path) -> None:
    drop(inbox, "a")
    watching.look()
    (request,) = watching.requests()
    assert (request.tags[START], request.tags[END]) == ("a", "a")


def test_a_file_is_taken_once(watching: Watch, inbox: Path) -> None:
    drop(inbox, "a", "b")
    watching.look()
    watching.requests()
    watching.instance.add_dynamic_partitions("scans", ["a", "b"])
    assert [watching.requests(), watching.requests()] == [[], []]


def test_a_file_that_changes_later_is_left_alone(watching: Watch, inbox: Path) -> None:
    drop(inbox, "a")
    watching.look()
    watching.requests()
    watching.instance.add_dynamic_partitions("scans", ["a"])
    (inbox / "a").write_text("something longer")
    assert [watching.requests(), watching.requests()] == [[], []]


def test_a_daemon_that_dies_between_partitions_and_run_asks_for_the_same_run(watching: Watch, inbox: Path) -> None:
    drop(inbox, "a", "b")
    watching.look()
    (lost,) = watching.requests(keeps_cursor=False)
    watching.instance.add_dynamic_partitions("scans", ["a", "b"])  # so far the daemon had come
    (request,) = watching.requests()
    assert (request.run_key, request.tags) == (lost.run_key, lost.tags)
    assert watching.requests() == []


def test_a_partition_that_somebody_removes_is_taken_again_under_another_key(watching: Watch, inbox: Path) -> None:
    drop(inbox, "a")
    watching.look()
    (first,) = watching.requests()
    os.utime(inbox)  # as when anything happens in the folder
    watching.look()
    (second,) = watching.requests()
    assert first.run_key != second.run_key


def test_a_file_system_that_does_not_answer_changes_nothing(watching: Watch, inbox: Path) -> None:
    drop(inbox, "a")
    watching.look()
    kept, away = watching.cursor, inbox.rename(inbox.with_name("away"))
    found = watching.look()
    assert "cannot be looked at" in (found.skip_message or "")
    assert (found.run_requests, found.dynamic_partitions_requests, watching.cursor) == ([], [], kept)
    away.rename(inbox)
    assert len(watching.requests()) == 1


def test_a_file_system_that_hangs_is_not_asked_again_until_it_answers(
    watching: Watch, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, real, asked = threading.Event(), os.scandir, []

    def hangs(path: str) -> object:
        asked.append(path)
        answers.wait(60)
        return real(path)

    monkeypatch.setattr(new_files, "_LOOK_S", 0.2)
    monkeypatch.setattr("dagster_hpc.sensors.arrivals.os.scandir", hangs)
    drop(inbox, "a")
    try:
        assert "has not answered for" in (watching.look().skip_message or "")
        assert "has not answered yet" in (watching.look().skip_message or "")
        assert len(asked) == 1
    finally:
        answers.set()


def test_names_that_no_partition_can_have_are_told(watching: Watch, inbox: Path) -> None:
    drop(inbox, "a...b")
    assert "'a...b' cannot be taken: no partition can have such a name" in (watching.look().skip_message or "")


def test_an_asset_that_is_not_partitioned_so_is_refused_at_once(inbox: Path) -> None:
    @hpc_asset(profile="small", partitions_def=dg.StaticPartitionsDefinition(["a"]))
    def fixed() -> Command:
        return Command.shell("true")

    with pytest.raises(ConfigurationError, match="is not partitioned dynamically"):
        build_new_files_sensor(folder=str(inbox), asset=fixed)


PIPELINE = """
import dagster as dg
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, build_new_files_sensor, hpc_asset

@hpc_asset(profile="small", partitions_def=dg.DynamicPartitionsDefinition(name="scans"))
def spectrum(context: dg.AssetExecutionContext) -> Command:
    return Command.shell("wc -c <{inbox}/" + context.partition_key)

defs = dg.Definitions(
    assets=[spectrum],
    sensors=[build_new_files_sensor(
        folder={inbox!r}, pattern="*.dat", asset=spectrum, settled_after_s=1.0, minimum_interval_seconds=2,
    )],
    resources={{"hpc": HPCJobRunner(
        target=LocalTarget(spool={spool!r}, poll_interval=0.5), profiles={{"small": ExecutionProfile()}}, work_root={work!r}
    )}},
)
"""


def materialized(instance: dg.DagsterInstance) -> list[str]:
    found = instance.fetch_materializations(dg.AssetKey("spectrum"), limit=100).records
    return sorted(str(record.asset_materialization.partition) for record in found if record.asset_materialization)


def test_under_a_real_daemon_the_files_of_one_look_are_the_elements_of_one_array(tmp_path: Path, inbox: Path) -> None:
    home, file = DagsterHome(tmp_path / "home"), tmp_path / "pipeline.py"
    file.write_text(
        PIPELINE.format(inbox=str(inbox), spool=str(tmp_path / "spool"), work=str(tmp_path / "work"))
    )
    first = [f"{name}.dat" for name in "cab"]
    drop(inbox, *first, "notes.txt")
    home.run("dagster", "sensor", "start", "new_files", "-f", str(file))
    with home.instance() as instance, home.running("dagster-daemon", "run", "-f", str(file), ready=lambda: True):
        wait_until(lambda: len(materialized(instance)) == 3, 120, lambda: f"{materialized(instance)} {home.jobs()}")
        drop(inbox, "0.dat")
        wait_until(lambda: len(materialized(instance)) == 4, 120, lambda: f"{materialized(instance)} {home.jobs()}")
        assert materialized(instance) == sorted([*first, "0.dat"])
        assert instance.get_runs_count() == 2
    alone, *array = home.jobs()
    assert alone.partition_key == "0.dat"
    assert len({job.batch for job in array}) == 1
    assert [job.partition_key for job in array] == sorted(first)
