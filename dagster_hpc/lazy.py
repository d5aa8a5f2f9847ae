"""Names of a package that are imported when they are first used (PEP 562): whoever does not use them does not wait."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]], *, before: Callable[[str], None] = lambda module: None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package. `homes`: module below the package → names that it gives.

    The package repeats the imports under TYPE_CHECKING, where type checkers see them. `before` is called with the module
    before it is imported.

    Example:
        __getattr__, __dir__ = lazy_names(__name__, {"solver": ("DiceSolver",)})
    """
    module_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        before(module_of[name])
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next use does not come here
        return value

    def listed() -> list[str]:
        return list(sys.modules[package].__all__)

    return get, listed
