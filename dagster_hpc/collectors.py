"""Results of programs that nobody changes: what they print becomes metadata, checks and a value."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from dagster_hpc.dagster_values import number, table, text
from dagster_hpc.engine.errors import ConfigurationError, HPCError, did_you_mean
from dagster_hpc.engine.job import JobResult
from dagster_hpc.engine.jobdir import STDOUT
from dagster_hpc.metadata import job_metadata

_CHUNK = 1 << 20
_LONGEST_LINE = 1 << 20  # bytes; of a longer line the beginning is looked at
_LONGEST_TEXT = 1000  # characters of a value or a line that is shown
_MOST_KEYS = 200  # that JSON lines may bring
_FORTRAN = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))[dD]([-+]?\d+)")  # 1.5D-03
_SEVERITIES = {severity.value: severity for severity in dg.AssetCheckSeverity}

Collector = Callable[[Any], dg.MaterializeResult[Any]]


@dataclass
class _Found:
    """What one job has printed of what was looked for."""

    values: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, dg.AssetCheckResult] = field(default_factory=dict)


def from_stdout(
    patterns: Mapping[str, str] | None = None,
    *,
    checks: Mapping[str, str] | None = None,
    json_lines: bool = False,
    optional: Collection[str] = (),
    value: str | None = None,
) -> Collector:
    """Read what a program prints: for `collect` of an `hpc_asset`.

    All of `stdout.log` is read, line by line. Where a pattern matches several times, the last match counts.

    Args:
        patterns: Name → regular expression. Its group is the value (without one, the whole match); with named groups
            each is a value under its own name. What looks like a number is one, also Fortran's 1.5D-03.
        checks: Name of an asset check → regular expression. It passes if a line matches.
        json_lines: Lines that are JSON objects report too: {"metadata": {"energy": -1.5}}, and
            {"check": "converged", "passed": true}, which may have metadata and "severity": "WARN".
        optional: Names among `patterns` that may be missing. If another matches nowhere, the step fails.
        value: Name of the value that the asset's own value is; default: all of them, as a dict.

    Of several Commands, the metadata is a table with a row for each, the value a list, and a check passes if it does
    for all.

    Example:
        @hpc_asset(profile="small", collect=from_stdout({"energy": r"E = (\\S+)"}, value="energy"))
        def scf() -> Command:
            return Command("/bin/echo", args=["E = -1.5"])
    """
    compiled = {name: _compiled(name, pattern) for name, pattern in (patterns or {}).items()}
    tests = {name: _compiled(name, pattern) for name, pattern in (checks or {}).items()}
    if unknown := [name for name in optional if name not in compiled]:
        raise ConfigurationError(f"optional names {unknown[0]!r}: {did_you_mean(unknown[0], list(compiled))}")

    wanted = {name: _names(name, pattern) for name, pattern in compiled.items() if name not in optional}
    if value is not None and value not in optional:
        wanted.setdefault(value, {value})

    def one(result: JobResult) -> _Found:
        found = _read(result, compiled, tests, json_lines)
        missing = [name for name, names in wanted.items() if not names & found.values.keys()]
        if missing:
            patterns = {name: f" ({compiled[name].pattern})" for name in missing if name in compiled}
            raise _failure(result, [f"{name!r}{patterns.get(name, '')}" for name in missing])
        return found

    def collect(given: JobResult | Sequence[JobResult]) -> dg.MaterializeResult[Any]:
        results = [given] if isinstance(given, JobResult) else list(given)
        found = [one(result) for result in results]
        values = [each.values.get(value) if value is not None else each.values for each in found]
        if isinstance(given, JobResult):
            metadata = {name: _metadata(each) for name, each in found[0].values.items()}
            return dg.MaterializeResult(value=values[0], metadata=metadata, check_results=list(found[0].checks.values()))
        return dg.MaterializeResult(value=values, metadata={"results": _table(found)}, check_results=_for_all(found))

    return collect


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"the pattern of {name!r} is no regular expression: {error}: {pattern!r}") from error
    if found.groups > 1 and len(found.groupindex) < found.groups:
        raise ConfigurationError(
            f"the pattern of {name!r} has {found.groups} groups: {pattern!r}",
            advice="name them, as in (?P<energy>\\S+), or write (?:…) for those that are no values.",
        )
    return found


def _names(name: str, pattern: re.Pattern[str]) -> set[str]:
    return set(pattern.groupindex) or {name}


def _read(
    result: JobResult, patterns: Mapping[str, re.Pattern[str]], tests: Mapping[str, re.Pattern[str]], json_lines: bool
) -> _Found:
    found = _Found()
    seen: dict[str, str] = {}
    path = os.path.join(result.handle.work_dir, STDOUT)
    for line in _lines(path, result):
        for name, pattern in patterns.items():
            for match in pattern.finditer(line):
                groups = match.groupdict() or {name: match[1] if pattern.groups else match[0]}
                found.values |= {key: _number_or_text(word) for key, word in groups.items() if word is not None}
        for name, pattern in tests.items():
            if pattern.search(line):
                seen[name] = line.strip()[:_LONGEST_TEXT]
        if json_lines and line.lstrip().startswith("{"):
            _take_json(line, found)
    for name in tests:
        found.checks[name] = dg.AssetCheckResult(
            check_name=name, passed=name in seen, metadata={"line": text(seen.get(name))}
        )
    return found


def _lines(path: str, result: JobResult) -> Iterator[str]:
    """The lines of a log, of which each state of a progress bar is one. It may be longer than the memory."""
    rest = b""
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                *lines, rest = (rest + chunk.replace(b"\r", b"\n")).split(b"\n")
                yield from (line[:_LONGEST_LINE].decode("utf-8", "replace") for line in lines)
                rest = rest[:_LONGEST_LINE]
    except OSError as error:
        raise HPCError(f"the output of {result.handle} cannot be read: {error}", work_dir=result.handle.work_dir) from error
    yield rest.decode("utf-8", "replace")


def _take_json(line: str, found: _Found) -> None:
    try:
        said = json.loads(line)
    except ValueError:
        return  # a line of the program's own that begins with a brace
    metadata = said.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name, passed = said.get("check"), said.get("passed")
    if isinstance(name, str) and isinstance(passed, bool):
        found.checks[name] = dg.AssetCheckResult(
            check_name=name,
            passed=passed,
            severity=_SEVERITIES.get(str(said.get("severity")), dg.AssetCheckSeverity.ERROR),
            metadata={str(key): _metadata(each) for key, each in list(metadata.items())[:_MOST_KEYS]},
        )
    else:
        room = _MOST_KEYS - len(found.values)
        found.values |= {str(key): each for key, each in metadata.items() if key in found.values or (room := room - 1) >= 0}


def _number_or_text(word: str) -> int | float | str:
    """`7` is a whole number, `-1.5`, `1e-9`, `1.5D-03` and `NaN` are numbers; all else is text."""
    for read in (int, float):
        try:
            return read(_FORTRAN.sub(r"\1e\2", word) if read is float else word)
        except ValueError:
            continue
    return word[:_LONGEST_TEXT]


def _metadata(value: Any) -> dg.MetadataValue:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, dict | list):
        # NaN inside would make the event unreadable for the UI.
        return dg.MetadataValue.json(json.loads(json.dumps(value), parse_constant=lambda _: None))
    return text(None if value is None else str(value)[:_LONGEST_TEXT])


def _table(found: Sequence[_Found]) -> dg.MetadataValue:
    """A row for each element. A column whose values are not of one kind is one of texts."""
    names = list(dict.fromkeys(name for each in found for name in each.values))[:_MOST_KEYS]
    rows = []
    columns = {"element": "int"}
    for name in names:
        kinds = {type(each.values[name]) for each in found if each.values.get(name) is not None}
        columns[name] = "int" if kinds == {int} else "float" if kinds and kinds <= {int, float} else "string"
    for index, each in enumerate(found):
        cells = {name: each.values.get(name) for name in names}
        shown = {
            name: cell if cell is None or columns[name] != "string" else str(cell)[:_LONGEST_TEXT]
            for name, cell in cells.items()
        }
        rows.append({"element": index, **shown})
    return table(rows, columns)


def _for_all(found: Sequence[_Found]) -> list[dg.AssetCheckResult]:
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
                metadata={"elements_that_failed": dg.MetadataValue.json(failed[:_MOST_KEYS]), "elements": len(found)},
            )
        )
    return results


def _failure(result: JobResult, missing: Sequence[str]) -> dg.Failure:
    """The job ended well, and its output does not say what was looked for. Running it again would not help."""
    error = HPCError(
        f"{result.handle} ended well, but no line of its {STDOUT} has {', '.join(missing)}",
        advice="correct the pattern and materialize again: the finished job is taken, not run anew. If the program may "
        "leave it out, name it in `optional`.",
        work_dir=result.handle.work_dir,
    )
    return dg.Failure(str(error), metadata=job_metadata(result), allow_retries=False)
