"""Values out of a JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dagster_hpc.collectors.expect import Expect, Expectations
from dagster_hpc.collectors.found import Collector, Found, missing, path_in
from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.job import JobResult

_STEP = re.compile(r"""\.?([^.\[\]"']+)|\[(-?\d+)\]|\[(?:"([^"]*)"|'([^']*)')\]""")


def from_json(
    path: str,
    values: Mapping[str, str],
    *,
    checks: Mapping[str, Expect] | None = None,
    optional: Collection[str] = (),
    value: str | None = None,
) -> Collector:
    """Read values out of a JSON file that a program leaves: for `collect` of an `hpc_asset`.

    Args:
        path: Of the file, relative to the job's directory. Let it be one of the asset's `outputs` too: so a missing file
            fails the job, and one that a network file system shows late is waited for.
        values: Name → place in the file: `$.energy`, `$.steps[-1].residual`, `$["a key"]`. The `$.` may be left out.
        checks: Name of an asset check → what the value of that name has to be.
        optional: Names among `values` that may be missing or null. If another is, the step fails.
        value: Name of the value that the asset's own value is; default: all of them, as a dict.

    Example:
        @hpc_asset(profile="small", outputs={"result": "scf.json"}, collect=from_json("scf.json", {"energy": "$.energy"}))
        def scf() -> Command:
            return Command("scf")
    """
    places = {name: _steps(place) for name, place in values.items()}
    return Collector([JSONReader(path, places, tuple(optional)), Expectations(dict(checks or {}))], value)


def _steps(place: str) -> list[str | int]:
    """`$.steps[-1].residual` → `["steps", -1, "residual"]`."""
    rest, steps = place.removeprefix("$"), list[str | int]()
    while rest:
        found = _STEP.match(rest)
        if found is None:
            raise ConfigurationError(
                f"{place!r} is no place in a JSON file", advice='write it as $.energy, $.steps[-1].residual or $["a key"].'
            )
        steps.append(int(found[2]) if found[2] else next(group for group in found.groups() if group is not None))
        rest = rest[found.end() :]
    return steps


@dataclass(frozen=True)
class JSONReader:
    """Reads these places of a JSON file."""

    path: str
    places: Mapping[str, list[str | int]]
    optional: Collection[str]

    def __call__(self, result: JobResult, found: Found) -> None:
        try:
            with open(path_in(result, self.path), encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and set(self.places) <= set(self.optional):
                return
            raise missing(result, f"its {self.path} cannot be read: {error}", "let the program write JSON there.") from error
        for name, steps in self.places.items():
            value, why = _at(content, steps)
            if value is not None:
                found.values[name] = value
            elif name not in self.optional:
                raise missing(result, f"its {self.path} has no {name!r}: {why}", "correct the place of the value.")


def _at(content: Any, steps: list[str | int]) -> tuple[Any, str]:
    """What stands there; None and the reason where nothing does."""
    for step in steps:
        if isinstance(content, list) and isinstance(step, int) and -len(content) <= step < len(content):
            content = content[step]
            continue
        if isinstance(content, dict) and isinstance(step, str):
            if step not in content:
                return None, f"there is no key {step!r}, {did_you_mean(step, list(content))}"
            content = content[step]
            continue
        return None, f"there is no {step!r} in a value of type {type(content).__name__}"
    return content, "it is null"
