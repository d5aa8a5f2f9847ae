"""Figures as people read them."""

from __future__ import annotations

from dagster_hpc.engine import units


def duration(seconds: float | None) -> str:
    return "-" if seconds is None else units.duration(seconds)


def hours(value: float) -> str:
    """Node hours: three figures that count, and no power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.0%}"


def energy(joules: float | None) -> str:
    return "-" if joules is None else f"{joules / 3.6e6:.3g} kWh"


def count(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
