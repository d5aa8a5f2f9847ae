"""What PBS's commands print, as values: ids, and of each job its state, how it ended, its figures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, signal_name
from dagster_hpc.engine.schedulers.base import Report
from dagster_hpc.engine.schedulers.pbs import words
from dagster_hpc.engine.schedulers.pbs.records import Record, clean, integer, kib, stamp, used

_ID = re.compile(r"\d{1,18}(?:\[\d{0,9}\])?\.(?=\S*[A-Za-z])[A-Za-z0-9._-]{1,255}", re.ASCII)
_NOT_OPTION = re.compile(r"(?:invalid|illegal|unrecognized|unknown) option(?: --|:)? ?'?-{0,2}(\w)", re.IGNORECASE)
_SHORT_TABLE = re.compile(r"^Job ID +Username ", re.MULTILINE)
_HARMLESS = (0, 35, 153)  # 35: one of the jobs is over; 153: one of them is unknown. The others are in the output
_ASKED = re.compile(r"\d{1,18}(?:\[\d{0,9}\])?(?:\.\S+)?", re.ASCII)
_ELEMENT = re.compile(r"\[\d+\]", re.ASCII)
_DENIED = re.compile(rf"{words.UNKNOWN_JOB} (?:Error )?(\S+)")  # Error: Torque
# Of the mom (mom_main.c), and of the hook for cgroups (pbs_cgroups.PY), whose kernel has ended a process by then.
_LAST_WORD = re.compile(r"^(?:=>> PBS: job killed: (\S+) (.*)|Cgroup (mem|memsw) (limit exceeded.*))$", re.MULTILINE)
_BY = re.compile(r" and terminated(?: by (\S+))?$")


def submitted(answer: Answer) -> str:
    """The id of the new job."""
    lines = [line.strip() for line in answer.stdout.split("\n")]
    ids = [line for line in lines if _ID.fullmatch(line)] if answer.code == 0 else []
    if ids:
        return ids[-1]
    if answer.code == 0 or words.unreached(answer.code, answer.words):
        raise SchedulerUnavailable(f"qsub left it open whether the job was taken: {answer.words}")
    if words.full(answer.code, answer.words):
        raise CapacityReached(f"PBS takes no more jobs of this user now: {answer.words}")
    said = answer.words.partition("\nusage:")[0]
    advice = words.ADVICE.get(answer.code or 0, "correct what PBS names; `dagster-hpc render` shows the script.")
    raise SubmitRefused(f"PBS refused the job (code {answer.code}): {said}", advice=advice)


def refused_option(answer: Answer) -> str | None:
    """The letter of an option that the command does not know; '' where it does not say which; None if that is not it."""
    match = _NOT_OPTION.search(answer.stderr)
    if match:
        return match[1]
    return "" if answer.code and "usage:" in answer.stderr.lower() else None


def jobs_report(answer: Answer, records: Mapping[str, Record]) -> Report:
    """The jobs whose records an answer of qstat holds; an array's own record is none of a job."""
    if answer.code not in _HARMLESS:
        return Report(failed=answer.words)
    jobs = {job_id: status_of(record) for job_id, record in records.items() if "[]" not in job_id}
    return Report(jobs, unknown=denied(answer))


def denied(answer: Answer) -> frozenset[str]:
    """The ids of the question of which the answer says that there is no such job."""
    named = _servers_by_number(_DENIED.findall(answer.stderr))
    return frozenset(job_id for job_id in asked(answer) if _is_in(named, job_id))


def asked(answer: Answer) -> list[str]:
    """The ids in which the question ends."""
    return list(takewhile(_ASKED.fullmatch, reversed(answer.argv)))[::-1]


def left_out(answer: Answer, shown: Iterable[str]) -> list[str]:
    """The ids that were asked for, of which the answer neither shows a record nor says a word: it is not whole.

    A sound PBS leaves none out, because it names what it does not know. With `-t`, an array is shown by its elements.
    """
    own = [job_id for job_id in shown if "-t" not in answer.argv or "[]" not in job_id]
    arrays = [_ELEMENT.sub("[]", job_id) for job_id in own]
    said = _servers_by_number([*own, *arrays, *answer.stderr.split()])
    return [job_id for job_id in asked(answer) if not _is_in(said, job_id)]


def _servers_by_number(ids: Iterable[str]) -> dict[str, set[str]]:
    """`16[].pbshost.example.org` → 16[]: pbshost. One server's name is written long or short, or not at all."""
    found: dict[str, set[str]] = {}
    for job_id in ids:
        number, _, server = job_id.partition(".")
        found.setdefault(number, set()).add(server.partition(".")[0])
    return found


