"""A runner whose jobs are steps of an allocation, and what can be seen of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dagster_hpc import Allocation, Command, ExecutionProfile, HPCJobRunner, HPCTarget, LocalTarget
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.runner import Runner

T = TypeVar("T")
WITHIN_S = 90.0


class Place:
    """Two cores that are held for two minutes on this machine, unless something else is said."""

    def __init__(self, folder: Path, inside: HPCTarget | None = None, **fields: Any) -> None:
        self.folder = folder
        self.inside = inside or LocalTarget(spool=str(folder / "local"), cores=2, poll_interval=0.5, accounting_delay=1.0)
        profile = fields.pop("profile", ExecutionProfile(mpiprocs=2, walltime="00:02:00"))
        fields = {"idle": 2.0, "poll_interval": 0.5, "accounting_delay": 1.0, "file_delay": 5.0, **fields}
        self.hpc = HPCJobRunner(
            target=Allocation(inside=self.inside, profile=profile, **fields),
            profiles={
                "step": ExecutionProfile(walltime="00:00:30"),
                "mpi": ExecutionProfile(walltime="00:00:30", mpiprocs=2, launcher="srun"),
            },
            work_root=str(folder / "work"),
            ledger_url=f"sqlite:///{folder}/ledger.db",
        )

    def again(self) -> Place:
        """The same place for another process."""
        fields = {name: getattr(self.hpc.target, name) for name in ("idle", "poll_interval", "python", "profile")}
        return Place(self.folder, self.inside, **fields)

    @property
    def engine(self) -> Runner:
        return self.hpc._engine()

    @property
    def held(self) -> list[JobRow]:
        """The jobs that held the allocation, the first first."""
        return [row for row in reversed(self.engine.ledger.jobs(limit=None)) if row.name == "allocation"]

    @property
    def spool(self) -> Path:
        (spool,) = (self.folder / "work" / ".allocations").iterdir()
        return spool

    def counted(self, script: str = "true") -> Command:
        """A program that leaves one line, with its first argument, for each time that it runs."""
        return Command.shell(f'echo "$1" >>{self.folder}/ran; {script}')

    @property
    def ran(self) -> list[str]:
        path = self.folder / "ran"
        return sorted(path.read_text().split()) if path.exists() else []

    def eventually(self, look: Callable[[], T], within_s: float = WITHIN_S) -> T:
        """Look again and again, as one who polls, until this is true."""
        deadline = time.monotonic() + within_s
        while not (found := look()):
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {[(row.name, row.state) for row in self.held]}"
            self.engine.ledger.leases.hurry(self.engine.identify().key, 0.0)
            self.engine.tick()
            time.sleep(0.1)
        return found

    def accounted(self, tokens: Sequence[str]) -> list[JobRow]:
        """These steps, once the accounting of the system inside has told their figures."""

        def look() -> list[JobRow]:
            rows = {row.token: row for row in self.engine.ledger.rows(tokens)}
            return [rows[token] for token in tokens if "accounted_by" in rows[token].metrics.raw]

        self.eventually(lambda: len(look()) == len(tokens))
        return look()

    def poll_held(self) -> None:
        """Ask for the jobs that hold the allocation, as whoever lists jobs with --refresh does."""
        engine = Runner(self.inside.engine_target(), self.engine.ledger)
        engine.ledger.leases.hurry(engine.identify().key, 0.0)
        engine.tick()

    def is_given_back(self) -> bool:
        self.poll_held()
        return all(row.state.is_final for row in self.held)
