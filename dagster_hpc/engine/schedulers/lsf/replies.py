"""What LSF's commands print, as values: ids, the records of bjobs, and the figures in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, is_signal, signal_name
from dagster_hpc.engine.schedulers.base import Report, Room
from dagster_hpc.engine.schedulers.lsf.words import (
    EXPLAINED,
    STATE_BY_WORD,
    cannot_start,
    capacity,
    end_of,
    forgotten,
    is_held,
    is_over,
    knows_no_option,
    lost,
    nothing_found,
    refusal_advice,
)

_CLUSTER_NAME = re.compile(r"^\s*My cluster name is (\S+)\s*$", re.MULTILINE)
_SUBMITTED = re.compile(r"Job <(\d{1,18})> is submitted", re.ASCII)

# What others may have written freely comes last: a separator inside it spoils nothing that a state rests on.
FIELDS = (
    "jobid", "jobindex", "stat", "exit_code", "run_time", "cpu_used", "max_mem", "exec_host", "nexec_host",
    "submit_time", "start_time", "finish_time", "exit_reason", "pend_reason", "job_name",
)  # fmt: skip
MORE_FIELDS = (*FIELDS[:-1], "kill_reason", "suspend_reason", FIELDS[-1])
FEW_FIELDS = tuple(name for name in FIELDS if name != "pend_reason")  # which 9.1 does not know


def cluster_name(answer: Answer) -> str:
    """The name in the answer of lsid. The master's name beside it changes when another host takes over."""
    name = _CLUSTER_NAME.search(answer.stdout) if answer.code == 0 else None
    if not name:
        raise SchedulerUnavailable(f"LSF does not say which cluster it is: {answer.words[:500]}")
    return name[1]


def submitted(answer: Answer) -> str:
    """The id of the new job, or of the array."""
    said = f"{answer.stdout}\n{answer.stderr}"
    if match := _SUBMITTED.search(said):
        return match[1]
    unheard = answer.code is None or answer.code < 0 or not said.strip()
    if lost(said) or unheard or (answer.code == 0 and "not submitted" not in said):
        heard = f" It had said: {said.strip()[:500]}" if answer.timed_out and said.strip() else ""
        raise SchedulerUnavailable(f"bsub left it open whether the job was taken: {answer.words}.{heard}")
    if capacity(said):
        raise CapacityReached(f"LSF takes no more jobs of this user now: {answer.words}")
    raise SubmitRefused(f"LSF refused the job: {answer.words}", advice=refusal_advice(said))


def refuses_question(answer: Answer) -> bool:
    """This bjobs complains of the question, and not of a job."""
    complains = answer.code not in (None, 0) and knows_no_option(f"{answer.stdout}\n{answer.stderr}")
    return complains and not list(documents(answer.stdout))


def queue_report(answer: Answer, fields: Sequence[str] = ()) -> Report:
    """The jobs that bjobs lists, live ones and those that are over for some minutes or hours: as lines of these fields,
    or as a JSON document. It names each id that it does not know, so that one which it does not mention is in doubt.
    """
    if answer.timed_out:
        return Report(failed=answer.words)
    said = f"{answer.stdout}\n{answer.stderr}"
    records = lines(answer.stdout, fields) if fields else documents(answer.stdout)
    jobs = {job_id: _status(record) for record in records if (job_id := id_of(record))}
    asked = {word for word in answer.argv if re.fullmatch(r"\d{1,18}(\[\d{1,9}\])?", word, re.ASCII)}
    denied = forgotten(said)
    unknown = {job_id for job_id in asked if {job_id, array_of(job_id)} & denied}
    if nothing_found(said) and not jobs:
        unknown = asked
    elif not jobs and not unknown:
        # An empty list has been seen while jobs were running.
        missing = ", ".join(sorted(asked)) or "any job"
        return Report(failed=f"bjobs says nothing of {missing}: {answer.words[:500]}")
    return Report(jobs=jobs, unknown=frozenset(unknown))


def is_incomplete(report: Report, answer: Answer) -> bool:
    """A whole document in which an id that was asked for is neither shown nor named as unknown."""
    asked = {word for word in answer.argv if re.fullmatch(r"\d{1,18}(\[\d{1,9}\])?", word, re.ASCII)}
    shown = report.jobs.keys() | {array_of(job_id) for job_id in report.jobs}
    return is_document(answer.stdout) and not asked <= shown | report.unknown


