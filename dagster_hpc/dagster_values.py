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
from dagster_hpc.shown_text import MASK, beginning_and_end, ending, masked, readable, shortened, sounds_secret

Metadata = Mapping[str, dg.MetadataValue]

BLUE, GREY, RED = "#3b5fc0", "#999999", "#c03b3b"  # of all pictures
_LONGEST_CODE, _LONGEST_MESSAGE, _LONGEST_TEXT, _LONGEST_CELL = 20_000, 8_000, 2_000, 500  # characters
_MOST_ENTRIES, _DEEPEST = 200, 10  # of JSON
_LAST_MOMENT = 1e11  # in seconds since 1970: what a year of more than four digits would be
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
    rounded = [round(float(value), digits) for value in values]
    return dg.MetadataValue.json([value if math.isfinite(value) else None for value in rounded])


def whole_numbers(values: Iterable[int]) -> dg.MetadataValue:
    """A list of whole numbers, such as those of alpha and beta electrons."""
    return dg.MetadataValue.json([int(value) for value in values])


def timestamp(value: float | None) -> dg.MetadataValue:
    """A moment, given in seconds since 1970; null where nobody knows it."""
    known = value is not None and math.isfinite(value) and abs(value) < _LAST_MOMENT
    return dg.MetadataValue.timestamp(value) if known else dg.MetadataValue.null()


def text(value: str | None) -> dg.MetadataValue:
    """A short text; null where there is none. Secrets are masked, as in all texts here."""
    return dg.MetadataValue.text(_fit(value, _LONGEST_TEXT)) if value else dg.MetadataValue.null()


def code(
    content: str, language: str = "", *, cut: Callable[[str, int], str] = ending, longest: int = _LONGEST_CODE
) -> dg.MetadataValue:
    """Text with its line breaks and stars as they are: a fenced block, longer than any fence inside.

    `cut`: what is kept of a text that is longer than `longest`; default: its end.
    """
    content = cut(masked(readable(content)), longest).rstrip()
    if not content:
        return dg.MetadataValue.null()
    fence = "```"
    while fence in content:
        fence += "`"
    return dg.MetadataValue.md(f"{fence}{language}\n{content}\n{fence}")


def script(content: str, *, longest: int = _LONGEST_CODE) -> dg.MetadataValue:
    """A shell script: of a long one, beginning and end."""
    return code(content, "bash", cut=beginning_and_end, longest=longest)


def json_value(value: Any) -> dg.MetadataValue:
    """Something of dicts and lists, such as what a scheduler reported: bounded, and without the values of secrets."""
    return dg.MetadataValue.json(_fit_json(value, _DEEPEST))


def _fit(words: str, longest: int) -> str:
    return shortened(masked(readable(words)), longest)


def _fit_json(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _fit(value, _LONGEST_TEXT)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        shown = {
            _fit(str(key), _LONGEST_CELL): MASK if sounds_secret(str(key)) else _fit_json(entry, depth - 1)
            for key, entry in list(value.items())[:_MOST_ENTRIES]
        }
        more = len(value) - _MOST_ENTRIES
        return {**shown, "…": f"{more} more"} if more > 0 else shown
    if isinstance(value, list | tuple):
        entries = [_fit_json(entry, depth - 1) for entry in value[:_MOST_ENTRIES]]
        more = len(value) - _MOST_ENTRIES
        return [*entries, f"… {more} more"] if more > 0 else entries
    return _fit(str(value), _LONGEST_TEXT)


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
    if isinstance(value, str):
        return _fit(value, _LONGEST_CELL)
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
    words = beginning_and_end(masked(readable(str(error))), _LONGEST_MESSAGE)
    return dg.Failure(words, metadata=dict(metadata), allow_retries=worth_a_retry)


@contextmanager
def errors_as_failures() -> Iterator[None]:
    """Every error of this package inside the block fails the step as `failure` says."""
    try:
        yield
    except HPCError as error:
        raise failure(error) from error
