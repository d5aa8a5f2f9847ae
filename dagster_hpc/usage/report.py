"""The use of a span of time: in all, by what jobs are told apart by, and as it went on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.usage.figures import Usage, usage_of
from dagster_hpc.usage.job import is_bad, node_hours

NOBODY = "-"  # what is not known: no asset, no name of a profile, a user whom an older version did not note
BY: Mapping[str, Callable[[JobRow], str]] = {
    "asset": lambda row: row.asset_key or NOBODY,
    "profile": lambda row: row.given.profile or NOBODY,
    "user": lambda row: row.given.user or NOBODY,
    "target": lambda row: row.target,
}
_MOST_BARS = 48
_STEPS_S = (3600.0, 4 * 3600.0, 86400.0, 7 * 86400.0, 30 * 86400.0)


@dataclass(frozen=True)
class Step:
    """A part of the span, and the node hours of the jobs that began in it."""

    begins_at: float
    well: float
    badly: float


@dataclass(frozen=True)
class UsageReport:
    """Jobs that were asked for between two moments, and what they have used."""

    since: float
    until: float
    total: Usage
    groups: Mapping[str, tuple[Usage, ...]]  # by asset, profile, user and target; the dearest first
    steps: tuple[Step, ...]
    step_s: float

    def to_dict(self) -> dict[str, Any]:
        groups = {f"by_{name}": [usage.to_dict() for usage in usages] for name, usages in self.groups.items()}
        return {"since": self.since, "until": self.until, "total": self.total.to_dict(), **groups}


def report_on(rows: Sequence[JobRow], since: float, until: float, now: float) -> UsageReport:
    """The report on these jobs, which were asked for in this span."""
    step_s = next((size for size in _STEPS_S if (until - since) / size <= _MOST_BARS), _STEPS_S[-1])
    return UsageReport(
        since, until, usage_of("all", rows, now),
        {name: _grouped(rows, of, now) for name, of in BY.items()},
        _steps(rows, since, until, step_s, now), step_s,
    )  # fmt: skip


def _grouped(rows: Sequence[JobRow], of: Callable[[JobRow], str], now: float) -> tuple[Usage, ...]:
    groups: dict[str, list[JobRow]] = {}
    for row in rows:
        groups.setdefault(of(row), []).append(row)
    usages = [usage_of(name, some, now) for name, some in groups.items()]
    return tuple(sorted(usages, key=lambda usage: (-usage.node_hours, -usage.jobs, usage.name)))


def _rounded(at: float, step_s: float) -> float:
    """The full hour, or midnight, before it: as clocks here show it."""
    offset = datetime.fromtimestamp(at).astimezone().utcoffset() or timedelta()
    return at - (at + offset.total_seconds()) % step_s


def _steps(rows: Sequence[JobRow], since: float, until: float, step_s: float, now: float) -> tuple[Step, ...]:
    since = _rounded(since, step_s)
    number = max(1, int(-(-(until - since) // step_s)))
    well, badly = [0.0] * number, [0.0] * number
    for row in rows:
        began = row.metrics.started_at or row.created_at
        place = min(max(0, int((began - since) // step_s)), number - 1)
        (badly if is_bad(row) else well)[place] += node_hours(row, now)
    return tuple(Step(since + place * step_s, well[place], badly[place]) for place in range(number))
