"""Grid Engine's vocabulary: the letters of a job's state, the numbers of its endings, and its complaints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dagster_hpc.engine.job import JobState, is_signal, signal_name

_KNOWN_LETTERS = frozenset("qwhrtRsSTNPdE")


def state_of(letters: str) -> JobState:
    """The letters are a set: `hqw`, `Rt`, `dr`. A letter that is not known makes the state UNKNOWN."""
    known = set(letters)
    if not known or not known <= _KNOWN_LETTERS:
        return JobState.UNKNOWN
    if "E" in known:
        return JobState.PENDING  # for ever: somebody has to clear the error
    if known & set("sSTNP"):
        return JobState.SUSPENDED
    if known & set("rt"):
        return JobState.RUNNING
    if "h" in known:
        return JobState.HELD
    return JobState.PENDING if known & set("qw") else JobState.UNKNOWN


def explain(letters: str, job_id: str, predecessors: str = "") -> str:
    """What the letters mean to the one who waits, the letters themselves kept so that they can be searched for."""
    known, state = set(letters), state_of(letters)
    if state is JobState.UNKNOWN:
        return f"is in a state that dagster_hpc does not know ({letters})"
    if "E" in known:
        return f"can never start: it is in the error state, `qstat -j {job_id}` says why ({letters})"
    if "d" in known:
        return f"is being deleted ({letters})"
    if state is JobState.SUSPENDED:
        by = "by its queue" if known & set("ST") else "by a user or the system"
        return f"is suspended {by} ({letters})"
    if state is JobState.HELD:
        waits = f"waits for job {predecessors} that it depends on" if predecessors else "is held; `qrls` lets it go"
        return f"{waits} ({letters})"
    if "R" in known:
        return f"was sent back to the queue once and runs again ({letters})"
    return "" if state is JobState.RUNNING else f"waits its turn ({letters})"


@dataclass(frozen=True)
class Ending:
    """What one record of the accounting says of the end of a job."""

    state: JobState
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None


# `failed` of the accounting, from sge_status(5), as sentences
_NOT_STARTED = {
    1: "it failed early in sge_execd",
    3: "sge_execd could not set up its folder",
    4: "the shepherd could not write its pid",
    5: "its configuration could not be read",
    6: "its processor set could not be made",
    7: "it failed before the prolog",
    8: "the prolog failed",
    9: "it failed before the parallel environment was started",
    10: "the parallel environment could not be started",
    11: "the shepherd failed before the job",
    21: "the node did not know the job",
    26: "its output file cannot be opened",
    27: "its shell cannot be found",
    28: "its working directory cannot be entered",
    29: "AFS could not be set up",
    31: "the password file cannot be read",
    32: "its user is not in the password file",
    33: "the password is wrong",
    34: "the helper service failed",
    35: "the helper service could not start it",
    36: "a daemon that is configured for remote starts failed",
    38: "its additional group could not be set",
}
_AFTERWARDS = {
    12: "the parallel environment was not stopped",
    13: "the parallel environment could not be stopped",
    14: "it failed before the epilog",
    15: "the epilog failed",
    16: "its processor set could not be released",
    18: "its shepherd died",
    20: "its shepherd met an error",
}
_RUNS_AGAIN = {24: "is moved to another node", 25: "was sent back to the queue and runs again"}
_NODE_LOST, _APPLICATION_ERROR, _LIMIT, _SIGNALS = 19, 30, 37, (17, 100)
_WARNED, _ANNOUNCED = 10, 12  # USR1 at the soft limit of time; USR2 before the end by qdel (-notify)


def ending_of(record: Mapping[str, str]) -> Ending:
    """State and reason of one record: `failed` counts first, `exit_status` after it."""
    failed, code = leading_integer(record.get("failed", "")), leading_integer(record.get("exit_status", ""))
    if failed is None or code is None:
        return Ending(JobState.UNKNOWN, "has a record in the accounting that is not understood")
    deleted_by = record.get("deleted_by", "NONE")
    if deleted_by not in ("NONE", "", "-/-"):  # Univa's and Altair's; Grid Engine itself keeps no such field
        return Ending(JobState.CANCELLED, f"deleted by {deleted_by}")
    words = f"(failed {record['failed'].strip()})"
    killed_by = code - 128 if is_signal(code - 128) else None
    if killed_by == _ANNOUNCED and failed in (0, *_SIGNALS):
        return Ending(
            JobState.CANCELLED, f"was deleted: it ended at USR2, which announces that {words}", signal=killed_by
        )
    signal_words = f"killed by signal {killed_by} ({signal_name(killed_by)})" if killed_by else ""
    if failed == 0:
        if code == 0:
            return Ending(JobState.COMPLETED, exit_code=0)
        overtime = _overtime(record, killed_by)
        return overtime or Ending(JobState.FAILED, signal_words, None if killed_by else code, killed_by)
    if failed in _RUNS_AGAIN:
        return Ending(JobState.PENDING, f"{_RUNS_AGAIN[failed]} {words}")
    if failed in _NOT_STARTED:
        return Ending(JobState.FAILED, f"could not be started: {_NOT_STARTED[failed]} {words}")
    if failed in _AFTERWARDS:
        return Ending(JobState.FAILED, f"its program had ended, but {_AFTERWARDS[failed]} {words}")
    if failed == _NODE_LOST:  # its exit_status is 0 all the same
        return Ending(JobState.NODE_FAIL, f"nobody saw its end: the node, or what ran on it, died {words}")
    if failed == _APPLICATION_ERROR:
        return Ending(JobState.FAILED, f"ended with exit code 100, which Grid Engine takes for an error {words}", 100)
    if failed == _LIMIT:
        return _over_limit(record, words)
    if failed in _SIGNALS:
        overtime = _overtime(record, killed_by)
        return overtime or Ending(JobState.FAILED, signal_words or f"died {words}", None, killed_by)
    return Ending(JobState.UNKNOWN, f"ended in a way that dagster_hpc does not know {words}")


def _over_limit(record: Mapping[str, str], words: str) -> Ending:
    """Which limit it was, the record does not say; the requests that it repeats do."""
    ran_s, limit_s = number(record.get("ru_wallclock", "")), seconds(_requested(record, "h_rt"))
    if ran_s is not None and limit_s is not None and ran_s >= limit_s:
        return Ending(JobState.TIMEOUT, f"ran into its walltime {words}")
    peak, limit = size(record.get("maxvmem", "")), size(_requested(record, "h_vmem"))
    slots = leading_integer(record.get("slots", "")) or 1
    if peak and limit and peak >= limit * slots:
        return Ending(JobState.OOM, f"used more memory than it had asked for {words}")
    return Ending(JobState.FAILED, f"was killed at a hard limit of time or memory {words}")


def _overtime(record: Mapping[str, str], killed_by: int | None) -> Ending | None:
    """Killed by the warning that Grid Engine sends at the soft limit of time."""
    ran_s, limit_s = number(record.get("ru_wallclock", "")), seconds(_requested(record, "s_rt"))
    if killed_by == _WARNED and ran_s is not None and limit_s is not None and ran_s >= limit_s:
        return Ending(JobState.TIMEOUT, "was ended by the signal USR1, sent before its walltime ends", signal=killed_by)
    return None


def _requested(record: Mapping[str, str], resource: str) -> str:
    """`-l h_rt=60,h_vmem=2G -pe smp 2` → the value of one resource."""
    match = re.search(rf"(?:^|[\s,]){resource}=([^\s,]+)", record.get("category", ""))
    return match[1] if match else ""


def leading_integer(text: str) -> int | None:
    """`137                  (Killed)` → 137."""
    match = re.match(r"\s*(-?\d{1,9})(?!\S)", text, re.ASCII)
    return int(match[1]) if match else None


def number(text: str) -> float | None:
    """`52s`, `0.010s` or `52`."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)s?", text.strip(), re.ASCII)
    return float(match[1]) if match else None


