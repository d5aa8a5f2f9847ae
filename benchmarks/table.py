"""One way to print what was measured: figure, what it is compared with, ratio, and the bound that we set ourselves."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    what: str
    measured: str
    compared_with: str
    ratio: float | None = None
    bound: float | None = None

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.bound is None:
            return ""
        return "ok" if self.ratio <= self.bound else "OVER"


def show(title: str, rows: list[Row]) -> None:
    table = Table("what", "measured", "compared with", "ratio", "bound", "", title=title)
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        bound = "" if row.bound is None else f"{row.bound:g}"
        table.add_row(row.what, row.measured, row.compared_with, ratio, bound, row.verdict)
    Console(width=140).print(table)
