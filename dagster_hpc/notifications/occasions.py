"""What is worth a message: which ends, and which jobs that live and need a person."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Subject
from dagster_hpc.sensors.ended_job import EndedJob, JobOrArray

Kind = Literal["failed", "succeeded", "stuck", "near_walltime", "late"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_STUCK_S = 300.0  # a reason that says "never" for a moment only is no reason to write to anybody


@dataclass(frozen=True)
class Limits:
    """From when on a job that lives is worth a message."""

    walltime_share: float = 0.9
    late_after_s: float = 6 * 3600.0


@dataclass(frozen=True)
class Occasion:
    """One thing to be told, of one job or array."""

    kind: Kind
    job: JobOrArray  # of an array that lives, the elements that it is about
    subjects: tuple[Subject, ...]  # by which the ledger notes that it was told

    @property
    def key(self) -> str:
        """The same for the same message, whoever sends it, and when."""
        return f"{self.kind} {self.job.token}"


def kind_of(job: EndedJob) -> Kind | None:
    """As what an end is told; None where somebody wanted it so, through us."""
    if job.state.is_success:
        return "succeeded"
    if all(row.state.is_success or _was_wanted(row) for row in job.rows):
        return None
    return "failed"


def under_way(rows: Iterable[JobRow], on: Collection[Kind], limits: Limits, now: float) -> list[Occasion]:
    """What is to be told of jobs that live. The elements of an array are one occasion of each kind."""
    found: dict[Subject, list[JobRow]] = {}
    for row in rows:
        if row.state.is_final:
            continue  # its next attempt is to come
        checks: Mapping[Kind, bool] = {
            "stuck": is_stuck(row, now),
            "near_walltime": is_near_walltime(row, limits, now),
            "late": waited_s(row, now) >= limits.late_after_s,
        }
        for kind, is_so in checks.items():
            if is_so and kind in on:
                found.setdefault(Subject(kind, row.batch), []).append(row)
    return [
        Occasion(_as_kind(subject.what), JobOrArray(tuple(sorted(some, key=lambda row: row.array_index or 0))), (subject,))
        for subject, some in found.items()
    ]


def is_stuck(row: JobRow, now: float) -> bool:
    return row.stuck_since is not None and now - row.stuck_since >= _STUCK_S


def is_near_walltime(row: JobRow, limits: Limits, now: float) -> bool:
    """Whether it has used so much of its walltime that it may not be finished in time."""
    is_running = row.state is JobState.RUNNING and row.ending_since is None
    return is_running and row.given.walltime_s > 0 and ran_s(row, now) >= limits.walltime_share * row.given.walltime_s


def ran_s(row: JobRow, now: float) -> float:
    """So long a job has run that runs."""
    return max(0.0, now - row.metrics.started_at) if row.metrics.started_at is not None else 0.0


def waited_s(row: JobRow, now: float) -> float:
    """So long it has waited in the queue, or waits."""
    began = row.metrics.started_at
    return (began if began is not None else now) - (row.metrics.submitted_at or row.created_at)


def _was_wanted(row: JobRow) -> bool:
    return row.state is JobState.CANCELLED and row.cancel_requested


def _as_kind(what: str) -> Kind:
    return next(kind for kind in KINDS if kind == what)
