"""When Flux expects a waiting job to start: what its scheduler has annotated it with, in `flux jobs --json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Outlook
from dagster_hpc.engine.schedulers.flux.replies import job_records


def read(answer: Answer) -> Outlook:
    """Only a scheduler that plans ahead estimates a start (`t_estimate`)."""
    for record in job_records(answer.stdout) or ():
        notes = _mapping(_mapping(record.get("annotations")).get("sched"))
        estimate, pending = notes.get("t_estimate"), notes.get("reason_pending")
        starts_at = float(estimate) if isinstance(estimate, int | float) and estimate > 1 else None
        return Outlook(starts_at, (str(pending),) if pending else ())
    return Outlook()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