def _is_in(servers: Mapping[str, set[str]], job_id: str) -> bool:
    number, _, server = job_id.partition(".")
    known = servers.get(number, set())
    return bool(known) and (not server or bool(known & {"", server.partition(".")[0]}))


def is_short_table(answer: Answer) -> bool:
    """Here -H shows no full records, but the table of a plain qstat."""
    return _SHORT_TABLE.search(answer.stdout) is not None


def found(answer: Answer) -> list[str]:
    """The ids under the name that qselect was asked for."""
    if "-x" in answer.argv and (words.NO_HISTORY in answer.stderr or refused_option(answer)):
        return []
    if answer.code != 0:
        raise SchedulerUnavailable(f"PBS could not be asked for the job: {answer.words}")
    return list(dict.fromkeys(line.strip() for line in answer.stdout.split("\n") if _ID.fullmatch(line.strip())))


def check_cancelled(answer: Answer) -> None:
    if answer.code == 0:
        return
    over = (words.UNKNOWN_JOB, words.HAS_FINISHED, "Request invalid for state of job")  # the last: it is ending
    lines = [line for line in answer.stderr.split("\n") if line.strip()]
    if answer.code not in (35, 153, 168) or any(not any(known in line for known in over) for line in lines):
        raise SchedulerUnavailable(
            f"qdel did not go through: {answer.words}",
            advice="where the node is gone, `qdel -W force` ends the job." if answer.code == 222 else "",
        )


# -- one job


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
    if letter in words.OVER:
        end = _end(record)
        metrics = _metrics(record, over=True).derived()
        return JobStatus(end.state, end.reason, end.exit_code, end.signal, name, metrics)
    state = words.STATE_OF.get(letter, JobState.UNKNOWN)
    reason, stuck = _waits(record, state)
    return JobStatus(state, reason, job_name=name, metrics=_metrics(record, over=False), stuck=stuck)


def _end(record: Record) -> _End:
    """How a job that is over ended. Without an Exit_status it has not ended well, whatever its substate says."""
    code, substate = integer(record.of("Exit_status")), record.of("substate")
    comment, ran = record.of("comment").strip(), bool(record.of("stime"))
    exceeded = re.search(r"exceeded resource (\w+)", comment)
    if code is not None and code < 0:
        state, reason = words.PBS_ENDED.get(code, (JobState.FAILED, f"was ended by PBS itself: {comment}"))
        return _End(state, f"{reason} (Exit_status {code})")
    if exceeded and exceeded[1] in words.EXCEEDED:
        state, reason = words.EXCEEDED[exceeded[1]]
        return _End(state, f"{reason} (exceeded resource {exceeded[1]})")
    if comment == "Subjob finished":  # deleting the array wrote the array's own record over the element's
        if not ran:  # nor has any other element
            return _End(JobState.CANCELLED, "was deleted before it started")
        return _End(JobState.LOST, "its own record was lost when its array was deleted")
    deleted = _BY.search(comment)
    if substate == words.DELETED or deleted:
        who = f" by {deleted[1]}" if deleted and deleted[1] else ""
        return _End(JobState.CANCELLED, f"was deleted{who}{'' if ran else ' before it started'}")
    if code is None:
        if substate == words.FINISHED and not ran and record.of("depend"):
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
        if code == 137 and peak and limit and peak > 0.95 * limit:
            return _End(JobState.FAILED, "probably killed for its memory", exit_code=code)
        return _End(JobState.FAILED, _by_signal(code - 128), exit_code=code)
    if substate == words.FINISHED:
        return _End(JobState.COMPLETED, exit_code=0)
    if substate == words.FAILED:
        return _End(JobState.FAILED, f"PBS counts it as failed: {comment}")
    return _End(JobState.LOST, f"PBS does not say whether it ended well (substate {substate or 'unknown'})")


def _by_signal(number: int) -> str:
    """What an exit code of 128 + number may mean; nothing where there is no such signal, as after `exit 255`."""
    name = signal_name(number) if number > 0 else ""
    return f"its exit code is that of a program killed by signal {number} ({name})" if name.startswith("SIG") else ""


def last_words(log: str) -> JobStatus | None:
    """What PBS itself wrote into the job's log when it ended it: `=>> PBS: job killed: walltime 11 exceeded limit 10`."""
    said = _LAST_WORD.findall(log)
    if not said:
        return None
    what, rest = said[-1][:2] if said[-1][0] else said[-1][2:]
    state, reason = words.EXCEEDED.get(what, (JobState.FAILED, "was ended by PBS itself"))
    return JobStatus(state, f"{reason} ({what} {rest.strip()})")


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
    if not over:
        metrics = replace(metrics, elapsed_s=None)  # so far; it would pose as that of the end
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
