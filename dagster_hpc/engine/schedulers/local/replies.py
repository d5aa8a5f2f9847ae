"""What the embedded batch system prints, as values: ids, and its jobs as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobStatus
from dagster_hpc.engine.schedulers.base import Report
from dagster_hpc.engine.schedulers.local.words import NO_JOB, state_of, unreached


def submitted(answer: Answer) -> str:
    """The id of the new job, or of the array."""
    job_id = answer.stdout.strip()
    if answer.code == 0 and job_id.isdigit():
        return job_id
    if answer.code in (None, 0) or unreached(answer.words):
        raise SchedulerUnavailable(f"the local scheduler left it open whether the job was taken: {answer.words}")
    advice = "correct what it names; `dagster-hpc render` shows the script."
    raise SubmitRefused(f"the local scheduler refused the job: {answer.words}", advice=advice)


def queue_report(answer: Answer) -> Report:
    """The jobs that `query` lists, and the ids that it does not know."""
    if answer.code != 0:
        return Report(failed=answer.words)
    try:
        told = json.loads(answer.stdout)
        jobs = {record["id"]: _status(record) for record in told["jobs"]}
        return Report(jobs=jobs, unknown=frozenset(told["unknown"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Report(failed=f"the local scheduler's answer is not understood: {answer.words[:500]}")


def found(answer: Answer) -> list[str]:
    """The ids under the name that was asked for."""
    if answer.code != 0:
        raise SchedulerUnavailable(f"the local scheduler could not be asked for the job: {answer.words}")
    try:
        return list(dict.fromkeys(str(record["array_id"]) for record in json.loads(answer.stdout)["jobs"]))
    except (ValueError, KeyError, TypeError) as error:
        words = f"the local scheduler's answer is not understood: {answer.stdout[:200]!r}"
        raise SchedulerUnavailable(words) from error


def check_cancelled(answer: Answer) -> None:
    if answer.code != 0 and NO_JOB not in answer.words:
        raise SchedulerUnavailable(f"the local scheduler did not take the cancellation: {answer.words}")


def _status(record: Mapping[str, Any]) -> JobStatus:
    state = state_of(record["state"])
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
