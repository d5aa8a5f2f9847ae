"""PBS's vocabulary: its states, what its Exit_status means, and which of its complaints are worth a retry."""

from __future__ import annotations

from dagster_hpc.engine.job import JobState

_STATES = {JobState.PENDING: "QT", JobState.HELD: "HW", JobState.RUNNING: "RBE", JobState.SUSPENDED: "SU"}
STATE_OF = {letter: state for state, letters in _STATES.items() for letter in letters}
OVER = ("F", "X")
DELETED, FINISHED, FAILED = "91", "92", "93"  # substates

# Negative: PBS itself ended it. What is not listed is a failure of PBS's own too.
PBS_ENDED: dict[int, tuple[JobState, str]] = {
    -1: (JobState.FAILED, "could not be started"),
    -2: (JobState.FAILED, "could not be started: a prologue or its environment failed"),
    -3: (JobState.FAILED, "could not be started, though PBS tried again"),
    -4: (JobState.NODE_FAIL, "its node's PBS daemon was restarted"),
    -5: (JobState.NODE_FAIL, "its node's PBS daemon was restarted"),
    -6: (JobState.NODE_FAIL, "its node's PBS daemon was restarted"),
    -10: (JobState.FAILED, "could not be started: its user id is not valid on the node"),
    -11: (JobState.NODE_FAIL, "was sent back to the queue"),
    -14: (JobState.NODE_FAIL, "was sent back to the queue"),
    -16: (JobState.NODE_FAIL, "was sent back to the queue"),
    -18: (JobState.NODE_FAIL, "was sent back to the queue"),
    -20: (JobState.NODE_FAIL, "its node was lost"),
    -21: (JobState.FAILED, "could not be started: the node's security set-up failed"),
    -23: (JobState.FAILED, "could not be started: its Kerberos credentials failed"),
    -24: (JobState.FAILED, "used more cores than it had asked for"),
    -25: (JobState.FAILED, "used more cores than it had asked for"),
    -26: (JobState.OOM, "used more virtual memory than it had asked for"),
    -27: (JobState.OOM, "used more memory than it had asked for"),
    -28: (JobState.FAILED, "used more CPU time than it had asked for"),
    -29: (JobState.TIMEOUT, "ran into its walltime"),
}
EXCEEDED = {
    "walltime": (JobState.TIMEOUT, "ran into its walltime"),
    "mem": (JobState.OOM, "used more memory than it had asked for"),
    "vmem": (JobState.OOM, "used more virtual memory than it had asked for"),
    "memsw": (JobState.OOM, "used more memory and swap than it had asked for"),
    "cput": (JobState.FAILED, "used more CPU time than it had asked for"),
    "ncpus": (JobState.FAILED, "used more cores than it had asked for"),
}


# -- complaints

NO_HISTORY = "not configured to maintain job history"
UNKNOWN_JOB = "Unknown Job Id"
HAS_FINISHED = "Job has finished"
_UNREACHED = (
    "cannot connect to server", "couldn't connect to cluster", "connection refused", "connection timed out",
    "connection reset", "unknown host", "no route to host", "end of file", "premature end of message", "pbs_iff",
    "errno=15010", "errno=15008", "errno=15031", "communication failure", "resource temporarily unavailable",
    "server shutting down", "timed out", "invalid credential",
)  # fmt: skip
# OpenPBS's src/lib/Liblog/pbs_messages.c, msg_et_*: "Maximum number of jobs for group g already in queue q", "would exceed
# complex's per-user limit of jobs in 'Q' state", "would exceed group g's limit on resource njobs-g in complex", …
_FULL = ("would exceed", "maximum number of jobs", "job limit", "max_queued")
_UNREACHED_CODES = (160, 162, 255)  # of qsub and qdel; qstat says 255 for all of them
_FULL_CODES = (38, 39, 198)
_OF_THE_SCRIPT = ("directive error", "cannot submit non-rerun")  # with code 255 too, before any server was asked
ADVICE = {
    170: "check queue_cpu / queue_gpu of the target; `qstat -Q` lists the queues.",
    173: "the queue takes no jobs now: choose another, or wait; `qstat -Q` shows which are enabled.",
    187: "the site has no such resource: correct the directives, or `template` of the target.",
    188: "ask for a shorter walltime, fewer nodes or less memory; `qstat -Qf` shows the queue's limits.",
    197: "check project_cpu / project_gpu of the target: it is no group of yours.",
    3: "ask for fewer elements at once: the site limits the size of an array.",
}


def unreached(code: int | None, words: str) -> bool:
    """The server was not reached, or its reply was lost: the job may have been taken all the same."""
    if code is not None and any(phrase in words.lower() for phrase in _OF_THE_SCRIPT):
        return False
    return code is None or code in _UNREACHED_CODES or any(phrase in words.lower() for phrase in _UNREACHED)


def full(code: int | None, words: str) -> bool:
    """No more jobs now, but later."""
    return code in _FULL_CODES or any(phrase in words.lower() for phrase in _FULL)