def seconds(text: str) -> int | None:
    """`3600`, `01:00:00` or `::30`, as Grid Engine writes times; None for INFINITY and what is no time."""
    if not re.fullmatch(r"\d{1,9}|\d{0,9}:\d{0,9}:\d{0,9}", text.strip(), re.ASCII):
        return None
    parts = [int(part or 0) for part in text.strip().split(":")]
    return parts[0] if len(parts) == 1 else parts[0] * 3600 + parts[1] * 60 + parts[2]


def size(text: str) -> float | None:
    """Bytes of `4.934MB`, `1.738M`, `2G` or a plain number."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)([KMGT]?)B?s?", text.strip().upper().removesuffix("S"), re.ASCII)
    return float(match[1]) * 1024.0 ** " KMGT".index(match[2] or " ") if match else None


_TRANSIENT = (
    "commlib error", "unable to send message to qmaster", "unable to contact qmaster", "got send error",
    "got select error", "got read error", "communication error", "connection refused", "timeout",
    "error reading answer list", "failed receiving gdi request", "can't connect to service",
)  # fmt: skip
# By submit(1) it says that max_u_jobs or max_jobs of the cell is reached; a site's own check of requests has no such code.
_NO_MORE_JOBS = 25
_CAPACITY = re.compile(r"only \d+ (?:active )?jobs are allowed per (?:user|cluster)|\btoo many jobs\b", re.ASCII | re.I)


def transient(words: str) -> bool:
    """The master was not reached, or its reply was lost: the job may have been taken all the same."""
    return any(phrase in words.lower() for phrase in _TRANSIENT)


def capacity(code: int | None, words: str) -> bool:
    """No more jobs now, but later."""
    return code == _NO_MORE_JOBS or _CAPACITY.search(words) is not None


def refusal_advice(words: str) -> str:
    """Which setting of ours the refusal is about."""
    lowered = words.lower()
    for word, advice in {
        "parallel environment": "check parallel_environment of the target; `qconf -spl` lists what exists.",
        "queue": "check queue_cpu / queue_gpu of the target and what the job asks for; `qconf -sql` lists the queues.",
        "project": "check project_cpu / project_gpu of the target; `qconf -sprjl` lists the projects.",
        "resource": "check memory_resource and gpu_resource of the target; `qconf -sc` lists the resources.",
        "reservation": "check reservation of the profile; `qrstat` lists the reservations.",
        "tasks": "map over fewer elements at a time.",
    }.items():
        if word in lowered:
            return advice
    return "correct what Grid Engine names; `dagster-hpc render` shows the script."
