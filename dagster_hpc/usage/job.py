"""What one job has used, from its row: the same quantity whatever its scheduler calls it."""

from __future__ import annotations

import json
from functools import lru_cache

from dagster_hpc.engine.job import JobState, is_signal, signal_name
from dagster_hpc.engine.ledger import JobRow

_OF_A_PROCESS = ("slurm",)  # their peak is of one task, and the largest of samples
_SAMPLED_EVERY_S = 30.0  # unless the site has set another interval
_OF_A_NODE = ("pjm", "pjm-without-bulk", "local")  # that of the others is of the whole job


def is_bad(row: JobRow) -> bool:
    """Whether it ended, and not well."""
    return row.state.is_final and (not row.state.is_success or bool(row.missing))


def node_hours(row: JobRow, now: float) -> float:
    """What it has cost so far: that of a running job grows."""
    m = row.metrics
    if m.node_hours is not None:
        return m.node_hours
    if row.state is JobState.RUNNING and m.started_at is not None:
        return max(0.0, now - m.started_at) * (m.nodes or row.given.nodes or 1) / 3600
    return 0.0


def memory_per_node_mib(row: JobRow) -> float | None:
    """The most that it used on one node, as far as its scheduler tells; never more than it was given, and survived.

    Slurm tells of the largest process only: then its ranks are taken to be alike. What it saw of a job that ended before
    it looked again says nothing.
    """
    peak, plan = row.metrics.max_rss_mib, row.given
    if peak is None:
        return None
    kind = scheduler_kind(row.scheduler)
    if kind in _OF_A_PROCESS:
        if (row.metrics.elapsed_s or 0.0) <= _SAMPLED_EVERY_S:
            return None
        peak *= max(1, plan.ranks_per_node)
    elif kind not in _OF_A_NODE:
        peak /= max(1, plan.nodes)
    return min(peak, plan.memory_mib) if plan.memory_mib else peak


def cause(row: JobRow) -> str:
    """Of what it failed, in few words; '' where it has not."""
    if not is_bad(row):
        return ""
    if row.missing:
        return "output missing"
    if row.state is not JobState.FAILED:
        return str(row.state)
    if "never began" in row.reason or "could not be started" in row.reason:
        return "FAILED before it began"
    if row.exit_code is None:
        return "FAILED"
    named = is_signal(row.exit_code - 128)
    return f"exit code {row.exit_code}{f' ({signal_name(row.exit_code - 128)})' if named else ''}"


@lru_cache
def scheduler_kind(scheduler: str) -> str:
    """`slurm`, `local`, …: of the JSON that a row keeps of its scheduler."""
    return str(json.loads(scheduler).get("kind", ""))
