"""What Flux prints, as values: its ids, and its jobs as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, is_signal, signal_name
from dagster_hpc.engine.schedulers.base import Report, Room
from dagster_hpc.engine.schedulers.flux.words import (
    LIVE,
    NEVER_STARTED,
    NODE_LOST,
    is_full,
    is_limited,
    is_over,
    refusal_advice,
    unreached,
)

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_UNKNOWN = re.compile(r"(?:flux-jobs: ERROR: )?JobID (\S+) unknown")
_FIRST_HOST = re.compile(r"([^\s\[\],]+)(?:\[([^\s\[\],-]+))?")  # of node[3,8-9],login1
_F58 = re.compile(rf"[ƒf]([{_BASE58}]{{1,11}})", re.ASCII)


def instance_name(answer: Answer) -> str:
    """The host of its first broker, and what tells it from others there.

    That is its job id in the instance around it, or else its socket. A system's own socket has one name on every node and
    after every restart; one that a user starts has its own in a new folder, and forgets its jobs when it ends.
    """
    pairs = (line.split(maxsplit=1) for line in answer.stdout.splitlines())
    values = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2 and pair[1].strip() != "-"}
    first = _FIRST_HOST.match(values.get("hostlist", ""))
    is_job = values.get("instance-level", "0") != "0"
    which = (values.get("jobid") if is_job else None) or values.get("local-uri")
    if answer.code != 0 or not first or not which:
        raise SchedulerUnavailable(f"Flux does not say which instance it is: {answer.words[:500]}")
    return f"{first[1]}{first[2] or ''} {which}"


def submitted(answer: Answer) -> str:
    """The id of the new job, as a decimal number."""
    lines = reversed(answer.stdout.splitlines()) if answer.code == 0 else []
    job_id = next((found for line in lines if (found := decimal_id(line.strip()))), None)
    if job_id:
        return job_id
    if answer.code in (None, 0) or unreached(answer.words):
        raise SchedulerUnavailable(f"flux batch left it open whether the job was taken: {answer.words}")
    if is_full(answer.words):
        raise CapacityReached(f"Flux takes no more jobs of this user now: {answer.words}")
    raise SubmitRefused(f"Flux refused the job: {answer.words}", advice=refusal_advice(answer.words))


def queue_report(answer: Answer) -> Report:
    """The jobs that `flux jobs --json` lists. It names each that it does not know; of one that it could not ask for it
    says something else, so that this one is in doubt.
    """
    named = (_UNKNOWN.fullmatch(line) for line in answer.stderr.splitlines())
    unknown = frozenset(decimal_id(match[1]) or match[1] for match in named if match)
    records = job_records(answer.stdout)
    if answer.code == 1 and unknown and records is None:
        return Report(unknown=unknown)  # none was shown: they never were, or have been forgotten
    if records is None or answer.code is None or (answer.code != 0 and not unknown):
        words = answer.words if answer.code != 0 else f"the answer of flux is not understood: {answer.words[:500]}"
        return Report(failed=words)
    return Report(jobs=by_id(records), unknown=unknown)


def room(limits: Answer, listed: Answer) -> Room:
    """By flux-accounting, where a site has it. It limits the active jobs of a user in each of his banks; which of them a
    job goes to is not known here, so that only a limit that all of them share is told.
    """
    found = {limit for limit in _limits(limits.stdout) if limit > 0} if limits.code == 0 else set()
    report = queue_report(listed)
    known = len(found) == 1 and not report.failed
    return Room(jobs=max(found.pop() - len(report.jobs), 0)) if known else Room()


def _limits(text: str) -> Iterator[int]:
    """Every `max_active_jobs` in the JSON of `flux account view-user`; its older versions print a table."""
    try:
        waiting = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            limit = value.get("max_active_jobs")
            if isinstance(limit, int) and not isinstance(limit, bool):
                yield limit
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def found(answer: Answer) -> list[str]:
    """The ids under the name that flux jobs was asked for."""
    report = queue_report(answer)
    if report.failed:
        raise SchedulerUnavailable(f"Flux could not be asked for the job: {report.failed}")
    return list(report.jobs)


def check_cancelled(answer: Answer) -> None:
    if answer.code == 0:
        return
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    if answer.code != 1 or not lines or not all(is_over(line) for line in lines):
        raise SchedulerUnavailable(f"Flux did not take the cancellation: {answer.words}")


# -- one job


def decimal_id(text: str) -> str | None:
    """`ƒ9aywmAw`, `f9aywmAw` or `326853722112` → `326853722112`; None for what is no id."""
    match = _F58.fullmatch(text)
    if match:
        value = 0
        for character in match[1]:
            value = value * 58 + _BASE58.index(character)
    elif re.fullmatch(r"\d{1,20}", text, re.ASCII):
        value = int(text)
    else:
        return None
    return str(value) if value < 2**64 else None


def job_records(text: str) -> list[Mapping[str, Any]] | None:
    """The jobs of `flux jobs --json`: a list, or the job itself where one id was asked for. None: not understood."""
    lines = [line for line in text.split("\n") if line.startswith("{")]  # it is one line, whatever stands around it
    try:
        found = json.loads(lines[-1] if lines else "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    records = found.get("jobs", [found])
    if not isinstance(records, list) or not all(isinstance(record, dict) and _id(record) for record in records):
        return None
    return records


def by_id(records: list[Mapping[str, Any]]) -> dict[str, JobStatus]:
    return {_id(record): _status(record) for record in records}


def _id(record: Mapping[str, Any]) -> str:
    value = record.get("id")
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64
    return str(value) if known else ""


def _status(record: Mapping[str, Any]) -> JobStatus:
    state, name = _text(record, "state"), _text(record, "name")
    if state == "INACTIVE":
        return _ended(record, name)
    ours, reason = LIVE.get(state, (JobState.UNKNOWN, f"is in a state that dagster_hpc does not know ({state})"))
    if state == "DEPEND":
        ours, reason = _waits_for(record)
    if state in ("PRIORITY", "SCHED") and record.get("urgency") == 0:
        ours, reason = JobState.HELD, f"is held; `flux job urgency {_id(record)} default` lets it go (urgency 0)"
    return JobStatus(ours, reason, job_name=name, metrics=_metrics(record, over=False))


def _ended(record: Mapping[str, Any], name: str) -> JobStatus:
    """An end by its result; what is not said, or does not fit together, is UNKNOWN."""
    result, code = _text(record, "result"), record.get("returncode")
    code = code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31 else None
    exception = record.get("exception")
    exception = exception if isinstance(exception, dict) else {}
    kind, note = _text(exception, "type"), _text(exception, "note")
    killed_by = -code if code and -65 < code < 0 else code - 128 if code and is_signal(code - 128) else None
    metrics = _metrics(record, over=True)
    ran = metrics.started_at is not None
    words = f"{kind}: {note}" if kind and note else kind or note

    def status(state: JobState, reason: str, *, tells: bool = False) -> JobStatus:
        exit_code = code if tells and code is not None and code >= 0 and not killed_by else None
        return JobStatus(state, reason, exit_code, killed_by if tells else None, name, metrics)

    if result == "COMPLETED" and code == 0:
        return status(JobState.COMPLETED, "", tells=True)
    if result == "CANCELED":
        return status(JobState.CANCELLED, f"cancelled ({words})" if words else "cancelled")
    if result == "TIMEOUT":
        return status(JobState.TIMEOUT, f"ran into its walltime ({words})" if words else "ran into its walltime")
    if result != "FAILED":
        return status(JobState.UNKNOWN, f"is over in a way that dagster_hpc does not know ({result or 'no result'})")
    if kind in NODE_LOST:
        return status(JobState.NODE_FAIL, f"a node of it failed ({words})")
    if not ran and kind == "dependency":
        return status(JobState.CANCELLED, f"{NEVER_STARTED} ({words})")
    if not ran:  # its returncode is 1, which no program returned
        return status(JobState.FAILED, f"could not be started ({words})" if words else "could not be started")
    signal_words = f"killed by signal {killed_by} ({signal_name(killed_by)})" if killed_by else ""
    return status(JobState.FAILED, words or signal_words, tells=True)


def _waits_for(record: Mapping[str, Any]) -> tuple[JobState, str]:
    given = record.get("dependencies")
    names = [part for part in given if isinstance(part, str)] if isinstance(given, list) else []
    on = ", ".join(names) or "DEPEND"
    if is_limited(names):
        return JobState.PENDING, f"waits for room among its user's jobs ({on})"
    return JobState.HELD, f"waits for what it depends on ({on})"


def _metrics(record: Mapping[str, Any], *, over: bool) -> JobMetrics:
    times = {name: _number(record.get(name)) for name in ("t_submit", "t_run", "t_cleanup", "t_inactive", "runtime")}
    ran = times["t_run"] is not None
    ended = times["t_cleanup"] or times["t_inactive"]
    return JobMetrics(
        submitted_at=times["t_submit"],
        started_at=times["t_run"],
        ended_at=ended if over else None,
        elapsed_s=times["runtime"] if over and ran else None,
        nodes=_count(record.get("nnodes")) if ran else None,
        cores=_count(record.get("ncores")) if ran else None,
        node_list=_text(record, "nodelist") or None,
        raw={
            _storable(key): _storable(str(value))
            for key, value in record.items()
            if isinstance(value, str | int | float)
        },
    ).derived()


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return _storable(value) if isinstance(value, str) else ""


def _storable(text: str) -> str:
    """Without what no database takes: half characters and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _number(value: object) -> float | None:
    """A time; 0 is what a job has that never came so far."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12
    return float(value) if known and math.isfinite(value) else None  # type: ignore[arg-type]


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None
