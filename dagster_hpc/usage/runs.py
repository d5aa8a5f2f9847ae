"""The Dagster runs that have jobs: how these stand, and what they have cost. From the ledger alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.usage.job import is_bad, node_hours

RunStatus = Literal["running", "failed", "succeeded"]
STATUSES: tuple[RunStatus, ...] = ("running", "failed", "succeeded")


@dataclass(frozen=True)
class RunUse:
    """One run, as its jobs show it. Dagster may know of steps that had none."""

    run_id: str
    status: RunStatus  # of its jobs: one is under way; one has failed for good; all ended well
    jobs: int
    states: Mapping[str, int]
    node_hours: float
    began_at: float  # its first job was asked for
    assets: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def runs_of(rows: Sequence[JobRow], now: float) -> list[RunUse]:
    """The newest first."""
    runs: dict[str, list[JobRow]] = {}
    for row in rows:
        if row.run_id:
            runs.setdefault(row.run_id, []).append(row)
    found = [_run(run_id, some, now) for run_id, some in runs.items()]
    return sorted(found, key=lambda run: (-run.began_at, run.run_id))


def _run(run_id: str, rows: Sequence[JobRow], now: float) -> RunUse:
    return RunUse(
        run_id,
        _status(rows),
        len(rows),
        dict(Counter(row.state.value for row in rows).most_common()),
        sum(node_hours(row, now) for row in rows),
        min(row.created_at for row in rows),
        tuple(sorted({row.asset_key for row in rows if row.asset_key})),
    )


def _status(rows: Sequence[JobRow]) -> RunStatus:
    """By the last attempt of each piece of work: what was tried again has not failed."""
    if any(not row.is_over for row in rows if not row.next_token):
        return "running"
    return "failed" if any(is_bad(row) for row in rows if not row.goes_on) else "succeeded"
