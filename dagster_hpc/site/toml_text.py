"""Values as a TOML text that a person would have written: what is short first, then the tables, with comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster_hpc.site.lines import Path

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True)
class Comments:
    """What stands above a key or table, beside it, and at the end of a table: by its path."""

    above: Mapping[Path, str] = field(default_factory=dict)
    beside: Mapping[Path, str] = field(default_factory=dict)
    below: Mapping[Path, str] = field(default_factory=dict)


def toml_text(values: Mapping[str, Any], comments: Comments | None = None) -> str:
    """The text. The values are such as `tomllib` gives."""
    text = "\n".join(_lines(values, (), comments or Comments()))
    return text.strip("\n") + "\n" if text.strip() else ""


def _lines(table: Mapping[str, Any], path: Path, comments: Comments) -> Iterator[str]:
    """A table without its header."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping) or _is_tables(value)}
    for key, value in table.items():
        if key not in inner:
            yield from _above(comments, (*path, key))
            yield f"{_key(key)} = {_value(value)}" + _beside(comments, (*path, key))
    if path in comments.below:
        yield from (f"# {line}" for line in comments.below[path].splitlines())
    for key, value in inner.items():
        for number, each in enumerate([value] if isinstance(value, Mapping) else value):
            mine: Path = (*path, key) if isinstance(value, Mapping) else (*path, key, number)
            brackets = "[{}]" if isinstance(value, Mapping) else "[[{}]]"
            if _needs_header(each, mine, comments) or not isinstance(value, Mapping):
                header = ".".join(_key(part) for part in mine if isinstance(part, str))
                yield ""
                yield from _above(comments, mine)
                yield brackets.format(header) + _beside(comments, mine)
            yield from _lines(each, mine, comments)


def _needs_header(table: Mapping[str, Any], path: Path, comments: Comments) -> bool:
    """A table that holds nothing but tables is begun by theirs."""
    only_tables = table and all(isinstance(value, Mapping) for value in table.values())
    return not only_tables or any(path in some for some in (comments.above, comments.beside, comments.below))


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _above(comments: Comments, path: Path) -> Iterator[str]:
    yield from (f"# {line}".rstrip() for line in comments.above.get(path, "").splitlines())


def _beside(comments: Comments, path: Path) -> str:
    return f"  # {comments.beside[path]}" if comments.beside.get(path) else ""


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(each)}' for key, each in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value)}]"
    return str(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
