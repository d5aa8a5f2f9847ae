"""When Slurm expects a waiting job to start, from `scontrol show job`: what its backfill planned last."""

from __future__ import annotations

import re
from datetime import datetime

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Outlook

_FIELD = re.compile(r"(\w+)=(\S*)")
_NOTHING = ("", "(null)", "N/A", "Unknown", "None")
# What Slurm says of the way of a job through the queue, beside the reason that the poll has read already.
_TELLING = ("Priority", "Dependency", "TimeLimit", "Partition", "QOS", "Account", "ReqNodeList", "SchedNodeList")


def read(answer: Answer) -> Outlook:
    """Of an array, the element that comes first."""
    waiting = [fields for fields in map(_fields, answer.stdout.splitlines()) if fields.get("JobState") == "PENDING"]
    if answer.code != 0 or not waiting:
        return Outlook()
    starts = [(moment, fields) for fields in waiting if (moment := _moment(fields.get("StartTime", ""))) is not None]
    starts_at, fields = min(starts, key=lambda start: start[0]) if starts else (None, waiting[0])
    told = [f"{name}={fields[name]}" for name in _TELLING if fields.get(name, "") not in _NOTHING]
    return Outlook(starts_at, (" ".join(told),) if told else ())


def _fields(line: str) -> dict[str, str]:
    return dict(reversed(_FIELD.findall(line)))  # of two fields of one name, the first is Slurm's own


def _moment(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").timestamp()
    except (ValueError, OverflowError):
        return None
