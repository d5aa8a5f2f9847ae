"""What is read out of a job's files, in a `defs.yaml`: values, which become metadata, and checks of them."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import dagster as dg

from dagster_hpc.collectors import Collector, Expect, from_all, from_csv, from_json, from_stdout, from_text
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobResult

_told = dg.Resolver.default


def _as_written(context: dg.ResolutionContext, given: Any) -> Any:
    return given


def _verbatim(description: str, *examples: str) -> dg.Resolver:
    """A pattern is no template, and a number in it no number."""
    return dg.Resolver(
        _as_written, model_field_type=str, inject_before_resolve=False, description=description, examples=list(examples)
    )


@dataclass(frozen=True)
class Reading(dg.Resolvable):
    """Where a value stands: in a file that the job leaves, or in what it prints."""

    file: Annotated[
        str | None,
        _told(
            description="The file, by its path in the job's directory; left out: what the program prints.",
            examples=["result.json"],
        ),
    ] = None
    path: Annotated[
        str | None, _verbatim("Of a JSON file: the place of the value.", "$.energy", "$.steps[-1].residual")
    ] = None
    pattern: Annotated[
        str | None,
        _verbatim("Of text: a regular expression, whose group is the value. The last match counts.", r"E = (\S+)"),
    ] = None
    column: Annotated[
        str | None, _verbatim("Of a CSV file: the column. The value is that of the last row.", "residual")
    ] = None
    table: Annotated[bool, _told(description="Of a CSV file: its rows are shown as a table.")] = False
    plot: Annotated[
        list[str],
        _told(description="Of a CSV file: the columns that are drawn against the first one.", examples=[["residual"]]),
    ] = field(default_factory=list)
    optional: Annotated[bool, _told(description="The value may be missing; else a missing one fails the step.")] = False

    def collector(self, name: str) -> Collector:
        """The collector that reads this value, under this name."""
        optional = [name] if self.optional else []
        kinds = {"path": self.path, "pattern": self.pattern, "column": self.column, "table": self.table or self.plot}
        given = [kind for kind, said in kinds.items() if said]
        if len(given) != 1:
            raise ConfigurationError(
                f"the value {name!r} has {' and '.join(given) or 'nothing'}: it has a path (JSON), a pattern (text), or a "
                "column, a table or a plot (CSV)"
            )
        if self.pattern is not None:
            patterns = {name: self.pattern}
            if self.file is None:
                return from_stdout(patterns, optional=optional)
            return from_text(self.file, patterns, optional=optional)
        if self.file is None:
            raise ConfigurationError(f"the value {name!r} has a {given[0]}, and no file that it stands in")
        if self.path is not None:
            return from_json(self.file, {name: self.path}, optional=optional)
        if self.column is not None:
            return from_csv(self.file, {name: self.column}, optional=optional)
        return from_csv(self.file, table=name, plot=self.plot)


@dataclass(frozen=True)
class Check(Expect):
    """What a value has to be; the asset has a check of this name."""

    blocking: Annotated[
        bool, _told(description="Nothing downstream runs in the same run where the check has failed with ERROR.")
    ] = False


@dataclass(frozen=True)
class Collect:
    """The `collect` of a job: its outputs are the value, and what was read is metadata and checks."""

    collector: Collector
    outputs: Mapping[str, str]

    @property
    def made_from(self) -> Any:
        """For the code version."""
        return self.collector.made_from

    def __call__(self, result: JobResult) -> dg.MaterializeResult[Any]:
        found = self.collector(result)
        value = {name: result.outputs[name] for name in self.outputs}
        return dg.MaterializeResult(value=value, metadata=found.metadata, check_results=found.check_results)


def collect_of(
    values: Mapping[str, Reading], checks: Mapping[str, Check], outputs: Mapping[str, str]
) -> Collect | None:
    """What reads these values and answers these checks; None where nothing is to be read."""
    if not values and not checks:
        return None
    return Collect(from_all(*(each.collector(name) for name, each in values.items()), checks=dict(checks)), outputs)


def files_read(values: Mapping[str, Reading], outputs: Mapping[str, str]) -> dict[str, str]:
    """The files that are read and are no outputs yet. As outputs they are waited for, and a missing one fails the job."""
    files = {each.file: each.file for each in values.values() if each.file and not each.optional}
    return {name: file for name, file in files.items() if file not in outputs.values()}
