"""From settings to the records that they describe, with a place for everything that is wrong with them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, ValidationError

from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.engine.units import parse_memory, parse_signal, parse_walltime
from dagster_hpc.site.settings import Fault, Settings

Record = TypeVar("Record", bound=BaseModel)

_READ_BY: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("walltime", "max_walltime", "most_walltime"), parse_walltime),
    **dict.fromkeys(("memory_per_node", "max_memory_per_node", "most_memory"), parse_memory),
    "signal_before_end": parse_signal,
}
_PATHS = ("work_root", "ledger_url", "template", "container")
_FREE = re.compile(r"\$(?:\w|\{)")


def record(
    model: type[Record], settings: Settings, where: str, faults: list[Fault], *, also: Sequence[str] = ()
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
    values = {key: _expanded(key, value, own, found) for key, value in own.values.items()}
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
                name = ".".join(str(key) for key in path)
                found.append(Fault(own.place(*path), f"{name}: {_message(part)} (given: {part['input']!r})"))
            elif not unread:  # which the record as a whole complains of, too
                found.append(Fault(own.origin, f"{where}: {_message(part)}"))
    faults += found + unread
    return None if found or unread else made


def _message(part: Mapping[str, Any]) -> str:
    words: str = part["msg"].removeprefix("Value error, ")
    return words[:1].lower() + words[1:]


def _error_of(read: Callable[[str], Any], text: str) -> ValueError | None:
    try:
        read(text)
    except ValueError as error:
        return error
    return None


def _expanded(key: str, value: Any, settings: Settings, faults: list[Fault]) -> Any:
    """~ and $VAR in paths, and `{env = "NAME"}` as the value of a variable that no script shows."""
    if key in _PATHS and isinstance(value, str):
        return _path(value, settings, (key,), faults)
    if key == "executable_map" and isinstance(value, Mapping):
        return {
            name: _path(path, settings, (key, name), faults) if isinstance(path, str) else path
            for name, path in value.items()
        }
    if key == "environments" and isinstance(value, Mapping):
        return {name: _secret(each) for name, each in value.items()}
    return value


def _secret(value: Any) -> Any:
    return dg.EnvVar(value["env"]) if isinstance(value, Mapping) and list(value) == ["env"] else value


def _path(text: str, settings: Settings, path: tuple[str, ...], faults: list[Fault]) -> str:
    full = os.path.expanduser(os.path.expandvars(text))
    if _FREE.search(full):
        faults.append(Fault(settings.place(*path), f"{text!r} names a variable of the environment that is not set here"))
    return full
