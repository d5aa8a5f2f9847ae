"""An automation condition that sees a job which no run waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import Command, HPCJobRunner, hpc_asset, hpc_job_in_progress
from tests.definitions.dagster_home import DagsterHome
from tests.detached.conftest import Lab
from tests.sensors.conftest import Watch
from tests.systems.daemon import wait_until

KEYS = dg.StaticPartitionsDefinition(["a", "b"])
WANTED = dg.AutomationCondition.missing() & ~dg.AutomationCondition.in_progress()


def asset(go: Path, condition: dg.AutomationCondition[Any], **options: Any) -> Any:
    """A detached asset whose jobs go on until the file is there."""

    @hpc_asset(profile="small", detached=True, automation_condition=condition, **options)
    def number() -> Command:
        return Command.shell(f"while [ ! -e {go} ]; do sleep 0.1; done")

    return number


@pytest.fixture
def lab(watch: Watch, hpc: HPCJobRunner, tmp_path: Path) -> Lab:
    return Lab(watch.instance, hpc, [asset(tmp_path / "go", WANTED & ~hpc_job_in_progress(hpc.ledger_url))])


def requested(lab: Lab) -> int:
    """So many partitions (or 1) would be asked for now."""
    return dg.evaluate_automation_conditions(lab.definitions, lab.instance).total_requested


def test_to_dagster_itself_a_detached_job_is_not_in_progress(lab: Lab, tmp_path: Path) -> None:
    lab.assets = [asset(tmp_path / "go", WANTED)]
    lab.launch("number")
    assert requested(lab) == 1


def test_a_detached_job_is_in_progress_until_it_is_reported(lab: Lab, tmp_path: Path) -> None:
    assert requested(lab) == 1
    lab.launch("number")
    assert requested(lab) == 0
    (tmp_path / "go").touch()
    wait_until(lambda: not lab.hpc.polled(5).ledger.jobs(live=True), 60, lambda: str(lab.hpc.jobs()))
    assert requested(lab) == 0  # it is over, and Dagster does not know that yet
    lab.settle()
    assert len(lab.materializations("number")) == 1
    assert requested(lab) == 0


def test_each_partition_is_in_progress_by_itself(lab: Lab, tmp_path: Path) -> None:
    lab.assets = [asset(tmp_path / "go", WANTED & ~hpc_job_in_progress(lab.hpc.ledger_url), partitions_def=KEYS)]
    assert requested(lab) == 2
    lab.launch("number", partition="a")
    assert requested(lab) == 1


PIPELINE = """
import dagster as dg
from dagster_hpc import (
    Command, ExecutionProfile, HPCJobRunner, LocalTarget, build_hpc_job_sensor, hpc_asset, hpc_job_in_progress,
)

@hpc_asset(
    profile="small", detached=True,
    automation_condition=dg.AutomationCondition.missing() & ~dg.AutomationCondition.in_progress() & ~hpc_job_in_progress(),
)
def number() -> Command:
    return Command.shell("while [ ! -e {go} ]; do sleep 0.1; done")

defs = dg.Definitions(
    assets=[number],
    sensors=[
        build_hpc_job_sensor(minimum_interval_seconds=1),
        dg.AutomationConditionSensorDefinition(
            "automation", target=dg.AssetSelection.all(), use_user_code_server=True, minimum_interval_seconds=1,
        ),
    ],
    resources={{"hpc": HPCJobRunner(
        target=LocalTarget(spool={spool!r}, poll_interval=0.5), profiles={{"small": ExecutionProfile()}}, work_root={work!r}
    )}},
)
"""


def test_under_a_real_daemon_a_job_that_runs_is_not_asked_for_again(tmp_path: Path) -> None:
    home, go, file = DagsterHome(tmp_path / "home"), tmp_path / "go", tmp_path / "pipeline.py"
    file.write_text(PIPELINE.format(go=go, spool=str(tmp_path / "spool"), work=str(tmp_path / "work")))
    for sensor in ("automation", "hpc_jobs"):
        home.run("dagster", "sensor", "start", sensor, "-f", str(file))
    with home.instance() as instance, home.running("dagster-daemon", "run", "-f", str(file), ready=lambda: True):

        def evaluations() -> int:
            return sum(
                len(instance.get_ticks(state.instigator_origin_id, state.selector_id))
                for state in instance.all_instigator_state()
                if state.instigator_name == "automation"
            )

        def materialized() -> bool:
            return instance.get_latest_materialization_event(dg.AssetKey("number")) is not None

        wait_until(lambda: bool(home.jobs()), 120, lambda: str(list(instance.get_runs())))
        before = evaluations()
        wait_until(lambda: evaluations() >= before + 5, 120, lambda: str(evaluations()))
        assert instance.get_runs_count() == 1
        go.touch()
        wait_until(materialized, 120, lambda: str(home.jobs()))
        assert instance.get_runs_count() == 1
    assert len(home.jobs()) == 1
