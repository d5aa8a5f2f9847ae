"""JobResult → Dagster metadata: the same keys for every job on every system; numbers as numbers, which are plotted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg

from dagster_hpc.dagster_values import code, json_value, number, script, table, text, timestamp
from dagster_hpc.engine.job import Attempt, JobResult, tail
from dagster_hpc.engine.units import format_walltime
from dagster_hpc.timeline import timeline

TAG_JOB_ID = "dagster_hpc/job_id"
TAG_TARGET = "dagster_hpc/target"

_NUMBERS = (
    "queue_wait_s", "elapsed_s", "cpu_time_s", "cpu_efficiency", "max_rss_mib", "energy_j", "node_hours", "nodes",
    "cores",
)  # fmt: skip
_TIMES = ("submitted_at", "started_at", "ended_at")
_SUMS = ("cpu_time_s", "energy_j", "node_hours")
_LARGEST = ("queue_wait_s", "elapsed_s", "max_rss_mib")
_LOG_LINES = 40
_DIGITS = 6  # of seconds, shares and node-hours
_ELEMENT_SCRIPT = 4_000  # characters: thousands of elements share one script
_FAILED_SHOWN = 20
_FAILED_COLUMNS = {
    "element": "int", "partition": "string", "state": "string", "exit_code": "int", "reason": "string",
    "elapsed_s": "float", "job_id": "string", "work_dir": "string",
}  # fmt: skip


def job_metadata(result: JobResult) -> dict[str, dg.MetadataValue]:
    """What a job was, how it ended and what it cost. What there is not, or nobody knows, is null, never left out.

    Example:
        result = hpc.run(Command("bitcount"), profile="small")
        dg.MaterializeResult(metadata=job_metadata(result))
    """
    metrics = result.metrics
    shown = {} if result.index is None else {"longest": _ELEMENT_SCRIPT}
    return {
        "state": text(str(result.state)),
        "reason": text(result.reason),
        "exit_code": number(result.exit_code),
        "job_id": text(result.handle.job_id),
        "target": text(result.handle.target),
        "scheduler": text(result.scheduler),
        "queue": text(result.queue),
        "project": text(result.project),
        **{name: number(getattr(metrics, name), digits=_DIGITS) for name in _NUMBERS},
        "node_list": text(metrics.node_list),
        **{name: timestamp(getattr(metrics, name)) for name in _TIMES},
        "attempts": table([_attempt(place, one) for place, one in enumerate(result.attempts, 1)]),
        "work_dir": dg.MetadataValue.path(result.handle.work_dir),
        "outputs": json_value(dict(result.outputs)),
        "stdout_tail": code(tail(result.stdout_tail, _LOG_LINES)),
        "stderr_tail": code(tail(result.stderr_tail, _LOG_LINES)),
        "script": script(result.script, **shown),
        "scheduler_raw": json_value(dict(metrics.raw)),
    }


def _attempt(place: int, one: Attempt) -> dict[str, Any]:
    """One of the jobs that led to a result, as a row of a table."""
    return {
        "attempt": place,
        "job_id": one.job_id,
        "state": str(one.state),
        "reason": one.reason,
        "walltime": format_walltime(one.walltime_s),
        "memory_per_node_mib": one.memory_per_node_mib,
        "node_list": one.metrics.node_list,
        "elapsed_s": one.metrics.elapsed_s,
        "node_hours": one.metrics.node_hours,
        "directory": one.directory,
    }


def array_metadata(
    results: Sequence[JobResult], partition_keys: Sequence[str] | None = None
) -> dict[str, dg.MetadataValue]:
    """An array job as a whole, of readable size however many elements it has.

    How many ended how, the sums of what they cost, the first of those that failed, and a picture of when each waited
    and ran. `partition_keys`: of the asset, one for each result.

    Example:
        results = hpc.map(Command("bitcount"), [["a.txt"], ["b.txt"]], profile="small")
        dg.MaterializeResult(metadata=array_metadata(results))
    """
    if not results:
        return {"jobs": number(0), "failed": number(0)}
    first, failed = results[0], [place for place, result in enumerate(results) if not result.succeeded]
    worst = results[failed[0]] if failed else None
    keys: Sequence[str | None] = partition_keys or [None] * len(results)
    rows = [_failed_row(place, results[place], keys[place]) for place in failed[:_FAILED_SHOWN]]
    return {
        "jobs": number(len(results)),
        "failed": number(len(failed)),
        "states": json_value(dict(sorted(Counter(str(result.state) for result in results).items()))),
        "failed_elements": table(rows, _FAILED_COLUMNS) if rows else dg.MetadataValue.null(),
        "target": text(first.handle.target),
        "job_id": text(first.handle.job_id),
        **array_costs(results),
        "submitted_at": timestamp(min(_values(results, "submitted_at"), default=None)),
        "started_at": timestamp(min(_values(results, "started_at"), default=None)),
        "ended_at": timestamp(max(_values(results, "ended_at"), default=None)),
        "longest_element": text(_longest(results, keys)),
        "timeline": timeline(results),
        "work_dir": dg.MetadataValue.path(_folder_of_all(results)),
        "stderr_tail": code(tail(worst.stderr_tail, _LOG_LINES)) if worst else dg.MetadataValue.null(),
        "script": script(first.script),
    }


def array_costs(results: Sequence[JobResult]) -> dict[str, dg.MetadataValue]:
    """What several jobs cost: sums of time and energy, and the longest and largest of them."""
    return {
        **{name: number(_sum(results, name), digits=_DIGITS) for name in _SUMS},
        **{name: number(max(_values(results, name), default=None), digits=_DIGITS) for name in _LARGEST},
    }


def _failed_row(place: int, result: JobResult, partition_key: str | None) -> dict[str, Any]:
    return {
        "element": place,
        "partition": partition_key or "",
        "state": str(result.state),
        "exit_code": result.exit_code,
        "reason": result.reason,
        "elapsed_s": result.metrics.elapsed_s,
        "job_id": result.handle.job_id or "",
        "work_dir": result.handle.work_dir,
    }


def _folder_of_all(results: Sequence[JobResult]) -> str:
    folders = {result.handle.work_dir for result in results}
    return os.path.commonpath(folders) if all(map(os.path.isabs, folders)) else results[0].handle.work_dir


def _longest(results: Sequence[JobResult], keys: Sequence[str | None]) -> str | None:
    times = [(elapsed, place) for place, result in enumerate(results) if (elapsed := result.metrics.elapsed_s)]
    if not times:
        return None
    _, place = max(times)
    return keys[place] or str(place)


def _values(results: Sequence[JobResult], name: str) -> list[float]:
    return [value for result in results if (value := getattr(result.metrics, name)) is not None]


def _sum(results: Sequence[JobResult], name: str) -> float | None:
    values = _values(results, name)
    return sum(values) if values else None