def room(parameters: Answer, users: Answer) -> Room:
    """`busers -w` has how many jobs, and how many slots of theirs, wait and may wait; an element is a job of its own."""
    head: dict[str, int] = {}
    row: list[str] = []
    for line in users.stdout.splitlines() if users.code == 0 else ():
        cells = line.split()
        if cells[:1] == ["USER/GROUP"]:
            head = {name: place for place, name in enumerate(cells)}
        elif cells[:1] == [users.argv[-1]] and len(cells) == len(head):
            row = cells

    def left(limit: str, used: str) -> list[int]:
        cells = [row[head[name]] for name in (limit, used) if row and name in head]
        known = len(cells) == 2 and all(re.fullmatch(r"\d{1,9}", cell, re.ASCII) for cell in cells)
        return [max(int(cells[0]) - int(cells[1]), 0)] if known else []

    most = re.search(r"\bMAX_JOB_ARRAY_SIZE\s*=\s*(\d{1,9})\b", parameters.stdout, re.ASCII)
    return Room(
        jobs=min(left("MPJOBS", "PJOBS") + left("MPEND", "PEND"), default=None),
        elements=int(most[1]) if most and parameters.code == 0 else None,
    )


def found(answer: Answer) -> list[str]:
    """The ids under the name that bjobs was asked for."""
    said = f"{answer.stdout}\n{answer.stderr}"
    name = answer.argv[-1]
    rows = (line.strip().split("|", 1) for line in answer.stdout.splitlines())
    mine = (row[0] for row in rows if len(row) == 2 and bare_name(row[1]) == name)
    ids = list(dict.fromkeys(job_id for job_id in mine if re.fullmatch(r"\d{1,18}", job_id, re.ASCII)))
    absent = re.search(rf"Job <{re.escape(name)}> is not found", said) or nothing_found(said)
    if not ids and not absent and (answer.code != 0 or said.strip()):
        raise SchedulerUnavailable(f"LSF could not be asked for the job: {answer.words}")
    if not ids and not absent:
        raise SchedulerUnavailable("LSF could not be asked for the job: bjobs said nothing at all")
    return ids


def check_cancelled(answer: Answer) -> None:
    said = [line for line in f"{answer.stdout}\n{answer.stderr}".splitlines() if line.strip()]
    refused = [line for line in said if not is_over(line) and "is being" not in line]
    if answer.timed_out or (answer.code != 0 and (refused or not said)):
        raise SchedulerUnavailable(f"bkill did not go through: {answer.words}")


def array_of(element_id: str) -> str:
    """`12[3]` → `12`."""
    return element_id.partition("[")[0]


# -- one job


def _status(record: Mapping[str, str]) -> JobStatus:
    word = record["STAT"]
    state = STATE_BY_WORD.get(word, JobState.UNKNOWN)
    status = JobStatus(
        state, EXPLAINED.get(word, ""), job_name=bare_name(record.get("JOB_NAME", "")), metrics=metrics_of(record)
    )
    if state in (JobState.PENDING, JobState.HELD):
        said = record.get("PEND_REASON", "").strip(" ;-")
        never = cannot_start(said)
        state = JobState.HELD if is_held(said) else state
        return replace(status, state=state, reason=f"can never start: {said}" if never else said, stuck=never)
    if state is JobState.SUSPENDED:
        return replace(status, reason=record.get("SUSPEND_REASON", "").strip(" ;-"))
    if word == "DONE":
        return replace(status, exit_code=0, metrics=metrics_of(record, over=True))
    if word == "EXIT":
        return _ended(replace(status, metrics=metrics_of(record, over=True)), record)
    return status if word in STATE_BY_WORD else replace(status, reason=f"is in state {word!r}, which is not known here")


def _ended(status: JobStatus, record: Mapping[str, str]) -> JobStatus:
    """LSF's own word first: an exit code of 140 may be the end of the walltime, or the program's."""
    if ended := end_of(record.get("EXIT_REASON", "")):
        return replace(status, state=ended[0], reason=ended[1])
    code = int(text) if re.fullmatch(r"\d{1,3}", text := record.get("EXIT_CODE", ""), re.ASCII) else 0
    if is_signal(code - 128):
        return replace(status, reason=f"killed by signal {code - 128} ({signal_name(code - 128)})", signal=code - 128)
    return replace(status, exit_code=code or None)


