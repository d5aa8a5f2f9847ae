"""Values, a table and a picture out of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster_hpc.collectors.expect import Expect, Expectations
from dagster_hpc.collectors.found import Collector, Found, missing, path_in, rows_as_table
from dagster_hpc.collectors.text import number_or_text
from dagster_hpc.dagster_values import BLUE, GREY, RED, picture
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.job import JobResult

_MOST_ROWS = 200  # of a table; of a longer one the last
_MOST_POINTS = 100_000  # of a picture
_COLOURS = [BLUE, RED, GREY]


def from_csv(
    path: str,
    values: Mapping[str, str] | None = None,
    *,
    table: str | None = None,
    plot: Sequence[str] = (),
    checks: Mapping[str, Expect] | None = None,
    optional: Collection[str] = (),
    value: str | None = None,
) -> Collector:
    """Read a CSV file with a line of headings that a program leaves: for `collect` of an `hpc_asset`.

    Args:
        path: Of the file, relative to the job's directory. Let it be one of the asset's `outputs` too: so a missing file
            fails the job, and one that a network file system shows late is waited for.
        values: Name → column. The value is that of the last row; Dagster plots numbers over the materializations.
        table: Name under which the metadata shows the rows; of a long file the last 200.
        plot: Columns that are drawn against the first one, as the metadata `<table>_plot`.
        checks: Name of an asset check → what the value of that name has to be.
        optional: Names among `values` that may be missing. If another is, the step fails.
        value: Name of the value that the asset's own value is; default: all of them, as a dict.

    Example:
        @hpc_asset(
            profile="small",
            outputs={"steps": "steps.csv"},
            collect=from_csv("steps.csv", {"residual": "residual"}, table="convergence", plot=["residual"]),
        )
        def scf() -> Command:
            return Command("scf")
    """
    shown = table is not None or bool(plot)
    reader = CSVReader(path, dict(values or {}), table or "table", shown, tuple(plot), tuple(optional))
    return Collector([reader, Expectations(dict(checks or {}))], value)


@dataclass(frozen=True)
class CSVReader:
    """Reads these columns of a CSV file."""

    path: str
    values: Mapping[str, str]
    table: str
    shown: bool
    plot: Sequence[str]
    optional: Collection[str]

    def __call__(self, result: JobResult, found: Found) -> None:
        columns, rows = self._content(result)
        for column in self.plot:
            self._refuse_unknown(result, column, columns)
        for name, column in self.values.items():
            if name not in self.optional:
                self._refuse_unknown(result, column, columns)
            said = rows[-1].get(column) if rows else None
            if said is not None:
                found.values[name] = said
            elif name not in self.optional:
                raise missing(result, f"its {self.path} has no row with a {column!r}", "let the program write one.")
        if self.shown and rows:
            found.shown[self.table] = rows_as_table(rows[-_MOST_ROWS:])
            if self.plot:
                found.shown[f"{self.table}_plot"] = _drawn(columns[0], self.plot, rows[-_MOST_POINTS:], self.table)

    def _content(self, result: JobResult) -> tuple[list[str], list[dict[str, Any]]]:
        try:
            with open(path_in(result, self.path), encoding="utf-8", newline="") as file:
                lines = csv.reader(file, skipinitialspace=True)
                columns = [name.strip() for name in next(lines, [])]
                rows = [_row(columns, line) for line in lines if line]
        except (OSError, ValueError, csv.Error) as error:
            raise missing(result, f"its {self.path} cannot be read: {error}", "let the program write CSV there.") from error
        return columns, rows

    def _refuse_unknown(self, result: JobResult, column: str, columns: Sequence[str]) -> None:
        if column not in columns:
            what = f"its {self.path} has no column {column!r}: {did_you_mean(column, columns)}"
            raise missing(result, what, "correct the name of the column.")


def _row(columns: Sequence[str], line: Sequence[str]) -> dict[str, Any]:
    """A short line has no value in its last columns."""
    words = [*line, *[""] * (len(columns) - len(line))]
    return {name: number_or_text(word.strip()) if word.strip() else None for name, word in zip(columns, words, strict=False)}


def _drawn(across: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for index, column in enumerate(columns):
            both = [(row[across], row[column]) for row in rows]
            points = [point for point in both if all(isinstance(value, int | float) for value in point)]
            colour = _COLOURS[index % len(_COLOURS)]
            axes.plot([x for x, _ in points], [y for _, y in points], color=colour, marker=".", label=column)
        axes.set_xlabel(across)
        if len(columns) > 1:
            axes.legend(frameon=False)
        else:
            axes.set_ylabel(columns[0])

    return picture(draw, title)
