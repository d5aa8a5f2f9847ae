"""From settings to the records that they describe, with a place for everything that is wrong with them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from getpass import getuser
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, ValidationError

from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.units import parse_memory, parse_signal, parse_walltime
from dagster_hpc.site.settings import Fault, Place, Settings

Record = TypeVar("Record", bound=BaseModel)


@dataclass
class Faults:
    """What is wrong with a site, as it is found."""

    mistakes: list[Fault] = field(default_factory=list)
    unset: list[Fault] = field(default_factory=list)  # variables in paths: they may be set on the machine that is meant

    def add(self, place: Place, sentence: str) -> None:
        self.mistakes.append(Fault(place, sentence))

_READ_BY: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("walltime", "max_walltime", "most_walltime"), parse_walltime),
    **dict.fromkeys(("memory_per_node", "max_memory_per_node", "most_memory"), parse_memory),
    "signal_before_end": parse_signal,
}
_PATHS = ("work_root", "ledger_url", "template", "container", "python")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


def record(
    model: type[Record], settings: Settings, where: str, faults: Faults, *, also: Sequence[str] = ()
) -> Record | None:
    """The record; None where something keeps it from being made. `where`: how its table is called in a fault.

    `also`: further keys that may stand in that table, for the hint at a mistyped one.
    """
    known = [*model.model_fields, *also]
    found = [
        Fault(settings.place(key), f"{where} has no key {key!r}: {did_you_mean(key, known)}")
        for key in settings.values
        if key not in model.model_fields
    ]
    own = settings.only(list(model.model_fields))
    values = {key: _expanded(key, value, own, faults.unset) for key, value in own.values.items()}
    unread = [
        Fault(own.place(key), str(error))
        for key, read in _READ_BY.items()
        if isinstance(values.get(key), str) and (error := _error_of(read, values[key]))
    ]
    made: Record | None = None
    try:
        made = model(**values)
    except ValidationError as error:
        for part in error.errors():
            path = tuple(part["loc"])
            if path:
                found.append(Fault(own.place(*path), f"{'.'.join(map(str, path))}: {_message(part)}{_given(part)}"))
            elif not unread:  # which the record as a whole complains of, too
                found.append(Fault(own.origin, f"{where}: {_message(part)}"))
    faults.mistakes += found + unread
    return None if found or unread else made


def _message(part: Mapping[str, Any]) -> str:
    words: str = part["msg"].removeprefix("Value error, ")
    return words[:1].lower() + words[1:]


def _given(part: Mapping[str, Any]) -> str:
    """The value that is wrong; it may be a secret where it was to be in the environment of jobs."""
    return "" if part["loc"][0] == "environments" else f" (given: {part['input']!r})"


def _error_of(read: Callable[[str], Any], text: str) -> ValueError | None:
    try:
        read(text)
    except ValueError as error:
        return error
    return None


def _expanded(key: str, value: Any, settings: Settings, unset: list[Fault]) -> Any:
    """~ and $VAR in paths; and `{env = "NAME"}` for what stands in no file, and is shown nowhere."""
    if key in _PATHS:
        return _path(value, settings.place(key), unset) if isinstance(value, str) else _secret(value)
    if key == "executable_map" and isinstance(value, Mapping):
        return {
            name: _path(path, settings.place(key, name), unset) if isinstance(path, str) else path
            for name, path in value.items()
        }
    if key == "environments" and isinstance(value, Mapping):
        return {name: _secret(each) for name, each in value.items()}
    return value


def _secret(value: Any) -> Any:
    return dg.EnvVar(value["env"]) if isinstance(value, Mapping) and list(value) == ["env"] else value


def _path(text: str, place: Place, unset: list[Fault]) -> str:
    """The path with the values of its variables. A daemon may have no $USER: the system knows who it is."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name in os.environ or name == "USER":
            return os.environ.get(name) or getuser()
        unset.append(Fault(place, f"{text!r} names ${name}, which is not set here"))
        return found[0]

    return os.path.expanduser(_VARIABLE.sub(value, text))
