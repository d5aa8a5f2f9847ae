"""Jobs of one test on one batch system: submitted, watched on their way, and none of them left at the end."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, ConfigurationError, Dependency, HPCError, JobHandle, JobResult, JobState
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.job import DependencyKind
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.observe.questions import Questions
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.schedulers.base import Report, Scheduler
from dagster_hpc.engine.submit.send import find
from dagster_hpc.engine.target import Listener, Patience
from dagster_hpc.engine.workplace import Workplace
from tests.contract.systems.base import System
from tests.faults.place import PLAIN, QUICK, WITHIN_S, PatientRunner, eventually, run_failing

PATIENCE = replace(QUICK, accounting_delay_s=20.0, lost_after_s=30.0)


@dataclass
class Gate:
    """A job that runs `gate.closed` goes on once `open` is called (or after two minutes: no job waits for ever)."""

    file: Path

    @property
    def closed(self) -> str:
        return f"for i in $(seq 1200); do [ ! -e {shlex.quote(str(self.file))} ] || break; sleep 0.1; done"

    def open(self) -> None:
        self.file.touch()


@dataclass
class Job:
    """One job, and what was seen and heard of it."""

    site: Site
    handle: JobHandle
    seen: list[JobState] = field(default_factory=list)

    @property
    def id(self) -> str:
        assert self.handle.job_id
        return self.handle.job_id

    @property
    def row(self) -> JobRow:
        return self.site.ledger.job(self.handle.token)

    @property
    def began(self) -> bool:
        return Path(self.handle.work_dir, ".job", "started").exists()

    @property
    def spoke(self) -> bool:
        """Whether the payload itself has written to its stderr."""
        log = Path(self.handle.work_dir, "stderr.log")
        return log.exists() and log.stat().st_size > 0

    @property
    def over(self) -> bool:
        self.site.engine.tick()
        return self.row.state.is_final

    @property
    def heard(self) -> list[JobState]:
        return self.site.heard.get(self.handle.token, [])

    def until(self, *states: str) -> JobRow:
        """Ask the system until the ledger says so."""

        def look() -> JobRow | None:
            self.site.engine.tick()
            row = self.row
            if row.state in states:
                return row
            assert not row.state.is_final, f"{self.handle} is {row.state} ({row.reason}), not {' or '.join(states)}"
            return None

        row = eventually(look, f"{self.handle} becomes {' or '.join(states)}")
        self.seen.append(row.state)
        return row

    def end(self) -> JobResult:
        """However it ends."""
        return self.site.wait([self])[0]


@dataclass
class Site:
    """A folder and a ledger of its own for jobs on a system that others use too."""

    system: System
    folder: Path
    warnings: list[str] = field(default_factory=list)
    heard: dict[str, list[JobState]] = field(default_factory=dict)
    questions: int = 0  # that the system was asked about jobs: about many at once, or about one
    _gates: int = 0
    _opened_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.hpc = self.runner()

    # ------------------------------------------------------------------ runners

    def runner(self, *, patience: Patience = PATIENCE, work_root: str = "", **target: Any) -> PatientRunner:
        """The same as any other of this site, on a target with these fields."""
        hpc = PatientRunner(
            target=self.system.target(**target),
            profiles={PLAIN: self.system.profile()},
            patience=asdict(patience),
            work_root=work_root or str(self.folder / "work"),
            ledger_url=f"sqlite:///{self.folder}/ledger.db",
        )
        hpc._runner = Runner(hpc.target.engine_target(patience), Ledger(hpc.ledger_url), self.listener)
        return hpc

    @property
    def listener(self) -> Listener:
        def on_state(handle: JobHandle, state: JobState, reason: str) -> None:
            self.heard.setdefault(handle.token, []).append(state)

        return Listener(on_state=on_state, on_warning=self.warnings.append)

    @property
    def engine(self) -> Runner:
        return self.hpc._engine()

    @property
    def ledger(self) -> Ledger:
        return self.engine.ledger

    @property
    def scheduler(self) -> Scheduler:
        return self.engine.target.scheduler

    # ------------------------------------------------------------------ jobs

    def submit(
        self,
        script: str,
        *,
        name: str = "subject",
        args: Sequence[str] = (),
        outputs: dict[str, str] | None = None,
        dependencies: Sequence[Dependency] = (),
        **profile: Any,
    ) -> Job:
        """A bash script as a job; `profile` names fields of its execution profile."""
        command = Command.shell(script, name=name, args=args)
        handle = self.hpc.submit(
            command, profile=self.system.profile(**profile), outputs=outputs, dependencies=dependencies
        )
        return Job(self, handle)

    def wait(self, jobs: Sequence[Job]) -> list[JobResult]:
        return self.engine.wait([job.handle for job in jobs], timeout_s=WITHIN_S, listener=self.listener)

    def gate(self) -> Gate:
        self._gates += 1
        return Gate(self.folder / f"gate{self._gates}")

    def rows(self, **wanted: Any) -> list[JobRow]:
        return self.ledger.jobs(**wanted)

    @contextlib.contextmanager
    def waiting(self, script: str) -> Iterator[tuple[Job, Gate | None]]:
        """A job that waits in the queue: on hold from the first, or else until the gate is opened."""
        held = self.system.held()
        if held is not None:
            job = self.submit(script, **held)
            job.until("HELD")
            yield job, None
            return
        gate = self.gate()
        try:
            job = self._behind(gate, script)
            job.until("PENDING", "HELD")
            yield job, gate
        finally:
            gate.open()

    def _behind(self, gate: Gate, script: str) -> Job:
        """A job that cannot start before the gate is open, because it waits for one that cannot end before."""
        blocker = self.submit(gate.closed, name="blocker")
        kind: DependencyKind = "afterany" if "afterany" in self.system.can else "afterok"
        return self.submit(script, dependencies=[Dependency(kind, blocker.id)])

    # ------------------------------------------------------------------ what the system itself says

    def found(self, row: JobRow) -> list[str]:
        """The ids under which the system knows a job of this name."""
        return find(self.scheduler.job_name(row.name, row.batch), Workplace(self.engine.target, self.ledger))

    def ask(self, ids: Sequence[str]) -> Report:
        """One question for all of these, to the queue."""
        scheduler = self.scheduler
        while (report := scheduler.read_queue(self._run(scheduler.queue(ids)))).instead:
            scheduler = report.instead
        return report

    def live_there(self, row: JobRow) -> list[str]:
        """The jobs of this row's name that the system has and that are not over."""
        ids = self.found(row)
        if not ids:
            return []
        return [job_id for job_id, status in self.ask(ids).jobs.items() if not status.state.is_final]

    def _run(self, call: Call) -> Answer:
        return self.engine.target.host.run(call)

    # ------------------------------------------------------------------ the end

    def check_load(self) -> None:
        """However the jobs went: nobody was asked more often than agreed, but for a few early questions about an end."""
        rounds = (time.monotonic() - self._opened_at) / self.engine.target.poll_interval_s + 2
        early = 6 + 3 * len(self.rows())
        assert self.questions <= rounds + early, f"{self.questions} questions in {rounds:.0f} intervals"

    def close(self) -> None:
        for gate in range(1, self._gates + 1):
            (self.folder / f"gate{gate}").touch()
        live = [row.handle() for row in self.rows(live=True)]
        if live:
            with contextlib.suppress(HPCError):
                self.engine.cancel(live)
        self.ledger.close()


