"""What the files of a site say, and in which line of which file each of it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster_hpc.site.lines import Path


@dataclass(frozen=True, order=True)
class Place:
    """Where something was written: a line of a file, or a variable of the environment, which has no lines."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Fault:
    """One mistake, and where it was made."""

    place: Place
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"


@dataclass(frozen=True)
class Settings:
    """A table of values, and the place of each key in it, however deep. `origin`: the place of the table itself."""

    values: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[Path, Place] = field(default_factory=dict)
    origin: Place = Place("the site")

    def place(self, *path: str | int) -> Place:
        """Where this was written, or else the nearest thing around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.origin

    def origins(self) -> dict[Path, Place]:
        """The place of each value; a list counts as one, unless it is one of tables."""
        return {path: self.place(*path) for path in _leaves(self.values)}

    def table(self, *path: str | int) -> Settings:
        """The table below this path; an empty one where there is none."""
        value: Any = self.values
        for key in path:
            value = value[key] if isinstance(key, int) else value.get(key, {})
        places = {each[len(path) :]: place for each, place in self.places.items() if each[: len(path)] == path}
        return Settings(value, places, self.place(*path))

    def tables(self, key: str) -> dict[str, Settings]:
        """The tables of this table, as in `[targets.NAME]`."""
        return {name: self.table(key, name) for name in self.values.get(key, {})}

    def without(self, *keys: str) -> Settings:
        return self.only([key for key in self.values if key not in keys])

    def only(self, keys: Sequence[str]) -> Settings:
        """Those of its values that have one of these keys."""
        return Settings({key: value for key, value in self.values.items() if key in keys}, self.places, self.origin)

    def with_values(self, **values: Any) -> Settings:
        """The same with some values in another form."""
        return Settings({**self.values, **values}, self.places, self.origin)

    def overridden_by(self, later: Settings) -> Settings:
        """Tables are merged key by key; any other value, a list too, is replaced."""
        values = _merged(self.values, later.values)
        return Settings(values, {**self.places, **later.places}, self.origin if self.values else later.origin)


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    of_tables = isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value)
    if not isinstance(value, Mapping) and not of_tables:
        yield path
        return
    for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _leaves(each, (*path, key))


def _merged(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(earlier)
    for key, value in later.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
