"""Whether two machines agree on the time of day."""

from __future__ import annotations

from dagster_hpc.checks.base import Finding

SCHEDULER_CLOCK_S = 5.0  # it is told in whole seconds, and the command takes its time
FILE_CLOCK_S = 2.0


def compare_clocks(behind_s: float, tolerated_s: float, whose: str) -> Finding:
    if abs(behind_s) <= tolerated_s:
        return Finding("ok", f"{whose} clock agrees with the one here")
    direction = "behind" if behind_s > 0 else "ahead of"
    return Finding(
        "warn",
        f"{whose} clock is {abs(behind_s):.0f} s {direction} the one here: times and waits of jobs will be off by that",
        "have both machines follow one time server (NTP).",
    )
