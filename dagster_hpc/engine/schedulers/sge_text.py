"""What qstat and qacct of Grid Engine print, read into statuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from xml.etree import ElementTree

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus
from dagster_hpc.engine.schedulers.sge_words import ending_of, explain, leading_integer, number, size, state_of

MOST_ELEMENTS = 1_000_000
_TASKS = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::([1-9]\d{0,8}))?)?", re.ASCII)
_NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|&(?!(?:\\w+|#\\d+|#x[0-9a-fA-F]+);)")
_TIMES = ("%a %b %d %H:%M:%S %Y", "%m/%d/%Y %H:%M:%S.%f", "%m/%d/%Y %H:%M:%S")
_ISO = "%Y-%m-%dT%H:%M:%S"
_STAMP = re.compile(r"^\d\d/\d\d/\d{4} [\d:]+ (?:\[[\d:]+\]: )?(?:error: )?", re.ASCII)


def document(answer: Answer) -> ElementTree.Element | None:
    """The XML of an answer; a job's name may hold what XML does not allow."""
    try:
        return ElementTree.fromstring(_NO_XML.sub("?", answer.stdout))
    except (ElementTree.ParseError, ValueError):
        return None


def complaint(answer: Answer, root: ElementTree.Element | None) -> str:
    """Why this is no list of jobs. With -xml some complaints come on stdout, with exit code 0."""
    text = root.findtext("AN_text") if root is not None else None
    return text or (answer.words if answer.code != 0 else f"its answer is not understood: {answer.stdout[:200]!r}")


def expanded(job_id: str, tasks: str | None) -> Iterator[str]:
    """The ids that one row stands for: `4`, `1-9:2`, `5,7,9-12:1`; the job itself where it is no array."""
    if not tasks:
        yield job_id
        return
    for part in tasks.split(","):
        match = _TASKS.fullmatch(part.strip())
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
            for index in range(first, min(last, first + MOST_ELEMENTS) + 1, int(match[3] or 1)):
                yield f"{job_id}.{index}"


def queue_status(row: ElementTree.Element) -> JobStatus:
    letters, job_id = row.findtext("state", ""), row.findtext("JB_job_number", "")
    state = state_of(letters)
    waits_for = row.findtext("predecessor_jobs", "")
    running = state in (JobState.RUNNING, JobState.SUSPENDED)
    metrics = JobMetrics(
        submitted_at=_time(row.findtext("JB_submission_time", ""), _ISO),
        started_at=_time(row.findtext("JAT_start_time", ""), _ISO) if running else None,
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


def _time(text: str, *formats: str) -> float | None:
    """Grid Engine prints local time without a zone."""
    for layout in formats:
        try:
            return datetime.strptime(text, layout).timestamp()
        except (ValueError, OverflowError):
            continue
    return None
