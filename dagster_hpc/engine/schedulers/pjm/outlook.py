"""When PJM expects a waiting job to start: the start date in brackets, in the record that `pjstat -s` prints."""

from __future__ import annotations

import re
from datetime import datetime

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Outlook
from dagster_hpc.engine.schedulers.pjm.records import records

_PLANNED = re.compile(r"\((\d{4}/\d\d/\d\d \d\d:\d\d)(?::\d\d)?\)", re.ASCII)
_WAITS = ("ACC", "QUE", "HLD", "ERR", "RDY")


def read(answer: Answer) -> Outlook:
    """Of a job that runs, the date in brackets is no plan but the past."""
    for record in records(answer.stdout.splitlines()):
        if record.get("STATE") not in _WAITS:
            continue
        planned = _PLANNED.match(record.get("JOB START DATE", ""))
        reason = record.get("REASON", "").strip("- ")
        return Outlook(_moment(planned[1]) if planned else None, (reason,) if reason else ())
    return Outlook()


def _moment(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y/%m/%d %H:%M").timestamp()
    except (ValueError, OverflowError):
        return None
