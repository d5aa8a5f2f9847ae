"""A function and its arguments → the files of a job, and the digest by which two calls are the same."""

from __future__ import annotations

import functools
import json
import os
import pickle
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.python_calls import worker
from dagster_hpc.python_calls.pickling import Pickled, Stand, is_importable, pickled

_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class StepContext:
    """What the function of an asset may ask of its step."""

    asset_key: str | None = None
    partition_keys: Sequence[str] = ()
    run_id: str | None = None


@dataclass(frozen=True)
class Packed:
    """One call as a file of its job. Equal calls have equal digests; their bytes may differ."""

    name: str  # what the queue shows
    content: bytes
    digest: str
    by_value: Mapping[str, Any] | None  # what the interpreter on the node must have; None where any will do


def packed(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    ranks: int = 1,
    context: StepContext | None = None,
    by_value: bool = False,
    stand: Stand = lambda value: None,
) -> Packed:
    """A call for a worker. `stand`: what stands for an argument that is the value of an earlier call.

    `by_value`: the function travels by value, with what its module defines; all its arguments are given. So does one whose
    module imports Dagster, which a node need not have.
    """
    function, args, kwargs = _without_partial(function, args, kwargs or {})
    called = name_of(function)
    by_name = not by_value and is_importable(function) and not _beside_assets(function)
    modules: list[str] = []
    if isinstance(function, FunctionType) and (by_value or (not by_name and is_importable(function))):
        modules, function = [function.__module__], _bare(function, defaults=not by_value)
    taken = None if by_name else pickled(function, f"the function {called}", stand=stand, modules=modules)
    arguments = _arguments(called, args, kwargs, stand, modules)
    needs = _needs() if arguments.by_value or (taken and taken.by_value) else None
    call: dict[str, Any] = {
        "called": called,
        "module": function.__module__ if by_name else None,
        "name": function.__qualname__ if by_name else None,
        "digest": _digest_by_name(function) if taken is None else taken.digest,
        "by_value": needs,
        "ranks": ranks,
    }
    what = json.dumps([call, arguments.digest, context is not None]).encode()
    call |= {
        "function": taken and taken.content,
        "arguments": arguments.content,
        "folders": project_folders(function if by_name else None),
        "context": vars(context) if context else None,
    }
    return Packed(_plain_name(function), pickle.dumps(call, worker.PROTOCOL), sha256(what).hexdigest(), needs)


def name_of(function: Any) -> str:
    """What messages call it: `climate.prepare`."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None)
    return name if module in (None, "builtins", "__main__") else f"{module}.{name}"


def project_folders(function: Any = None) -> list[str]:
    """Where this process finds modules that are not installed; a node that sees the same folders finds them there.

    First that of the function's own module, which need not be on the path: Dagster loads files from anywhere.
    """
    roots = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    own = [] if function is None else _folder_of(sys.modules[function.__module__])
    folders = [os.path.abspath(entry) for entry in (*own, *sys.path)]  # '' is the current folder
    project = [
        folder
        for folder in folders
        if os.path.isdir(folder)
        and not any(part in _INSTALLED for part in folder.split(os.sep))
        and not folder.startswith(roots)
    ]
    return list(dict.fromkeys(project))


def _folder_of(module: ModuleType) -> list[str]:
    """The folder from which this module is imported by its whole name; none for what is built in."""
    if not getattr(module, "__file__", None):
        return []
    path = Path(str(module.__file__))
    return [str((path.parent if path.stem == "__init__" else path).parents[module.__name__.count(".")])]


def _without_partial(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    while isinstance(function, functools.partial):
        function, args, kwargs = function.func, (*function.args, *args), {**function.keywords, **kwargs}
    if not callable(function):
        raise ConfigurationError(f"{function!r} is no function", advice="give the function itself, then its arguments.")
    return function, tuple(args), dict(kwargs)


def _arguments(
    called: str, args: tuple[Any, ...], kwargs: dict[str, Any], stand: Stand, modules: Sequence[str]
) -> Pickled:
    """All of them in one pickle: what two arguments share stays one object. A fault is told of the argument that has it."""
    try:
        return pickled((args, kwargs), f"the arguments of {called}", stand=stand, modules=modules)
    except ConfigurationError:
        named = [*((f"argument {number}", value) for number, value in enumerate(args, 1)), *kwargs.items()]
        for name, value in named:
            pickled(value, f"{name} of {called}", stand=stand, modules=modules)
        raise


def _beside_assets(function: Any) -> bool:
    """Whether its module holds anything of Dagster, and the function can travel without it."""
    values = vars(sys.modules[function.__module__]).values()
    named = (each.__name__ if isinstance(each, ModuleType) else getattr(each, "__module__", None) for each in values)
    uses = any(str(name).split(".")[0] in ("dagster", "dagster_hpc") for name in named)
    return uses and isinstance(function, FunctionType) and find_spec("cloudpickle") is not None


def _bare(function: FunctionType, *, defaults: bool) -> FunctionType:
    """The function without its annotations, which may name what is not on the node; nor its defaults, where none is used."""
    given = function.__defaults__ if defaults else None
    bare = FunctionType(function.__code__, function.__globals__, function.__name__, given, function.__closure__)
    bare.__module__, bare.__qualname__ = function.__module__, function.__qualname__
    bare.__kwdefaults__ = function.__kwdefaults__ if defaults else None
    return bare


def _digest_by_name(function: Any) -> str | None:
    """That of Python's own functions is none: each version has its text, and any will do."""
    return None if function.__module__.split(".")[0] in sys.stdlib_module_names else worker.digest_of(function)


def _needs() -> dict[str, Any]:
    import cloudpickle

    return {"python": list(sys.version_info[:2]), "cloudpickle": cloudpickle.__version__}


def _plain_name(function: Any) -> str:
    name = str(getattr(function, "__name__", type(function).__name__))
    return name.strip("<>") or "call"
