"""A Dagster whose steps are batch jobs; these are counted in the ledger, and by what the steps have left."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import build_reconstructable_job
from dagster._core.definitions.reconstruct import ReconstructableJob

from dagster_hpc.engine.ledger import JobRow, Ledger
from tests.definitions.dagster_home import DagsterHome
from tests.systems.needs import REPOSITORY

MODULE = "tests.step_jobs.pipeline"


@dataclass
class StepHome(DagsterHome):
    """The definitions are those of `pipeline.py`. `config`: further lines of dagster.yaml."""

    config: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        with open(self.folder / "dagster.yaml", "a") as file:
            file.write(self.config)
        knobs = {"KILL_AFTER": "0.3", "POLL": "0.5", "SAMPLE": "0.1", "IDLE": "0.5"}
        self.variables = {**{f"LOCAL_BATCH_{name}": value for name, value in knobs.items()}, **self.variables}

    def jobs(self) -> list[JobRow]:
        """The ledger, newest first."""
        ledger = Ledger(self.variables.get("DAGSTER_HPC_LEDGER") or f"sqlite:///{self.folder}/dagster_hpc/ledger.db")
        try:
            return ledger.jobs()
        finally:
            ledger.close()

    def job(self, name: str) -> ReconstructableJob:
        """By its name and this place: Dagster keeps what it has reconstructed."""
        return build_reconstructable_job(MODULE, "job_named", reconstructable_args=(name, str(self.folder)))

    @contextmanager
    def executed(self, name: str, **config: Any) -> Iterator[dg.ExecuteJobResult]:
        """A job that was run in this process, with this configuration of its executor."""
        job = self.job(name)
        run_config: Mapping[str, Any] = {"execution": {"config": config}} if config else {}
        with (
            self.instance() as instance,
            dg.execute_job(job, instance=instance, run_config=run_config, raise_on_error=False) as result,
        ):
            yield result

    def worker(self, name: str, run_id: str, *, resumed: bool = False) -> subprocess.Popen[str]:
        """A process of its own that executes a run that was created, or goes on with one whose process is gone."""
        script = _WORKER.format(name=name, folder=self.folder, run_id=run_id, resumed=resumed)
        return subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, env=self.environment, text=True)

    def create_run(self, name: str) -> str:
        job = self.job(name)
        with self.instance() as instance:
            run = instance.create_run_for_job(job.get_definition(), job_code_origin=job.get_python_origin())
            return str(run.run_id)

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        with self.instance() as instance:
            run = instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def events(self, run_id: str) -> list[str]:
        """What the log of a run says, line by line."""
        with self.instance() as instance:
            entries = instance.all_logs(run_id)
        return [f"{entry.step_key or ''} {entry.user_message or entry.message}" for entry in entries]

    def errors(self, run_id: str) -> str:
        """The errors in the log of a run."""
        with self.instance() as instance:
            events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
        said = [getattr(event.event_specific_data, "error", None) for event in events]
        return "\n".join(error.to_string() for error in said if error is not None)

    def counted(self) -> dict[str, int]:
        """How often each step was executed. The ledger has the very same jobs."""
        file = self.folder / "traces"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        assert {job_id for _, job_id in lines} <= {row.job_id for row in self.jobs()}
        assert len({job_id for _, job_id in lines}) == len(lines)
        return dict(Counter(key for key, _ in lines))

    def script_of(self, step_key: str) -> str:
        """The script of the step's newest job, with all that it reads but secrets."""
        row = self.job_of(step_key)
        assert row is not None
        files = sorted(Path(row.batch_dir, ".job").glob("*.sh"))
        return "".join(path.read_text() for path in files)

    def job_of(self, step_key: str) -> JobRow | None:
        """The newest job of this step."""
        return next((row for row in self.jobs() if row.name == step_key), None)


_WORKER = """
import os

import dagster as dg
from dagster import build_reconstructable_job
from dagster._core.execution.api import execute_run_iterator

from dagster_hpc.executor.watch import JobWatch
from tests.step_jobs import pipeline

if (pipeline.home() / "dies").exists():
    submit = JobWatch.submit

    def submit_and_die(*arguments):
        submit(*arguments)
        os._exit(9)

    JobWatch.submit = submit_and_die

job = build_reconstructable_job("tests.step_jobs.pipeline", "job_named", reconstructable_args=("{name}", "{folder}"))
with dg.DagsterInstance.get() as instance:
    run = instance.get_run_by_id("{run_id}")
    list(execute_run_iterator(job, run, instance, resume_from_failure={resumed}))
"""
