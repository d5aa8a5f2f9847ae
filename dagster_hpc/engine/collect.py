"""What a job leaves behind: its declared outputs, the ends of its logs, its figures, as one result.

A result is looked at once. Later waits only report what was found: a scratch that was purged meanwhile, or another
host that does not see the directory, changes nothing any more.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.job import Attempt, JobMetrics, JobResult, RetryPlan
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.observe.logs import read_tails
from dagster_hpc.engine.observe.sentinel import read_statistics
from dagster_hpc.engine.schedulers import from_json
from dagster_hpc.engine.workplace import Workplace

T = TypeVar("T")

_LONGEST_SCRIPT = 256 * 1024
_TAILS_TOGETHER = 16 * 1024 * 1024  # of all elements of an array: each gets its share
_LEAST_TAIL, _LONGEST_TAIL = 2 * 1024, 64 * 1024
_LOOK_AGAIN_S = 0.2
_FIGURES_S = 2.0


def collect(rows: Sequence[JobRow], joined: Sequence[bool], work: Workplace) -> list[JobResult]:
    """The results of jobs that are over. A job that ended well without its declared outputs has failed."""
    # One patience for all elements; what comes later still is taken in by whoever looks next.
    figures_by = work.clock.monotonic() + min(work.target.patience.accounting_delay_s, _FIGURES_S)
    rows = [row if row.collected_at is not None else _collect_once(row, figures_by, work) for row in rows]
    tail_bytes = max(_LEAST_TAIL, min(_LONGEST_TAIL, _TAILS_TOGETHER // max(1, len(rows))))
    scripts: dict[str, str] = {}
    tried_again = [row.chain for row in rows if row.retry_number]
    chains = work.insist(lambda: work.ledger.attempts(tried_again)) if tried_again else {}
    results = []
    for row, is_joined in zip(rows, joined, strict=True):
        if row.batch not in scripts:
            scripts[row.batch] = _or_silence(lambda row=row: read_script(row, work.target.host), "")  # type: ignore[misc]
        result = _result(row, is_joined, scripts[row.batch], tail_bytes, work)
        results.append(_with_attempts(result, row, chains[row.chain]) if row.chain in chains else result)
    return results


def printed(row: JobRow, tail_bytes: int, work: Workplace) -> tuple[str, str]:
    """The ends of its stdout and stderr, without the secrets that it was given."""
    silence = ("", "its logs cannot be read just now")
    stdout, stderr = _or_silence(lambda: read_tails(work.target.host, row, work.target.scheduler, tail_bytes), silence)
    return work.conceal(stdout), work.conceal(stderr)


def outputs_may_come(row: JobRow, work: Workplace) -> bool:
    """Whether outputs of a job that has ended well are not there, and so lately that they may only be late."""
    late_s = work.ledger.now() - row.updated_at
    if not row.state.is_success or row.collected_at is not None or late_s > work.target.patience.file_delay_s:
        return False
    try:
        return any(work.target.host.size(path) is None for path in _outputs(row).values())
    except OSError:
        return True


def read_script(row: JobRow, host: Host) -> str:
    """The script of this job as it was submitted."""
    suffix = from_json(row.scheduler).suffix
    paths = (jobdir.script_path(row.batch_dir, suffix), jobdir.script_path_of_0_1(row.batch_dir, row.name, suffix))
    contents = (host.read(path, limit=_LONGEST_SCRIPT) for path in paths)
    return next((content for content in contents if content), b"").decode("utf-8", "replace")


def take_in_late_figures(work: Workplace) -> None:
    """Keep the figures that a system has written only after the results of their jobs were collected."""
    if not _writes_figures(work):
        return
    told = {}
    for row in work.ledger.without_figures(work.target.key):
        figures = read_statistics(work.target.host, work.target.scheduler, row.work_dir, row.array_index)
        if figures.raw:
            told[row.token] = figures.or_else(row.metrics).derived()
    work.ledger.observations.figures(told)


def _writes_figures(work: Workplace) -> bool:
    return work.target.scheduler.statistics_of("", None) is not None


def _figures(row: JobRow, by: float, work: Workplace) -> JobMetrics:
    """The figures that the system leaves beside a job that has run, which may come a little after its end."""
    while True:
        figures = read_statistics(work.target.host, work.target.scheduler, row.work_dir, row.array_index)
        known = figures.raw or row.metrics.raw or row.metrics.started_at is None
        if known or not _writes_figures(work) or work.clock.monotonic() >= by:
            return figures
        work.clock.sleep(_LOOK_AGAIN_S)


def _collect_once(row: JobRow, figures_by: float, work: Workplace) -> JobRow:
    missing = _missing(row, work) if row.state.is_success else []
    metrics = _figures(row, figures_by, work).or_else(row.metrics).derived()
    work.clock.point("collect: before the record")
    changed = metrics if metrics != row.metrics else None
    work.insist(lambda: work.ledger.observations.collected(row.token, missing, changed))
    work.clock.point("collect: after the record")
    return work.insist(lambda: work.ledger.job(row.token))


def _missing(row: JobRow, work: Workplace) -> list[str]:
    """The outputs that are not there, even after the time that a network file system may take to show them."""
    outputs = _outputs(row)
    deadline = work.clock.monotonic() + work.target.patience.file_delay_s
    while True:
        try:
            missing = [name for name, path in outputs.items() if work.target.host.size(path) is None]
            silent = None
        except OSError as error:
            missing, silent = list(outputs), error
        if not missing:
            return []
        if work.clock.monotonic() >= deadline:
            if silent is not None:
                raise SchedulerUnavailable(
                    f"whether the outputs of {row.name} are there cannot be seen: {silent}",
                    advice="the job has ended well and is not lost: run the same again when the file system answers.",
                    work_dir=row.work_dir,
                ) from silent
            return [f"{name} ({posixpath.basename(outputs[name])})" for name in missing]
        work.clock.sleep(_LOOK_AGAIN_S)


def _result(row: JobRow, joined: bool, script: str, tail_bytes: int, work: Workplace) -> JobResult:
    stdout, stderr = printed(row, tail_bytes, work)
    return JobResult(
        handle=row.handle(joined=joined),
        state=row.state,
        exit_code=row.exit_code,
        reason=row.reason,
        missing=row.missing,
        metrics=row.metrics,
        stdout_tail=stdout,
        stderr_tail=stderr,
        outputs=_outputs(row) if row.state.is_success else {},
        index=row.array_index,
        script=script,
        queue=row.queue,
        project=row.project,
        scheduler=work.target.scheduler.system,
    )


def _with_attempts(result: JobResult, row: JobRow, attempts: Sequence[JobRow]) -> JobResult:
    """With the chain that led to it. What was resumed is one piece of work, and cost what all of it has cost."""
    is_resumed = row.runs_in != row.work_dir
    metrics = JobMetrics.of_all([one.metrics for one in attempts]) if is_resumed else result.metrics
    return replace(result, metrics=metrics, attempts=tuple(_attempt(one) for one in attempts))


def _attempt(row: JobRow) -> Attempt:
    plan = row.retry or RetryPlan()
    return Attempt(
        row.token, row.job_id, row.state, row.reason, row.exit_code, plan.walltime_s, plan.memory_mib, row.metrics,
        row.work_dir,
    )  # fmt: skip


def _outputs(row: JobRow) -> dict[str, str]:
    return {name: posixpath.join(row.work_dir, path) for name, path in row.outputs.items()}


def _or_silence(read: Callable[[], T], silence: T) -> T:
    """What a log or a script says; the ends of logs are worth showing, and no reason to lose a result."""
    try:
        return read()
    except OSError:
        return silence
