"""One job in the ledger, as a value; and what a poll may learn of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.job import JobHandle, JobMetrics, JobState, RetryPlan


@dataclass(frozen=True)
class JobRow:
    """One job in the ledger; one element of an array job is one too."""

    token: str
    batch: str
    name: str
    target: str
    scheduler: str
    work_dir: str
    state: JobState
    created_at: float
    updated_at: float = 0.0
    array_index: int | None = None
    identity: str | None = None
    held_identity: str | None = None  # the same while nobody else may have it: see deliveries.py
    cluster: str = ""
    queue: str = ""
    project: str = ""
    script_sha256: str = ""  # of what may be submitted; '': its files are not whole yet, or it was adopted
    outputs: Mapping[str, str] = field(default_factory=dict)
    asset_key: str | None = None
    partition_key: str | None = None
    together: int = 1  # so many commands were asked for at once, of which this is one
    deployment: str = ""  # the Dagster that its run belongs to
    run_id: str | None = None
    step_key: str | None = None
    owner: str = ""  # who submits it, or NOBODY: only the owner writes the outcome of a submission
    heartbeat_at: float = 0.0  # the owner's last sign of life, by the database's clock
    attempts: int = 0  # submit commands that were begun; the next one after a doubtful one looks the job up first
    not_before: float = 0.0  # READY: when to try again, by the database's clock
    copies: tuple[str, ...] = ()  # further ids under which the scheduler took the same submission
    follows: str = ""  # READY: the batch that must be over before this one may be submitted
    reason: str = ""
    job_id: str | None = None
    exit_code: int | None = None
    metrics: JobMetrics = field(default_factory=JobMetrics)
    cancel_requested: bool = False
    cancel_sent_at: float | None = None  # when the scheduler last took the order, by the database's clock
    absent_since: float | None = None
    ending_since: float | None = None
    stuck_since: float | None = None
    missing: tuple[str, ...] = ()  # declared outputs that were not there when the result was collected
    collected_at: float | None = None
    delivered_at: float | None = None
    retry: RetryPlan | None = None  # what it was given, and which ends are worth a further attempt; None: by 0.1.0
    again: RetryPlan | None = None  # that of the further attempt which its end has led to
    again_at: float | None = None  # when that is due, by the database's clock; None once it is made, or given up
    retry_number: int = 0
    first_token: str = ""  # of the chain of attempts; '' in the first itself
    next_token: str = ""  # of the attempt that has taken its place

    @property
    def given(self) -> RetryPlan:
        """What it was given; nothing in it where an older version submitted it."""
        return self.retry or RetryPlan()

    @property
    def goes_on(self) -> bool:
        """Whether another attempt has taken its place, or will."""
        return self.again_at is not None or self.next_token != ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it: it has ended, and so has the last attempt."""
        return self.state.is_final and not self.goes_on

    @property
    def chain(self) -> str:
        """The token of the first of its attempts, by which they are one."""
        return self.first_token or self.token

    @property
    def runs_in(self) -> str:
        """The directory in which its program runs: the first attempt's, where that is resumed."""
        return (self.retry.runs_in if self.retry else "") or self.work_dir

    def handle(self, *, joined: bool = False) -> JobHandle:
        return JobHandle(self.token, self.job_id, self.runs_in, self.target, self.name, joined)

    @property
    def batch_dir(self) -> str:
        """Where script and inputs lie; an array's elements have directories of their own below it."""
        return jobdir.batch_directory(self.work_dir, self.array_index)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids under which the scheduler may know it."""
        return tuple(dict.fromkeys([*([self.job_id] if self.job_id else []), *self.copies]))


@dataclass(frozen=True)
class Change:
    """What a poll or a command learned of one job."""

    token: str
    state: JobState
    reason: str = ""
    exit_code: int | None = None
    metrics: JobMetrics = field(default_factory=JobMetrics)
    absent_since: float | None = None
    ending_since: float | None = None
    stuck_since: float | None = None
    again: RetryPlan | None = None  # it is tried again as this
    delay_s: float = 0.0  # so long after its end


PLAIN = (
    "token", "batch", "array_index", "identity", "held_identity", "name", "target", "cluster", "scheduler", "queue",
    "project", "work_dir", "script_sha256", "asset_key", "partition_key", "run_id", "step_key", "owner", "heartbeat_at",
    "attempts", "not_before", "reason", "job_id", "exit_code", "cancel_requested", "absent_since", "ending_since",
    "stuck_since", "collected_at", "delivered_at", "created_at", "updated_at",
)  # fmt: skip


_OF_CHAINS: dict[str, Any] = {"again_at": None, "retry_number": 0, "first_token": "", "next_token": ""}


def to_columns(row: JobRow) -> dict[str, Any]:
    """The row as the database, and the copy of it beside the job, hold it."""
    return {
        **{name: getattr(row, name) for name in PLAIN},
        "updated_at": row.updated_at or row.created_at,
        "state": row.state.value,
        "follows": row.follows,
        "cancel_sent_at": row.cancel_sent_at,
        "together": row.together,
        "deployment": row.deployment,
        "outputs": json.dumps(dict(row.outputs)),
        "metrics": json.dumps(row.metrics.to_dict()),
        "copies": json.dumps(row.copies),
        "missing": json.dumps(row.missing),
        "retry": encoded_plan(row.retry),
        "again": encoded_plan(row.again),
        **{name: getattr(row, name) for name in _OF_CHAINS},
    }


def from_columns(columns: Mapping[str, Any]) -> JobRow:
    return JobRow(
        **{name: columns[name] for name in PLAIN},
        state=JobState(columns["state"]),
        follows=columns.get("follows", ""),  # older versions kept none of these beside the job
        cancel_sent_at=columns.get("cancel_sent_at"),
        together=columns.get("together", 1),
        deployment=columns.get("deployment", ""),
        outputs=json.loads(columns["outputs"]),
        metrics=_decoded_metrics(columns["metrics"]),
        copies=_decoded_words(columns["copies"]),
        missing=_decoded_words(columns["missing"]),
        retry=_decoded_plan(columns.get("retry", "")),
        again=_decoded_plan(columns.get("again", "")),
        **{name: columns.get(name, usual) for name, usual in _OF_CHAINS.items()},
    )


def rows_of(found: Iterable[Any]) -> list[JobRow]:
    """The jobs that a query for all columns has found."""
    return [from_columns(row._asdict()) for row in found]


# Read again and again, and the same for nearly all jobs.
@lru_cache
def _decoded_metrics(text: str) -> JobMetrics:
    return JobMetrics.from_dict(json.loads(text))


@lru_cache
def _decoded_words(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def encoded_plan(plan: RetryPlan | None) -> str:
    return json.dumps(plan.to_dict()) if plan else ""


@lru_cache
def _decoded_plan(text: str) -> RetryPlan | None:
    return RetryPlan.from_dict(json.loads(text)) if text else None


def encode_rows(rows: Sequence[JobRow]) -> bytes:
    """The rows of one submission as the text that is kept beside the job, from which a lost ledger is rebuilt."""
    return json.dumps([to_columns(row) for row in rows], indent=1).encode()


def decode_rows(text: bytes) -> list[JobRow]:
    """`ValueError` if this is no such text."""
    try:
        return [from_columns(columns) for columns in json.loads(text)]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no rows of a ledger: {error!r}") from error
