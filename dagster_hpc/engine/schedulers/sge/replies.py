"""What Grid Engine's commands print, as values: ids, and of each job its state, how it ended, its figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from xml.etree import ElementTree

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Report, Room
from dagster_hpc.engine.schedulers.sge.words import (
    capacity,
    ending_of,
    explain,
    leading_integer,
    number,
    refusal_advice,
    size,
    state_of,
    transient,
)

_SPOKEN_ID = re.compile(r"Your job(?:-array)? (\d+)", re.ASCII)
_TERSE_ID = re.compile(r"(\d+)(?:\.\d+-\d+:\d+)?", re.ASCII)
MOST_ELEMENTS = 1_000_000
_TASKS = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::([1-9]\d{0,8}))?)?", re.ASCII)
_NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|&(?!(?:\\w+|#\\d+|#x[0-9a-fA-F]+);)")
_XML = re.compile(r"<\?xml .*>", re.DOTALL)
_NO_RECORDS = re.compile(r"^(OWNER\s+WALLCLOCK|Total System Usage)\b", re.MULTILINE)  # the head of a sum of nothing
_TIMES = ("%a %b %d %H:%M:%S %Y", "%m/%d/%Y %H:%M:%S.%f", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f")
_STAMP = re.compile(r"^\d\d/\d\d/\d{4} [\d:]+ (?:\[[\d:]+\]: )?(?:error: )?", re.ASCII)


def cell_name(answer: Answer) -> str:
    """The host of the master, and the cell: `node1/default`. Where a shadow master takes over, the name changes with it."""
    master, cell = (re.search(rf"^{word} (\S+)$", answer.stdout, re.MULTILINE) for word in ("master", "cell"))
    if answer.code != 0 or not master or not cell:
        raise SchedulerUnavailable(f"Grid Engine does not say which cell it is: {answer.words[:500]}")
    return f"{master[1]}/{cell[1]}"


def submitted(answer: Answer) -> str:
    """The id of the new job, or of the array."""
    lines = [line.strip() for line in reversed(answer.stdout.splitlines())] if answer.code == 0 else []
    for line in lines:
        match = _TERSE_ID.fullmatch(line) or _SPOKEN_ID.search(line)
        if match:
            return match[1]
    if answer.code in (None, 0) or transient(answer.words):
        raise SchedulerUnavailable(f"qsub left it open whether the job was taken: {answer.words}")
    if capacity(answer.code, answer.words):
        raise CapacityReached(f"Grid Engine takes no more jobs now: {answer.words}")
    raise SubmitRefused(f"Grid Engine refused the job: {answer.words}", advice=refusal_advice(answer.words))


def queue_report(answer: Answer) -> Report:
    """The jobs that `qstat -xml` lists. The list is of all that there are, if each of its rows is understood."""
    root = document(answer)
    if answer.code != 0 or root is None or root.tag != "job_info":
        return Report(failed=complaint(answer, root))
    jobs: dict[str, JobStatus] = {}
    whole = True
    for row in root.iter("job_list"):
        job_id, status = row.findtext("JB_job_number", ""), queue_status(row)
        ids = expanded(job_id, row.findtext("tasks"))
        jobs.update(dict.fromkeys(ids, status))
        whole &= bool(ids)
    return Report(jobs=jobs, whole=whole)


def known_report(answer: Answer) -> Report:
    """Whether `qstat -j` knows one job. It is asked of jobs that the list does not show, and knows them of all users."""
    root, asked = document(answer), answer.argv[-1]
    if answer.code == 0 and root is not None and root.tag == "unknown_jobs":
        named = {element.text for element in root.iter("ST_name")}
        return Report(unknown=frozenset({asked} & named)) if asked in named else Report(failed=complaint(answer, root))
    if answer.code != 0 or root is None or root.tag != "detailed_job_info":
        return Report(failed=complaint(answer, root))
    if asked not in job_numbers(root):
        return Report(failed=complaint(answer, root))
    why = "is known to Grid Engine, though its list of your jobs does not show it: is it another user's?"
    return Report(jobs={asked: JobStatus(JobState.UNKNOWN, why)})


def element_report(answer: Answer) -> Report:
    """Whether a list of all jobs shows the element that the question names."""
    report = queue_report(answer)
    asked = {word for word in answer.argv if re.fullmatch(r"\d+\.\d+", word, re.ASCII)}
    return replace(report, unknown=frozenset(asked - report.jobs.keys())) if report.whole else report


def reasons_report(answer: Answer) -> Report:
    """Why jobs are in the error state, as `qstat -j` tells."""
    return Report(jobs=dict(error_reasons(answer.stdout)))


def history_report(answer: Answer) -> Report:
    """The jobs that qacct knows. It knows them late, so that its "not found" says nothing of a job's absence."""
    if "unable to open" in answer.words:
        return Report(disabled=True)
    nothing = "not found" in answer.words or "no jobs running since startup" in answer.stdout
    if answer.code != 0 and not nothing:
        return Report(failed=answer.words)
    # A job has a record for each time that it was sent back to the queue: the last one counts.
    jobs = {recorded_id(record): history_status(record) for record in records(answer.stdout)}
    if not jobs and not nothing and not _NO_RECORDS.search(answer.stdout):
        return Report(failed=not_understood(answer))
    return Report(jobs=jobs)


