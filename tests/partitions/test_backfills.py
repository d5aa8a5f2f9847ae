"""Backfills as the daemon launches them, run retries and re-executions: with runs in processes of their own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, PartitionBackfill
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.utils import make_new_backfill_id
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.daemon import get_default_daemon_logger
from dagster._time import get_current_timestamp

from tests.partitions import study
from tests.partitions.runs import arrays, materializations


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The code location of this folder, with all its files below `tmp_path`."""
    monkeypatch.setenv("STUDY_HOME", str(tmp_path))
    for name, value in {"KILL_AFTER": "0.3", "POLL": "0.5", "SAMPLE": "0.1", "IDLE": "0.5"}.items():
        monkeypatch.setenv(f"LOCAL_BATCH_{name}", value)
    yield importlib.reload(study)
    monkeypatch.undo()
    importlib.reload(study)


@pytest.fixture
def daemon() -> Iterator[dg.DagsterInstance]:
    """An instance whose runs are executed where they are launched, one after the other."""
    here = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
    at_once = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    with dg.instance_for_test(overrides={"run_launcher": here, "run_coordinator": at_once}) as made:
        yield made


def range_of(start: str, end: str) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}


def ran(home: ModuleType) -> dict[str, int]:
    return {path.suffix[1:]: len(path.read_text().split()) for path in sorted(home.HOME.glob("ran.*"))}


def test_a_re_execution_from_failure_runs_the_failed_ones_and_one_of_all_steps_runs_all(
    home: ModuleType, instance: dg.DagsterInstance
) -> None:
    (home.HOME / "bad.k01").touch()
    tags, job = range_of("k00", "k02"), dg.reconstructable(home.study)
    first = dg.execute_job(job, instance=instance, tags=tags, raise_on_error=False)
    assert not first.success
    (home.HOME / "bad.k01").unlink()
    options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
    again = dg.execute_job(job, instance=instance, tags=tags, reexecution_options=options)
    assert again.success
    assert ran(home) == {"k00": 1, "k01": 2, "k02": 1}
    assert set(materializations(instance, "measured", again.run_id)) == {"k01"}
    everything = dg.ReexecutionOptions(parent_run_id=again.run_id)
    assert dg.execute_job(job, instance=instance, tags=tags, reexecution_options=everything).success
    assert ran(home) == {"k00": 2, "k01": 3, "k02": 2}
    assert arrays(home.hpc) == [["k00", "k01", "k02"], ["k01"], ["k00", "k01", "k02"]]


def backfill(instance: dg.DagsterInstance, *keys: str) -> list[dg.DagsterRun]:
    """Launch a backfill of these partitions as the UI does, and let the daemon see it through. Its runs, oldest first."""
    before = {run.run_id for run in instance.get_runs()}
    target = ModuleTarget("tests.partitions.study", None, None, "here")
    with create_test_daemon_workspace_context(target, instance) as workspace:
        request = workspace.create_request_context()
        made = PartitionBackfill.from_asset_partitions(
            backfill_id=make_new_backfill_id(), asset_graph=request.asset_graph, partition_names=list(keys),
            asset_selection=[dg.AssetKey("measured")], backfill_timestamp=get_current_timestamp(), tags={},
            dynamic_partitions_store=instance, all_partitions=False, title=None, description=None, run_config=None,
        )  # fmt: skip
        instance.add_backfill(made)
        logger = get_default_daemon_logger("BackfillDaemon")
        for _ in range(10):
            list(execute_backfill_iteration(workspace, logger))
            now = instance.get_backfill(made.backfill_id)
            assert now is not None
            if now.status in BULK_ACTION_TERMINAL_STATUSES:
                break
    runs = [run for run in instance.get_runs() if run.run_id not in before]
    return runs[::-1]


def test_a_backfill_is_one_array_and_the_failed_ones_alone_are_the_next(
    home: ModuleType, daemon: dg.DagsterInstance
) -> None:
    for key in ("k03", "k04", "k05"):
        (home.HOME / f"bad.{key}").touch()
    (first,) = backfill(daemon, *home.KEYS)
    assert first.status is dg.DagsterRunStatus.FAILURE
    assert arrays(home.hpc) == [home.KEYS]
    good = [key for key in home.KEYS if not (home.HOME / f"bad.{key}").exists()]
    assert sorted(materializations(daemon, "measured")) == good
    status = daemon.get_status_by_partition(dg.AssetKey("measured"), home.KEYS, home.measured.partitions_def)
    assert status is not None
    assert sorted(key for key, one in status.items() if one is not None and one.name == "FAILED") == ["k03", "k04", "k05"]
    for path in home.HOME.glob("bad.*"):
        path.unlink()
    (again,) = backfill(daemon, "k03", "k04", "k05")
    assert again.status is dg.DagsterRunStatus.SUCCESS
    assert arrays(home.hpc)[1:] == [["k03", "k04", "k05"]]
    made = materializations(daemon, "measured")
    assert {key: len(each) for key, each in made.items()} == dict.fromkeys(home.KEYS, 1)
    tags = made["k07"][0].tags or {}
    assert tags["dagster/data_version"]


def test_partitions_that_lie_apart_are_a_run_and_an_array_for_each_stretch(
    home: ModuleType, daemon: dg.DagsterInstance
) -> None:
    """Dagster tells a run of several partitions by the first and the last."""
    runs = backfill(daemon, "k00", "k01", "k05", "k06", "k07", "k19")
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 3
    assert sorted(arrays(home.hpc)) == [["k00", "k01"], ["k05", "k06", "k07"], ["k19"]]
    assert {key: len(each) for key, each in materializations(daemon, "measured").items()} == dict.fromkeys(
        ("k00", "k01", "k05", "k06", "k07", "k19"), 1
    )
