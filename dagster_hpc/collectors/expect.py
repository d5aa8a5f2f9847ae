"""What a value has to be, as an asset check."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import dagster as dg

from dagster_hpc.collectors.found import Found, shown_value
from dagster_hpc.dagster_values import text
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobResult

_told = dg.Resolver.default


@dataclass(frozen=True)
class Expect(dg.Resolvable):
    """What a value that a collector reads has to be. All that is said holds together; a missing value fails the check.

    Example:
        @hpc_asset(
            profile="small",
            outputs={"result": "scf.json"},
            collect=from_json("scf.json", {"residual": "$.residual"}, checks={"small": Expect("residual", less_than=1e-6)}),
            check_specs=[dg.AssetCheckSpec("small", asset="scf")],
        )
        def scf() -> Command:
            return Command("scf")
    """

    value: Annotated[str | None, _told(description="Name of the value; default: the name of the check.")] = None
    equals: Annotated[Any, _told(description="Just this: a truth value, number or text.", examples=[True])] = None
    less_than: Annotated[float | None, _told(description="A number below this.", examples=[1e-6])] = None
    at_most: Annotated[float | None, _told(description="A number not above this.")] = None
    more_than: Annotated[float | None, _told(description="A number above this.")] = None
    at_least: Annotated[float | None, _told(description="A number not below this.")] = None
    severity: Annotated[
        Literal["ERROR", "WARN"], _told(description="WARN: a failed check is shown, and blocks nothing.")
    ] = "ERROR"

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ConfigurationError("a check says nothing: give equals, less_than, at_most, more_than or at_least")

    @property
    def conditions(self) -> dict[str, Any]:
        """Those that are given."""
        said = {
            "equals": self.equals, "less_than": self.less_than, "at_most": self.at_most, "more_than": self.more_than,
            "at_least": self.at_least,
        }  # fmt: skip
        return {name: bound for name, bound in said.items() if bound is not None}

    def said(self, check: str) -> str:
        """The check of this name in words: `residual less_than 1e-06`."""
        return " ".join([self.value or check, ", ".join(f"{name} {bound}" for name, bound in self.conditions.items())])

    def holds(self, value: Any) -> bool:
        """Whether a value is as it has to be."""
        return all(_TESTS[name](value, bound) for name, bound in self.conditions.items())

    def answer(self, check: str, values: dict[str, Any]) -> dg.AssetCheckResult:
        """The result of the check of this name."""
        value = values.get(self.value or check)
        return dg.AssetCheckResult(
            check_name=check,
            passed=self.holds(value),
            severity=dg.AssetCheckSeverity[self.severity],
            metadata={
                "value": shown_value(value),
                "expected": text(self.said(check)),
            },
        )


def _number(value: Any) -> float:
    """NaN, with which no comparison holds, for all that is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda value, bound: value == bound and isinstance(value, bool) == isinstance(bound, bool),
    "less_than": lambda value, bound: _number(value) < bound,
    "at_most": lambda value, bound: _number(value) <= bound,
    "more_than": lambda value, bound: _number(value) > bound,
    "at_least": lambda value, bound: _number(value) >= bound,
}


@dataclass(frozen=True)
class Expectations:
    """Answers checks from the values that were read before it."""

    checks: dict[str, Expect]

    def __call__(self, result: JobResult, found: Found) -> None:
        for name, expected in self.checks.items():
            found.checks[name] = expected.answer(name, found.values)
