"""Allocations in the simulated world: the real queue of steps, the real holder and the real keeper, over simulated files.

Jobs that hold an allocation are jobs of the simulated cluster, which requeues them, loses their nodes and takes them
twice; a command of the queue of steps, and a holder, may die at any of the things that they do to a file.
"""

from __future__ import annotations

import json
import math
import posixpath
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.allocation import Keeper
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobState, Request
from dagster_hpc.engine.ledger import Ledger
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.schedulers.steps.requests import Steps
from dagster_hpc.engine.target import Listener, Target
from dagster_hpc.step_batch import holder as holding
from dagster_hpc.step_batch.__main__ import answer
from dagster_hpc.step_batch.folder import Folder
from dagster_hpc.step_batch.running import End
from dagster_hpc.step_batch.spool import Submission
from tests.simulation.cluster import Cluster, Job, Lies, SimulatedScheduler, Work
from tests.simulation.database import SimulatedDatabase, Storage
from tests.simulation.engine import PATIENCE, TEMPLATE, simulated_processes
from tests.simulation.files import Files, SimulatedHost
from tests.simulation.time import Process, SimulatedClock, Time

SPOOL = "/scratch/.allocations/sim-steps"
WALLTIME_S, STEP_S, IDLE_S = 300.0, 60, 40.0
_ROUND_S = 2.0
_FAULTS_END = 400.0
_SETTLED_WITHIN = 6 * 3600.0


class BrokenOff(Exception):
    """The end of a command or of a holder, in the middle of what it does."""


@dataclass(frozen=True)
class Client:
    """One process: it asks for an array of three steps, or one alone, cancels it, or only polls."""

    verb: str
    identity: str
    host: str
    begins: float
    dies_at: tuple[str, int] | None = None
    killed_after: float | None = None


@dataclass(frozen=True)
class Plan:
    """All that a history is, but for the order in which the seed lets things happen."""

    seed: int
    clients: tuple[Client, ...]
    lies: Lies = field(default_factory=Lies)
    work_s: float = 20.0
    code: int = 0
    file_delay: float = 0.0
    command_dies: float = 0.0  # a command of the queue breaks off in the middle, or its answer is lost
    holder_dies: float = 0.0  # with its job, at something that it does to a file
    node_loss: float = 0.0
    unreadable: tuple[float, float] | None = None  # no host can read the files: from when, and for how long


def plan_of(seed: int, points: Sequence[str] = ()) -> Plan:
    """The plan that this seed stands for."""
    r = random.Random(seed)

    def sometimes(chance: float, value: float) -> float:
        return value if r.random() < chance else 0.0

    clients = tuple(
        Client(
            r.choice(("array", "array", "one", "cancel", "poll")) if number else "array",
            r.choice("aab"),
            r.choice(("h1", "h2")),
            r.choice((0.0, r.uniform(0, 100), r.uniform(0, 300))),
            (r.choice(points), r.randint(1, 3)) if points and r.random() < 0.4 else None,
            r.uniform(0, 200) if r.random() < 0.2 else None,
        )
        for number in range(r.choice((2, 3, 4)))
    )
    lies = Lies(
        lost_after=sometimes(0.3, 0.5), doubled=sometimes(0.2, 0.5), down=sometimes(0.2, 0.3),
        requeue=sometimes(0.2, 0.4), history_late_s=sometimes(0.3, 30.0), waits_s=r.choice((5.0, 30.0, 200.0)),
        cancel_lost=sometimes(0.2, 0.5), late_s=sometimes(0.2, 20.0),
    )  # fmt: skip
    return Plan(
        seed, clients, lies, work_s=r.choice((1.0, 20.0, 55.0)), code=r.choice((0, 0, 3)),
        file_delay=sometimes(0.3, 30.0), command_dies=sometimes(0.4, 0.3), holder_dies=sometimes(0.4, 0.02),
        node_loss=sometimes(0.3, 0.5),
        unreadable=(r.uniform(0, 200), r.uniform(5, 90)) if r.random() < 0.15 else None,
    )  # fmt: skip


