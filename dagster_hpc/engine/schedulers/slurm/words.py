"""Slurm's vocabulary: its states, its pending reasons as sentences, and which of its complaints are worth a retry."""

from __future__ import annotations

import re

from dagster_hpc.engine.job import JobState

_STATES: dict[JobState, str] = {
    JobState.PENDING: "PENDING PD CONFIGURING CF REQUEUED RQ REQUEUE_FED RF",
    JobState.HELD: "RESV_DEL_HOLD RD REQUEUE_HOLD RH SPECIAL_EXIT SE",
    JobState.RUNNING: "RUNNING R COMPLETING CG RESIZING RS SIGNALING SI STAGE_OUT SO UPDATE_DB EXPEDITING",
    JobState.SUSPENDED: "SUSPENDED S STOPPED ST",
    JobState.COMPLETED: "COMPLETED CD",
    JobState.FAILED: "FAILED F BOOT_FAIL BF LAUNCH_FAILED RECONFIG_FAIL",
    JobState.CANCELLED: "CANCELLED CA",
    JobState.TIMEOUT: "TIMEOUT TO DEADLINE DL",
    JobState.OOM: "OUT_OF_MEMORY OOM",
    JobState.NODE_FAIL: "NODE_FAIL NF",
    JobState.PREEMPTED: "PREEMPTED PR",
}
# REVOKED is none of them: a sibling cluster has taken the job, and how it fares there this one does not tell.
_STATE_BY_WORD = {word: state for state, words in _STATES.items() for word in words.split()}
_HOLDING_REASONS = {
    "Dependency", "DependencyNeverSatisfied", "JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "BeginTime",
}  # fmt: skip


def state_of(word: str, reason: str = "") -> JobState:
    """Slurm's state, long or short, with `by 1000` or a `+` behind it. A new word is UNKNOWN, never an error."""
    first = word.split()[0].rstrip("+") if word.split() else ""
    state = _STATE_BY_WORD.get(first, JobState.UNKNOWN)
    return JobState.HELD if state is JobState.PENDING and reason in _HOLDING_REASONS else state


# reason → what it means to the one who waits
EXPLAINED: dict[str, str] = {
    "Priority": "waits its turn behind jobs of higher priority",
    "Resources": "is next, and waits for enough free nodes",
    "Dependency": "waits for the job that it depends on",
    "DependencyNeverSatisfied": "can never start: the job that it depends on did not end as required",
    "BeginTime": "waits for its start time",
    "JobHeldUser": "is held by its owner; `scontrol release` lets it go",
    "JobHeldAdmin": "is held by an administrator",
    "JobHoldMaxRequeue": "is held, because it was put back into the queue too often",
    "PartitionDown": "waits: the partition is down",
    "PartitionInactive": "waits: the partition is inactive",
    "PartitionTimeLimit": "can never start: it asks for more time than the partition allows",
    "PartitionNodeLimit": "can never start: it asks for more nodes than the partition has or allows",
    "PartitionConfig": "can never start: the partition cannot serve what it asks for",
    "BadConstraints": "can never start: no node has what it asks for",
    "InvalidAccount": "can never start: the account is not valid",
    "InvalidQOS": "can never start: the quality of service is not valid",
    "AccountNotAllowed": "can never start: the account may not use this partition",
    "QOSNotAllowed": "can never start: the quality of service may not be used here",
    "ReqNodeNotAvail": "waits: nodes that it needs are down, drained or reserved",
    "Reservation": "waits for its reservation to begin",
    "ReservationDeleted": "can never start: its reservation was deleted",
    "ReservationInvalid": "can never start: its reservation is not valid",
    "MaxMemPerLimit": "can never start: it asks for more memory than the partition allows",
    "Licenses": "waits for a free licence",
    "NvidiaImexChannels": "waits for a free channel between GPUs",
    "MaxPoweredUpNodes": "waits: as many nodes are switched on as may be",
    "MpiPortsBusy": "waits for free ports for its MPI",
    "AssocGrpCpuLimit": "waits: the account is at its limit of cores",
    "AssocGrpNodeLimit": "waits: the account is at its limit of nodes",
    "AssocGrpMemLimit": "waits: the account is at its limit of memory",
    "AssocGrpCPUMinutesLimit": "waits: the account has used up its core time",
    "AssocMaxJobsLimit": "waits: the account is at its limit of running jobs",
    "QOSMaxJobsPerUserLimit": "waits: you are at the limit of running jobs of this quality of service",
    "QOSMaxCpuPerUserLimit": "waits: you are at the limit of cores of this quality of service",
    "QOSMaxNodePerUserLimit": "waits: you are at the limit of nodes of this quality of service",
    "QOSMaxWallDurationPerJobLimit": "can never start: it asks for more time than the quality of service allows",
    "QOSMaxCpuPerJobLimit": "can never start: it asks for more cores than the quality of service allows",
    "QOSMaxNodePerJobLimit": "can never start: it asks for more nodes than the quality of service allows",
    "JobArrayTaskLimit": "waits: as many elements of the array run as it allows at once",
    "NodeDown": "a node of it failed",
    "NonZeroExitCode": "its program ended with an error",
    "RaisedSignal": "was killed by a signal",
    "DeadLine": "ran into its deadline",
    "TimeLimit": "ran into its walltime",
    "OutOfMemory": "used more memory than it had asked for",
    "JobLaunchFailure": "could not be started on its node, or was killed there",
    "launch failed requeued held": "could not be started on its node and is now held",
    "SystemFailure": "the system failed under it",
    "InactiveLimit": "was ended by the limit of inactivity",
}
# The many limits, by what they are set for; new releases bring new ones (QOSMaxGRESPerNode, MaxCpuRunMinsPerUser).
_PER_JOB_LIMIT = re.compile(r"(QOS|Assoc)(Max|Min)\w+Per(Job|Node)(Limit)?|(QOS|Assoc)Min\w+", re.ASCII)
_SHARED_LIMITS = {
    re.compile(r"AssocGrp\w+", re.ASCII): "waits: the account is at a limit for all its jobs together",
    re.compile(r"QOSGrp\w+", re.ASCII): "waits: the quality of service is at a limit for all its jobs together",
    re.compile(r"(QOS)?Max\w+PerUser(Limit)?", re.ASCII): "waits: you are at a limit for all your jobs together",
    re.compile(r"Max\w+PerAccount", re.ASCII): "waits: the account is at a limit for all its jobs together",
}


