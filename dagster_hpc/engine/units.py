"""Durations and memory sizes as people write them, and as schedulers want them."""

from __future__ import annotations

import re

_UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PARTS = re.compile(r"(\d+)\s*([dhms])", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)", re.ASCII)
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", re.IGNORECASE | re.ASCII)
_MEMORY_MIB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}
_LONGEST_S = 10 * 365 * 86400


def parse_walltime(text: str) -> int:
    """Seconds of `01:30:00`, `2-00:00:00`, `90m`, `1h30m` or `5400`."""
    value = text.strip()
    clock = _CLOCK.fullmatch(value)
    if value.isascii() and value.isdigit():
        seconds = int(value)
    elif clock:
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        seconds = days * 86400 + hours * 3600 + minutes * 60 + rest
    elif value and not _PARTS.sub("", value).strip() and value.isascii():
        seconds = sum(int(number) * _UNIT_SECONDS[unit.lower()] for number, unit in _PARTS.findall(value))
    elif re.fullmatch(r"\d+:\d+", value, re.ASCII):
        raise ValueError(
            f"walltime {text!r} is hours and minutes to some and minutes and seconds to others: write HH:MM:SS"
        )
    else:
        raise ValueError(f"walltime {text!r} is none of HH:MM:SS, D-HH:MM:SS, 90m, 1h30m or plain seconds")
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"walltime {text!r} is not between a second and ten years")
    return seconds


def format_walltime(seconds: int) -> str:
    """`HH:MM:SS`, with as many hours as it takes."""
    return f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"


def duration(seconds: float) -> str:
    """`0.4s`, `42s`, `3m05s`, `2h10m`, `4d03h`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def parse_memory(text: str) -> int:
    """MiB of `16G`, `16GiB`, `1.5T` or `512M`; a size is rounded up, a bare number is refused."""
    match = _MEMORY.fullmatch(text.strip())
    if not match:
        raise ValueError(f"memory {text!r} is not a number with a unit (K, M, G or T), as in 16G or 512MiB")
    mib = float(match[1]) * _MEMORY_MIB[match[2].upper()]
    if not 0 < mib < 2**40:
        raise ValueError(f"memory {text!r} is no possible size")
    return int(-(-mib // 1))


_SIGNAL = re.compile(r"(?:SIG)?([A-Z]+[12]?)@(\S+)")
_SIGNALS = ("USR1", "USR2", "TERM", "INT", "HUP", "XCPU", "CONT", "URG")


def parse_signal(text: str) -> tuple[str, int]:
    """`USR1@120` or `TERM@5m` → the signal's name and how many seconds before the walltime it comes."""
    match = _SIGNAL.fullmatch(text.strip())
    if not match or match[1] not in _SIGNALS:
        raise ValueError(
            f"signal_before_end {text!r} is not SIGNAL@time with one of {', '.join(_SIGNALS)}, as in USR1@120"
        )
    return match[1], parse_walltime(match[2])
