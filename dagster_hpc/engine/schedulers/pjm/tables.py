"""The jobs that pjstat lists, in whichever form it prints them: an option that it does not know it may just ignore.

With --data there is one delimiter: the character behind the H with which the head begins, a comma on Fugaku. Without,
there are columns for people; and with -s, records of `KEY : value`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster_hpc.engine.job import JobMetrics
from dagster_hpc.engine.schedulers.pjm.records import figures, records

JOB_ID = re.compile(r"\d{1,18}(?:_\d{1,9})?(?:\[\d{1,9}\])?", re.ASCII)

# The columns by the names of the table; records, and some sites' own commands, head them otherwise.
_SAME = {
    "STATE": "ST", "STATUS": "ST", "EXIT_CODE": "EC", "PJM_CODE": "PC", "SIGNAL_NO": "SN", "ERROR_MESSAGE": "REASON",
}  # fmt: skip
_DATE = r"\(?(?:\d{4}/)?\d\d/\d\d\s+\d\d:\d\d(?::\d\d)?\)?[<@*]?|-"  # the one cell that has a blank inside
_CODE = r"\d{1,9}|-"
_SHAPES = {"JOB_ID": JOB_ID.pattern, "ST": r"[A-Z]{2,8}", "EC": _CODE, "PC": _CODE, "SN": _CODE,
           "START_DATE": _DATE, "ACCEPT": _DATE}  # fmt: skip
_DELIMITER = re.compile(r'\s*"?H"?([^\w\s"]).*\bJOB_ID\b|\s*"?JOB_ID"?([^\w\s"])', re.ASCII)


@dataclass(frozen=True)
class Row:
    """What one job's line or record says, by the names of the table."""

    cells: Mapping[str, str]
    whole_name: bool = True  # False: in columns a name may be cut
    metrics: JobMetrics = field(default_factory=JobMetrics)  # only a record has them

    @property
    def job_id(self) -> str:
        return self.cells["JOB_ID"]


def delimiter(text: str) -> str:
    """The character between two cells; '' where the jobs are not in a table that has one."""
    heads = (_DELIMITER.match(line) for line in text.splitlines())
    return next((head[1] or head[2] for head in heads if head), "")


def lacks_codes(text: str) -> bool:
    """Whether the jobs are listed without the columns that tell how one ended."""
    return any("PC" not in row.cells for row in rows(text) or ())


def rows(text: str) -> list[Row] | None:
    """The jobs listed; None where nothing is that could list any, so that nothing is known of them.

    A row that does not have the shape of its head, and a last line without its end, may be cut: they are left out.
    """
    lines = text[: text.rfind("\n") + 1].splitlines()
    listed = _listed(lines, delimiter(text))
    if listed is not None:
        return listed
    found = [Row({_name(key): value for key, value in each.items()}, metrics=figures(each)) for each in records(lines)]
    return found or None


def _listed(lines: Sequence[str], mark: str) -> list[Row] | None:
    listed: list[Row] | None = None
    head: list[str] = []
    shape = re.compile("")
    for line in lines:
        cells = _cells(line, mark) if mark else line.split()
        if "JOB_ID" in (names := [_name(cell) for cell in cells]):
            head, listed = names, listed or []
            shape = _shape(head)
        elif listed is not None and mark and len(cells) == len(head):
            listed.append(Row(dict(zip(head, cells, strict=True))))
        elif listed is not None and not mark and (match := shape.fullmatch(line.strip())):
            found = dict(zip(head, (cell or "" for cell in match.groups()), strict=True))
            listed.append(Row(found, whole_name=False))
    return listed


def _cells(line: str, mark: str) -> list[str]:
    """Cells may stand in quotes, and a mark for head and rows may stand before the first."""
    try:
        cells = [cell.strip() for cell in next(csv.reader([line.strip()], delimiter=mark, skipinitialspace=True), [])]
    except csv.Error:
        return []
    return cells[1:] if cells and cells[0] in ("", "H") else cells


def _name(cell: str) -> str:
    word = cell.strip().upper().replace(" ", "_")
    return _SAME.get(word, word)


def _shape(head: Sequence[str]) -> re.Pattern[str]:
    """What a row under this head looks like. A blank cell, which moves those behind it, does not fit it."""
    cells = [rf"({_SHAPES.get(name, r'[^ ]+')})" for name in head]
    if head[-1] == "REASON":
        return re.compile(r"\s+".join(cells[:-1]) + r"(?:\s+(.*))?", re.ASCII)
    return re.compile(r"\s+".join(cells), re.ASCII)
