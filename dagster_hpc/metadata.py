"""JobResult → Dagster metadata: the same keys for every job on every system; numbers as numbers, which are plotted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import dagster as dg

from dagster_hpc.engine.job import JobMetrics, JobResult, tail

TAG_JOB_ID = "dagster_hpc/job_id"
TAG_TARGET = "dagster_hpc/target"

_NUMBERS = (
    "queue_wait_s", "elapsed_s", "cpu_time_s", "cpu_efficiency", "max_rss_mib", "energy_j", "node_hours", "nodes",
    "cores",
)  # fmt: skip
_TIMES = ("submitted_at", "started_at", "ended_at")
_LOG_LINES = 40
_SECRET_WORDS = (
    "PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "API_?KEY", "ACCESS_?KEY", "PRIVATE_?KEY",
)  # fmt: skip
_SECRET_NAME = re.compile(
    rf"^(export (?!HPC_JOB_TOKEN=)\w*(?:{'|'.join(_SECRET_WORDS)})\w*=).+$", re.IGNORECASE | re.MULTILINE
)
_LONGEST_TEXT = 20_000


def job_metadata(result: JobResult) -> dict[str, dg.MetadataValue]:
    """What a job was, how it ended and what it cost. What there is not, or nobody knows, is null, never left out."""
    metrics = result.metrics
    return {
        "state": _text(str(result.state)),
        "reason": _text(result.reason),
        "exit_code": _number(result.exit_code),
        "job_id": _text(result.handle.job_id),
        "target": _text(result.handle.target),
        "scheduler": _text(result.scheduler),
        "queue": _text(result.queue),
        "project": _text(result.project),
        **{name: _number(getattr(metrics, name)) for name in _NUMBERS},
        "node_list": _text(metrics.node_list),
        **{name: _timestamp(getattr(metrics, name)) for name in _TIMES},
        "work_dir": dg.MetadataValue.path(result.handle.work_dir),
        "outputs": dg.MetadataValue.json(dict(result.outputs)),
        "stdout_tail": _code(tail(result.stdout_tail, _LOG_LINES)),
        "stderr_tail": _code(tail(result.stderr_tail, _LOG_LINES)),
        "script": _code(masked(result.script), "bash"),
        "scheduler_raw": dg.MetadataValue.json(dict(metrics.raw)),
    }


def masked(script: str) -> str:
    """A job script without the values of variables whose names sound secret: the event log is kept, copied and shown.

    Values given as EnvVar stand in no script at all; this is for those that were written into a profile as text.
    """
    return _SECRET_NAME.sub(r"\1'***'", script)


def array_metadata(results: list[JobResult]) -> dict[str, dg.MetadataValue]:
    """The same for an array job as a whole: how many ended how, and the sums of what they cost."""
    states = [str(result.state) for result in results]
    first = results[0]
    return {
        "jobs": dg.MetadataValue.int(len(results)),
        "states": dg.MetadataValue.json({state: states.count(state) for state in sorted(set(states))}),
        "target": _text(first.handle.target),
        "job_id": _text(first.handle.job_id),
        **{name: _number(_sum(results, name)) for name in ("cpu_time_s", "energy_j", "node_hours")},
        **{name: _number(_most(results, name)) for name in ("queue_wait_s", "elapsed_s", "max_rss_mib")},
    }


def _values(results: list[JobResult], name: str) -> list[float]:
    metrics: list[JobMetrics] = [result.metrics for result in results]
    return [value for one in metrics if (value := getattr(one, name)) is not None]


def _sum(results: list[JobResult], name: str) -> float | None:
    values = _values(results, name)
    return sum(values) if values else None


def _most(results: list[JobResult], name: str) -> float | None:
    return max(_values(results, name), default=None)


def _number(value: float | None) -> dg.MetadataValue:
    # Dagster stores NaN and infinity without complaint, and its UI then fails to read the event.
    if value is None or not math.isfinite(value):
        return dg.MetadataValue.null()
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(round(value, 6))


def _timestamp(value: float | None) -> dg.MetadataValue:
    return dg.MetadataValue.null() if value is None else dg.MetadataValue.timestamp(value)


def _text(value: str | None) -> dg.MetadataValue:
    return dg.MetadataValue.text(value) if value else dg.MetadataValue.null()


def _code(text: str, language: str = "") -> dg.MetadataValue:
    """Text with its line breaks and stars as they are: a fenced block, longer than any fence inside."""
    if not text:
        return dg.MetadataValue.null()
    if len(text) > _LONGEST_TEXT:
        text = "…\n" + text[-_LONGEST_TEXT:]
    fence = "```"
    while fence in text:
        fence += "`"
    return dg.MetadataValue.md(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def plain(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, object]:
    """The values without their wrapping, for tables and tests."""
    return {name: value.value for name, value in metadata.items()}
