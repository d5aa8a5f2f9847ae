"""The time of a test: waiting costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from dagster_hpc.engine.clock import Clock

_STEP = 0.1  # of the time since anything happened


class PlayedClock(Clock):
    """Whoever sleeps moves the time on: the delays of a site and of retries pass at once.

    The longer nothing happens, the larger are the steps: a delay of hours is some dozens of them. `idle`: the seconds
    since anything happened.
    """

    def __init__(self, idle: Callable[[], float]) -> None:
        self._idle = idle
        self._ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self._ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead_s

    def within(self, seconds: float | None, work: Callable[[], None]) -> None:
        work()  # which takes no time

    def sleep(self, seconds: float) -> None:
        self._ahead_s += max(seconds, _STEP * self._idle())
        time.sleep(0)  # another thread may have something to say
