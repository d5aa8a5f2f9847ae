"""When each element of an array waited and ran, as one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import dagster as dg

from dagster_hpc.dagster_values import BLUE, GREY, RED, picture
from dagster_hpc.engine.job import JobResult

_FEW = 4  # so many jobs are seen in a table as well
_MOST_LINES = 2_000  # more are not told apart; every n-th is drawn
_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))


def timeline(results: Sequence[JobResult]) -> dg.MetadataValue:
    """Grey: waiting. Blue: running. Red: ran and failed. Null for a few jobs, and where matplotlib is not installed."""
    known = [result for result in results if _span(result) is not None]
    if len(known) <= _FEW or find_spec("matplotlib") is None:
        return dg.MetadataValue.null()
    shown = known[:: math.ceil(len(known) / _MOST_LINES)]
    return picture(lambda figure: _draw(figure, shown, len(known)), "When each element waited and ran", size=(7, 3), dpi=90)


def _span(result: JobResult) -> tuple[float, float, float] | None:
    """Submitted, started, ended; None where one of them is not known."""
    metrics = result.metrics
    moments = (metrics.submitted_at, metrics.started_at, metrics.ended_at)
    if any(moment is None or not math.isfinite(moment) for moment in moments):
        return None
    submitted, started, ended = (moment or 0.0 for moment in moments)
    return submitted, max(started, submitted), max(ended, started, submitted)


def _draw(figure: Any, results: Sequence[JobResult], of: int) -> None:
    spans = [span for result in results if (span := _span(result))]
    zero, last = min(span[0] for span in spans), max(span[2] for span in spans)
    seconds, unit = next(((size, unit) for size, unit in _UNITS if last - zero > 2 * size), (1.0, "seconds"))
    axes = figure.add_subplot()
    width = max(0.3, min(6.0, 150 / len(spans)))
    for part, colours in (
        (0, [GREY] * len(spans)),
        (1, [BLUE if result.succeeded else RED for result in results]),
    ):
        begins = [(span[part] - zero) / seconds for span in spans]
        ends = [(span[part + 1] - zero) / seconds for span in spans]
        axes.hlines(range(len(spans)), begins, ends, colors=colours, linewidth=width)
    axes.invert_yaxis()
    axes.set_xlabel(f"{unit} since the first was submitted")
    axes.set_ylabel("element" if of == len(spans) else f"{len(spans)} of {of} elements")
    axes.yaxis.get_major_locator().set_params(integer=True)
