"""What pjsub, pjstat and pjdel answer, as values."""

from __future__ import annotations

import re
from dataclasses import replace

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, signal_name
from dagster_hpc.engine.schedulers.base import Report
from dagster_hpc.engine.schedulers.pjm.tables import JOB_ID, Row, rows
from dagster_hpc.engine.schedulers.pjm.words import (
    CODES,
    ENDED,
    NEVER_STARTS,
    SITE_WORDS,
    STATE_BY_WORD,
    WAITS_FOR_SUB_JOBS,
    capacity,
    code_words,
    denied,
    explained,
    is_error,
    knows_no_option,
    lost,
    not_there,
    refusal_advice,
)

_SUBMITTED = re.compile(r"\bJob (\d{1,18}(?:_\d{1,9})?)(?:\[[\d-]{1,20}\])? submitted", re.ASCII)
_FIRST_LINES = 5  # of an answer that is not understood


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


def report(answer: Answer) -> Report:
    """The jobs that pjstat lists, live or ended. The live query leaves an ended job out, and says nothing of it."""
    listed = rows(answer.stdout)
    statuses = {row.job_id: _status(row) for row in listed or ()}
    known = {job_id: status for job_id, status in statuses.items() if status and JOB_ID.fullmatch(job_id)}
    unknown = _unknown(answer)
    return Report(jobs=known, unknown=unknown, failed=_trouble(answer, listed is not None or bool(unknown)))


def found(answer: Answer) -> list[str]:
    """The ids under the name that pjstat was asked for."""
    listed = rows(answer.stdout)
    if trouble := _trouble(answer, listed is not None):
        raise SchedulerUnavailable(f"PJM could not be asked for the job: {trouble}")
    name = answer.argv[-1].removeprefix("jnam=")
    mine = []
    for row in listed or ():
        shown = row.cells.get("JOB_NAME", "")
        if not row.whole_name and shown and shown != name and name.startswith(shown):
            raise SchedulerUnavailable(f"this pjstat cuts names: job {row.job_id} is shown as {shown}")
        if shown == name:
            mine.append(row.job_id.partition("[")[0])
    return list(dict.fromkeys(job_id for job_id in mine if JOB_ID.fullmatch(job_id)))


def check_cancelled(answer: Answer) -> None:
    said = f"{answer.stdout}\n{answer.stderr}"
    over = not_there(said) or "Invalid jobid" in said
    if (answer.code != 0 or is_error(said)) and not (over and not answer.timed_out):
        raise SchedulerUnavailable(f"pjdel did not go through: {answer.words}")


# -- what an answer leaves open


def _unknown(answer: Answer) -> frozenset[str]:
    """The ids asked for of which it says that there is no such job. Without a name it can mean one id only."""
    asked = [word for word in answer.argv[1:] if JOB_ID.fullmatch(word)]
    named = denied(f"{answer.stdout}\n{answer.stderr}")
    if not named or answer.timed_out:
        return frozenset()
    if "" in named:
        return frozenset(asked) if len(asked) == 1 else frozenset()
    return frozenset(job_id for job_id in asked if job_id in named or job_id.partition("[")[0] in named)


def _trouble(answer: Answer, understood: bool) -> str:
    """Why it is no answer to the question; '' where it is one. The exit code alone says little."""
    said = f"{answer.stdout}\n{answer.stderr}"
    if answer.timed_out:
        return answer.words
    if is_error(said) and (denied(said) is None or not understood):
        return _first_lines(said)
    if understood:
        return ""
    if knows_no_option(answer.words):
        return _first_lines(answer.words)
    if not_there(said) or re.search(r"\bjobs? found\.", said):
        return ""
    silent = not said.strip() if answer.code else not answer.stdout.strip()
    return "" if silent and 0 <= (answer.code or 0) < 126 else _first_lines(answer.words)


def _first_lines(words: str) -> str:
    return "\n".join(words.strip().splitlines()[:_FIRST_LINES])


# -- one job


def _status(row: Row) -> JobStatus | None:
    """What a row says; None where it has no state, and for a job that has ended where it does not say how."""
    if "ST" not in row.cells:
        return None
    word = SITE_WORDS.get(row.cells["ST"], row.cells["ST"])
    name = row.cells.get("JOB_NAME", "") if row.whole_name else ""
    said = explained(row.cells.get("REASON", "").strip().strip("-"))
    code = _number(row.cells.get("PC", ""))
    if word == ENDED:
        ended = _ended(code, _number(row.cells.get("EC", "")), _number(row.cells.get("SN", "")), said)
        return replace(ended, job_name=name, metrics=row.metrics) if ended else None
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
    waits = state is JobState.PENDING and said.upper().startswith(NEVER_STARTS)
    metrics = row.metrics if state.is_final else JobMetrics()  # of a job that waits, the start is a forecast
    return JobStatus(state, reason, job_name=name, metrics=metrics, stuck=word == "ERR" or waits)


def _ended(code: int | None, exit_code: int | None, number: int | None, said: str) -> JobStatus | None:
    """The PJM code first: it alone tells a limit from a failure of the program's own."""
    if code is None or code == WAITS_FOR_SUB_JOBS:
        return None
    if code:
        state, _ = CODES.get(code, (JobState.FAILED, ""))
        return JobStatus(state, f"{code_words(code)}: {said}" if said else code_words(code))
    if exit_code:
        return JobStatus(JobState.FAILED, exit_code=exit_code)
    if number:
        return JobStatus(JobState.FAILED, f"killed by signal {number} ({signal_name(number)})", signal=number)
    return JobStatus(JobState.COMPLETED, exit_code=0) if exit_code == 0 else None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None
