"""Where jobs go, for the engine: a scheduler, the host that reaches it, and how much it may be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.job import JobHandle, JobState, Progress
from dagster_hpc.engine.schedulers.base import Scheduler

if TYPE_CHECKING:
    from dagster_hpc.engine.workplace import Workplace


@dataclass(frozen=True)
class Patience:
    """How long the engine believes that an answer is only late. Seconds; right for NFS and Lustre."""

    file_delay_s: float = 120.0  # what was written on a compute node becomes visible here
    accounting_delay_s: float = 5.0  # the accounting learns of a job's end
    epilogue_s: float = 120.0  # a job whose script has ended leaves the queue
    lost_after_s: float = 900.0  # a job of which there is no trace anywhere is called lost
    stuck_after_s: float | None = None  # a job that can never start is cancelled; None: never, it is only told
    unavailable_s: float = 900.0  # a scheduler that cannot be reached for so long makes a submission fail
    recheck_s: float = 30.0  # between two look-ups of a job whose submission ended ambiguously
    capacity_retry_s: float = 15.0  # between two attempts when the scheduler takes no more jobs now
    owner_silent_s: float = 300.0  # a submission whose process shows no sign of life is taken over: above any command
    slowest_poll_s: float = 60.0
    cancel_s: float = 30.0  # a cancelled job is seen to end: PBS alone gives it ten seconds to end by itself


@dataclass(frozen=True)
class Target:
    """One scheduler as the engine sees it. `key` is what the ledger calls it: one key, one poll for all its jobs."""

    name: str
    scheduler: Scheduler
    host: Host
    poll_interval_s: float = 10.0
    max_jobs: int | None = None
    parallel_submissions: int = 1
    template: str | None = None
    cluster: str = ""  # what the system itself says it is; see cluster.py
    patience: Patience = field(default_factory=Patience)
    # What whoever looks does for this target beside its jobs; it says in how many seconds it wants to be asked again.
    keep: Callable[[Workplace], float | None] | None = None

    @property
    def key(self) -> str:
        return f"{self.name}@{self.cluster}" if self.cluster else self.name


@dataclass(frozen=True)
class Listener:
    """What a caller wants to hear while a job is under way. The engine knows no logger of anybody's."""

    on_state: Callable[[JobHandle, JobState, str], None] = lambda handle, state, reason: None
    on_output: Callable[[JobHandle, str, str], None] = lambda handle, stream, line: None
    on_warning: Callable[[str], None] = lambda message: None
    on_progress: Callable[[Progress], None] = lambda progress: None  # of several jobs that are waited for together


def script_stem(name: str) -> str:
    """A job's name as a file or folder name."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in name)
    return clean.strip("-.")[:64] or "job"
