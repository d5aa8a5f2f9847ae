"""What the queue of steps prints, as values: ids, and its steps as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobStatus
from dagster_hpc.engine.schedulers.base import Report
from dagster_hpc.engine.schedulers.steps.words import NO_JOB, NO_SPOOL, state_of


def identity(answer: Answer) -> str:
    """The name of this queue."""
    name = answer.stdout.strip()
    if answer.code != 0 or not re.fullmatch(r"[a-z2-9]{6}", name):
        raise SchedulerUnavailable(f"the queue of steps does not say which one it is: {answer.words}")
    return name


def submitted(answer: Answer) -> str:
    """The id of the step, or of the array of steps."""
    step_id = answer.stdout.strip()
    if answer.code == 0 and step_id:
        return step_id
    if answer.code in (None, 0) or NO_SPOOL in answer.words:
        raise SchedulerUnavailable(f"the queue of steps left it open whether the step was taken: {answer.words}")
    raise SubmitRefused(f"the queue of steps refused the step: {answer.words}", advice="correct what it names.")


def queue_report(answer: Answer) -> Report:
    """The steps that `query` lists, and the ids that it does not know."""
    if answer.code != 0:
        return Report(failed=answer.words)
    try:
        told = json.loads(answer.stdout)
        return Report({record["id"]: _status(record) for record in told["jobs"]}, unknown=frozenset(told["unknown"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Report(failed=f"the answer of the queue of steps is not understood: {answer.words[:500]}")


def found(answer: Answer) -> list[str]:
    """The ids under the name that was asked for."""
    try:
        if answer.code == 0:
            return [str(step_id) for step_id in json.loads(answer.stdout)]
    except (ValueError, TypeError):
        pass  # told as any other answer that is none
    raise SchedulerUnavailable(f"the queue of steps could not be asked for the step: {answer.words}")


def check_cancelled(answer: Answer) -> None:
    if answer.code != 0 and NO_JOB not in answer.words:
        raise SchedulerUnavailable(f"the queue of steps did not take the cancellation: {answer.words}")


def _status(record: Mapping[str, Any]) -> JobStatus:
    state = state_of(record["state"])
    return JobStatus(
        state,
        reason=record.get("reason") or "",
        exit_code=record.get("exit_code"),
        signal=record.get("signal"),
        job_name=record.get("name", ""),
        stuck=bool(record.get("stuck")),
        metrics=_metrics(record, over=state.is_final),
    )


def _metrics(record: Mapping[str, Any], *, over: bool) -> JobMetrics:
    ran = over and record.get("started_at") is not None
    return JobMetrics(
        submitted_at=record.get("submitted_at"),
        started_at=record.get("started_at"),
        ended_at=record.get("ended_at"),
        cpu_time_s=record.get("cpu_time_s"),
        max_rss_mib=record.get("max_rss_mib"),
        cores=record.get("cores") if ran else None,
        raw={key: str(value) for key, value in record.items() if value not in (None, "")},
    ).derived()
