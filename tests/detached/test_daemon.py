"""The sensor in a real daemon, which is killed and started again while jobs run."""

from __future__ import annotations

import signal
from pathlib import Path

import dagster as dg

from dagster_hpc.engine.job import JobState
from tests.definitions.dagster_home import DagsterHome
from tests.systems.daemon import send, wait_until

PIPELINE = """
import dagster as dg
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, LocalTarget, build_hpc_job_sensor, hpc_asset

@hpc_asset(
    profile="small", detached=True, outputs={{"answer": "answer.txt"}},
    partitions_def=dg.StaticPartitionsDefinition(["a", "b"]),
)
def number(context: dg.AssetExecutionContext) -> Command:
    script = "while [ ! -e {go}." + context.partition_key + " ]; do sleep 0.1; done; echo 42 >answer.txt"
    return Command.shell(script)

defs = dg.Definitions(
    assets=[number],
    sensors=[build_hpc_job_sensor(minimum_interval_seconds=1)],
    resources={{"hpc": HPCJobRunner(
        target=LocalTarget(spool={spool!r}, poll_interval=0.5), profiles={{"small": ExecutionProfile()}}, work_root={work!r}
    )}},
)
"""


def materialized(instance: dg.DagsterInstance) -> list[str]:
    found = instance.fetch_materializations(dg.AssetKey("number"), limit=50).records
    return sorted(str(record.asset_materialization.partition) for record in found if record.asset_materialization)


def test_a_daemon_that_is_killed_and_started_again_reports_each_job_once(tmp_path: Path) -> None:
    home, go, file = DagsterHome(tmp_path / "home"), tmp_path / "go", tmp_path / "pipeline.py"
    file.write_text(PIPELINE.format(go=go, spool=str(tmp_path / "spool"), work=str(tmp_path / "work")))
    home.run("dagster", "sensor", "start", "hpc_jobs", "-f", str(file))
    for key in "ab":
        home.run("dagster", "asset", "materialize", "-f", str(file), "--select", "number", "--partition", key)
    assert [job.state.is_final for job in home.jobs()] == [False, False]  # and no run waits for them
    with home.instance() as instance:
        with home.running("dagster-daemon", "run", "-f", str(file), ready=lambda: True) as daemon:
            Path(f"{go}.a").touch()
            wait_until(lambda: materialized(instance) == ["a"], 120, lambda: str(home.jobs()))
            send(daemon.pid or 0, signal.SIGKILL)
        Path(f"{go}.b").touch()
        with home.running("dagster-daemon", "run", "-f", str(file), ready=lambda: True):
            wait_until(lambda: materialized(instance) == ["a", "b"], 120, lambda: str(home.jobs()))
        assert materialized(instance) == ["a", "b"]
    assert [job.state for job in home.jobs()] == [JobState.COMPLETED] * 2
