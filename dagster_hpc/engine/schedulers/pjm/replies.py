"""What PJM prints, as values: ids, the tables of pjstat, and the statistics that it writes beside a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, signal_name
from dagster_hpc.engine.schedulers.base import Report
from dagster_hpc.engine.schedulers.pjm.words import (
    CODES,
    ENDED,
    STATE_BY_WORD,
    capacity,
    code_words,
    is_error,
    knows_no_option,
    lost,
    not_there,
    refusal_advice,
)

DELIMITER = "|"
JOB_ID = re.compile(r"\d{1,18}(?:_\d{1,9})?(?:\[\d{1,9}\])?", re.ASCII)

# The columns by the names of the table; the machine form may head them as the statistics do.
_SAME = {"STATE": "ST", "EXIT_CODE": "EC", "PJM_CODE": "PC", "SIGNAL_NO": "SN", "ERROR_MESSAGE": "REASON"}
_DATE = r"\(?(?:\d{4}/)?\d\d/\d\d\s+\d\d:\d\d(?::\d\d)?\)?[<@*]?|-"  # the one cell that has a blank inside
_CODE = r"\d{1,9}|-"
_SHAPES = {"JOB_ID": JOB_ID.pattern, "ST": r"[A-Z]{2,8}", "EC": _CODE, "PC": _CODE, "SN": _CODE,
           "START_DATE": _DATE, "ACCEPT": _DATE}  # fmt: skip
_SUBMITTED = re.compile(r"\bJob (\d{1,18}(?:_\d{1,9})?)(?:\[[\d-]{1,20}\])? submitted", re.ASCII)


def submitted(answer: Answer) -> str:
    """The id of the new job, or of the bulk job."""
    said = f"{answer.stdout}\n{answer.stderr}"
    match = _SUBMITTED.search(said)
    if not is_error(said):
        if match:
            return match[1]
        if answer.code == 0 and re.fullmatch(r"\d{1,18}", bare := answer.stdout.strip(), re.ASCII):
            return bare
    words = "\n".join(line for line in said.splitlines() if is_error(line)) or answer.words
    unheard = answer.code is None or not 0 <= answer.code < 126
    silent = not said.strip() or (answer.code == 0 and not is_error(said) and "data area" not in said)
    if match or unheard or silent or lost(words):
        raise SchedulerUnavailable(f"pjsub left it open whether the job was taken: {words}")
    if capacity(words):
        raise CapacityReached(f"PJM takes no more jobs of this user now: {words}")
    raise SubmitRefused(f"PJM refused the job: {words}", advice=refusal_advice(words))


def report(answer: Answer, *, plain: bool) -> Report:
    """The jobs that pjstat lists, with or without -H."""
    rows = table(answer.stdout, delimited=not plain)
    trouble = _trouble(answer, has_table=rows is not None)
    statuses = {row["JOB_ID"]: _status(row, trust_name=not plain) for row in rows or ()}
    known = {job_id: status for job_id, status in statuses.items() if status and JOB_ID.fullmatch(job_id)}
    return Report(jobs=known, failed=trouble)


def found(answer: Answer) -> list[str]:
    """The ids under the name that pjstat was asked for."""
    rows = table(answer.stdout, delimited=True)
    if trouble := _trouble(answer, has_table=rows is not None):
        raise SchedulerUnavailable(f"PJM could not be asked for the job: {trouble}")
    name = answer.argv[-1].removeprefix("jnam=")
    mine = (row["JOB_ID"].partition("[")[0] for row in rows or () if row.get("JOB_NAME") == name)
    return list(dict.fromkeys(job_id for job_id in mine if JOB_ID.fullmatch(job_id)))


def check_cancelled(answer: Answer) -> None:
    said = f"{answer.stdout}\n{answer.stderr}"
    over = not_there(said) or "Invalid jobid" in said
    if (answer.code != 0 or is_error(said)) and not (over and not answer.timed_out):
        raise SchedulerUnavailable(f"pjdel did not go through: {answer.words}")


def table(text: str, *, delimited: bool) -> list[dict[str, str]] | None:
    """The rows under the headed columns; None where there is no head, so that nothing is known of the rows.

    A row that does not have the shape of its head, as a cut one, is left out.
    """
    rows: list[dict[str, str]] | None = None
    head: list[str] = []
    shape = re.compile("")
    for line in text.splitlines():
        cells = _cells(line) if delimited else line.split()
        if "JOB_ID" in (names := [_name(cell) for cell in cells]):
            head, rows = names, rows or []
            shape = _shape(head)
        elif rows is not None and delimited and len(cells) == len(head):
            rows.append(dict(zip(head, cells, strict=True)))
        elif rows is not None and not delimited and (match := shape.fullmatch(line.strip())):
            rows.append(dict(zip(head, (cell or "" for cell in match.groups()), strict=True)))
    return rows


def _cells(line: str) -> list[str]:
    """Cells may stand in quotes, and a mark for head and rows may stand before the first."""
    cells = [cell.strip().strip('"') for cell in line.split(DELIMITER)]
    return cells[1:] if cells[0] in ("", "H") else cells


def _name(cell: str) -> str:
    word = cell.strip().upper().replace(" ", "_")
    return _SAME.get(word, word)


def _shape(head: list[str]) -> re.Pattern[str]:
    """What a row under this head looks like. A blank cell, which moves those behind it, does not fit it."""
    cells = [rf"({_SHAPES.get(name, r'[^ ]+')})" for name in head]
    if head[-1] == "REASON":
        return re.compile(r"\s+".join(cells[:-1]) + r"(?:\s+(.*))?", re.ASCII)
    return re.compile(r"\s+".join(cells), re.ASCII)


# -- one job


def _trouble(answer: Answer, *, has_table: bool) -> str:
    """Why an absence from this answer proves nothing; '' where it does. The exit code alone says little."""
    said = f"{answer.stdout}\n{answer.stderr}"
    if answer.timed_out or is_error(said) or knows_no_option(answer.words):
        return answer.words if answer.timed_out or not is_error(said) else said.strip()
    if has_table or not_there(said) or re.search(r"\bjobs? found\.", said):
        return ""
    silent = not said.strip() if answer.code else not answer.stdout.strip()
    return "" if silent and 0 <= (answer.code or 0) < 126 else answer.words


def _status(row: Mapping[str, str], *, trust_name: bool) -> JobStatus | None:
    """What a row says; None for a job that has ended, where the row does not say how."""
    word = row.get("ST", "")
    name = row.get("JOB_NAME", "") if trust_name else ""  # columns may cut it
    said = row.get("REASON", "").strip().strip("-")
    code = _number(row.get("PC", ""))
    if word == ENDED:
        ended = _ended(code, _number(row.get("EC", "")), _number(row.get("SN", "")))
        return replace(ended, job_name=name) if ended else None
    state = STATE_BY_WORD.get(word, JobState.UNKNOWN)
    why = code_words(code) if code else ""
    if state is JobState.UNKNOWN:
        why = f"is in state {word!r}, which is not known here"
    elif word == "RJT":
        why = f"rejected after it had been accepted{f': {why}' if why else ''} (RJT)"
    elif word == "ERR":
        why = f"is in PJM's error state, which it does not leave by itself (ERR{f', PJM code {code}' if code else ''})"
    elif word == "HLD":
        why = "is held; `pjrls` lets it go (HLD)"
    reason = f"{why}: {said}" if why and said else why or said
    return JobStatus(state, reason, job_name=name, stuck=word == "ERR")


def _ended(code: int | None, exit_code: int | None, number: int | None) -> JobStatus | None:
    """The PJM code first: it alone tells a limit from a failure of the program's own."""
    if code is None:
        return None
    if code:
        state, _ = CODES.get(code, (JobState.FAILED, ""))
        return JobStatus(state, code_words(code))
    if exit_code:
        return JobStatus(JobState.FAILED, exit_code=exit_code)
    if number:
        return JobStatus(JobState.FAILED, f"killed by signal {number} ({signal_name(number)})", signal=number)
    return JobStatus(JobState.COMPLETED, exit_code=0) if exit_code == 0 else None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


