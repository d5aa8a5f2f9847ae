"""How far several jobs are that are waited for together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dagster_hpc.engine.job.state import JobState


@dataclass(frozen=True)
class Progress:
    """How many of them wait, run, have ended well, and have ended otherwise.

    Example:
        str(Progress(pending=3, running=10, done=186, failed=1))  # '3 pending, 10 running, 186 done, 1 failed'
    """

    pending: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0

    @classmethod
    def of(cls, states: Iterable[JobState]) -> Progress:
        """Count them. A job of which nobody hears just now counts as waiting."""
        kinds = [_kind(state) for state in states]
        return cls(*(kinds.count(kind) for kind in ("pending", "running", "done", "failed")))

    @property
    def is_over(self) -> bool:
        return not (self.pending or self.running)

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in vars(self).items() if count) or "none"


def _kind(state: JobState) -> str:
    if state.is_final:
        return "done" if state.is_success else "failed"
    return "running" if state in (JobState.RUNNING, JobState.SUSPENDED) else "pending"
