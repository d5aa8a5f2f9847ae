"""A field's value written as text, on the command line or in a variable of the environment."""

from __future__ import annotations

import json
from types import UnionType
from typing import Any, Union, get_args, get_origin


def from_text(annotation: Any, text: str) -> Any:
    """A list by commas (`gcc,openmpi`); a list or a map also as JSON. All else stays text, which the record reads."""
    kinds = {get_origin(each) or each for each in _alternatives(annotation)}
    if kinds & {list, dict} and text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"{text!r} looks like JSON, and is none: {error}") from error
    if dict in kinds:
        raise ValueError(f"{text!r} is no map: write it as JSON, as in {{\"NAME\": \"value\"}}")
    return text.split(",") if list in kinds else text


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
