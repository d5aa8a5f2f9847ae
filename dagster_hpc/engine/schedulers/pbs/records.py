"""What PBS and Torque have in common: the look of `qstat -f`, and the values that stand in it.

That text can be forged from inside: where a job brought its environment along (`qsub -V`), a line break in a variable's
value comes out raw, and lines that look like attributes follow. They all stand in Variable_List. So what says how a job
is must come before it; what comes after it (Exit_status, comment) is taken from its last occurrence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.job import JobMetrics

_SERVER = re.compile(r"^Server: (\S+)\s*$", re.MULTILINE)
_HEAD = re.compile(r"Job Id:[ \t](\S+)[ \t]*")
_LINE = re.compile(r"(?: {4}|\t)([A-Za-z_][\w.-]*) = (.*)", re.ASCII | re.DOTALL)
_FORGEABLE = "variable_list"
_BEFORE_IT = {"job_state", "substate", "job_name", "stime", "start_time", "hold_types", "depend", "array"}
_STAMP = re.compile(r"(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})", re.ASCII)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_KIB = {"b": 1 / 1024, "kb": 1.0, "mb": 1024.0, "gb": 1024.0**2, "tb": 1024.0**3, "pb": 1024.0**4}


class Record(dict[str, str]):
    """A job's attributes; the systems do not agree on the case of their names, so `of` takes any."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        super().__init__(attributes)
        self._any_case = {name.casefold(): value for name, value in attributes.items()}

    def of(self, name: str) -> str:
        return self._any_case.get(name.casefold(), "")


def records(text: str) -> dict[str, Record]:
    """Each job of a text whose lines are not wrapped. One that is not whole, or that is there twice, proves nothing."""
    found: dict[str, Record] = {}
    twice: set[str] = set()
    for block in text.split("\n\n")[:-1]:  # what stands behind the last blank line was cut
        for job_id, record in _job(block.split("\n")).items():
            if job_id in found:
                twice.add(job_id)
            found[job_id] = record
    return {job_id: record for job_id, record in found.items() if job_id not in twice}


def only_record(text: str) -> dict[str, Record]:
    """The one job of a wrapped text, all of it: what looks like another job in it was forged."""
    return _job(text.replace("\n\t", "").split("\n")) if text.endswith("\n\n") else {}


def _job(lines: list[str]) -> dict[str, Record]:
    """The job that begins in these lines, with all lines that follow; none where none begins."""
    for number, line in enumerate(lines):
        if head := _HEAD.fullmatch(line):
            return {head[1]: _record(lines[number + 1 :])}
    return {}


def _record(lines: Iterable[str]) -> Record:
    attributes: dict[str, str] = {}
    trusted = True
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        name, value = match[1], match[2]
        if name.casefold() == _FORGEABLE:
            trusted = False
        elif trusted:
            attributes.setdefault(name, clean(value))
        elif name.casefold() not in _BEFORE_IT:
            attributes[name] = clean(value)
    return Record(attributes)


def clean(value: str) -> str:
    """Without what no database takes: half characters and NUL."""
    return value.encode("utf-8", "replace").decode().replace("\0", "")


def server_name(answer: Answer, system: str) -> str:
    """Whose `qstat -B -f` this is. The same name stands in every id of a job there."""
    name = _SERVER.search(answer.stdout) if answer.code == 0 else None
    if not name:
        raise SchedulerUnavailable(f"{system} does not say which server it is: {answer.words[:500]}")
    return name[1]


def integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text.strip(), re.ASCII) else None


def seconds(text: str) -> float | None:
    """`01:30:00`, with as many hours as it takes; or plain seconds."""
    match = re.fullmatch(r"(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,12})(?:\.\d{1,9})?", text.strip(), re.ASCII)
    if not match:
        return None
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + rest)


def kib(text: str) -> float | None:
    """`7100kb`; PBS counts in powers of two."""
    match = re.fullmatch(r"(\d{1,18})([kmgtp]?b)", text.strip().lower(), re.ASCII)
    return int(match[1]) * _KIB[match[2]] if match else None


def stamp(text: str) -> float | None:
    """`Fri Nov 20 06:06:00 2026`: the server's local time, without a zone."""
    match = _STAMP.fullmatch(text.strip())
    if not match or match[1] not in _MONTHS:
        return None
    day, hour, minute, second, year = (int(part) for part in match.groups()[1:])
    try:
        return datetime(year, _MONTHS.index(match[1]) + 1, day, hour, minute, second).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def hosts(text: str) -> list[str]:
    """`n1/0*8+n2/0*8` → n1, n2."""
    return list(dict.fromkeys(name for part in text.split("+") if (name := part.partition("/")[0].strip("() "))))


def used(record: Record) -> JobMetrics:
    """What a job had used when it was last looked at, and where. That is up to two minutes ago, also at its end."""
    kwh = re.fullmatch(r"\d{1,12}(?:\.\d{1,12})?", record.of("resources_used.energy"), re.ASCII)
    places = hosts(record.of("exec_host"))
    peak = kib(record.of("resources_used.mem"))
    cpu_s = seconds(record.of("resources_used.cput"))
    return JobMetrics(
        elapsed_s=seconds(record.of("resources_used.walltime")),
        cpu_time_s=cpu_s if cpu_s or peak else None,  # both are 0 until they are first sampled
        max_rss_mib=peak / 1024 if peak else None,  # 0 before it was measured
        energy_j=float(kwh[0]) * 3.6e6 if kwh and float(kwh[0]) else None,  # 0 where the site has no power meter
        nodes=len(places) or None,
        cores=integer(record.of("resources_used.ncpus")) or integer(record.of("Resource_List.ncpus")),
        node_list=",".join(places) or None,
        raw=dict(record),
    )
