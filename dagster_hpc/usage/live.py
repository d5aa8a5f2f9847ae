"""The jobs that are under way, a line for each piece of work: an array, or an asset where there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.usage.job import node_hours

_ORDER = (
    JobState.RUNNING, JobState.SUSPENDED, JobState.UNKNOWN, JobState.PENDING, JobState.HELD, JobState.SUBMITTING,
    JobState.READY,
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Jobs that are shown together."""

    name: str
    target: str
    token: str  # of the job; of the array; '' where a line is of several
    job_id: str
    states: Mapping[str, int]
    over: int  # array: elements that have ended
    of: int  # all of them
    since: float  # runs, or waits, since then
    node_hours: float  # so far
    reason: str


@dataclass(frozen=True)
class LiveView:
    """All that is under way, at one moment."""

    lines: tuple[Line, ...]
    left_out: int  # lines for which there was no room
    states: Mapping[str, int]
    nodes: int  # in use: so many node hours an hour
    node_hours: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def live_view(rows: Sequence[JobRow], ended: Mapping[str, int], now: float, most: int) -> LiveView:
    """`ended`: array → its elements that are over; `most`: so many lines, at most."""
    lines = _lines(rows, _work, ended, now)
    if len(lines) > most:
        lines = _lines(rows, _kind, ended, now)
    running = [row for row in rows if row.state is JobState.RUNNING]
    return LiveView(
        tuple(lines[:most]),
        max(0, len(lines) - most),
        _counted(rows),
        sum(row.metrics.nodes or row.given.nodes or 1 for row in running),
        sum(node_hours(row, now) for row in rows),
    )


def _work(row: JobRow) -> object:
    return row.batch if row.array_index is not None else row.token


def _kind(row: JobRow) -> object:
    return row.asset_key or row.name, row.target


def _lines(rows: Sequence[JobRow], of: Callable[[JobRow], object], ended: Mapping[str, int], now: float) -> list[Line]:
    groups: dict[object, list[JobRow]] = {}
    for row in rows:
        groups.setdefault(of(row), []).append(row)
    ordered = sorted(groups.values(), key=_place)
    return [_line(some, ended, now) for some in ordered]


def _place(rows: Sequence[JobRow]) -> tuple[int, float]:
    """What runs comes first, then what waits; of each the oldest."""
    first = min(_rank(row) for row in rows)
    return first, min(_since(row) for row in rows if _rank(row) == first)


def _rank(row: JobRow) -> int:
    return _ORDER.index(row.state) if row.state in _ORDER else len(_ORDER)


def _since(row: JobRow) -> float:
    return row.metrics.started_at if row.state is JobState.RUNNING and row.metrics.started_at else row.created_at


def _line(rows: Sequence[JobRow], ended: Mapping[str, int], now: float) -> Line:
    lead = min(rows, key=_rank)
    batches = {row.batch for row in rows if row.array_index is not None}
    over = sum(ended.get(batch, 0) for batch in batches)
    alone = len({_work(row) for row in rows}) == 1
    reasons = Counter(row.reason for row in rows if row.reason)
    partition = f" [{lead.partition_key}]" if lead.partition_key and len(rows) == 1 else ""
    return Line(
        (lead.asset_key or lead.name) + partition,
        lead.target,
        "" if not alone else str(_work(lead)),
        (lead.job_id or "") if len(rows) == 1 else "",
        _counted(rows),
        over,
        over + len(rows),
        _place(rows)[1],
        sum(node_hours(row, now) for row in rows),
        reasons.most_common(1)[0][0] if reasons else "",
    )


def _counted(rows: Sequence[JobRow]) -> dict[str, int]:
    counted = Counter(row.state for row in sorted(rows, key=_rank))
    return {state.value: many for state, many in counted.items()}
