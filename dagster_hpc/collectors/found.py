"""What was found in the files of a job, and what Dagster is told of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import dagster as dg

from dagster_hpc.dagster_values import number, table, text
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobResult
from dagster_hpc.metadata import job_metadata

LONGEST_TEXT = 1000  # characters of a value or a line that is shown
MOST_KEYS = 200  # that JSON lines may bring


@dataclass
class Found:
    """What one job has left of what was looked for. `shown`: tables and pictures, which are no values."""

    values: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, dg.AssetCheckResult] = field(default_factory=dict)
    shown: dict[str, dg.MetadataValue] = field(default_factory=dict)


class Reader(Protocol):
    """Reads one file of a finished job. Its text tells what it looks for: the code version follows it."""

    def __call__(self, result: JobResult, found: Found) -> None:
        """Add what the file says to what others have found."""


@dataclass(frozen=True)
class Collector:
    """What the `from_…` functions make: the `collect` of an `hpc_asset`.

    Of several Commands, the metadata is a table with a row for each, the value a list, and a check passes if it does
    for all.
    """

    readers: Sequence[Reader]
    value: str | None = None

    @property
    def made_from(self) -> Sequence[Any]:
        """What it was made from, for the code version."""
        return [*self.readers, self.value]

    def __call__(self, given: JobResult | Sequence[JobResult]) -> dg.MaterializeResult[Any]:
        results = [given] if isinstance(given, JobResult) else list(given)
        found = [self.found(result) for result in results]
        values = [each.values.get(self.value) if self.value is not None else each.values for each in found]
        if isinstance(given, JobResult):
            metadata = {name: shown_value(each) for name, each in found[0].values.items()}
            return dg.MaterializeResult(
                value=values[0], metadata={**metadata, **found[0].shown}, check_results=list(found[0].checks.values())
            )
        return dg.MaterializeResult(value=values, metadata={"results": _table(found)}, check_results=_for_all(found))

    def found(self, result: JobResult) -> Found:
        """What all readers find, one after the other."""
        found = Found()
        for reader in self.readers:
            reader(result, found)
        return found


def path_in(result: JobResult, name: str) -> str:
    """A file in the directory of the job."""
    return os.path.join(result.handle.work_dir, name)


def missing(result: JobResult, what: str, advice: str) -> dg.Failure:
    """The job ended well, and its file does not say what was looked for. Running it again would not help."""
    error = HPCError(
        f"{result.handle} ended well, but {what}",
        advice=f"{advice} Then materialize again: the finished job is taken, not run anew. If the program may leave it "
        "out, name it in `optional`.",
        work_dir=result.handle.work_dir,
    )
    return dg.Failure(str(error), metadata=job_metadata(result), allow_retries=False)


def shown_value(value: Any) -> dg.MetadataValue:
    """A value as metadata."""
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, dict | list):
        # NaN inside would make the event unreadable for the UI.
        return dg.MetadataValue.json(json.loads(json.dumps(value), parse_constant=lambda _: None))
    return text(None if value is None else str(value)[:LONGEST_TEXT])


def rows_as_table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows of the same names. A column whose values are not of one kind is one of texts."""
    columns = {name: _kind([row[name] for row in rows]) for name in rows[0]}
    shown = [
        {
            name: cell if cell is None or columns[name] != "string" else str(cell)[:LONGEST_TEXT]
            for name, cell in row.items()
        }
        for row in rows
    ]
    return table(shown, columns)


def _kind(cells: Sequence[Any]) -> str:
    kinds = {type(cell) for cell in cells if cell is not None}
    return "int" if kinds == {int} else "float" if kinds and kinds <= {int, float} else "string"


def _table(found: Sequence[Found]) -> dg.MetadataValue:
    """A row for each element."""
    names = list(dict.fromkeys(name for each in found for name in each.values))[:MOST_KEYS]
    return rows_as_table(
        [{"element": index, **{name: each.values.get(name) for name in names}} for index, each in enumerate(found)]
    )


def _for_all(found: Sequence[Found]) -> list[dg.AssetCheckResult]:
    """Each check once: it passes if it does for all elements."""
    names = list(dict.fromkeys(name for each in found for name in each.checks))
    results = []
    for name in names:
        failed = [index for index, each in enumerate(found) if name not in each.checks or not each.checks[name].passed]
        severities = [each.checks[name].severity for each in found if name in each.checks]
        warn = all(severity is dg.AssetCheckSeverity.WARN for severity in severities)
        results.append(
            dg.AssetCheckResult(
                check_name=name,
                passed=not failed,
                severity=dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR,
                metadata={"elements_that_failed": dg.MetadataValue.json(failed[:MOST_KEYS]), "elements": len(found)},
            )
        )
    return results