class SimulatedFolder(Folder):
    """The spool as one machine sees it. `may_go_on` is asked before each thing that is done to a file."""

    def __init__(self, files: Files, host: str, may_go_on: Callable[[], bool]) -> None:
        super().__init__(SPOOL)
        self._files, self._host, self._may_go_on = files, host, may_go_on

    def list(self, name: str) -> Sequence[str]:
        prefix = self._at(name) + "/"
        seen = [path for path in self._files.contents if path.startswith(prefix) and self._sees(path)]
        return sorted({path[len(prefix) :].partition("/")[0] for path in seen})

    def read(self, name: str) -> bytes | None:
        return self._files.visible(self._at(name), self._host)

    def has(self, name: str) -> bool:
        return self._sees(self._at(name))

    def make(self, name: str) -> None:
        self._go_on()
        self._files.make(self._at(name))

    def create(self, name: str, content: bytes, *, durable: bool = True) -> bool:
        self._go_on()
        if self._at(name) in self._files.contents:
            self._files.ask_afresh(self._at(name))
            return False
        self._files.write(self._at(name), content, late=True, by=self._host)
        return True

    def link(self, known: str, name: str) -> bool:
        return self.create(name, self._files.contents[self._at(known)])

    def append(self, name: str, line: bytes) -> None:
        self._go_on()
        self._files.write(self._at(name), self._files.contents.get(self._at(name), b"") + line, late=True, by=self._host)

    def remove(self, name: str) -> None:
        self._go_on()
        self._files.remove(self._at(name), late=True)

    def _sees(self, path: str) -> bool:
        return self._files.visible(path, self._host) is not None

    def _go_on(self) -> None:
        if not self._may_go_on():
            raise BrokenOff


class AccountingScheduler(SimulatedScheduler):
    """One that knows the steps in its jobs, as srun has them named."""

    def steps(self, ids: Sequence[str]) -> list[Call]:
        return [Call(("steps", *ids))]

    def read_steps(self, answers: Sequence[Answer], names: Collection[str]) -> Mapping[str, JobMetrics] | None:
        told = json.loads(answers[0].stdout) if answers[0].code == 0 else {}
        return {name: JobMetrics(cpu_time_s=figure) for name, figure in told.items() if name in names}


@dataclass(frozen=True)
class Account:
    """What the accounting knows of a step, from some moment on."""

    name: str
    job: str
    cpu_time_s: float
    known_from: float


class SimulatedStep:
    """What a step does on its node: it takes its lock, says that it begins, works, and says how it ended."""

    def __init__(self, world: World, job: Job, submission: Submission, index: int) -> None:
        self.submission, self.index = submission, index
        self._world, self._job, self._epoch = world, job, job.epoch
        batch = jobdir.directory_of_script(submission.script)
        self._place = jobdir.element_directory(batch, index) if submission.elements else batch
        self._end: End | None = None
        files, own_id = world.files, submission.id_of(index)
        lock = jobdir.protocol_path(self._place, jobdir.LOCK)
        runs_as = files.contents.get(lock, b"").decode().strip()
        if runs_as and runs_as != own_id:
            self._end = End("FAILED", "", jobdir.DUPLICATE_EXIT_CODE)
            return
        files.write(lock, f"{own_id}\n".encode(), late=True)
        world.began[self._place] += 1
        self._note(jobdir.STARTED, f"{world.time.now()} {own_id} node1\n")
        world.time.at(world.plan.work_s, lambda: self._ends(world.plan.code, ""))

    def stop(self, state: str, reason: str, now: float) -> None:
        self._world.time.at(1.0, lambda: self._ends(143, state, reason))

    def look(self, now: float) -> End | None:
        return self._end

    def _ends(self, code: int, state: str, reason: str = "") -> None:
        if self._end is not None or self._job.state is not JobState.RUNNING or self._job.epoch != self._epoch:
            return  # what its allocation ran has ended with it
        if state:
            self._note(jobdir.SIGNAL, "TERM\n")
        else:
            self._world.ended_by_itself[self._place] = code
        self._note(jobdir.EXIT_CODE, f"{code} {self._world.time.now()}\n")
        self._world.account(self._place, self.submission.id_of(self.index), self._job)
        self._end = End(state or ("FAILED" if code else "COMPLETED"), reason, code)

    def _note(self, name: str, text: str) -> None:
        self._world.files.write(jobdir.protocol_path(self._place, name), text.encode(), late=True)


