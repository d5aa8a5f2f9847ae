"""One history: a seed, what goes wrong in it, who does what, and whether every promise was kept.

`python -m tests.simulation.histories SEED` repeats one and tells what happened.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobHandle, JobSpec, JobState, Request
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.runner import Runner
from tests.simulation.cluster import Cluster, Job, Lies
from tests.simulation.engine import Broken, SimulatedDatabase, Storage, runner_of, simulated_processes
from tests.simulation.files import Files
from tests.simulation.time import Process, SimulatedClock, Time

VERBS = ("run", "array", "submit", "cancel", "poll", "timeout")
_FAULTS_END = 400.0
_SETTLED_WITHIN = 6 * 3600.0
_POLLS = 600


@dataclass(frozen=True)
class Actor:
    """One process: when it comes, what it does, where it dies."""

    verb: str
    identity: str
    host: str
    begins: float = 0.0
    dies_at: tuple[str, int] | None = None
    killed_after: float | None = None


@dataclass(frozen=True)
class Plan:
    """All that a history is, but for the order in which the seed lets things happen."""

    seed: int
    actors: tuple[Actor, ...]
    lies: Lies = field(default_factory=Lies)
    room: int | None = None
    work_s: float = 10.0
    code: int = 0
    file_delay: float = 0.0
    unreadable: tuple[float, float] | None = None
    database_down: tuple[float, float] | None = None
    clock_step: tuple[float, float] | None = None


def plan_of(seed: int, points: Sequence[str] = ()) -> Plan:
    """The plan that this seed stands for: usually a few faults, now and then many."""
    r = random.Random(seed)

    def sometimes(chance: float, value: float) -> float:
        return value if r.random() < chance else 0.0

    actors = []
    for number in range(r.choice((2, 2, 3, 3, 4))):
        dies = (r.choice(points), r.randint(1, 2)) if points and r.random() < 0.4 else None
        actors.append(
            Actor(
                verb=r.choices(VERBS, (5, 2, 2, 2, 2, 1))[0] if number else r.choice(("run", "array", "submit")),
                identity=r.choice(("a", "a", "b")),
                host=r.choice(("h1", "h1", "h2")),
                begins=r.choice((0.0, 0.0, r.uniform(0, 60), r.uniform(0, 200))),
                dies_at=dies,
                killed_after=r.uniform(0, 120) if r.random() < 0.2 else None,
            )
        )
    lies = Lies(
        lost_after=sometimes(0.25, 0.6), lost_before=sometimes(0.2, 0.5), doubled=sometimes(0.1, 0.5),
        full=sometimes(0.1, 0.6), refused=sometimes(0.07, 0.4), down=sometimes(0.25, 0.4),
        cancel_lost=sometimes(0.2, 0.6), requeue=sometimes(0.1, 0.4), node_loss=sometimes(0.1, 0.4),
        late_s=sometimes(0.25, r.choice((5.0, 20.0, 100.0))), history_late_s=sometimes(0.3, 30.0),
        has_history=r.random() < 0.85,
    )  # fmt: skip
    if lies.late_s > 50.0:
        lies.requeue = 0.0  # a job that was requeued before any queue showed it at all is beyond what is promised
    begin = r.uniform(0, 120)
    return Plan(
        seed,
        tuple(actors),
        lies,
        room=r.choice((None, None, 1, 2)),
        work_s=r.choice((0.5, 10.0, 100.0)),
        code=r.choice((0, 0, 0, 3)),
        file_delay=sometimes(0.3, 40.0),
        unreadable=(begin, r.uniform(5, 90)) if r.random() < 0.15 else None,
        database_down=(begin, r.uniform(0.5, 60)) if r.random() < 0.2 else None,
        clock_step=(begin, r.choice((-3600.0, 3600.0, -5.0))) if r.random() < 0.1 else None,
    )


class History:
    """The world of one plan, lived to its end."""

    def __init__(self, plan: Plan, storage: Storage) -> None:
        self.plan, self.storage = plan, storage
        self.time = Time(plan.seed)
        self.files = Files(self.time)
        self.files.delay = plan.file_delay
        self.lies = replace(plan.lies)
        self.cluster = Cluster(self.time, self.files, self.lies)
        self.cluster.work = replace(self.cluster.work, seconds=plan.work_s, code=plan.code)
        self.told: list[str] = []
        self.points: set[str] = set()
        self._until_down = 0.0

    def live(self) -> None:
        """Let everything happen, then let the faults stop, and see that all is settled and as promised."""
        plan = self.plan
        self.storage.clear(plan.room)
        self.storage.process = lambda: self.time.current
        self.storage.down = lambda: self.time.passed < self._until_down
        with simulated_processes(self.time):
            for number, actor in enumerate(plan.actors):
                self._enter(f"p{number}", actor)
            if plan.unreadable:
                start, seconds = plan.unreadable
                self.time.at(start, lambda: setattr(self.files, "unreadable_until", start + seconds))
            if plan.database_down:
                begin, length = plan.database_down
                self.time.at(begin, lambda: setattr(self, "_until_down", begin + length))
            if plan.clock_step:
                when, by = plan.clock_step
                self.time.at(when, lambda: setattr(self.time, "stepped", by))
            self.time.run(lambda: self.time.passed > _FAULTS_END, limit=_FAULTS_END + 1)
            self.lies.stop()
            self._settle()
            self.points = {name for process in self.time.processes for name in process.points}
            self._check()

    # -- who does what

    def _enter(self, name: str, actor: Actor) -> None:
        def begin() -> None:
            process = self.time.start(name, actor.host, lambda process: self._act(process, actor))
            process.dies_at = actor.dies_at
            if actor.killed_after is not None:
                self.time.at(actor.killed_after, process.kill)

        self.time.at(actor.begins, begin)

    def _act(self, process: Process, actor: Actor) -> None:
        runner = runner_of(process, self.storage, self.files, self.cluster, self.plan.room)
        try:
            getattr(self, f"_{actor.verb}")(runner, actor)
        except HPCError as error:
            self.told.append(f"{self.time.passed:.1f} {process.name} {type(error).__name__}: {error.message}")

    def _request(self, actor: Actor, *, array: bool = False) -> Request:
        elements = (("x",), ("y",), ("z",)) if array else ()
        name = f"{actor.identity}-array" if array else actor.identity
        return Request(JobSpec(name=name, executable="/bin/x", elements=elements), "/scratch", identity=name)

    def _run(self, runner: Runner, actor: Actor) -> None:
        runner.wait(runner.submit(self._request(actor)))

    def _array(self, runner: Runner, actor: Actor) -> None:
        runner.wait(runner.submit(self._request(actor, array=True)))

    def _submit(self, runner: Runner, actor: Actor) -> None:
        runner.submit(self._request(actor))

    def _timeout(self, runner: Runner, actor: Actor) -> None:
        runner.wait(runner.submit(self._request(actor)), timeout_s=20.0)

    def _cancel(self, runner: Runner, actor: Actor) -> None:
        handles: list[JobHandle] = [row.handle() for row in runner.ledger.jobs(live=True)]
        runner.cancel(handles[:2])

    def _poll(self, runner: Runner, actor: Actor) -> None:
        for _ in range(10):
            runner.tick()
            SimulatedClock(self.time.current).sleep(10.0)  # type: ignore[arg-type]

    # -- the end

    def _settle(self) -> None:
        """After the faults, one who only looks brings everything to its end, within so many polls."""
        polls = [0]

        def look(process: Process) -> None:
            runner = runner_of(process, self.storage, self.files, self.cluster, self.plan.room)
            while polls[0] < _POLLS:
                runner.tick()
                polls[0] += 1
                process.pause(30.0)

        self.time.start("janitor", "h1", look)

        looked_at = [3]

        def settled() -> bool:
            if polls[0] == looked_at[0] or polls[0] <= 3:
                return False
            looked_at[0] = polls[0]
            return all(p.over or p.name == "janitor" for p in self.time.processes) and not self._open()

        if not self.time.run(settled, limit=self.time.passed + _SETTLED_WITHIN):
            unfinished = [(row.token, str(row.state), row.reason) for row in self._open()]
            waiting = [process.name for process in self.time.processes if not process.over]
            raise Broken(f"not settled after {polls[0]} polls: {unfinished}; still waiting: {waiting}")

    def _rows(self) -> list[JobRow]:
        self.time.current, current = None, self.time.current
        try:
            clock = SimulatedClock(self.time.processes[0])
            return Ledger(clock=clock, database=SimulatedDatabase(self.storage.engine, clock)).jobs()
        finally:
            self.time.current = current

    def _open(self) -> list[JobRow]:
        live = [row for row in self._rows() if not row.state.is_final]
        return live or ([] if all(job.state.is_final for job in self.cluster.jobs.values()) else self._rows()[:1])

    def _check(self) -> None:
        rows = self._rows()
        by_id = {one: row for row in rows for one in row.ids}
        self._check_runs(rows)
        for job in self.cluster.jobs.values():
            row = by_id.get(job.id)
            if row is None and job.runs:
                raise Broken(f"job {job.id} of {job.name} ran, and the ledger does not know it")
            if not job.state.is_final:
                raise Broken(f"job {job.id} is still {job.state} in the queue when all is settled")
        for row in rows:
            self._check_verdict(row)

    def _check_runs(self, rows: Sequence[JobRow]) -> None:
        """Of one identity there are two runs only if the first ended badly, or its result was delivered."""
        owners = {row.work_dir: row for row in rows}
        runs: dict[str, list[tuple[Job, JobRow]]] = {}
        for job in self.cluster.ran:
            row = owners.get(job.directory)
            if row is None:
                raise Broken(f"job {job.id} ran in {job.directory}, of which the ledger knows nothing")
            runs.setdefault(row.identity or "", []).append((job, row))
        for identity, jobs in runs.items():
            for (earlier, row), (later, _) in itertools.pairwise(jobs):
                if earlier.directory == later.directory:
                    raise Broken(f"{identity} ran twice in one submission, as jobs {earlier.id} and {later.id}")
                if earlier.ended_at is None or earlier.ended_at > (later.started_at or 0.0):
                    raise Broken(f"{identity} ran as {later.id} while {earlier.id} was not over")
                if earlier.state is JobState.COMPLETED and row.delivered_at is None:
                    raise Broken(f"{identity} ran again as {later.id}, though {earlier.id} was never delivered")

    def _check_verdict(self, row: JobRow) -> None:
        truth = next((job for job in self.cluster.jobs.values() if job.id == row.job_id), None)
        ran = [job for job in self.cluster.ran if job.directory == row.work_dir]
        if row.state is JobState.REFUSED or row.job_id is None:
            if ran:
                raise Broken(f"{row.token} is {row.state} ({row.reason}), and ran as job {ran[0].id}")
            return
        if truth is None:
            raise Broken(f"{row.token} has the id {row.job_id}, which never was")
        if ran and ran[0].id != row.job_id:
            raise Broken(f"{row.token} is told as job {row.job_id}, and ran as {ran[0].id}")
        if row.state is JobState.LOST:
            if self.plan.lies.has_history:
                raise Broken(f"{row.token} is LOST, though the history knows it: {truth}")
            return
        told = row.state
        if told is not truth.state and not self._is_as_good(row, truth):
            raise Broken(f"{row.token} is told {told} ({row.reason}), and the truth is {truth}")

    def _is_as_good(self, row: JobRow, truth: Job) -> bool:
        """Words for one end that differ where the system kept silent: without a history only the files tell."""
        silent = not self.plan.lies.has_history
        if truth.state is JobState.NODE_FAIL:
            return silent and row.state in (JobState.FAILED, JobState.CANCELLED, JobState.LOST)
        if truth.state is JobState.CANCELLED:
            return silent and row.state is JobState.FAILED
        return truth.state is JobState.FAILED and row.state is JobState.CANCELLED and row.cancel_requested


def shrink(plan: Plan, breaks: Callable[[Plan], bool]) -> Plan:
    """The smallest plan found that still breaks: without this actor, that fault, that death."""
    quiet = Lies(has_history=plan.lies.has_history)
    simpler: list[Callable[[Plan], Plan]] = [
        *(lambda p, n=n: replace(p, actors=tuple(a for i, a in enumerate(p.actors) if i != n)) for n in (3, 2, 1, 0)),
        *(
            lambda p, name=name: replace(p, lies=replace(p.lies, **{name: getattr(quiet, name)}))
            for name in Lies.__dataclass_fields__
        ),
        *(
            lambda p, name=name: replace(p, **{name: None})
            for name in ("room", "unreadable", "database_down", "clock_step")
        ),
        lambda p: replace(p, file_delay=0.0),
        lambda p: replace(p, actors=tuple(replace(a, killed_after=None) for a in p.actors)),
        lambda p: replace(p, actors=tuple(replace(a, dies_at=None) for a in p.actors)),
        lambda p: replace(p, actors=tuple(replace(a, host="h1") for a in p.actors)),
    ]
    for simplify in [*simpler, *simpler]:
        candidate = simplify(plan)
        if candidate != plan and candidate.actors and breaks(candidate):
            plan = candidate
    return plan


def breaks(plan: Plan, storage: Storage) -> str:
    """Why this plan breaks a promise; '' if it keeps all."""
    try:
        History(plan, storage).live()
    except (Broken, AssertionError) as error:
        return str(error)
    except sa.exc.IntegrityError as error:
        if "INVARIANT" in str(error):
            return str(error.orig)
        raise
    return ""


def all_points(storage: Storage) -> list[str]:
    """The names of all points at which a process may die, as histories without a death pass them."""
    found: set[str] = set()
    for seed in range(60):
        history = History(replace(plan_of(seed), database_down=None), storage)
        history.live()
        found |= history.points
    return sorted(found)


def main(seeds: Sequence[str]) -> None:
    storage = Storage()
    points = all_points(storage)
    for seed in seeds:
        plan = plan_of(int(seed), points)
        why = breaks(plan, storage)
        print(f"{seed}: {why or 'all promises kept'}")
        if why:
            small = shrink(plan, lambda plan: bool(breaks(plan, storage)))
            print(f"  as small as it gets: {small}\n  {breaks(small, storage)}")


if __name__ == "__main__":
    main(sys.argv[1:])
