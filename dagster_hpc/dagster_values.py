"""Values as Dagster shows them: numbers, texts, tables, pictures; and errors of this package as failures of a step."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from dagster_hpc.engine.errors import ConfigurationError, HPCError, SubmitRefused

Metadata = Mapping[str, dg.MetadataValue]

BLUE, GREY, RED = "#3b5fc0", "#999999", "#c03b3b"  # of all pictures
_LONGEST_TEXT = 20_000
_DECIMALS = 10  # in a table; the rest is rounding noise, and pushes the next column out of sight
_COLUMN_TYPES = {bool: "bool", int: "int", float: "float", str: "string"}


def number(value: float | None, *, digits: int | None = None) -> dg.MetadataValue:
    """A number, which Dagster plots over the materializations; null where nobody knows it."""
    # Dagster stores NaN and infinity without complaint, and its UI then fails to read the event.
    if value is None or not math.isfinite(value):
        return dg.MetadataValue.null()
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    return dg.MetadataValue.float(float(value) if digits is None else round(float(value), digits))


def numbers(values: Iterable[float], *, digits: int = 8) -> dg.MetadataValue:
    """A list of numbers, such as the occupancies of orbitals."""
    return dg.MetadataValue.json([round(float(value), digits) for value in values])


def whole_numbers(values: Iterable[int]) -> dg.MetadataValue:
    """A list of whole numbers, such as those of alpha and beta electrons."""
    return dg.MetadataValue.json([int(value) for value in values])


def timestamp(value: float | None) -> dg.MetadataValue:
    """A moment, given in seconds since 1970; null where nobody knows it."""
    return dg.MetadataValue.null() if value is None else dg.MetadataValue.timestamp(value)


def text(value: str | None) -> dg.MetadataValue:
    """A short text; null where there is none."""
    return dg.MetadataValue.text(value) if value else dg.MetadataValue.null()


def code(content: str, language: str = "") -> dg.MetadataValue:
    """Text with its line breaks and stars as they are: a fenced block, longer than any fence inside."""
    if not content:
        return dg.MetadataValue.null()
    if len(content) > _LONGEST_TEXT:
        content = "…\n" + content[-_LONGEST_TEXT:]
    fence = "```"
    while fence in content:
        fence += "`"
    return dg.MetadataValue.md(f"{fence}{language}\n{content.rstrip()}\n{fence}")


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> dg.MetadataValue:
    """A table. Column → type in Dagster's words; where `columns` is not given, the rows tell, and no row is no table."""
    if columns is None:
        if not rows:
            return dg.MetadataValue.null()
        columns = {name: _column_type([row[name] for row in rows]) for name in rows[0]}
    schema = dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in columns.items()])
    records = [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows]
    return dg.MetadataValue.table(records, schema)


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(float(value), _DECIMALS) if math.isfinite(value) else None


def _column_type(values: Sequence[Any]) -> str:
    return next((_COLUMN_TYPES[type(value)] for value in values if value is not None), "string")


def picture(
    draw: Callable[[Any], None], title: str, *, size: tuple[float, float] = (9, 3.5), dpi: int = 110
) -> dg.MetadataValue:
    """What `draw` draws into a matplotlib figure. On the page of the asset, under Metadata, [Show Markdown] shows it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return dg.MetadataValue.text("matplotlib is not installed, so there is no picture")
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=dpi)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png.getvalue()).decode()})")


def plain(metadata: Metadata) -> dict[str, object]:
    """The values without their wrapping, for tables and tests."""
    return {name: value.value for name, value in metadata.items()}


def failure(error: HPCError, metadata: Metadata | None = None) -> dg.Failure:
    """The error as a failure of the step, with its sentence. A request that is wrong is not worth a retry.

    `metadata`: what is known of it; default: the directory of the job.
    """
    if metadata is None:
        metadata = {"work_dir": dg.MetadataValue.path(error.work_dir)} if error.work_dir else {}
    worth_a_retry = not isinstance(error, (ConfigurationError, SubmitRefused))
    return dg.Failure(str(error), metadata=dict(metadata), allow_retries=worth_a_retry)


@contextmanager
def errors_as_failures() -> Iterator[None]:
    """Every error of this package inside the block fails the step as `failure` says."""
    try:
        yield
    except HPCError as error:
        raise failure(error) from error
