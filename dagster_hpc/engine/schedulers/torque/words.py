"""Torque's vocabulary: its states, what its exit_status means, and which of its complaints are worth a retry."""

from __future__ import annotations

from dagster_hpc.engine.job import JobState

_STATES = {JobState.PENDING: "QT", JobState.HELD: "HW", JobState.RUNNING: "RE", JobState.SUSPENDED: "S"}
STATE_OF = {letter: state for state, letters in _STATES.items() for letter in letters}
OVER = "C"
TERM = 256 + 15  # how Torque's own end of a job looks: by qdel, by a walltime, by a dependency that cannot be met

# exit_status below zero: Torque itself ended it.
TORQUE_ENDED: dict[int, tuple[JobState, str]] = {
    -1: (JobState.FAILED, "could not be started"),
    -2: (JobState.FAILED, "could not be started"),
    -3: (JobState.FAILED, "could not be started, though Torque tried again"),
    -4: (JobState.NODE_FAIL, "its node's daemon was restarted"),
    -5: (JobState.NODE_FAIL, "its node's daemon was restarted"),
    -6: (JobState.NODE_FAIL, "its node's daemon was restarted"),
    -7: (JobState.FAILED, "could not be started again"),
    -8: (JobState.FAILED, "its shell could not be started"),
    -9: (JobState.FAILED, "its log could not be opened"),
    -10: (JobState.OOM, "used more memory than it had asked for"),
    -11: (JobState.TIMEOUT, "ran into its walltime"),
    -12: (JobState.FAILED, "used more CPU time than it had asked for"),
}

# -- complaints

_UNREACHED = (
    "cannot connect to server", "connection refused", "connection timed out", "connection reset", "end of file",
    "errno=15034", "errno=111", "communication failure", "unable to contact slurm controller", "socket timed out",
    "problem loading", "batch script is empty", "zero bytes were transmitted",
)  # fmt: skip
_FULL = ("maximum number of jobs", "would exceed", "exceeds the queue limit", "maxsubmitjob", "job count limit")


def unreached(words: str) -> bool:
    """The server was not reached, or its reply was lost: the job may have been taken all the same."""
    return any(phrase in words.lower() for phrase in _UNREACHED)


def full(words: str) -> bool:
    """No more jobs now, but later."""
    return any(phrase in words.lower() for phrase in _FULL)


def is_over(words: str) -> bool:
    """A complaint of qdel's about a job that needs no deletion."""
    known = ("Unknown Job Id", "invalid state for job", "Request invalid for state of job", "Job has finished")
    return any(phrase in words for phrase in known)
