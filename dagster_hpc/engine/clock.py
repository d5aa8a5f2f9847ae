"""Time, and the named points at which a process may die. The engine reads no other clock and sleeps nowhere else.

The simulation passes a clock of its own: there an hour passes in a microsecond, the time of day may step back, and any
of the named points may be the end of the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """The time of day, the time that has passed, and a pause."""

    def now(self) -> float:
        """The time of day in seconds since 1970. It may step back."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some fixed moment. They never step back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def point(self, name: str) -> None:
        """A point at which this process may die, so that tests can let it die just there. Nothing happens in use."""

    def within(self, seconds: float | None, work: Callable[[], None]) -> None:
        """Do this work, and come back after so many seconds even if it is not done: it then goes on by itself.

        An error of the work is raised here if it comes in time.
        """
        if seconds is None:
            work()
            return
        errors: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - handed to the caller below, whatever it is
                errors.append(error)

        worker = threading.Thread(target=guarded, daemon=True, name="dagster_hpc")
        worker.start()
        worker.join(max(0.0, seconds))
        if errors:
            raise errors[0]


SYSTEM_CLOCK = Clock()
