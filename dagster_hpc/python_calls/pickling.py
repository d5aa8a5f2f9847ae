"""Values that travel to a node: by name where the node can import what they are made of, else by value with cloudpickle."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from types import FunctionType
from typing import Any

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.python_calls.worker import PROTOCOL, found

_REGISTERING = Lock()  # cloudpickle keeps one list for the whole process

Stand = Callable[[Any], Any]  # what stands for a value on its way: None for one that travels itself


@dataclass(frozen=True)
class Pickled:
    """A value on its way. `digest` is equal for equal values, in whichever process they are pickled."""

    content: bytes
    by_value: bool
    digest: str


def pickled(value: Any, what: str, *, stand: Stand = lambda value: None, modules: Sequence[str] = ()) -> Pickled:
    """The value as bytes; `what` is what an error calls it.

    `modules`: whose functions and classes travel by value too. `stand`: see `Stand`.
    """
    try:
        content = _plain(value, stand, modules)
    except Exception as plainly:  # noqa: BLE001  # __reduce__ of the user's classes may raise anything
        return _by_value(value, what, stand, modules, plainly)
    return Pickled(content, False, sha256(content).hexdigest())


def is_importable(thing: Any) -> bool:
    """Whether this function or class stands in its module under its own name, so that a node may find it there."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not name or module == "__main__" or module not in sys.modules:
        return False
    try:
        return found(module, name) is thing
    except (ImportError, AttributeError):
        return False


class _OnlyHere(Exception):
    """A function or class that no other process could import."""


def _plain(value: Any, stand: Stand, modules: Sequence[str]) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return _in_order(value) or stand(value)

        def reducer_override(self, value: Any) -> Any:
            named = isinstance(value, type | FunctionType)
            if named and (not is_importable(value) or value.__module__ in modules):
                raise _OnlyHere(f"{value.__module__}.{value.__qualname__} cannot be imported elsewhere")
            return NotImplemented

    return _dumped(Pickler, value)


def _by_value(value: Any, what: str, stand: Stand, modules: Sequence[str], plainly: Exception) -> Pickled:
    try:
        from cloudpickle import cloudpickle
    except ImportError as error:
        raise ConfigurationError(
            f"{what} cannot be imported on a node ({plainly}), and cloudpickle is not installed here",
            advice="put it into a module that is installed there; or install cloudpickle: `pip install "
            "dagster-hpc[functions]`.",
        ) from error

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, value: Any) -> Any:
            return _in_order(value) or stand(value)

    try:
        with _registered(cloudpickle, modules):
            content = _dumped(Pickler, value)
    except Exception as error:
        raise ConfigurationError(
            f"{what} cannot be pickled: {error}",
            advice="hand over what can be: a path in place of an open file, the data of a connection in place of it.",
        ) from error
    # cloudpickle numbers the classes that it carries at random, and would make another call of the same one each time.
    numbers = getattr(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {}).values()
    stable = content
    for number in sorted((n.encode() for n in numbers if n.encode() in content), key=content.index):
        stable = stable.replace(number, b"")
    return Pickled(content, b"cloudpickle" in content, sha256(stable).hexdigest())


def _dumped(pickler: Any, value: Any) -> bytes:
    file = io.BytesIO()
    pickler(file, protocol=PROTOCOL).dump(value)
    return file.getvalue()


def _in_order(value: Any) -> tuple[str, list[str]] | None:
    """A set of texts as a list: its own order is another one in each process, and would make another call of it."""
    if type(value) in (set, frozenset) and all(type(each) is str for each in value):
        return type(value).__name__, sorted(value)
    return None


@contextmanager
def _registered(cloudpickle: Any, modules: Sequence[str]) -> Iterator[None]:
    """While the block runs, cloudpickle takes what these modules define along by value."""
    with _REGISTERING:
        known = cloudpickle.list_registry_pickle_by_value()
        added = [sys.modules[name] for name in modules if name in sys.modules and name not in known]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)
