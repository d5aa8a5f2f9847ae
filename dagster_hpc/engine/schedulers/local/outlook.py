"""Which jobs are before a waiting one in the embedded local scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Outlook

_MOST = 5  # of either kind


def read(answer: Answer) -> Outlook:
    """Of all live jobs, in the order of their submission: those that run, and those that wait before this one."""
    try:
        jobs = [job for job in json.loads(answer.stdout)["jobs"] if isinstance(job, dict)] if answer.code == 0 else []
    except (ValueError, KeyError, TypeError, RecursionError):
        return Outlook()
    places = [place for place, job in enumerate(jobs) if answer.about in (job.get("id"), job.get("array_id"))]
    if not places:
        return Outlook()
    running = [job for job in jobs if job.get("state") == "RUNNING"]
    waiting = [job for job in jobs[: places[0]] if job.get("state") == "PENDING"]
    said = [f"{_name(job)} runs on {_cores(job)}, for {job.get('time_s')} s at most" for job in running[:_MOST]]
    said += _rest(running, "run")
    said += [f"{_name(job)} is before it, and asks for {_cores(job)}" for job in waiting[:_MOST]]
    return Outlook(words=(*said, *_rest(waiting, "are before it")))


def _rest(jobs: Sequence[object], what: str) -> list[str]:
    return [f"{len(jobs) - _MOST} more {what}"] if len(jobs) > _MOST else []


def _name(job: Mapping[str, Any]) -> str:
    return f"job {job.get('id')} ({job.get('name')})"


def _cores(job: Mapping[str, Any]) -> str:
    return f"{job.get('cores')} core{'' if job.get('cores') == 1 else 's'}"