@contextlib.contextmanager
def opened(system: System) -> Iterator[Site]:
    """A site in a folder that others can enter, with all that this process needs to reach the system."""
    folder = Path(tempfile.mkdtemp(prefix=f"dagster-hpc-contract-{system.kind}-"))
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))  # what a login shell does is not this user's affair
        for name, value in system.environment().items():
            patch.setenv(name, value)
        site = Site(system, folder)
        for asking in ("job_runner", "submission"):
            patch.setattr(f"dagster_hpc.resources.{asking}.listener_of", lambda *_, **__: site.listener)
        for name in ("_ask_of_many", "_ask_of_one"):
            patch.setattr(Questions, name, _counted(getattr(Questions, name), site))
        try:
            yield site
            site.check_load()
        finally:
            site.close()
    shutil.rmtree(folder, ignore_errors=True)


def _counted(ask: Callable[..., Report], site: Site) -> Callable[..., Report]:
    def ask_and_count(*about: Any) -> Report:
        site.questions += 1
        return ask(*about)

    return ask_and_count


def lacks(system: System, what: str, **request: Any) -> bool:
    """Whether the system cannot do this; then it must say so before anything is submitted, in a sentence."""
    if what in system.can:
        return False
    with opened(system) as site:
        error = run_failing(lambda: site.submit("touch ran", **request), ConfigurationError)
        assert error.faults
        assert set(error.faults) <= set(site.scheduler.lacks.values())
        assert all(len(sentence.split()) > 3 for sentence in error.faults)
        assert site.rows() == []
        assert not (site.folder / "work").exists()
    return True