def documents(text: str) -> Iterator[dict[str, str]]:
    """The records of the JSON document, whatever a site prints before it."""
    for record in _records(text) or ():
        if isinstance(record, dict):
            yield {str(key).upper(): "" if value is None else str(value) for key, value in record.items()}


def is_document(text: str) -> bool:
    """Whether it came to its end."""
    return _records(text) is not None


def _records(text: str) -> list[Any] | None:
    try:
        document, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        records = document["RECORDS"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return records if isinstance(records, list) else None


def lines(text: str, fields: Sequence[str]) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", len(fields) - 1)]
        if len(cells) == len(fields):
            yield dict(zip((name.upper() for name in fields), cells, strict=True))


def id_of(record: Mapping[str, str]) -> str | None:
    """`12`, or `12[3]` for an element; None for a record that is of no job, or says that there is none."""
    match = re.fullmatch(r"(\d{1,18})(?:\[(\d{1,9})\])?", record.get("JOBID", ""), re.ASCII)
    if not match or "ERROR" in record or not record.get("STAT"):
        return None
    index = match[2] or record.get("JOBINDEX", "")
    return f"{match[1]}[{index}]" if re.fullmatch(r"[1-9]\d{0,8}", index, re.ASCII) else match[1]


def bare_name(name: str) -> str:
    """LSF shows the element in the name: `x[3]`."""
    return re.sub(r"\[[^\]]*\](%\d+)?$", "", name.strip())


def metrics_of(record: Mapping[str, str], *, over: bool = False) -> JobMetrics:
    now = datetime.now()
    placed = hosts(record.get("EXEC_HOST", ""))
    metrics = JobMetrics(
        submitted_at=time_of(record.get("SUBMIT_TIME", ""), now),
        started_at=time_of(record.get("START_TIME", ""), now) if placed else None,
        ended_at=time_of(record.get("FINISH_TIME", ""), now) if over else None,  # of a running job it is an estimate
        elapsed_s=seconds(record.get("RUN_TIME", "")) if over and placed else None,
        cpu_time_s=seconds(record.get("CPU_USED", "")) if over and placed else None,
        max_rss_mib=mebibytes(record.get("MAX_MEM", "")) if over and placed else None,
        nodes=len(placed) or None,
        cores=sum(placed.values()) or None,
        node_list=",".join(placed) or None,
        raw={name: value for name, value in record.items() if value not in ("", "-")},
    )
    return metrics.derived() if over else metrics


def seconds(text: str) -> float | None:
    """`12 second(s)`, `12.5 second(s)`."""
    match = re.match(r"(\d{1,12}(?:\.\d{1,6})?)(?: second|$)", text, re.ASCII)
    return float(match[1]) if match else None


def mebibytes(text: str) -> float | None:
    """`1.2 Gbytes`, `512 Mbytes`."""
    match = re.match(r"(\d{1,12}(?:\.\d{1,6})?) ([KMGT])byte", text, re.ASCII)
    return float(match[1]) * 1024.0 ** ("KMGT".index(match[2]) - 1) if match else None


def hosts(text: str) -> dict[str, int]:
    """`8*h1:8*h2:h3` → the slots on each host."""
    found: dict[str, int] = {}
    for part in text.split(":"):
        match = re.fullmatch(r"(?:(\d{1,6})\*)?([\w.-]+)", part, re.ASCII)
        if match and match[2] != "-":
            found[match[2]] = found.get(match[2], 0) + int(match[1] or 1)
    return found


_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_TIME = re.compile(r"([A-Z][a-z]{2})\s+(\d{1,2})\s+(\d\d):(\d\d):(\d\d)(?:\s+(\d{4}))?(?:\s+[A-Z])?", re.ASCII)


def time_of(text: str, now: datetime) -> float | None:
    """`Nov 20 06:07:12 2026`. Without a year it is the latest such day that is not ahead of now.

    `Nov 20 06:07`, to the minute, is no figure: what the job itself notes is better.
    """
    match = _TIME.fullmatch(text.strip())
    if not match or match[1] not in _MONTHS:
        return None
    month, day = _MONTHS.index(match[1]) + 1, int(match[2])
    clock = (int(match[3]), int(match[4]), int(match[5]))
    years = [int(match[6])] if match[6] else [now.year + 1 - back for back in range(9)]  # 29 February may be far back
    for year in years:
        try:
            moment = datetime(year, month, day, *clock)
            if match[6] or moment <= now + timedelta(days=1):
                return moment.timestamp()
        except (ValueError, OverflowError):
            continue
    return None
