"""Why LSF has not started a job, and when it expects to: the pending reasons and the estimate of `bjobs -l`."""

from __future__ import annotations

import re
from datetime import datetime

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Outlook

_ESTIMATE = re.compile(
    r"estimated (?:sim(?:ulat(?:ed|ion))? )?start(?:ing)? time[^:]*:\s*(?:[A-Z][a-z]{2} )?"
    r"([A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d \d{4})",
    re.IGNORECASE | re.ASCII,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def read(answer: Answer) -> Outlook:
    """The reasons stand under a head of their own; a time without a year is no estimate."""
    if answer.code != 0:
        return Outlook()
    _, _, below = answer.stdout.partition("PENDING REASONS:")
    lines = [line.strip() for line in below.lstrip("\n").partition("\n\n")[0].splitlines()]
    reasons = tuple(dict.fromkeys(line.rstrip(";") for line in lines if line))
    estimate = _ESTIMATE.search(answer.stdout)
    return Outlook(_moment(estimate[1]) if estimate else None, reasons)


def _moment(text: str) -> float | None:
    """`Nov 20 06:07:12 2026`, whatever language this process speaks."""
    month, day, clock, year = text.split()
    if month not in _MONTHS:
        return None
    try:
        return datetime.strptime(f"{year}-{_MONTHS.index(month) + 1}-{day} {clock}", "%Y-%m-%d %H:%M:%S").timestamp()
    except (ValueError, OverflowError):
        return None
