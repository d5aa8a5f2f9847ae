"""The states of a job, one vocabulary for all batch systems, and what one source says of a job at one moment."""

from __future__ import annotations

import signal as _signal
from dataclasses import dataclass, field
from enum import Enum

from dagster_hpc.engine.job.metrics import JobMetrics


class JobState(str, Enum):
    """Where a job stands. From top to bottom is the usual order; a final state never becomes another, LOST apart.

    Example:
        failed = hpc.jobs(state=JobState.FAILED)
        assert JobState.FAILED.is_final and not JobState.FAILED.is_success
    """

    READY = "READY"  # its files are written; it waits in the ledger for room on its target
    SUBMITTING = "SUBMITTING"  # somebody is submitting it; the command may or may not have reached the scheduler
    PENDING = "PENDING"
    HELD = "HELD"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    UNKNOWN = "UNKNOWN"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    OOM = "OOM"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    LOST = "LOST"  # neither queue nor accounting nor the job's own files know what became of it
    REFUSED = "REFUSED"  # the scheduler (or the file system) did not take it: there never was a job

    @property
    def is_final(self) -> bool:
        return self in _FINAL

    @property
    def is_success(self) -> bool:
        return self is JobState.COMPLETED

    @property
    def is_submitted(self) -> bool:
        """The scheduler has taken it, and it is not over."""
        return not self.is_final and self not in (JobState.READY, JobState.SUBMITTING)

    def __str__(self) -> str:
        return self.value


_FINAL = frozenset(
    {
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMEOUT,
        JobState.OOM,
        JobState.NODE_FAIL,
        JobState.PREEMPTED,
        JobState.LOST,
        JobState.REFUSED,
    }
)
FINAL_STATES: tuple[str, ...] = tuple(state.value for state in JobState if state.is_final)


@dataclass(frozen=True)
class JobStatus:
    """What one source says of one job at one moment."""

    state: JobState
    reason: str = ""  # a sentence; the scheduler's own word is in it
    exit_code: int | None = None
    signal: int | None = None
    job_name: str = ""
    metrics: JobMetrics = field(default_factory=JobMetrics)
    stuck: bool = False  # waits for something that cannot happen by itself


def is_signal(number: int) -> bool:
    """Whether a signal with a name has this number: exit code 139 is 128 and SIGSEGV, and 255 is no signal."""
    return number in set(_signal.Signals)


def signal_name(number: int) -> str:
    """`11` → `SIGSEGV`."""
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
