"""The commands that Slurm brings for Torque's users (slurm-wlm-torque): Torque's names and options, Slurm underneath.

They read no directives themselves; sbatch does, which they call through a shell without quoting. `qstat` has one C for
every end and no exit status, so the job's own files decide. For memory alone it has a letter of its own: U.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobState, JobStatus
from dagster_hpc.engine.jobdir import directory_of_script
from dagster_hpc.engine.schedulers.base import Demand, Finding, Probe
from dagster_hpc.engine.schedulers.pbs_text import Record, stamp, used
from dagster_hpc.engine.schedulers.torque import SUBMIT_TIMEOUT_S, Torque


@dataclass(frozen=True)
class TorqueOverSlurm(Torque):
    """One job at a time; elements of an array cannot be told apart in what these commands show."""

    kind: ClassVar[str] = "torque-slurm"
    job_id_variable: ClassVar[str] = "SLURM_JOB_ID"
    lacks: ClassVar[dict[str, str]] = {
        **Torque.lacks,
        "array": "Slurm's commands for Torque do not show the elements of an array: run single jobs, or use SlurmTarget",
    }

    kill_orphans: ClassVar[str] = "#SBATCH --kill-on-invalid-dep=yes"  # or a job whose dependency failed waits for ever

    def _memory_mib(self, spec: JobSpec) -> int:
        return spec.memory_per_node_mib or 0

    def submit(self, script: str) -> Call:
        """The log is named here, because a default of the command would go before the directive in the script."""
        log = f"{directory_of_script(script)}/scheduler.log".replace("%", "%%")
        return Call(("qsub", "-j", "oe", "-o", shlex.quote(log), shlex.quote(script)), SUBMIT_TIMEOUT_S)

    def _status(self, record: Record) -> JobStatus:
        status = super()._status(record)
        if record.of("job_state") != "U":
            return status
        metrics = self._metrics(record, over=True)
        said = "used more memory than it had asked for (job_state U, which else is for deadlines that we do not set)"
        return replace(status, state=JobState.OOM, reason=said, metrics=metrics.derived())

    def _end(self, record: Record, metrics: JobMetrics) -> JobStatus:
        if not record.of("exec_host"):
            return JobStatus(JobState.CANCELLED, "was deleted, or what it depends on did not end as required")
        return super()._end(record, metrics)

    def _metrics(self, record: Record, *, over: bool) -> JobMetrics:
        """Here mtime is the start and ctime the end, of a running job the latest possible one."""
        ran = bool(record.of("exec_host"))
        metrics = replace(
            used(record),
            submitted_at=stamp(record.of("qtime")),
            started_at=stamp(record.of("mtime")) if ran else None,
            ended_at=stamp(record.of("ctime")) if ran and over else None,
        )
        return metrics.derived()

    def find(self, job_name: str) -> list[Call]:
        """There is no look-up by name: the whole queue is read. -W is an option without a meaning; it holds the name."""
        return [Call(("qstat", "-W", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        if answer.code not in (0, 153):
            raise SchedulerUnavailable(f"the queue could not be read: {answer.words}")
        rows = (re.match(r"(\d{1,18}) +(\S+) ", line, re.ASCII) for line in answer.stdout.split("\n"))
        return [row[1] for row in rows if row and row[2] == answer.argv[-1]]

    def probes(self, demands: Sequence[Demand], user: str) -> list[Probe]:
        return [
            Probe("qsub", Call(("qsub", "--help")), self._is_there),
            Probe("qstat", Call(("qstat", "-u", user)), self._answers),
            Probe("qdel", Call(("qdel", "--help")), self._is_there),
        ]

    def _is_there(self, answer: Answer) -> Finding:
        if answer.code != 0:
            return Finding("fail", f"`{answer.argv[0]}` does not work: {answer.words}", "ask your site.")
        return Finding("ok", f"`{answer.argv[0]}` is there")
