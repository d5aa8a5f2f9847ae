"""PBS's vocabulary: its states, what its Exit_status means, and which of its complaints are worth a retry."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, signal_name
from dagster_hpc.engine.schedulers.pbs_text import Record, clean, integer, kib, stamp, used

_STATES = {JobState.PENDING: "QT", JobState.HELD: "HW", JobState.RUNNING: "RBE", JobState.SUSPENDED: "SU"}
_STATE_OF = {letter: state for state, letters in _STATES.items() for letter in letters}
_OVER = ("F", "X")
_DELETED, _FINISHED, _FAILED = "91", "92", "93"  # substates

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
_EXCEEDED = {
    "walltime": (JobState.TIMEOUT, "ran into its walltime"),
    "mem": (JobState.OOM, "used more memory than it had asked for"),
    "vmem": (JobState.OOM, "used more virtual memory than it had asked for"),
}
_BY = re.compile(r" and terminated(?: by (\S+))?$")


@dataclass(frozen=True)
class _End:
    state: JobState
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None


def status_of(record: Record) -> JobStatus:
    """What one record says. A letter that is new to us is UNKNOWN, never an error and never an end."""
    letter = record.of("job_state")
    name = record.of("Job_Name")
    if letter in _OVER:
        end = _end(record)
        metrics = _metrics(record, over=True).derived()
        return JobStatus(end.state, end.reason, end.exit_code, end.signal, name, metrics)
    state = _STATE_OF.get(letter, JobState.UNKNOWN)
    reason, stuck = _waits(record, state)
    return JobStatus(state, reason, job_name=name, metrics=_metrics(record, over=False), stuck=stuck)


def _end(record: Record) -> _End:
    """How a job that is over ended. Without an Exit_status it has not ended well, whatever its substate says."""
    code, substate = integer(record.of("Exit_status")), record.of("substate")
    comment, ran = record.of("comment").strip(), bool(record.of("stime"))
    exceeded = re.search(r"exceeded resource (\w+)", comment)
    if code is not None and code < 0:
        state, reason = PBS_ENDED.get(code, (JobState.FAILED, f"was ended by PBS itself: {comment}"))
        return _End(state, f"{reason} (Exit_status {code})")
    if exceeded and exceeded[1] in _EXCEEDED:
        state, reason = _EXCEEDED[exceeded[1]]
        return _End(state, f"{reason} (exceeded resource {exceeded[1]})")
    if comment == "Subjob finished":  # deleting the array wrote the array's own record over the element's
        return _End(JobState.LOST, "its own record was lost when its array was deleted")
    deleted = _BY.search(comment)
    if substate == _DELETED or deleted:
        who = f" by {deleted[1]}" if deleted and deleted[1] else ""
        return _End(JobState.CANCELLED, f"was deleted{who}{'' if ran else ' before it started'}")
    if code is None:
        if substate == _FINISHED and not ran and record.of("depend"):
            waited = record.of("depend")
            return _End(JobState.CANCELLED, f"could never start: what it depends on did not end as required ({waited})")
        return _End(JobState.LOST, f"PBS does not say how it ended ({'' if ran else 'it never started; '}{comment})")
    return _code(code, substate, comment, record)


def _code(code: int, substate: str, comment: str, record: Record) -> _End:
    if code > 256:
        number = code - 256
        return _End(JobState.FAILED, f"killed by signal {number} ({signal_name(number)})", signal=number)
    if code:
        peak, limit = kib(record.of("resources_used.mem")), kib(record.of("Resource_List.mem"))
        starved = code == 137 and peak and limit and peak > 0.95 * limit
        return _End(JobState.FAILED, "probably killed for its memory" if starved else "", exit_code=code)
    if substate == _FINISHED:
        return _End(JobState.COMPLETED, exit_code=0)
    if substate == _FAILED:
        return _End(JobState.FAILED, f"PBS counts it as failed: {comment}")
    return _End(JobState.LOST, f"PBS does not say whether it ended well (substate {substate or 'unknown'})")


def _waits(record: Record, state: JobState) -> tuple[str, bool]:
    """Why a job is where it is, and whether it will be so for ever."""
    comment, letter = record.of("comment").strip(), record.of("job_state")
    if comment.startswith("Can Never Run"):
        return f"can never start ({comment})", True
    if letter == "W":
        return "waits for its start time", False
    if state is JobState.HELD:
        return _held(record, comment)
    if state is JobState.PENDING:
        if record.of("Exit_status") == "-20":
            return "waits again: its node was lost (Exit_status -20)", False
        return (f"waits ({comment})" if comment else "waits its turn"), False
    if state is JobState.UNKNOWN:
        moved = "was moved to another server" if letter == "M" else "is in a state that is not known here"
        return f"{moved} (job_state {letter or 'missing'})", False
    return ("is ending" if letter == "E" else ""), False


def _held(record: Record, comment: str) -> tuple[str, bool]:
    holds = record.of("Hold_Types")
    if record.of("depend") and "u" not in holds:
        return "waits for the job that it depends on", False
    if (integer(record.of("run_count")) or 0) > 20 or "too many failed attempts" in comment:
        return f"can never start: PBS tried {record.of('run_count') or 'too many'} times and holds it now", True
    if "u" in holds:
        return "is held by its owner; `qrls` lets it go", False
    return f"is held by {'an operator' if 'o' in holds else 'the system'}{f' ({comment})' if comment else ''}", False


def _metrics(record: Record, *, over: bool) -> JobMetrics:
    """Only what this job itself did: a record that the array's was written over has the array's times."""
    overwritten = record.of("comment").strip() == "Subjob finished"
    started = None if overwritten else stamp(record.of("stime"))
    metrics = used(record)
    return replace(
        metrics,
        submitted_at=stamp(record.of("ctime")),
        started_at=started,
        ended_at=stamp(record.of("obittime")) if over and not overwritten else None,
        cores=metrics.cores if started is not None else None,
        raw={**metrics.raw, **_memory_per_node(record.of("resources_used.mem_per_nodes"))},
    )


def _memory_per_node(text: str) -> dict[str, str]:
    """Miyabi's JSON inside a value: one entry per node. What is no JSON stays as it is, in its own entry."""
    try:
        nodes = json.loads(text.strip().strip("'"))
    except (ValueError, RecursionError):
        return {}
    return {f"mem_per_nodes:{clean(name)}": clean(str(size)) for name, size in _items(nodes)}