def room(configuration: Answer, listed: Answer) -> Room:
    """By the limits of the cell. It counts jobs, so that any array is one.

    `max_jobs`, of all users together, is not read: it would take the list of all users' jobs.
    """
    most = limit(configuration, "max_u_jobs")
    report = queue_report(listed)
    mine = {array_of(job_id) for job_id in report.jobs}
    free = max(0, most - len(mine)) if most is not None and report.whole else None
    return Room(free, arrays_are_one=free is not None, elements=limit(configuration, "max_aj_tasks"))


def limit(configuration: Answer, name: str) -> int | None:
    """A number in the configuration of the cell, where 0 stands for no limit."""
    found = re.search(rf"^{name}\s+(\d{{1,9}})\s*$", configuration.stdout, re.MULTILINE | re.ASCII)
    return (int(found[1]) or None) if found and configuration.code == 0 else None


def found(answer: Answer) -> list[str]:
    """The ids under the name that qstat was asked for."""
    root = document(answer)
    if root is None or root.tag not in ("detailed_job_info", "unknown_jobs"):
        raise SchedulerUnavailable(f"Grid Engine could not be asked for the job: {complaint(answer, root)}")
    return job_numbers(root)


def found_in_accounting(answer: Answer) -> list[str]:
    """The ids under the name that qacct was asked for."""
    report = history_report(answer)
    if report.failed:
        raise SchedulerUnavailable(f"the accounting could not be asked for the job: {report.failed}")
    return list(dict.fromkeys(array_of(job_id) for job_id in report.jobs))


def check_cancelled(answer: Answer) -> None:
    if answer.code is None or transient(answer.stdout + answer.stderr):
        raise SchedulerUnavailable(f"Grid Engine did not take the cancellation: {answer.words}")
    refused = [line for line in answer.stdout.splitlines() if "privileges" in line or "permission" in line]
    silent = answer.code != 0 and "does not exist" not in answer.stdout
    if refused or silent:
        words = "\n".join(refused) or answer.words
        raise SchedulerUnavailable(f"Grid Engine did not take the cancellation: {words}")


def array_of(element_id: str) -> str:
    """`12.3` → `12`."""
    return element_id.partition(".")[0]


# -- one job


def document(answer: Answer) -> ElementTree.Element | None:
    """The XML of an answer, whatever a site prints around it; a job's name may hold what XML does not allow."""
    found = _XML.search(answer.stdout)
    try:
        return ElementTree.fromstring(_NO_XML.sub("?", found[0])) if found else None
    except (ElementTree.ParseError, ValueError):
        return None


def complaint(answer: Answer, root: ElementTree.Element | None) -> str:
    """Why this is not what was asked for. With -xml some complaints come on stdout, with exit code 0."""
    text = root.findtext("AN_text") if root is not None else None
    return text or (answer.words if answer.code != 0 else not_understood(answer))


def not_understood(answer: Answer) -> str:
    return f"the answer of {answer.argv[0]} is not understood: {answer.words[:500]}"


def job_numbers(root: ElementTree.Element) -> list[str]:
    """The ids in the XML of `qstat -j`."""
    ids = [element.text or "" for element in root.iterfind("djob_info/element/JB_job_number")]
    return list(dict.fromkeys(job_id for job_id in ids if job_id.isascii() and job_id.isdigit()))


