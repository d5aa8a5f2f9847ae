"""On which line each key of a TOML text stands: `tomllib` reads the values, and does not say where they were."""

from __future__ import annotations

import re
import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # Dagster brings it

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_VALUE = re.compile(
    r'''"""(?:\\.|[^\\])*?"""(?!")'''  # up to two quotes may stand before the closing ones
    r"""|\'\'\'.*?\'\'\'(?!')"""
    r'''|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^,\]}#\n]+''',
    re.DOTALL,
)


def lines_of(text: str) -> dict[Path, int]:
    """The line of each table, key and element of an array, the first line being 1. The text has to be valid TOML.

    The third table of `[[retry]]` is `("retry", 2)`.
    """
    return _Scanner(text.replace("\r\n", "\n")).lines()


class _Scanner:
    """Walks through the text once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._last: dict[Path, int] = {}  # of each array of tables, the number of its last one

    def lines(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip(_BLANK):
            if self._text.startswith("[[", self._at):
                self._at += 2
                table = self._next_of_array(self._keys())
                self._at += 2
            elif self._text[self._at] == "[":
                self._at += 1
                table = self._noted((), self._keys())
                self._at += 1
            else:
                self._pair(table)
        return self._lines

    def _skip(self, what: re.Pattern[str]) -> bool:
        """Behind that; whether anything is left."""
        found = what.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at < len(self._text)

    def _keys(self) -> list[str]:
        """The parts of a dotted key; afterwards at what follows it."""
        keys = []
        while True:
            self._skip(_BLANK)
            found = _KEY.match(self._text, self._at)
            if found is None:
                raise ValueError(f"line {self._line}: a key was expected")
            keys.append(_unquoted(found[0]))
            self._at = found.end()
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _noted(self, path: Path, keys: list[str]) -> Path:
        """Where these keys lead from there; what has not been met before is here. Of an array its last table is meant."""
        for key in keys:
            path = (*path, key)
            self._lines.setdefault(path, self._line)
            if path in self._last:
                path = (*path, self._last[path])
        return path

    def _next_of_array(self, keys: list[str]) -> Path:
        array: Path = (*self._noted((), keys[:-1]), keys[-1])
        self._lines.setdefault(array, self._line)
        self._last[array] = self._last.get(array, -1) + 1
        table = (*array, self._last[array])
        self._lines[table] = self._line
        return table

    def _pair(self, table: Path) -> None:
        path = self._noted(table, self._keys())
        self._at += 1  # behind "="
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        opening = self._text[self._at]
        if opening not in "[{":
            self._skip(_VALUE)
            return
        self._at += 1
        number = 0
        while self._skip(_BLANK) and self._text[self._at] not in "]}":
            if opening == "[":
                element = (*path, number)
                self._lines[element] = self._line
                self._value(element)
                number += 1
            else:
                self._pair(path)
            self._skip(_BLANK)
            self._at += self._text[self._at] == ","
        self._at += 1

    @property
    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1


def _unquoted(key: str) -> str:
    value: str = tomllib.loads(f"key = {key}")["key"] if key[0] in "\"'" else key
    return value
