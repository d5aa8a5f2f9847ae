"""What a program prints, or writes as text: patterns name the values, and lines of JSON report by themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from dagster_hpc.collectors.found import LONGEST_TEXT, MOST_KEYS, Collector, Found, missing, path_in, shown_value
from dagster_hpc.dagster_values import text
from dagster_hpc.engine.errors import ConfigurationError, HPCError, did_you_mean
from dagster_hpc.engine.job import JobResult
from dagster_hpc.engine.jobdir import STDOUT

_CHUNK = 1 << 20
_LONGEST_LINE = 1 << 20  # bytes; of a longer line the beginning is looked at
_FORTRAN = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))[dD]([-+]?\d+)")  # 1.5D-03
_SEVERITIES = {severity.value: severity for severity in dg.AssetCheckSeverity}


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
    return from_text(STDOUT, patterns, checks=checks, json_lines=json_lines, optional=optional, value=value)


def from_text(
    path: str,
    patterns: Mapping[str, str] | None = None,
    *,
    checks: Mapping[str, str] | None = None,
    json_lines: bool = False,
    optional: Collection[str] = (),
    value: str | None = None,
) -> Collector:
    """Read a text file that a program leaves, as `from_stdout` reads what it prints.

    `path` is relative to the job's directory. Let it be one of the asset's `outputs` too: so a missing file fails the
    job, and one that a network file system shows late is waited for.

    Example:
        @hpc_asset(profile="small", outputs={"log": "scf.log"}, collect=from_text("scf.log", {"energy": r"E = (\\S+)"}))
        def scf() -> Command:
            return Command.shell("echo 'E = -1.5' >scf.log")
    """
    compiled = {name: _compiled(name, pattern) for name, pattern in (patterns or {}).items()}
    tests = {name: _compiled(name, pattern) for name, pattern in (checks or {}).items()}
    if unknown := [name for name in optional if name not in compiled]:
        raise ConfigurationError(f"optional names {unknown[0]!r}: {did_you_mean(unknown[0], list(compiled))}")
    wanted = {name: sorted(_names(name, pattern)) for name, pattern in compiled.items() if name not in optional}
    if value is not None and value not in optional:
        wanted.setdefault(value, [value])
    return Collector([TextReader(path, compiled, tests, json_lines, wanted)], value)


@dataclass(frozen=True)
class TextReader:
    """Reads a text file line by line. `wanted`: pattern → the values of which it has to bring one."""

    path: str
    patterns: Mapping[str, re.Pattern[str]]
    tests: Mapping[str, re.Pattern[str]]
    json_lines: bool
    wanted: Mapping[str, list[str]]

    def __call__(self, result: JobResult, found: Found) -> None:
        seen: dict[str, str] = {}
        for line in _lines(path_in(result, self.path), result):
            for name, pattern in self.patterns.items():
                for match in pattern.finditer(line):
                    groups = match.groupdict() or {name: match[1] if pattern.groups else match[0]}
                    found.values |= {key: number_or_text(word) for key, word in groups.items() if word is not None}
            for name, pattern in self.tests.items():
                if pattern.search(line):
                    seen[name] = line.strip()[:LONGEST_TEXT]
            if self.json_lines and line.lstrip().startswith("{"):
                _take_json(line, found)
        for name in self.tests:
            found.checks[name] = dg.AssetCheckResult(
                check_name=name, passed=name in seen, metadata={"line": text(seen.get(name))}
            )
        self._refuse_missing(result, found)

    def _refuse_missing(self, result: JobResult, found: Found) -> None:
        left = [name for name, names in self.wanted.items() if not set(names) & found.values.keys()]
        if left:
            patterns = {name: f" ({self.patterns[name].pattern})" for name in left if name in self.patterns}
            words = ", ".join(f"{name!r}{patterns.get(name, '')}" for name in left)
            raise missing(result, f"no line of its {self.path} has {words}", "correct the pattern.")


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


def _take_json(line: str, found: Found) -> None:
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
            metadata={str(key): shown_value(each) for key, each in list(metadata.items())[:MOST_KEYS]},
        )
    else:
        room = MOST_KEYS - len(found.values)
        found.values |= {str(key): each for key, each in metadata.items() if key in found.values or (room := room - 1) >= 0}


def number_or_text(word: str) -> int | float | str:
    """`7` is a whole number, `-1.5`, `1e-9`, `1.5D-03` and `NaN` are numbers; all else is text."""
    for read in (int, float):
        try:
            return read(_FORTRAN.sub(r"\1e\2", word) if read is float else word)
        except ValueError:
            continue
    return word[:LONGEST_TEXT]
