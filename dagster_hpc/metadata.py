"""JobResult → Dagster metadata: the same keys for every job on every system; numbers as numbers, which are plotted."""

from __future__ import annotations

import re

import dagster as dg

from dagster_hpc.dagster_values import code, number, text, timestamp
from dagster_hpc.engine.job import JobMetrics, JobResult, tail

TAG_JOB_ID = "dagster_hpc/job_id"
TAG_TARGET = "dagster_hpc/target"

_NUMBERS = (
    "queue_wait_s", "elapsed_s", "cpu_time_s", "cpu_efficiency", "max_rss_mib", "energy_j", "node_hours", "nodes",
    "cores",
)  # fmt: skip
_TIMES = ("submitted_at", "started_at", "ended_at")
_LOG_LINES = 40
_DIGITS = 6  # of seconds, shares and node-hours
_SECRET_WORDS = (
    "PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "API_?KEY", "ACCESS_?KEY", "PRIVATE_?KEY",
)  # fmt: skip
_SECRET_NAME = re.compile(
    rf"^(export (?!HPC_JOB_TOKEN=)\w*(?:{'|'.join(_SECRET_WORDS)})\w*=).+$", re.IGNORECASE | re.MULTILINE
)


def job_metadata(result: JobResult) -> dict[str, dg.MetadataValue]:
    """What a job was, how it ended and what it cost. What there is not, or nobody knows, is null, never left out."""
    metrics = result.metrics
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
        "work_dir": dg.MetadataValue.path(result.handle.work_dir),
        "outputs": dg.MetadataValue.json(dict(result.outputs)),
        "stdout_tail": code(tail(result.stdout_tail, _LOG_LINES)),
        "stderr_tail": code(tail(result.stderr_tail, _LOG_LINES)),
        "script": code(masked(result.script), "bash"),
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
        "target": text(first.handle.target),
        "job_id": text(first.handle.job_id),
        **{name: number(_sum(results, name), digits=_DIGITS) for name in ("cpu_time_s", "energy_j", "node_hours")},
        **{name: number(_most(results, name), digits=_DIGITS) for name in ("queue_wait_s", "elapsed_s", "max_rss_mib")},
    }


def _values(results: list[JobResult], name: str) -> list[float]:
    metrics: list[JobMetrics] = [result.metrics for result in results]
    return [value for one in metrics if (value := getattr(one, name)) is not None]


def _sum(results: list[JobResult], name: str) -> float | None:
    values = _values(results, name)
    return sum(values) if values else None


def _most(results: list[JobResult], name: str) -> float | None:
    return max(_values(results, name), default=None)
