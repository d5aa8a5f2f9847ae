"""What LSF prints: the records of bjobs, and the figures in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from dagster_hpc.engine.job import JobMetrics


def documents(text: str) -> Iterator[dict[str, str]]:
    """The records of the JSON document, whatever a site prints before it."""
    try:
        document, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        records = document["RECORDS"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    for record in records if isinstance(records, list) else ():
        if isinstance(record, dict):
            yield {str(key).upper(): "" if value is None else str(value) for key, value in record.items()}


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