def expanded(job_id: str, tasks: str | None) -> list[str]:
    """The ids that one row stands for: `4`, `1-9:2`, `5,7,9-12:1`; the job itself where it is no array.

    None at all where the row is not understood.
    """
    parts = [_TASKS.fullmatch(part.strip()) for part in tasks.split(",")] if tasks else []
    if not (job_id.isascii() and job_id.isdigit()):
        return []
    spans = [range(int(part[1]), int(part[2] or part[1]) + 1, int(part[3] or 1)) for part in parts if part]
    if len(spans) < len(parts) or sum(map(len, spans)) > MOST_ELEMENTS:
        return []
    return [f"{job_id}.{index}" for span in spans for index in span] if spans else [job_id]


def queue_status(row: ElementTree.Element) -> JobStatus:
    letters, job_id = row.findtext("state", ""), row.findtext("JB_job_number", "")
    state = state_of(letters)
    waits_for = row.findtext("predecessor_jobs", "")
    running = state in (JobState.RUNNING, JobState.SUSPENDED)
    metrics = JobMetrics(
        submitted_at=_iso_time(row.findtext("JB_submission_time", "")),
        started_at=_iso_time(row.findtext("JAT_start_time", "")) if running else None,
        cores=leading_integer(row.findtext("slots", "")),
        node_list=(row.findtext("queue_name") or "").partition("@")[2] or None,
    )
    return JobStatus(
        state,
        explain(letters, job_id, waits_for),
        job_name=row.findtext("full_job_name") or row.findtext("JB_name") or "",
        metrics=metrics,
        stuck=state is JobState.PENDING and "E" in letters,
    )


def error_reasons(text: str) -> Iterator[tuple[str, JobStatus]]:
    """From `qstat -j`: why jobs are in the error state, by job and by element."""
    job_id = ""
    for line in text.replace("\0", "").splitlines():
        if line.startswith("job_number:"):
            job_id = line.partition(":")[2].strip()
        reason = re.match(r"error reason\s+(\d{1,9}):\s+(.+)", line, re.ASCII)
        if reason and job_id:
            why = _STAMP.sub("", reason[2].strip())
            status = JobStatus(JobState.PENDING, f"can never start: {why} (Eqw)", stuck=True)
            yield from ((job_id, status), (f"{job_id}.{reason[1]}", status))


def records(text: str) -> Iterator[dict[str, str]]:
    """The records of qacct, in the order in which the jobs ended; what is cut off at the end is none."""
    for block in re.split(r"^=+$", text[: text.rfind("\n") + 1].replace("\0", ""), flags=re.MULTILINE):
        pairs = (line.partition(" ") for line in block.splitlines())
        record = {key: value.strip() for key, _, value in pairs if key}
        if record.get("jobnumber", "").isdigit() and {"jobname", "failed", "exit_status"} <= record.keys():
            yield record


def recorded_id(record: Mapping[str, str]) -> str:
    task = record.get("taskid", "")
    return f"{record['jobnumber']}.{task}" if task.isdigit() else record["jobnumber"]


def history_status(record: Mapping[str, str]) -> JobStatus:
    end = ending_of(record)
    started, ended = (_time(record.get(name, ""), *_TIMES) for name in ("start_time", "end_time"))
    ran = started is not None
    # ru_maxrss is in KiB, and some versions print it as if it were bytes: 4.625KB are 4.625 MiB.
    resident = size(record.get("ru_maxrss", ""))
    peak = size(record.get("maxrss", "")) or (resident * 1024 if resident else None)
    metrics = JobMetrics(
        submitted_at=_time(record.get("qsub_time", "") or record.get("submission_time", ""), *_TIMES),
        started_at=started,
        ended_at=ended,
        cpu_time_s=number(record.get("cpu", "")) if ran else None,
        max_rss_mib=peak / 2**20 if ran and peak else None,
        cores=leading_integer(record.get("slots", "")) if ran else None,
        node_list=record.get("hostname") if ran else None,
        raw={key: value for key, value in record.items() if value not in ("", "NONE", "undefined", "-/-")},
    ).derived()
    return JobStatus(end.state, end.reason, end.exit_code, end.signal, record["jobname"], metrics)


def _iso_time(text: str) -> float | None:
    """`2026-11-20T06:07:12`, or with its parts; local time without a zone. `strptime` is slow over a long queue."""
    if len(text) not in (19, 23, 26) or text[10] != "T" or text[16] != ":":
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _time(text: str, *formats: str) -> float | None:
    """Grid Engine prints local time without a zone."""
    for layout in formats:
        try:
            return datetime.strptime(text, layout).timestamp()
        except (ValueError, OverflowError):
            continue
    return None