# -- statistics: lines of `KEY : value`, first of the job, then perhaps of each node

_LINE = re.compile(r"\s*([A-Z][A-Z0-9 ,./()#%_-]{0,99}?)\s*:\s?(.*)", re.ASCII)
_NUMBER = r"(\d{1,18}(?:\.\d{1,9})?)"
_JOULES = {"J": 1.0, "KJ": 1e3, "MJ": 1e6, "WH": 3600.0, "KWH": 3.6e6, "MWH": 3.6e9}
_SECONDS = {"MS": 1e-3, "S": 1.0, "SEC": 1.0}


def read_statistics(text: str) -> JobMetrics:
    """The figures of a `.stats` file. A figure without the unit that it needs stays among the raw ones only."""
    raw: dict[str, str] = {}
    for line in text.splitlines():
        if (match := _LINE.fullmatch(line.rstrip())) and match[2].strip():
            raw.setdefault(match[1], match[2].strip())
    user, system = (_measure(raw.get(f"{part} CPU TIME (USE)", ""), _SECONDS) for part in ("USER", "SYSTEM"))
    energy = raw.get("ENERGY CONSUMPTION OF NODE (MEASURED)", "")
    memory = raw.get("MAX MEMORY SIZE (USE)") or raw.get("MAX MEMORY SIZE", "")
    return JobMetrics(
        submitted_at=_time(raw.get("ACCEPT DATE") or raw.get("JOB ACCEPT DATE", "")),
        started_at=_time(raw.get("JOB START DATE", "")),
        ended_at=_time(raw.get("JOB END DATE", "")),
        elapsed_s=_elapsed(raw.get("ELAPSE TIME (USE)", "")),
        cpu_time_s=None if user is None and system is None else (user or 0.0) + (system or 0.0),
        max_rss_mib=_mebibytes(memory),
        energy_j=_measure(energy, _JOULES),
        nodes=_count(raw.get("NODE NUM (ALLOC)") or raw.get("NODE NUM (REQUIRE)", "")),
        cores=_count(raw.get("CPU NUM (ALLOC)", "")),
        raw=raw,
    ).derived()


