"""What PJM prints: the tables of pjstat, and the statistics that it writes beside a job."""

from __future__ import annotations

import re
from datetime import datetime

from dagster_hpc.engine.job import JobMetrics

DELIMITER = "|"
JOB_ID = re.compile(r"\d{1,18}(?:_\d{1,9})?(?:\[\d{1,9}\])?", re.ASCII)

# The columns by the names of the table; the machine form may head them as the statistics do.
_SAME = {"STATE": "ST", "EXIT_CODE": "EC", "PJM_CODE": "PC", "SIGNAL_NO": "SN", "ERROR_MESSAGE": "REASON"}
_DATE = r"\(?(?:\d{4}/)?\d\d/\d\d\s+\d\d:\d\d(?::\d\d)?\)?[<@*]?|-"  # the one cell that has a blank inside
_CODE = r"\d{1,9}|-"
_SHAPES = {"JOB_ID": JOB_ID.pattern, "ST": r"[A-Z]{2,8}", "EC": _CODE, "PC": _CODE, "SN": _CODE,
           "START_DATE": _DATE, "ACCEPT": _DATE}  # fmt: skip


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
