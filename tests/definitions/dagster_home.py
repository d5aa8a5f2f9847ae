"""A Dagster of its own in a folder: instance, ledger, jobs, and the real processes that belong to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger
from tests.systems.daemon import Daemon, wait_until
from tests.systems.needs import REPOSITORY

CONFIG = """\
telemetry:
  enabled: false
nux:
  enabled: false
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""
RUN_S = 120  # a run starts one process for itself and one for each step, on a busy machine


def program(name: str) -> str:
    """A command of the environment that the tests run in."""
    return str(Path(sys.executable).with_name(name))


@dataclass
class DagsterHome:
    """The folder is DAGSTER_HOME; `work`, `inbox` and `state` below it hold what the jobs need."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)  # further ones

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.inbox.mkdir(exist_ok=True)
        (self.folder / "dagster.yaml").write_text(CONFIG)

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this Dagster has in its environment."""
        foreign = ("DAGSTER_", "SLURM_", "SBATCH_")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            "PYTHONPATH": str(REPOSITORY),
            "DAGSTER_HOME": str(self.folder),
            "DAGSTER_HPC_WORK_ROOT": str(self.folder / "work"),
            "DAGSTER_HPC_INBOX": str(self.inbox),
            "XDG_STATE_HOME": str(self.folder / "state"),
            **self.variables,
        }

    def run(self, name: str, *arguments: str, timeout: float = 120) -> str:
        """Run a command from the repository's folder, as its user does; what it printed. A failure quotes it."""
        done = subprocess.run(
            [program(name), *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{name} {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def running(self, name: str, *arguments: str, ready: Callable[[], bool]) -> Iterator[Daemon]:
        """A process of this Dagster, stopped at the end."""
        with self.instance() as instance:
            instance.get_runs_count()  # makes the databases, which two processes at once would make wrongly
        daemon = Daemon(name, [program(name), *arguments], self.folder, environment=self.environment)
        try:
            daemon.start(ready, seconds=90)
            yield daemon
        finally:
            daemon.stop()

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.folder)) as instance:
            yield instance

    def jobs(self) -> list[JobRow]:
        """The ledger, newest first."""
        ledger = Ledger(f"sqlite:///{self.folder}/dagster_hpc/ledger.db")
        try:
            return ledger.jobs()
        finally:
            ledger.close()

    def newest(self, asset: str) -> JobRow | None:
        """The newest job of this asset."""
        return next((job for job in self.jobs() if job.asset_key == asset), None)

    def live_job(self) -> JobRow | None:
        """The newest job, while it runs."""
        return next((job for job in self.jobs() if job.state is JobState.RUNNING), None)


def finished_run(instance: dg.DagsterInstance, tags: dict[str, str], count: int = 1) -> dg.DagsterRun:
    """Wait until `count` runs with these tags are over; the newest of them, which must have ended well."""

    def runs() -> list[dg.DagsterRun]:
        return list(instance.get_runs(dg.RunsFilter(tags=tags)))

    def over() -> list[dg.DagsterRun]:
        return [run for run in runs() if run.is_finished]

    def report() -> str:
        return f"no {count} finished runs with {tags}: {[(run.run_id, run.status) for run in runs()]}"

    wait_until(lambda: len(over()) >= count, RUN_S, report)
    newest = over()[0]
    assert newest.status is dg.DagsterRunStatus.SUCCESS, errors_of(instance, newest.run_id)
    return newest


def errors_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What the event log of a run says went wrong."""
    entries = instance.all_logs(run_id)
    return [
        entry.user_message or entry.message
        for entry in entries
        if entry.dagster_event and entry.dagster_event.is_failure
    ]


def metadata_in(instance: dg.DagsterInstance, run_id: str, asset: str) -> dict[str, object]:
    """The metadata that the run gave to the asset, as plain values."""
    events = instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(asset)), limit=50).records
    found = next(record.asset_materialization for record in events if record.run_id == run_id)
    assert found is not None
    return {name: value.value for name, value in found.metadata.items()}
