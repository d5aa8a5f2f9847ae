"""The embedded local scheduler: the same questions, asked of the little batch system in `local_batch/`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Demand, Finding, Probe, Report, Scheduler
from dagster_hpc.local_batch.directives import MOST_ELEMENTS

# The folder, or the nearest one above it in which it can still be made.
_WRITABLE = 'd=$1; while [ ! -e "$d" ]; do d=$(dirname "$d"); done; [ -d "$d" ] && [ -w "$d" ]'


@dataclass(frozen=True)
class Local(Scheduler):
    """Jobs on this very machine, queued so that they do not overload it."""

    kind: ClassVar[str] = "local"
    suffix: ClassVar[str] = ".sh"
    template: ClassVar[str] = "local.sh.j2"
    job_id_variable: ClassVar[str] = "LOCAL_JOB_ID"
    index_variable: ClassVar[str] = "LOCAL_ARRAY_INDEX"

    spool: str = ""
    cores: int | None = None
    memory_mib: int | None = None

    def unsupported(self, spec: JobSpec) -> list[str]:
        too_many = [f"the local scheduler takes arrays of at most {MOST_ELEMENTS} elements, not {len(spec.elements)}"]
        return super().unsupported(spec) + (too_many if len(spec.elements) > MOST_ELEMENTS else [])

    def log_path(self, spec: JobSpec, directory: str) -> str:
        escaped = directory.replace("%", "%%")
        return f"{escaped}/%a/scheduler.log" if spec.is_array else f"{escaped}/scheduler.log"

    def submit(self, script: str) -> Call:
        cores = ("--capacity-cores", str(self.cores)) if self.cores else ()
        memory = ("--capacity-memory", str(self.memory_mib)) if self.memory_mib else ()
        return self._call("submit", *cores, *memory, script)

    def read_submit(self, answer: Answer) -> str:
        job_id = answer.stdout.strip()
        if answer.code == 0 and job_id.isdigit():
            return job_id
        if answer.code in (None, 0) or "cannot use the spool" in answer.words:
            raise SchedulerUnavailable(f"the local scheduler left it open whether the job was taken: {answer.words}")
        advice = "correct what it names; `dagster-hpc render` shows the script."
        raise SubmitRefused(f"the local scheduler refused the job: {answer.words}", advice=advice)

    def queue(self, ids: Sequence[str]) -> Call:
        return self._call("query", *ids)

    def read_queue(self, answer: Answer) -> Report:
        if answer.code != 0:
            return Report(failed=answer.words)
        try:
            records = json.loads(answer.stdout)["jobs"]
            return Report(jobs={record["id"]: _status(record) for record in records})
        except (ValueError, KeyError, TypeError):
            return Report(failed=f"the local scheduler's answer is not understood: {answer.stdout[:200]!r}")

    def find(self, job_name: str) -> list[Call]:
        return [self._call("query", "--name", job_name)]

    def read_found(self, answer: Answer) -> list[str]:
        if answer.code != 0:
            raise SchedulerUnavailable(f"the local scheduler could not be asked for the job: {answer.words}")
        try:
            return list(dict.fromkeys(str(record["array_id"]) for record in json.loads(answer.stdout)["jobs"]))
        except (ValueError, KeyError, TypeError) as error:
            words = f"the local scheduler's answer is not understood: {answer.stdout[:200]!r}"
            raise SchedulerUnavailable(words) from error

    def cancel(self, ids: Sequence[str]) -> Call:
        return self._call("cancel", *ids)

    def read_cancel(self, answer: Answer) -> None:
        if answer.code != 0 and "no job" not in answer.words:
            raise SchedulerUnavailable(f"the local scheduler did not take the cancellation: {answer.words}")

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}_{index}"

    def array_id(self, element_id: str) -> str:
        return element_id.partition("_")[0]

    def probes(self, demands: Sequence[Demand], user: str) -> list[Probe]:
        writable = Call(("sh", "-c", _WRITABLE, "sh", self.spool))
        return [
            Probe("local scheduler", self._call("query"), self._answers),
            Probe("local spool", writable, self._takes_jobs),
        ]

    def _answers(self, answer: Answer) -> Finding:
        report = self.read_queue(answer)
        if report.failed:
            advice = f"see daemon.log in {self.spool}; jobs that run are not harmed by this."
            return Finding("fail", f"the embedded scheduler does not answer: {report.failed}", advice)
        return Finding("ok", f"the embedded scheduler answers; {len(report.jobs)} of its jobs are not over")

    def _takes_jobs(self, answer: Answer) -> Finding:
        if answer.code != 0:
            return Finding("fail", f"{self.spool} cannot be written", "set `spool` of the target to a folder of yours.")
        return Finding("ok", f"{self.spool} can be written")

    def _call(self, verb: str, *arguments: str) -> Call:
        return Call((sys.executable, "-m", "dagster_hpc.local_batch", verb, "--spool", self.spool, *arguments))


def _status(record: Mapping[str, Any]) -> JobStatus:
    try:
        state = JobState(record["state"])
    except ValueError:
        state = JobState.UNKNOWN
    return JobStatus(
        state,
        reason=record.get("reason") or "",
        exit_code=record.get("exit_code"),
        signal=record.get("signal"),
        job_name=record.get("name", ""),
        metrics=_metrics(record, over=state.is_final),
    )


def _metrics(record: Mapping[str, Any], *, over: bool) -> JobMetrics:
    cpu = [record.get("cpu_user_s"), record.get("cpu_system_s")]
    ran = over and record.get("started_at") is not None
    return JobMetrics(
        submitted_at=record.get("submitted_at"),
        started_at=record.get("started_at"),
        ended_at=record.get("ended_at"),
        cpu_time_s=sum(part or 0.0 for part in cpu) if ran and any(part is not None for part in cpu) else None,
        max_rss_mib=record.get("max_rss_mib") if ran else None,
        nodes=1 if ran else None,
        cores=record.get("cores") if ran else None,
        node_list=record.get("host") if ran else None,
        raw={key: str(value) for key, value in record.items() if value is not None},
    ).derived()
