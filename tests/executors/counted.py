"""A Dagster of its own, whose jobs are counted: in the ledger, on the scheduler, and by what their programs have left."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dagster_hpc.engine.job import JobState
from tests.definitions.dagster_home import DagsterHome
from tests.systems.needs import REPOSITORY


class Trace(NamedTuple):
    """One start of a program."""

    name: str
    job_id: str
    began_at: float
    ended_at: float


@dataclass
class Counted(DagsterHome):
    """The definitions are those of `study.py`."""

    config: str = ""  # further lines of dagster.yaml
    known: set[str] = field(default_factory=set)  # jobs that were counted before

    def __post_init__(self) -> None:
        super().__post_init__()
        with open(self.folder / "dagster.yaml", "a") as file:
            file.write(self.config)
        self.faults.mkdir(exist_ok=True)
        knobs = {"KILL_AFTER": "0.3", "POLL": "0.5", "SAMPLE": "0.1", "IDLE": "0.5"}
        self.variables |= {f"LOCAL_BATCH_{name}": value for name, value in knobs.items()}

    @property
    def faults(self) -> Path:
        return self.folder / "faults"

    def is_at_fault(self, name: str, yes: bool = True) -> None:
        """A job, or a step after its jobs, is to fail from now on; or no longer."""
        file = self.faults / name
        file.parent.mkdir(exist_ok=True)
        if yes:
            file.touch()
        else:
            file.unlink(missing_ok=True)

    def begin_anew(self) -> None:
        """From now on only new jobs are counted."""
        self.known = {row.job_id or "" for row in self.jobs()}

    def live_job_named(self, name: str) -> bool:
        return any(row.name == name and row.state is JobState.RUNNING for row in self.jobs())

    def traces(self) -> list[Trace]:
        file = self.folder / "traces"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        all_of_them = [Trace(name, job_id, float(began), float(ended)) for name, job_id, began, ended in lines]
        return [trace for trace in all_of_them if trace.job_id not in self.known]

    def count(self) -> dict[str, int]:
        """How often each job has run. Ledger, scheduler and programs must agree, and nothing may live any more."""
        traces, rows = self.traces(), [row for row in self.jobs() if row.job_id not in self.known]
        assert all(row.state in (JobState.COMPLETED, JobState.FAILED) for row in rows), [row.state for row in rows]
        by_program = Counter(trace.name for trace in traces)
        assert by_program == Counter(row.name for row in rows)
        assert {trace.job_id for trace in traces} == {row.job_id for row in rows}
        assert len({trace.job_id for trace in traces}) == len(traces)
        return dict(Counter(trace.name for trace in traces))

    def python(self, script: str) -> str:
        """Run a script in this Dagster, as a process of its own; what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", f"{_PROLOGUE}\n{script}"],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr[-4000:]
        return done.stdout


_PROLOGUE = """
import dagster as dg
from dagster import build_reconstructable_job
from tests.executors import study

def execute(name, run_id=None, parent=None, **options):
    job = build_reconstructable_job("tests.executors.study", "job_named", reconstructable_args=(name,))
    if parent:
        options["reexecution_options"] = dg.ReexecutionOptions.from_failure(parent, instance)
    with dg.execute_job(job, instance=instance, **options) as result:
        for event in result.all_events:
            if event.is_failure:
                print(event.step_key, event.message, event.event_specific_data)
        print(result.run_id, "success" if result.success else "failure")
        return result

instance = dg.DagsterInstance.get()
"""