def _measure(text: str, units: dict[str, float]) -> float | None:
    """`12.5 Wh`, with a unit that is known."""
    match = re.match(_NUMBER + r"\s*([A-Za-z]+)", text, re.ASCII)
    factor = units.get(match[2].upper()) if match else None
    return float(match[1]) * factor if match and factor else None


def _mebibytes(text: str) -> float | None:
    """`23.1 MiB (24222720)`: the bytes in brackets are exact."""
    if exact := re.search(r"\((\d{1,18})\)", text, re.ASCII):
        return int(exact[1]) / 2**20
    match = re.match(_NUMBER + r"\s*([KMGT]?)(i?)B\b", text, re.ASCII)
    return float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2] or " ") / 2**20 if match else None


def _elapsed(text: str) -> float | None:
    """`01:50:05 (6605)`."""
    match = re.match(r"(\d{1,6}):(\d\d):(\d\d)", text, re.ASCII)
    return int(match[1]) * 3600.0 + int(match[2]) * 60 + int(match[3]) if match else None


def _count(text: str) -> int | None:
    """`12:2x3x2` are 12."""
    match = re.match(r"\d{1,9}", text, re.ASCII)
    return int(match[0]) if match else None


def _time(text: str) -> float | None:
    """`2026/11/20 07:00:00<`, local time; the marks behind it say how the start was chosen."""
    try:
        return datetime.strptime(text[:19], "%Y/%m/%d %H:%M:%S").timestamp()
    except (ValueError, OverflowError):
        return None
