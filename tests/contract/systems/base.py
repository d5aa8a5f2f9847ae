"""What the contract suite needs of a batch system, be it real or a simulator which answers like the real one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from dagster_hpc import ExecutionProfile, HPCTarget


class System(ABC):
    """One batch system, started once per test session. `can` says which parts of the contract it is able to show."""

    kind: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()  # real systems for the marker `needs`; none for a simulator
    can: ClassVar[frozenset[str]]
    # of: array, array limit, afterok, afterany, afternotok, memory, hold, node loss, server down, stuck
    shares: ClassVar[str] = ""  # the session's fixture of this real system, where other tests use it too

    def share(self, running: Any) -> None:
        """Take what the fixture `shares` gives, instead of starting one of its own."""
        raise NotImplementedError

    @abstractmethod
    def start(self, folder: Path) -> None:
        """Bring it up, with its state in this folder (which other users can enter)."""

    @abstractmethod
    def stop(self) -> None:
        """Leave nothing behind: no daemon, no job, no folder."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """What a process needs to reach it: PATH with the simulator's commands first, SLURM_CONF, SGE_ROOT, …"""

    @abstractmethod
    def target(self, **fields: Any) -> HPCTarget:
        """A target for it, with short poll intervals."""

    def profile(self, **fields: Any) -> ExecutionProfile:
        """A profile that it takes; systems whose walltime counts in minutes may need other defaults."""
        return ExecutionProfile(**{"walltime": "00:01:00", **fields})

    @abstractmethod
    def refused(self) -> tuple[dict[str, Any], str]:
        """Fields of a target that it refuses at submission, and a word of what it then says."""

    def expire(self, job_id: str) -> None:  # noqa: B027 - most systems need nothing
        """Let a running job run into its walltime soon; nothing where `profile(walltime=2 s)` does it by itself."""

    @abstractmethod
    def cancel(self, job_id: str) -> None:
        """Cancel a job from outside, as a user does in a terminal."""

    def held(self) -> dict[str, Any] | None:
        """Fields of a profile whose jobs are on hold from the first; None where one job has to wait for another."""
        return None

    def hold(self, job_id: str) -> None:
        raise NotImplementedError

    def release(self, job_id: str) -> None:
        raise NotImplementedError

    def lose_node(self, job_id: str) -> None:
        """Let the node of a running job die, which is the only job there is; the next job finds it alive again."""
        raise NotImplementedError

    def stop_server(self) -> None:
        raise NotImplementedError

    def start_server(self) -> None:
        raise NotImplementedError

    def never_starts(self) -> dict[str, Any]:
        """Fields of a profile that it accepts although such a job can never start."""
        raise NotImplementedError