def _items(value: object) -> list[tuple[str, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def from_json(text: str) -> dict[str, Record] | None:
    """Each job of `qstat -f -F json`; None where that is no such document. The environment of the job is left out."""
    try:
        document = json.loads(text, strict=False) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("Jobs", {}), dict):
        return None
    return {clean(job_id): _flat(job) for job_id, job in _items(document.get("Jobs")) if isinstance(job, dict)}


def _flat(job: dict[str, object]) -> Record:
    values: dict[str, str] = {}
    for name, value in job.items():
        if name.casefold() == "variable_list":
            continue
        for part, inner in _items(value) or [("", value)]:
            if inner is not None:
                values[clean(f"{name}.{part}" if part else name)] = clean(str(inner))
    return Record(values)


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
_FULL = ("would exceed", "maximum number of jobs already in", "job limit", "max_queued")
_UNREACHED_CODES = (160, 162, 255)  # of qsub and qdel; qstat says 255 for all of them
_FULL_CODES = (38, 198)
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
    return code is None or code in _UNREACHED_CODES or any(phrase in words.lower() for phrase in _UNREACHED)


def full(code: int | None, words: str) -> bool:
    """No more jobs now, but later."""
    return code in _FULL_CODES or any(phrase in words.lower() for phrase in _FULL)
