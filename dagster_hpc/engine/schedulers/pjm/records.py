"""PJM's own account of one job, in lines of `KEY : value`: what `pjstat -s` prints, and what stands in a `.stats` file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from dagster_hpc.engine.job import JobMetrics

_LINE = re.compile(r"\s*([A-Z][A-Z0-9 ,./()#%_-]{0,99}?)\s*:\s?(.*)", re.ASCII)
_NUMBER = r"(\d{1,18}(?:\.\d{1,9})?)"
_JOULES = {"J": 1.0, "KJ": 1e3, "MJ": 1e6, "WH": 3600.0, "KWH": 3.6e6, "MWH": 3.6e9}
_SECONDS = {"MS": 1e-3, "S": 1.0, "SEC": 1.0}


def records(lines: Iterable[str]) -> list[dict[str, str]]:
    """One for each job: the lines from its JOB ID on. Those of its nodes follow its own, under some of the same keys."""
    found: list[dict[str, str]] = []
    for key, value in _pairs(lines):
        if key == "JOB ID":
            found.append({})
        if found:
            found[-1].setdefault(key, value)
    return found


def read_statistics(text: str) -> JobMetrics:
    """The figures of a `.stats` file."""
    raw: dict[str, str] = {}
    for key, value in _pairs(text.splitlines()):
        raw.setdefault(key, value)
    return figures(raw)


def figures(raw: Mapping[str, str]) -> JobMetrics:
    """A figure without the unit that it needs stays among the raw ones only."""
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


def _pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if (match := _LINE.fullmatch(line.rstrip())) and match[2].strip():
            yield match[1], match[2].strip()