def cannot_start(reason: str) -> bool:
    """Waiting for this changes nothing: somebody has to act."""
    return _sentence(reason).startswith("can never start") or reason == "launch failed requeued held"


def explain(reason: str) -> str:
    """A sentence for Slurm's reason, the word itself kept so that it can be searched for."""
    sentence = _sentence(reason)
    return f"{sentence} ({reason})" if sentence else reason


def _sentence(reason: str) -> str:
    word = _first_word(reason)
    if word in EXPLAINED:
        return EXPLAINED[word]
    if _PER_JOB_LIMIT.fullmatch(word):
        return "can never start: it asks for what a limit forbids to any single job"
    return next((sentence for limit, sentence in _SHARED_LIMITS.items() if limit.fullmatch(word)), "")


def explain_end(reason: str) -> str:
    """The same for a job that is over; what it waited for before is not why it ended."""
    waited = _sentence(reason).startswith(("waits", "is "))
    return "" if waited else explain(reason)


def _first_word(reason: str) -> str:
    """`ReqNodeNotAvail, UnavailableNodes:node3` → `ReqNodeNotAvail`."""
    return reason.strip("()").partition(",")[0]


_UNREACHED = (
    "socket timed out", "unable to contact slurm controller", "transport endpoint is not connected",
    "zero bytes were transmitted or received", "unexpected message received", "name or service not known",
    "connection refused", "batch script is empty", "connection reset", "munge encode failed", "slurm_persist_conn",
    "problem talking to the database",
)  # fmt: skip
_BUSY = ("resource temporarily unavailable", "temporarily unable to accept job", "rate limit exceeded")
ACCOUNTING_OFF = "accounting storage is disabled"
NO_SUCH_JOB = "Invalid job id specified"
# Of all users together, Slurm takes MaxJobCount jobs, and then says (until 26.05, and since) one of the first three.
_CAPACITY = (
    "slurm temporarily unable to accept job", "slurm job queue full", "maxjobcount limit", "job_max_count",
    "job count limit", "maxsubmitjob", "grpsubmitjob",
)  # fmt: skip


def transient(words: str) -> bool:
    """The controller was not reached, or its reply was lost: the job may have been taken all the same."""
    return any(phrase in words.lower() for phrase in (*_UNREACHED, *_BUSY))


def capacity(words: str) -> bool:
    """No more jobs now, but later; and nothing that was said since leaves it open whether the job was taken."""
    lowered = words.lower()
    return any(phrase in lowered for phrase in _CAPACITY) and not any(phrase in lowered for phrase in _UNREACHED)


def refusal_advice(words: str) -> str:
    """Which setting of ours the refusal is about."""
    lowered = words.lower()
    if "violates accounting/qos policy" in lowered:
        return "ask for less; `sacctmgr show assoc user=$USER` and `sacctmgr show qos` list your limits."
    if "invalid job array" in lowered:
        return "make the array smaller; `scontrol show config` tells the most that this Slurm takes (MaxArraySize)."
    if "partition" in lowered and "account" not in lowered:
        return "check queue_cpu / queue_gpu of the target; `sinfo` lists the partitions."
    if "account" in lowered:
        return "check project_cpu / project_gpu of the target; `sacctmgr show assoc user=$USER` lists your accounts."
    if "qos" in lowered:
        return "check qos of the profile; `sacctmgr show qos` lists what exists."
    if "memory" in lowered or "node configuration" in lowered:
        return "ask for fewer nodes, cores or less memory; `sinfo -o '%P %c %m %l'` shows what a node has."
    return "correct what Slurm names; `dagster-hpc render` shows the script."
