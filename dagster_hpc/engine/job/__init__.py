"""The nouns of the engine: what is asked for, what state it is in, what came out of it.

All of them are frozen values. Quantities carry their unit in their name; `None` means that the system did not say.
"""

from dagster_hpc.engine.job.handle import JobHandle, WaitTimeout
from dagster_hpc.engine.job.metrics import JobMetrics
from dagster_hpc.engine.job.progress import Progress
from dagster_hpc.engine.job.result import (
    Attempt,
    JobCancelled,
    JobFailed,
    JobLost,
    JobOutOfMemory,
    JobResult,
    JobTimedOut,
    NodeFailed,
    OutputMissing,
    advice_on,
    exit_words,
    failure_of,
    tail,
)
from dagster_hpc.engine.job.retries import KINDS_OF_END, Resume, RetryPlan, RetryRule
from dagster_hpc.engine.job.spec import (
    LAUNCHERS,
    MAIL_KINDS,
    Dependency,
    DependencyKind,
    JobSpec,
    Launcher,
    Own,
    Program,
    Request,
    Reuse,
)
from dagster_hpc.engine.job.state import FINAL_STATES, JobState, JobStatus, is_signal, signal_name

__all__ = [
    "FINAL_STATES",
    "KINDS_OF_END",
    "LAUNCHERS",
    "MAIL_KINDS",
    "Attempt",
    "Dependency",
    "DependencyKind",
    "JobCancelled",
    "JobFailed",
    "JobHandle",
    "JobLost",
    "JobMetrics",
    "JobOutOfMemory",
    "JobResult",
    "JobSpec",
    "JobState",
    "JobStatus",
    "JobTimedOut",
    "Launcher",
    "NodeFailed",
    "OutputMissing",
    "Own",
    "Program",
    "Progress",
    "Request",
    "Resume",
    "RetryPlan",
    "RetryRule",
    "Reuse",
    "WaitTimeout",
    "advice_on",
    "exit_words",
    "failure_of",
    "is_signal",
    "signal_name",
    "tail",
]