class HoldingCluster(Cluster):
    """A cluster whose jobs hold allocations: on each runs the real holder."""

    def __init__(self, world: World, lies: Lies) -> None:
        super().__init__(world.time, world.files, lies)
        self.work = Work(WALLTIME_S, 0, JobState.TIMEOUT)
        self._world = world

    @property
    def scheduler(self) -> SimulatedScheduler:
        return AccountingScheduler()

    def _start(self, job: Job, epoch: int) -> None:
        runs = job.runs
        super()._start(job, epoch)
        if job.runs == runs or job.state is not JobState.RUNNING:
            return
        world = self._world
        if world.happens(world.plan.node_loss):
            world.time.at(world.time.random.uniform(0.0, WALLTIME_S), lambda: self._lose(job, epoch))
        folder = SimulatedFolder(world.files, "node1", lambda: not world.happens(world.plan.holder_dies))
        try:
            holder = holding.Holder(
                folder, posixpath.basename(job.directory), cores=2, walltime_s=WALLTIME_S, idle_s=IDLE_S,
                now=lambda: world.time.passed, clock=world.time.now,
                start=lambda submission, index, now: SimulatedStep(world, job, submission, index),
            )  # fmt: skip
        except BrokenOff:
            self._lose(job, epoch)
            return
        self._go_on(holder, job, epoch)

    def _go_on(self, holder: holding.Holder, job: Job, epoch: int) -> None:
        if job.state is not JobState.RUNNING or job.epoch != epoch:
            return
        try:
            goes_on = holder.round()
        except BrokenOff:
            self._lose(job, epoch)
            return
        if goes_on:
            self._time.at(_ROUND_S, lambda: self._go_on(holder, job, epoch))
        else:
            job.told_to_end = True
            self._note(job, jobdir.EXIT_CODE, f"0 {self._node_now()}\n")
            self._end(job, JobState.COMPLETED, 0)

    def _lose(self, job: Job, epoch: int) -> None:
        if job.state is JobState.RUNNING and job.epoch == epoch:
            self._end(job, JobState.NODE_FAIL, None)


