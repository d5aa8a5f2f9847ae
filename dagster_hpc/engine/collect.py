"""What a job leaves behind: its declared outputs, the ends of its logs, its figures, as one result."""

from __future__ import annotations

import posixpath
import time
from dataclasses import replace

from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.job import JobResult, JobState
from dagster_hpc.engine.jobdir import batch_directory, script_path
from dagster_hpc.engine.ledger import Change, JobRow, Ledger
from dagster_hpc.engine.observe.logs import read_tails
from dagster_hpc.engine.schedulers import from_json
from dagster_hpc.engine.target import Target

_LONGEST_SCRIPT = 256 * 1024
_LONGEST_STATISTICS = 1024 * 1024  # the job's own figures stand before those of its nodes


def collect(row: JobRow, target: Target, ledger: Ledger, *, joined: bool = False) -> JobResult:
    """The result of a job that is over. A job that ended well without its declared outputs has failed."""
    outputs = {name: posixpath.join(row.work_dir, path) for name, path in row.outputs.items()}
    missing: list[str] = []
    if row.state.is_success:
        missing = _missing(target, outputs)
        if missing:
            reason = "declared output missing: " + ", ".join(missing)
            ledger.settle(row.token, JobState.FAILED, reason)
            row = replace(row, state=JobState.FAILED, reason=reason)
    row = _with_statistics(row, target, ledger)
    stdout, stderr = read_tails(target.host, row, target.scheduler)
    return JobResult(
        handle=row.handle(joined=joined),
        state=row.state,
        exit_code=row.exit_code,
        reason=row.reason,
        missing=tuple(missing),
        metrics=row.metrics,
        stdout_tail=stdout,
        stderr_tail=stderr,
        outputs=outputs if row.state.is_success else {},
        index=row.array_index,
        script=read_script(row, target.host),
        queue=row.queue,
        project=row.project,
        scheduler=target.scheduler.kind,
    )


def read_script(row: JobRow, host: Host) -> str:
    """The script of this job as it was submitted."""
    path = script_path(batch_directory(row.work_dir, row.array_index), from_json(row.scheduler).suffix)
    return (host.read(path, limit=_LONGEST_SCRIPT) or b"").decode("utf-8", "replace")


def _with_statistics(row: JobRow, target: Target, ledger: Ledger) -> JobRow:
    """The row, with the figures that the batch system has left in a file beside the job."""
    path = target.scheduler.statistics_of(row.work_dir, row.array_index)
    if path is None or not target.host.size(path):
        return row
    text = (target.host.read(path, limit=_LONGEST_STATISTICS) or b"").decode("utf-8", "replace")
    metrics = row.metrics.or_else(target.scheduler.read_statistics(text)).derived()
    if metrics == row.metrics:
        return row
    ledger.record([Change(row.token, row.state, row.reason, row.exit_code, metrics)])
    return replace(row, metrics=metrics)


def _missing(target: Target, outputs: dict[str, str]) -> list[str]:
    """The outputs that are not there, even after the time that a network file system may take to show them."""
    deadline = time.monotonic() + target.patience.file_grace_s
    while True:
        missing = [name for name, path in outputs.items() if target.host.size(path) is None]
        if not missing or time.monotonic() > deadline:
            return [f"{name} ({posixpath.basename(outputs[name])})" for name in missing]
        time.sleep(0.2)
