"""Where the verbs work: one target, one ledger, one clock, and somebody who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dagster_hpc.engine.clock import SYSTEM_CLOCK, Clock
from dagster_hpc.engine.errors import LedgerUnavailable
from dagster_hpc.engine.ledger import Ledger
from dagster_hpc.engine.target import Listener, Target

T = TypeVar("T")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


@dataclass(frozen=True)
class Workplace:
    """What every verb of the engine is handed. Holds no state of its own."""

    target: Target
    ledger: Ledger
    listener: Listener = field(default_factory=Listener)
    clock: Clock = SYSTEM_CLOCK
    conceal: Callable[[str], str] = lambda printed: printed  # hides secrets in what jobs have printed

    def insist(self, action: Callable[[], T], within_s: float | None = None) -> T:
        """Do this with the ledger until it has happened, as long as a scheduler would be waited for: it must not be lost."""
        patience_s = self.target.patience.unavailable_s
        deadline = self.clock.monotonic() + (patience_s if within_s is None else min(within_s, patience_s))
        pause, told = _FIRST_PAUSE_S, False
        while True:
            try:
                return action()
            except LedgerUnavailable as error:
                if self.clock.monotonic() >= deadline:
                    raise
                if not told:
                    self.listener.on_warning(f"{error.message}; trying again")
                told = True
                self.clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
