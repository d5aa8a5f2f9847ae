"""What Miyabi's own qstat prints, as values: a table of jobs, their full records, and the limits of a group.

As users report it (2025-10 to 2026-09); nobody of us has run it. Ids stand there without the server's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Report, Room
from dagster_hpc.engine.schedulers.miyabi.words import NOTHING, OVER, STATE_OF
from dagster_hpc.engine.schedulers.pbs.records import Record, integer, records
from dagster_hpc.engine.schedulers.pbs.replies import asked, jobs_report, refused_option
from dagster_hpc.engine.schedulers.pbs.words import DELETED, FINISHED
from dagster_hpc.engine.schedulers.pbs.words import OVER as OVER_IN_FULL

_HEADER = ("JOB_ID", "JOB_NAME", "STATUS")
_ID = re.compile(r"(\d{1,18}(?:\[\d{0,9}\])?)(?:\.\S+)?\s", re.ASCII)
_ELEMENT = re.compile(r"\[\d+\]", re.ASCII)
_HALF = re.compile(r"Miyabi-([CG])\b")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    job_id: str  # without the server
    name: str
    status: str
    start: str  # in parentheses where it is only foreseen
    nodes: int | None


@dataclass(frozen=True)
class Table:
    """`whole`: nothing in it is unclear, so a job that is not in it is not there."""

    rows: tuple[Row, ...]
    whole: bool


def table(text: str) -> Table | None:
    """The jobs of `qstat -ll`, whatever stands before them; None where that is no such table."""
    rows: list[Row] = []
    header, nothing, unclear = "", False, 0
    for line in filter(str.strip, text.split("\n")):
        if tuple(line.split()[:3]) == _HEADER:
            header = line
        elif line.strip() in NOTHING:
            nothing = True
        elif header and (row := _row(line, header)):
            rows.append(row)
        elif header or nothing:
            unclear += 1
    if not (header or nothing):
        return None
    twice = len(rows) - len({row.job_id for row in rows})
    return Table(tuple(rows), whole=text.endswith("\n") and not (unclear or twice or (nothing and header)))


def _row(line: str, header: str) -> Row | None:
    """The columns begin where the header says; those after the name hold no blanks, and may be wider than theirs."""
    job_id, columns = _ID.match(line), len(header.split()) - 2
    cells = line[header.index("STATUS") :].split()
    if not job_id or len(cells) < columns:
        return None
    name = line[header.index("JOB_NAME") : header.index("STATUS")].strip()
    return Row(job_id[1], name, cells[0], " ".join(cells[3:-4]), integer(cells[-2]))


# -- what they say of jobs


def queue_report(answer: Answer) -> Report:
    """All jobs that are not over."""
    if answer.code != 0:
        return Report(failed=answer.words)
    found = table(answer.stdout)
    if found is None:
        return Report(failed=_not_understood(answer))
    live = {row.job_id: status(row) for row in found.rows if row.status not in OVER}
    shown = {_ELEMENT.sub("[]", row.job_id) for row in found.rows if "[]" not in row.job_id}
    # An array that waits may stand there in one line, without its elements: they are there, and are not shown.
    folded = {job_id for job_id in live if "[]" in job_id and job_id not in shown}
    jobs = {job_id: one for job_id, one in live.items() if "[]" not in job_id or job_id in folded}
    return Report(jobs, whole=found.whole and not folded)


def status(row: Row) -> JobStatus:
    """A word that is new to us is UNKNOWN, never an end."""
    state = STATE_OF.get(row.status, JobState.UNKNOWN)
    foreseen = f"; may start at {row.start.strip('()')}" if row.start.startswith("(") else ""
    reasons = {
        JobState.PENDING: f"waits its turn{foreseen}",
        JobState.HELD: "is held, or waits for the job that it depends on",
        JobState.UNKNOWN: f"is in a state that is not known here ({row.status})",
    }
    reason = "is ending" if row.status == "EXITING" else reasons.get(state, "")
    return JobStatus(state, reason, job_name=row.name, metrics=JobMetrics(nodes=row.nodes or None))


def full_report(answer: Answer) -> Report:
    """The jobs of `qstat -f` and `qstat -H -f`, under the ids that were asked for."""
    if answer.code == 0 and (said := [line for line in answer.stdout.split("\n") if line.strip() in NOTHING]):
        return Report(unknown=frozenset(asked(answer))) if said else Report()
    found = full_records(answer.stdout)
    if answer.code == 0 and not found:
        if table(answer.stdout):  # this qstat has no full records of what is over
            return Report(disabled=True)
        return Report(failed=_not_understood(answer))
    report = jobs_report(answer, found)
    return replace(report, jobs=_as_asked(report.jobs, asked(answer)))


def full_records(text: str) -> Mapping[str, Record]:
    """The last one may lack the blank line that ends the others; it counts if what decides is there."""
    body = text[max(text.find("Job Id:"), 0) :].replace("\n\t", "")
    if body.endswith("\n\n") or not body.endswith("\n"):
        return records(body)
    found, closed = records(f"{body}\n"), records(body)
    return {job_id: one for job_id, one in found.items() if job_id in closed or _decides(one)}


def _decides(record: Record) -> bool:
    """Whether nothing that is still to come could say otherwise, as the order of the attributes is known.

    A job that was deleted while it waited has no Exit_status to wait for: where its substate is told, its start would be.
    """
    if record.of("job_state") not in OVER_IN_FULL:
        return bool(record.of("job_state"))
    never_ran = record.of("substate") in (DELETED, FINISHED) and not record.of("stime")
    return never_ran or bool(record.of("Exit_status"))


def _as_asked(jobs: Mapping[str, JobStatus], ids: Sequence[str]) -> dict[str, JobStatus]:
    """Without the server's name, unless the question has it."""
    servers = {(parts := job_id.partition("."))[0]: parts[1] + parts[2] for job_id in ids}
    named = {}
    for job_id, one in jobs.items():
        number = job_id.partition(".")[0]
        named[number + servers.get(number, servers.get(_ELEMENT.sub("[]", number), ""))] = one
    return named


