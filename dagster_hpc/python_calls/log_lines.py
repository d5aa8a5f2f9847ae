"""What a function has logged by its context, among the lines that its job prints."""

from __future__ import annotations

import re

from dagster_hpc.python_calls.worker import LOGGED

_LINE = re.compile(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} {LOGGED} (DEBUG|INFO|WARNING|ERROR|CRITICAL): (.*)", re.S)


def logged(line: str) -> tuple[str, str] | None:
    """The level and the words of a line that `context.log` has written; None of any other line."""
    found = _LINE.fullmatch(line)
    return (found[1], found[2]) if found else None