class World:
    """One history, lived to its end."""

    def __init__(self, plan: Plan, storage: Storage, tell: Callable[[str], None] | None = None) -> None:
        self.plan, self.storage = plan, storage
        self.time = Time(plan.seed)
        self.time.tell = tell
        self.files = Files(self.time)
        self.files.delay = plan.file_delay
        self.cluster = HoldingCluster(self, plan.lies)
        self.began: Counter[str] = Counter()  # directory of a step → how often its payload began
        self.ended_by_itself: dict[str, int] = {}
        self.accounts: dict[str, Account] = {}  # directory of a step → what it has cost
        self._of_accounts = random.Random(plan.seed)  # of its own: what else happens is not changed by it
        self.points: set[str] = set()

    def account(self, place: str, name: str, job: Job) -> None:
        """A step has ended; the accounting hears of it a little later."""
        cost, late_s = self._of_accounts.uniform(0.0, 9.0), self._of_accounts.uniform(0.0, 20.0)
        self.accounts[place] = Account(name, job.id, cost, self.time.passed + late_s)

    def _told_of_steps(self, call: Call) -> Answer:
        if self._of_accounts.random() < self.plan.lies.down:
            return Answer(call.argv, 1, "", "down")
        accounts = [one for one in self.accounts.values() if one.job in call.argv and one.known_from <= self.time.passed]
        return Answer(call.argv, 0, json.dumps({one.name: one.cpu_time_s for one in accounts}), "")

    def happens(self, probability: float) -> bool:
        return probability > 0 and self.time.passed < _FAULTS_END and self.time.random.random() < probability

    def live(self) -> str:
        """Let everything happen, let the faults stop, and see that all is settled. What is not as promised."""
        self.storage.clear(None)
        self.storage.process = lambda: self.time.current
        self.storage.down, self.storage.fine, self.storage.loses = (lambda: False), False, (lambda: False)
        with simulated_processes(self.time), self.storage.told_to(self.time.note if self.time.tell else None):
            for number, client in enumerate(self.plan.clients):
                self._enter(f"p{number}", client)
            if self.plan.unreadable:
                begins, seconds = self.plan.unreadable
                self.time.at(begins, lambda: setattr(self.files, "unreadable_until", begins + seconds))
            self.time.run(lambda: False, limit=_FAULTS_END)
            self.plan.lies.stop()
            self.files.delay = 0.0
            self.time.start("last", "h1", self._settle)
            self.time.run(lambda: all(each.over for each in self.time.processes), limit=_SETTLED_WITHIN)
            self.time.run(lambda: False, limit=self.time.passed + 900.0)  # a copy that was taken twice finds its lock
            self.points = {name for process in self.time.processes for name in process.points}
            return self._broken()

    def _enter(self, name: str, client: Client) -> None:
        def begin() -> None:
            process = self.time.start(name, client.host, lambda process: self._act(process, client))
            process.dies_at = client.dies_at
            if client.killed_after is not None:
                self.time.at(client.killed_after, process.kill)

        self.time.at(client.begins, begin)

    def _act(self, process: Process, client: Client) -> None:
        runner = self._runner(process)
        elements = (("x",), ("y",), ("z",)) if client.verb != "one" else ()
        name = f"{client.identity}-{'array' if elements else 'one'}"
        spec = JobSpec(name=name, executable="/bin/x", elements=elements, walltime_s=STEP_S)
        try:
            if client.verb == "poll":
                runner.tick()
            elif client.verb == "cancel":
                runner.cancel([row.handle() for row in runner.ledger.jobs(live=True) if row.name == name])
            else:
                runner.wait(runner.submit(Request(spec, "/scratch", identity=name)))
        except HPCError as error:
            self.time.note(f"{process.name} {type(error).__name__}: {error.message}")

    def _settle(self, process: Process) -> None:
        """One who polls until no step lives any more, and its allocation is given back."""
        runner = self._runner(process)
        while runner.ledger.jobs(live=True):
            runner.ledger.leases.hurry(runner.identify().key, 0.0)
            runner.tick()
            SimulatedClock(process).sleep(20.0)
        for _ in range(30):  # and the figures of its steps have come
            runner.ledger.leases.hurry(runner.identify().key, 0.0)
            runner.tick()
            SimulatedClock(process).sleep(20.0)

    def _runner(self, process: Process) -> Runner:
        clock = SimulatedClock(process)
        host = SimulatedHost(process, self.files, self._execute)
        inner = Target(
            "sim", self.cluster.scheduler, host, poll_interval_s=20.0, template=TEMPLATE, patience=PATIENCE
        )
        held = JobSpec(name="allocation", executable="/bin/hold")
        scheduler = Steps(spool=SPOOL, inside="local", cores_per_node=2, walltime_s=int(WALLTIME_S))
        target = Target(
            "steps", scheduler, host, poll_interval_s=10.0, template=TEMPLATE.replace("job.sim", "step.sim"),
            patience=PATIENCE, keep=Keeper(SPOOL, inner, lambda: Request(held, f"{SPOOL}/jobs")),
        )  # fmt: skip
        ledger = Ledger(clock=clock, database=SimulatedDatabase(self.storage, clock))
        return Runner(target, ledger, Listener(on_warning=process.time.note), clock)

    def _execute(self, process: Process, call: Call) -> Answer:
        if call.argv[0] == "steps":
            return self._told_of_steps(call)
        if "dagster_hpc.step_batch" not in call.argv:
            return self.cluster.execute(process, call)
        process.pause()
        breaks_off = self.happens(self.plan.command_dies)
        left = [self.time.random.randint(0, 6) if breaks_off else math.inf]

        def may_go_on() -> bool:
            left[0] -= 1
            return left[0] >= 0

        command, *words = call.argv[call.argv.index(SPOOL) + 1 :]
        try:
            code, out, err = answer(SimulatedFolder(self.files, process.host, may_go_on), command, words, self.time.now())
        except BrokenOff:
            return Answer(call.argv, None, "", "")
        self.time.note(f"{process.name}: {command} {words} -> {code} {out or err}")
        process.pause(self.time.random.choice((0.0, 0.1, 1.0)))
        return Answer(call.argv, None, "", "") if breaks_off else Answer(call.argv, code, out, err)

    def _broken(self) -> str:
        """The first promise that was not kept; '' for none."""
        rows = self.storage.rows()
        steps = [row for row in rows if row.name != "allocation"]
        if violation := self.storage.violation():
            return violation
        if twice := [place for place, count in self.began.items() if count > 1]:
            return f"{twice} ran more than once"
        if live := [f"{row.token} {row.state} {row.reason}" for row in rows if not row.state.is_final]:
            return f"not settled: {live}"
        if lost := [row.token for row in rows if row.state is JobState.LOST]:
            return f"{lost} are LOST, and the cluster knows of them"
        for row in steps:
            code = self.ended_by_itself.get(row.work_dir)
            if row.state is JobState.COMPLETED and code != 0:
                return f"{row.token} is COMPLETED, and its payload {'never ended' if code is None else f'ended with {code}'}"
            if code == 0 and row.state is not JobState.COMPLETED and "its allocation" not in row.reason:
                return f"{row.token} is {row.state} ({row.reason}), and ended well"
            cost = self.accounts[row.work_dir].cpu_time_s if row.work_dir in self.accounts else None
            if row.metrics.cpu_time_s not in (None, cost):
                return f"{row.token} is said to have cost {row.metrics.cpu_time_s}, and cost {cost}"
            is_known = row.collected_at is not None and "holder" in row.metrics.raw
            if row.state is JobState.COMPLETED and is_known and row.metrics.cpu_time_s is None:
                return f"{row.token} has cost {cost}, and nobody took that in"
        alive = [job.id for job in self.cluster.jobs if not job.state.is_final]
        return f"the jobs {alive} were not given back" if alive else ""




def breaks(plan: Plan, storage: Storage, tell: Callable[[str], None] | None = None) -> str:
    """Why this plan breaks a promise; '' if it keeps all."""
    return World(plan, storage, tell).live()


def all_points(storage: Storage) -> list[str]:
    """The names of all points at which a client may die."""
    found: set[str] = set()
    for seed in range(30):
        world = World(plan_of(seed), storage)
        world.live()
        found |= world.points
    return sorted(found)