def found(answer: Answer, name: str) -> list[str]:
    """The ids of the jobs of this name."""
    if refuses_window(answer):
        return []
    seen = table(answer.stdout) if answer.code == 0 else None
    if seen is None:
        raise SchedulerUnavailable(f"Miyabi could not be asked for the job: {answer.words[:500]}")
    return list(dict.fromkeys(row.job_id for row in seen.rows if row.name == name))


def refuses_window(answer: Answer) -> bool:
    """Whether this qstat has no history, or not one so long."""
    if "-H" not in answer.argv or not answer.code:
        return False
    return refused_option(answer) is not None or any(word in answer.stderr for word in ("hday", "hnum"))


def _not_understood(answer: Answer) -> str:
    return f"qstat's answer is not understood: {answer.stdout.strip()[:200]!r}"


# -- what room there is


def room(limits: Answer, group: str, half: str) -> Room:
    """What `qstat --limit` says of this group in this half of the machine (C or G); an element counts as a job.

    Nobody has shown that answer whole. Known is: under each half's name stands a table, with a column ACCEPT. So a row
    that begins with the group is read, and of that column `used/limit`; whatever else it says is no limit.
    """
    section, column = "", None
    for line in limits.stdout.split("\n") if limits.code == 0 else []:
        cells = line.split()
        if name := _HALF.search(line):
            section, column = name[1], None
        if "ACCEPT" in cells:
            column = cells.index("ACCEPT")
        elif column is not None and section in ("", half) and group in cells[:1] and len(cells) > column:
            used = re.fullmatch(r"\(?(\d{1,9})/(\d{1,9})\)?", cells[column], re.ASCII)
            return Room(max(0, int(used[2]) - int(used[1])), elements=int(used[2])) if used else Room()
    return Room()
