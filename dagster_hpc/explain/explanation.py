"""What is known of one job, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.schedulers.base import Outlook


@dataclass(frozen=True)
class Facts:
    """One job, and what was found out to explain it."""

    row: JobRow
    system: str  # `slurm`, `pbs`, …: whose words its reason is in
    now: float
    outlook: Outlook = field(default_factory=Outlook)
    before: int = 0  # READY: so many submissions wait in the ledger before it, on the same way
    live: int = 0  # jobs of its target that the scheduler has
    stderr: str = ""  # its last lines


@dataclass(frozen=True)
class Explanation:
    """What is said of one job."""

    summary: str  # why it is where it is, with the scheduler's own word
    details: tuple[str, ...] = ()
    starts_at: float | None = None  # when the scheduler expects to start it
    words: tuple[str, ...] = ()  # what the system itself says, as it says it
    remedies: tuple[str, ...] = ()  # what could be changed

    def to_dict(self) -> dict[str, object]:
        return {
            "summary": self.summary,
            "details": list(self.details),
            "starts_at": self.starts_at,
            "words": list(self.words),
            "remedies": list(self.remedies),
        }
