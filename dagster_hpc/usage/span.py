"""A span of time as a person writes it."""

from __future__ import annotations

from datetime import datetime

from dagster_hpc.engine.units import parse_walltime


def moment(text: str, now: float) -> float:
    """`7d` and `12h` are so long ago; `2026-11-01` and `2026-11-01T08:00` are local time."""
    value = text.strip()
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        pass
    try:
        return now - parse_walltime(value)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: write 7d, 12h, 90m, 2026-11-01 or 2026-11-01T08:00") from error
