"""Values that are known when a job is made: `{{ partition_key }}` and `{{ deps.prepare.table }}` in an argument.

Dagster fills in the templates of a `defs.yaml` when it loads it. These two are filled in with marks then, and the marks
with values when the job is made. Each value stays within its argument, and the job script quotes arguments: whatever an
upstream file is called, no shell reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

# Characters that Unicode keeps free for private use, so that no argument has them.
_BEGIN, _NEXT, _END, _GUARD = "\ue000", "\ue001", "\ue002", "\ue003"
_MARK = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")


@dataclass(frozen=True)
class Reference:
    """What one placeholder names: an upstream asset and one of its outputs; without an asset, the partition key."""

    asset: dg.AssetKey | None = None
    output: str | None = None

    def __str__(self) -> str:
        if self.asset is None:
            return "{{ partition_key }}"
        name = self.asset.to_user_string()
        known = f"deps.{name}" if name.isidentifier() else f"deps[{name!r}]"
        return "{{ " + (f"{known}.{self.output}" if self.output else known) + " }}"


@dataclass(frozen=True)
class Argument:
    """One argument: text and references, in their order."""

    pieces: Sequence[str | Reference]

    @property
    def references(self) -> list[Reference]:
        return [piece for piece in self.pieces if isinstance(piece, Reference)]

    def words(self, value_of: Callable[[Reference], str | list[str]]) -> list[str]:
        """The argument with its values: one word; or one for each partition, where it is nothing but that."""
        filled = [piece if isinstance(piece, str) else value_of(piece) for piece in self.pieces]
        if len(filled) == 1 and isinstance(filled[0], list):
            return filled[0]
        several = next((piece for piece, value in zip(self.pieces, filled, strict=True) if isinstance(value, list)), None)
        if several is not None:
            raise dg.Failure(
                f"{several} has a value for each partition: let it be an argument of its own, which becomes one for each",
                allow_retries=False,
            )
        return ["".join(str(value) for value in filled)]


def argument(context: dg.ResolutionContext, text: str) -> Argument:
    """An argument as somebody has written it. Without a placeholder it is taken as it stands."""
    if "{{" not in text:
        return Argument([text])
    # A template alone would be read as Python: '007' would lose its zeros. The guards make it text in any case.
    filled = str(context.with_scope(**_SCOPE).resolve_value(f"{_GUARD}{text}{_GUARD}")).strip(_GUARD)
    return Argument(list(_pieces(filled)) or [""])


def _pieces(filled: str) -> Iterator[str | Reference]:
    for index, part in enumerate(_MARK.split(filled)):
        if index % 2:
            asset, *output = part.split(_NEXT)
            yield Reference(dg.AssetKey.from_user_string(asset) if asset else None, output[0] if output else None)
        elif part:
            yield part


class _Marked:
    """Stands for a value in a template. Every name that the template asks of it is a further part."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> _Marked:
        if name.startswith(("_", "jinja")):
            raise AttributeError(name)
        return _Marked(*self._parts, name)

    def __getitem__(self, name: str) -> _Marked:
        return _Marked(*self._parts, name)

    def __str__(self) -> str:
        return f"{_BEGIN}{_NEXT.join(self._parts)}{_END}"


_SCOPE: dict[str, Any] = {"partition_key": _Marked(""), "deps": _Marked()}
