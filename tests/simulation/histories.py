"""One history: a seed, what goes wrong in it, who does what, and whether every promise was kept.

`python -m tests.simulation.histories SEED` repeats one and makes it small; with `--tell` also all that happens in it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobHandle, JobResult, JobSpec, JobState, Own, Request, Resume, RetryPlan, RetryRule
from dagster_hpc.engine.ledger import JobRow, Recipient, Report
from dagster_hpc.engine.report import Account, Ended, Standing, reports_of
from dagster_hpc.engine.retry import Again, End, next_attempt
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.submit import recover
from tests.simulation.cluster import Cluster, Job, Lies, Work
from tests.simulation.database import Storage
from tests.simulation.engine import runner_of, simulated_processes
from tests.simulation.files import Files
from tests.simulation.time import Process, SimulatedClock, Time

VERBS = (
    "run", "array", "submit", "cancel", "poll", "timeout", "step", "again", "one_element", "elements", "detached", "sensor",
)  # fmt: skip
_FAULTS_END = 300.0
_SETTLED_WITHIN = 6 * 3600.0
_POLLS = 600
_NOTICED_S = 5.0  # a step that joins a job has said so in the ledger
_CANCELLED_WITHIN = 300.0
_ACCOUNTS_WITHIN = 50.0  # a little less than the epilogue of the patience here


class Broken(AssertionError):
    """An invariant that does not hold."""


@dataclass(frozen=True)
class Actor:
    """One process: when it comes, what it does, where it dies."""

    verb: str
    identity: str
    host: str
    begins: float = 0.0
    dies_at: tuple[str, int] | None = None
    killed_after: float | None = None
    stalls_at: tuple[str, int, float] | None = None
    interrupted_after: float | None = None


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
    scheduler_down: tuple[float, float] | None = None
    queue_empty: tuple[float, float] | None = None
    disk_full: tuple[float, float] | None = None
    answers_lost: float = 0.0  # the database commits, and its answer is lost
    fine: bool = False  # other processes may go on between any two transactions
    skew: float = 0.0  # the clock of host h2 is wrong
    lag: float = 0.0  # host h2 sees files so much later than h1
    closed: bool = False  # host h2 may not read the jobs' files
    end: JobState | None = None  # what the system does to every job at its end
    outputs: bool = False  # jobs declare an output
    output_missing: bool = False
    retry: tuple[RetryRule, ...] = ()
    resume: Resume | None = None
    heals_after: int | None = None  # so many attempts end badly, and then one does not

    @property
    def attempts(self) -> int:
        """That one piece of work may be worth."""
        return 1 + sum(rule.count for rule in self.retry) + (self.resume.most if self.resume else 0)

    @property
    def silent(self) -> bool:
        """Whether the system may keep the end of a job to itself for good."""
        return not self.lies.has_history or bool(self.lies.history_keeps_s)

    @property
    def hushed(self) -> bool:
        """Whether it may do so for longer than anybody waits for its accounts."""
        return self.silent or self.lies.slow_s > _ACCOUNTS_WITHIN or self.clock_step is not None


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
                verb=r.choices(VERBS, (5, 2, 2, 2, 2, 1, 2, 2, 1, 3, 2, 2))[0]
                if number
                else r.choice(("run", "array", "submit", "step", "again", "elements", "detached")),
                identity=r.choice(("a", "a", "b")),
                host=r.choice(("h1", "h1", "h2")),
                begins=r.choice((0.0, 0.0, r.uniform(0, 60), r.uniform(0, 200))),
                dies_at=dies,
                killed_after=r.uniform(0, 120) if r.random() < 0.2 else None,
                stalls_at=(r.choice(points), 1, r.choice((30.0, 200.0, 500.0)))
                if points and r.random() < 0.1
                else None,
                interrupted_after=r.uniform(0, 90) if r.random() < 0.08 else None,
            )
        )
    lies = Lies(
        lost_after=sometimes(0.25, 0.6), lost_before=sometimes(0.2, 0.5), doubled=sometimes(0.1, 0.5),
        full=sometimes(0.1, 0.6), refused=sometimes(0.07, 0.4), down=sometimes(0.25, 0.4),
        cancel_lost=sometimes(0.2, 0.6), requeue=sometimes(0.1, 0.4), node_loss=sometimes(0.1, 0.4),
        late_s=sometimes(0.25, r.choice((5.0, 20.0, 100.0))), history_late_s=sometimes(0.3, 30.0),
        has_history=r.random() < 0.85, history_keeps_s=sometimes(0.05, 40.0),
        slow_s=sometimes(0.15, r.choice((20.0, 150.0))),
        forgets=sometimes(0.05, 0.4), node_full=sometimes(0.03, 0.5), silent_requeue=r.random() < 0.3,
        wraps=r.choice((0, 0, 0, 0, 12)), waits_s=r.choice((30.0, 30.0, 5.0, 300.0)), epilogue_s=sometimes(0.2, 30.0),
        node_skew_s=r.choice((0.0, 0.0, 0.0, 40.0, -40.0)), held=sometimes(0.2, 0.5),
    )  # fmt: skip
    if not lies.has_history:
        lies.late_s = min(lies.late_s, 50.0)  # without accounts, what is not shown when it is cancelled is gone
    if lies.late_s > 50.0:
        lies.requeue = 0.0  # a job that was requeued before any queue showed it at all is beyond what is promised
    end = r.choice((None,) * 12 + (JobState.TIMEOUT, JobState.OOM, JobState.PREEMPTED))
    if lies.late_s > 50.0:
        end = None  # as is an end that no witness tells of within the patience for accounts
    begin = r.uniform(0, 120)
    plan = Plan(
        seed,
        tuple(actors),
        lies,
        room=r.choice((None, None, 1, 2)),
        work_s=r.choice((0.5, 10.0, 100.0, 100.0, 900.0)),
        code=r.choice((0, 0, 0, 3)),
        file_delay=sometimes(0.3, 40.0),
        unreadable=(begin, r.uniform(5, 90)) if r.random() < 0.15 else None,
        database_down=(begin, r.uniform(0.5, 60)) if r.random() < 0.2 else None,
        clock_step=(begin, r.choice((-3600.0, 3600.0, -5.0))) if r.random() < 0.1 else None,
        scheduler_down=(r.uniform(0, 120), r.uniform(5, 200)) if r.random() < 0.1 else None,
        queue_empty=(r.uniform(0, 120), r.uniform(5, 90)) if r.random() < 0.08 else None,
        disk_full=(r.uniform(0, 60), 30.0) if r.random() < 0.05 else None,
        answers_lost=sometimes(0.1, 0.2),
        fine=r.random() < 0.15,
        skew=r.choice((0.0,) * 8 + (90.0, -90.0)),
        lag=sometimes(0.08, 15.0),
        closed=r.random() < 0.03,
        end=end,
        outputs=r.random() < 0.15,
        output_missing=r.random() < 0.2,
    )
    if plan.queue_empty and (not lies.has_history or plan.queue_empty[1] > _ACCOUNTS_WITHIN):
        lies.requeue = 0.0  # as above: nobody shows that it was requeued, for longer than its end is doubted
    lies.absence = r.choice(("named", "listed", "not at all"))
    lies.most, lies.tells_room = r.choice((0, 0, 0, 3, 5)), r.random() < 0.7
    lies.left_out = r.choice(("", "", "", "some", "all but the first"))
    return _with_retries(plan, r)


def _with_retries(plan: Plan, r: random.Random) -> Plan:
    """Every third history has rules by which a job is tried again; then more of them give a reason for it."""
    if r.random() < 0.67:
        return plan
    rules = [
        RetryRule(on=("TIMEOUT",), walltime=2.0, most_walltime_s=r.choice((None, 600)), count=r.choice((1, 2))),
        RetryRule(on=("OOM", "PREEMPTED"), count=1, delay_s=r.choice((0.0, 30.0, 200.0))),
        RetryRule(on=("NODE_FAIL", "NOT_STARTED"), count=2, elsewhere=True),
        RetryRule(exit_codes=(3,), count=r.choice((1, 2)), delay_s=r.choice((0.0, 0.0, 60.0))),
    ]
    resume = Resume(3, r.choice((1, 3))) if r.random() < 0.3 else None
    end, code = plan.end, plan.code
    if end is None and not code and plan.lies.late_s <= 50.0:
        end, code = r.choice(((JobState.TIMEOUT, 0), (JobState.OOM, 0), (JobState.PREEMPTED, 0), (None, 3), (None, 3)))
    retry = tuple(rule for rule in rules if r.random() < 0.8)
    heals = r.choice((1, 1, 2, None))
    return replace(plan, retry=retry, resume=resume, end=end, code=code, heals_after=heals)


class SimulatedDagster:
    """An event log, and a sensor that tells it of jobs that no run waits for."""

    deployment = "dagster"

    def __init__(self, history: History) -> None:
        self._history = history
        self.said: list[tuple[str, str, str]] = []  # of which report, what, and how the job ended
        self.joined: dict[str, tuple[tuple[str, str], float]] = {}  # jobs that steps wait for, which others submitted
        self._told_at: dict[str, float] = {}

    def look(self, runner: Runner) -> None:
        """One evaluation of the sensor: jobs whose run died are taken up too."""
        runner.tick()
        reports, target = runner.ledger.reports, runner.target.key
        for step in reports.unowed(target):
            if self._standing(Recipient(step.run_id, step.step_key)) is Standing.OVER:
                rows = [row for row in runner.ledger.jobs(run_id=step.run_id) if row.step_key == step.step_key]
                reports.add(reports_of(rows, self.deployment))
        runner.report(self, within_s=120.0)

    def standing(self, step: Recipient, report: Report) -> Standing:
        return self._standing(step)

    def _standing(self, step: Recipient) -> Standing:
        received = self._history.event_log.get(step)
        if received is None:
            return Standing.UNKNOWN
        over = all(each.over for each in self._history.time.processes if f"run of {each.name}" == step.run_id)
        return Standing.RECEIVED if received else Standing.OVER if over else Standing.UNDER_WAY

    def refusal(self, report: Report) -> str:
        return ""

    def account(self, report: Report, ended: Ended, *, again: bool) -> Account:
        states = {str(result.state) for result in ended.results}
        well = all(result.succeeded for result in ended.results)
        outcome = states.pop() if len(states) == 1 else "FAILED"
        kinds = ("materialization", "check") if well else ("failure",)
        last = tuple(result.handle.token for result in ended.results)
        return Account(outcome, [Said(self, report, kind, outcome, last) for kind in kinds], delivers=well)

    def told(self, report: Report, last: Sequence[str]) -> None:
        """`last`: the attempts with which its jobs came to their end."""
        for token in report.tokens:
            self._told_at.setdefault(token, self._history.time.passed)
        for token in last:
            self._history.returned.setdefault(token, self._history.time.passed)

    def check(self, reports: Sequence[Report], rows: Sequence[JobRow]) -> None:
        """Each was reported exactly once, as its jobs ended, unless the run that waited for them has received them."""
        states = {row.chain: row.state for row in sorted(rows, key=lambda row: row.retry_number)}
        joined = {row.chain: self.joined[row.token] for row in rows if row.token in self.joined}
        for report in reports:
            said = [(kind, state) for name, kind, state in self.said if name == report.report]
            if len(said) != len(set(said)):
                raise Broken(f"{report.tokens} was said twice: {said}")
            if report.outcome.startswith("received by"):
                if said:
                    raise Broken(f"{report.tokens} was received and reported: {said}")
                continue
            if len({state for _, state in said}) != 1 or not any(kind in ("materialization", "failure") for kind, _ in said):
                raise Broken(f"{report.tokens} was not reported once: {said}")
            for token in report.tokens:
                step, since = joined.get(token, (("", ""), math.inf))
                received = states[token] is JobState.COMPLETED and self._history.event_log.get(step)
                # Whoever received it before the clock was set back seems to have done so before the report was owed.
                set_back = self._history.plan.clock_step is not None and self._history.plan.clock_step[1] < 0
                if received and self._told_at[token] > since + _NOTICED_S and not set_back:
                    raise Broken(f"{token} was reported, though {step[0]} waited for it and has received it")
            truth = {states[token] for token in report.tokens}
            if said[0][1] == "COMPLETED" and truth != {JobState.COMPLETED}:
                raise Broken(f"{report.tokens} was reported as COMPLETED, and the truth is {truth}")
            if truth == {JobState.COMPLETED} and said[0][1] not in ("COMPLETED", "LOST"):
                raise Broken(f"{report.tokens} was reported as {said[0][1]}, and it ended well")


@dataclass(frozen=True)
class Said:
    """One event of a report."""

    dagster: SimulatedDagster
    report: Report
    kind: str
    state: str
    last: tuple[str, ...]

    def is_told(self) -> bool:
        return (self.report.report, self.kind, self.state) in self.dagster.said

    def tell(self) -> None:
        self.dagster.said.append((self.report.report, self.kind, self.state))
        self.dagster.told(self.report, self.last)


class History:
    """The world of one plan, lived to its end."""

    def __init__(self, plan: Plan, storage: Storage, tell: Callable[[str], None] | None = None) -> None:
        self.plan, self.storage = plan, storage
        self.time = Time(plan.seed)
        self.time.tell = tell
        self.files = Files(self.time)
        self.files.delay = plan.file_delay
        self.lies = replace(plan.lies)
        self.cluster = Cluster(self.time, self.files, self.lies)
        output = "o.txt" if plan.outputs and not plan.output_missing else ""
        self.cluster.work = Work(plan.work_s, plan.code, plan.end, output, plan.heals_after)
        self.files.lag = {"h2": plan.lag}
        self.files.closed_to = "h2" if plan.closed else None
        self.time.skew = {"h2": plan.skew}
        self.told: list[str] = []
        self.returned: dict[str, float] = {}  # results that are in somebody's hands: token → since when
        self.awaited: dict[str, set[str]] = {}  # by plain scripts: process → tokens
        self.event_log: dict[
            tuple[str, str], bool
        ] = {}  # steps of Dagster runs that are known, and whether they succeeded
        self.materialized: set[tuple[str, str]] = set()  # elements that Dagster's event log knows of: run, element
        self.dagster = SimulatedDagster(self)
        self.wrong: list[str] = []  # promises that a process has seen broken
        self.wishes: dict[str, float] = {}  # cancellations that were asked for: token → since when
        self.points: set[str] = set()
        self._until_down = 0.0

    def live(self) -> None:
        """Let everything happen, then let the faults stop, and see that all is settled and as promised."""
        plan = self.plan
        self.storage.clear(plan.room)
        self.storage.process = lambda: self.time.current
        self.storage.down = lambda: self.time.passed < self._until_down
        self.storage.fine = plan.fine
        self.storage.loses = lambda: (
            plan.answers_lost > 0 and self.time.passed < _FAULTS_END and self.time.random.random() < plan.answers_lost
        )
        with simulated_processes(self.time), self.storage.told_to(self.time.note if self.time.tell else None):
            for number, actor in enumerate(plan.actors):
                self._enter(f"p{number}", actor)
            if plan.unreadable:
                start, seconds = plan.unreadable
                self.time.at(start, lambda: setattr(self.files, "unreadable_until", start + seconds))
            if plan.database_down:
                begin, length = plan.database_down
                self.time.at(begin, lambda: setattr(self, "_until_down", begin + length))
            self._later(plan.scheduler_down, lambda until: setattr(self.cluster, "down_until", until))
            self._later(plan.queue_empty, lambda until: setattr(self.cluster, "empty_until", until))
            self._later(plan.disk_full, lambda until: setattr(self.files, "full_until", until))
            if plan.clock_step:
                when, by = plan.clock_step
                self.time.at(when, lambda: setattr(self.time, "stepped", by))
            self.time.run(lambda: False, limit=_FAULTS_END)
            self.lies.stop()
            self._settle()
            self.points = {name for process in self.time.processes for name in process.points}
            self._check()

    def _later(self, fault: tuple[float, float] | None, begin: Callable[[float], None]) -> None:
        if fault is not None:
            start, seconds = fault
            self.time.at(start, lambda: begin(start + seconds))

    # -- who does what

    def _enter(self, name: str, actor: Actor) -> None:
        def begin() -> None:
            process = self.time.start(name, actor.host, lambda process: self._act(process, actor))
            process.dies_at, process.stalls_at = actor.dies_at, actor.stalls_at
            if actor.interrupted_after is not None:
                self.time.at(actor.interrupted_after, process.interrupt)
            if actor.killed_after is not None:
                self.time.at(actor.killed_after, process.kill)

        self.time.at(actor.begins, begin)

    def _act(self, process: Process, actor: Actor) -> None:
        runner = runner_of(process, self.storage, self.files, self.cluster, self.plan.room)
        try:
            getattr(self, f"_{actor.verb}")(runner, actor)
        except HPCError as error:
            self.told.append(f"{self.time.passed:.1f} {process.name} {type(error).__name__}: {error.message}")
        except KeyboardInterrupt:
            self.told.append(f"{self.time.passed:.1f} {process.name} was interrupted")

    def _request(self, actor: Actor, *, array: bool = False, step: tuple[str, str] = ("", "")) -> Request:
        elements = (("x",), ("y",), ("z",)) if array else ()
        name = f"{actor.identity}-array" if array else actor.identity
        outputs = (("o", "o.txt"),) if self.plan.outputs else ()
        spec = JobSpec(name=name, executable="/bin/x", elements=elements, outputs=outputs)
        run_id, step_key = step
        return Request(
            spec, "/scratch", identity=name, retry=self.plan.retry, resume=self.plan.resume,
            received=lambda *of: self.event_log.get(of), run_id=run_id or None, step_key=step_key or None,
        )  # fmt: skip

    def _wait(self, runner: Runner, handles: Sequence[JobHandle], timeout_s: float | None = None) -> None:
        assert self.time.current is not None
        self.awaited.setdefault(self.time.current.name, set()).update(handle.token for handle in handles)
        self._got(runner.wait(handles, timeout_s=timeout_s))

    def _got(self, results: Sequence[JobResult]) -> None:
        for result in results:
            self.told.append(f"{self.time.passed:.1f} {result.handle.token}: {result.state} {result.reason}")
            self.returned.setdefault(result.handle.token, self.time.passed)

    def _run(self, runner: Runner, actor: Actor) -> None:
        self._wait(runner, runner.submit(self._request(actor)))

    def _array(self, runner: Runner, actor: Actor) -> None:
        self._wait(runner, runner.submit(self._request(actor, array=True)))

    def _submit(self, runner: Runner, actor: Actor) -> None:
        runner.submit(self._request(actor))

    def _timeout(self, runner: Runner, actor: Actor) -> None:
        self._wait(runner, runner.submit(self._request(actor)), timeout_s=20.0)

    def _again(self, runner: Runner, actor: Actor) -> None:
        """One who takes no silence for an answer."""
        for _ in range(8):
            try:
                self._run(runner, actor)
            except HPCError:
                SimulatedClock(self.time.current).sleep(20.0)  # type: ignore[arg-type]
            else:
                return

    def _step(self, runner: Runner, actor: Actor) -> None:
        """As Dagster does it: the result counts as received once its event log says that the step has succeeded."""
        process = self.time.current
        assert process is not None
        step = (f"run of {process.name}", "step")
        self.event_log[step] = False
        handles = runner.submit(self._request(actor, step=step))
        if process.stalls_at is None:
            joined = [handle.token for handle in handles if handle.joined]
            live = [token for token in joined if not runner.ledger.job(token).state.is_final]
            self.dagster.joined |= dict.fromkeys(live, (step, self.time.passed))
        results = runner.wait(handles, recipient=Recipient(*step))
        process.passes("step: before its success")
        self.event_log[step] = True
        self._got(results)

    def _elements(self, runner: Runner, actor: Actor) -> None:
        """A step of several partitions: each is told to Dagster as it ends, and a retry asks for the others alone."""
        process = self.time.current
        assert process is not None
        wanted = self.time.random.sample("wxyz", self.time.random.choice((1, 2, 3)))
        step = (f"run of {process.name}", "step")
        self.event_log[step] = False
        for _ in range(self.time.random.choice((1, 2, 3))):
            left = [key for key in wanted if (step[0], key) not in self.materialized]
            with contextlib.suppress(HPCError):
                self._ask_for_elements(runner, actor, left, step)
            if all((step[0], key) in self.materialized for key in wanted):
                process.passes("step: before its success")
                self.event_log[step] = True
                return

    def _ask_for_elements(self, runner: Runner, actor: Actor, keys: Sequence[str], step: tuple[str, str]) -> None:
        process, asked_at = self.time.current, self.time.passed
        assert process is not None
        own = tuple(Own(f"{actor.identity}-of-{key}", key, received=self._received(key)) for key in keys)
        spec = JobSpec(name=f"{actor.identity}-elements", executable="/bin/x", elements=tuple((key,) for key in keys))
        handles = runner.submit(Request(spec, "/scratch", own=own, run_id=step[0], step_key=step[1]))
        keys_of = {handle.token: key for handle, key in zip(handles, keys, strict=True)}
        for token in keys_of:
            if self.returned.get(token, asked_at) < asked_at:
                self.wrong.append(f"{token} had been received when it was asked for again, and was handed out once more")
        for result in runner.as_completed(handles, recipient=Recipient(*step)):
            if not result.succeeded:
                continue
            process.passes("element: before it is materialized")
            element = (step[0], keys_of[result.handle.token])
            if element in self.materialized:
                self.wrong.append(f"{element} was materialized twice")
            self.materialized.add(element)
            self._got([result])
            process.passes("element: after it is materialized")
            if self.time.random.random() < 0.5:  # it is noted for many together; until then the event log tells
                runner.delivered([result.handle])

    def _received(self, key: str) -> Callable[[str, str], bool | None]:
        """Whether a step has received this element, though it may have failed for others."""

        def received(run_id: str, step_key: str) -> bool | None:
            return self.event_log.get((run_id, step_key)) or (
                (run_id, key) in self.materialized if (run_id, step_key) in self.event_log else None
            )

        return received

    def _detached(self, runner: Runner, actor: Actor) -> None:
        """A step that submits, notes what is to be reported, and ends."""
        process = self.time.current
        assert process is not None
        step = Recipient(f"run of {process.name}", "step")
        self.event_log[step] = False
        handles = runner.submit(self._request(actor, step=step))
        process.passes("detached: before the record")
        tokens = tuple(handle.token for handle in handles)
        owed = Report(tokens, handles[0].target, self.dagster.deployment, "asset", step.run_id, step.step_key)
        runner.ledger.reports.add([owed])
        process.passes("detached: after the record")
        self.event_log[step] = True

    def _sensor(self, runner: Runner, actor: Actor) -> None:
        for _ in range(10):
            with contextlib.suppress(HPCError):
                self.dagster.look(runner)
            SimulatedClock(self.time.current).sleep(20.0)  # type: ignore[arg-type]

    def _cancel(self, runner: Runner, actor: Actor) -> None:
        handles: list[JobHandle] = [row.handle() for row in runner.ledger.jobs(live=True)]
        self._have_cancelled(runner, handles[:2])

    def _one_element(self, runner: Runner, actor: Actor) -> None:
        """One element of an array is cancelled, the others go on."""
        rows = [row for row in runner.ledger.jobs(live=True) if row.array_index == 1][:1]
        self._have_cancelled(runner, [row.handle() for row in rows])

    def _have_cancelled(self, runner: Runner, handles: Sequence[JobHandle]) -> None:
        process = self.time.current
        assert process is not None
        try:
            runner.cancel(handles)
        finally:  # the scheduler need not have heard of it yet, and the process may have died
            if process.points["cancel: after the wish"]:
                self.wishes |= {handle.token: self.time.passed for handle in handles}

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
                with contextlib.suppress(HPCError):
                    runner.ledger.leases.hurry(runner.target.key, 0.0)  # as `dagster-hpc jobs --refresh` does
                with contextlib.suppress(HPCError):
                    self.dagster.look(runner)
                polls[0] += 1
                process.pause(110.0)

        self.time.start("janitor", "h1", look)

        looked_at = [0]

        def settled() -> bool:
            if polls[0] == looked_at[0]:
                return False
            looked_at[0] = polls[0]
            return all(p.over or p.name == "janitor" for p in self.time.processes) and not self._open()

        if not self.time.run(settled, limit=self.time.passed + _SETTLED_WITHIN):
            unfinished = [(row.token, str(row.state), row.reason) for row in self._open()]
            waiting = [process.name for process in self.time.processes if not process.over]
            raise Broken(f"not settled after {polls[0]} polls: {unfinished}; still waiting: {waiting}")

    def _open(self) -> list[JobRow]:
        rows = self.storage.rows()
        live = [row for row in rows if not row.state.is_final or row.again_at is not None]
        owed = {token for report in self.storage.reports() if report.reported_at is None for token in report.tokens}
        live = live or [row for row in rows if row.token in owed]
        return live or ([] if all(job.state.is_final for job in self.cluster.jobs) else rows[:1])

    def _check(self) -> None:
        rows = self.storage.rows()
        if violation := self.storage.violation():
            raise Broken(violation)
        if self.wrong:
            raise Broken(self.wrong[0])
        self._check_runs(rows)
        known = {(one, row.batch) for row in rows for one in row.ids}
        for job in self.cluster.jobs:
            batch = job.name.rpartition("_")[2]
            if job.runs and (job.id, batch) not in known:
                raise Broken(f"job {job.id} of {job.name} ran, and the ledger does not know it")
            if not job.state.is_final:
                raise Broken(f"job {job.id} is still {job.state} in the queue when all is settled")
        for words in self.told:
            if recover._STILLBORN in words:
                raise Broken(f"a request was refused for what another process did not do: {words}")
        for row in rows:
            self._check_verdict(row)
            self._check_wish(row)
        self._check_room(rows)
        self.dagster.check(self.storage.reports(), rows)
        self._check_chains(rows)

    def _check_chains(self, rows: Sequence[JobRow]) -> None:
        """Each attempt follows one that ended badly, once; none that was due is missing, and none is too many."""
        by_token = {row.token: row for row in rows}
        made = Counter((row.chain, row.retry_number) for row in rows)
        for row in rows:
            if row.retry_number >= self.plan.attempts or made[row.chain, row.retry_number] > 1:
                raise Broken(f"{row.token} is one attempt too many at {row.chain}: number {row.retry_number}")
            if row.next_token:
                later = by_token[row.next_token]
                if row.state in (JobState.COMPLETED, JobState.CANCELLED, JobState.LOST) or row.cancel_requested:
                    raise Broken(f"{row.token} is {row.state} ({row.reason}), and was tried again")
                if (later.chain, later.retry_number) != (row.chain, row.retry_number + 1):
                    raise Broken(f"{later.token} is no attempt after {row.token}")
                if row.token in self.returned:
                    raise Broken(f"{row.token} was returned, and goes on as {row.next_token}")
            elif self._is_owed_an_attempt(row):
                raise Broken(f"{row.token} is {row.state} ({row.reason}), and was not tried again")
        for token, wish in self.wishes.items():
            self._check_stopped(by_token, token, wish)

    @staticmethod
    def _is_owed_an_attempt(row: JobRow) -> bool:
        wanted = row.retry is not None and not row.cancel_requested
        return wanted and isinstance(next_attempt(row.retry or RetryPlan(), End(row.state, row.exit_code)), Again)

    def _check_stopped(self, rows: dict[str, JobRow], token: str, wish: float) -> None:
        """Of a chain that was to be cancelled nothing begins any more."""
        while token := rows[token].next_token:
            for job in self._jobs_of(rows[token]):
                if (job.started_at or 0.0) > max(wish, _FAULTS_END) + _CANCELLED_WITHIN:
                    raise Broken(f"{token} was to be cancelled at {wish:.0f} s, and job {job.id} began after that")

    def _check_room(self, rows: Sequence[JobRow]) -> None:
        """The ledger's own count is held by the database; here are the payloads that really ran at once."""
        unseen = self.lies.late_s or self.plan.lies.late_s or self.plan.queue_empty or self.plan.lies.slow_s > 30
        most = self.cluster.most_running
        crowded = self.plan.room is not None and most > self.plan.room
        if crowded and not unseen and not any(row.state is JobState.LOST for row in rows):
            raise Broken(f"{most} jobs ran at once, and there is room for {self.plan.room}")

    def _check_wish(self, row: JobRow) -> None:
        """Soon after a cancellation was asked for, or after the faults, the job is gone."""
        wish = self.wishes.get(row.token)
        if wish is None:
            return
        # Where the database's clock is set back, a dead owner's last sign of life lies so far in the future.
        set_back_s = max(0.0, -self.plan.clock_step[1]) if self.plan.clock_step else 0.0
        for job in self._jobs_of(row):
            late = max(wish, _FAULTS_END, job.taken_at) + _CANCELLED_WITHIN + set_back_s
            if job.ended_at is None or job.ended_at > late:
                raise Broken(
                    f"{row.token} was to be cancelled at {wish:.0f} s, and job {job.id} ended at {job.ended_at}"
                )

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
                if earlier.state is JobState.COMPLETED and row.state is JobState.COMPLETED:
                    self._check_delivery(identity, row, earlier, later)

    def _check_delivery(self, identity: str, row: JobRow, earlier: Job, later: Job) -> None:
        sentence = f"{identity} ran again as {later.id}, though {earlier.id}"
        if row.delivered_at is None:
            raise Broken(f"{sentence} was never delivered")
        if self.returned.get(row.token, float("inf")) <= later.taken_at:
            return
        # The note stands in the ledger a moment before a script has the result; it may die just then.
        noting = {process.name for process in self.time.processes if process.points["deliver: before the note"]}
        if not any(row.token in self.awaited.get(name, ()) for name in noting):
            raise Broken(f"{sentence} was delivered to nobody")

    def _jobs_of(self, row: JobRow) -> list[Job]:
        return [job for job in self.cluster.jobs if job.directory == row.work_dir]

    def _check_verdict(self, row: JobRow) -> None:
        jobs = self._jobs_of(row)
        truth = next((job for job in jobs if job.id == row.job_id), None)
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
            if not self.plan.silent and not truth.forgotten:
                raise Broken(f"{row.token} is LOST, though the history knows it: {truth}")
            return
        if row.state is not truth.state and not self._is_as_good(row, truth):
            raise Broken(f"{row.token} is told {row.state} ({row.reason}), and the truth is {truth}")

    def _is_as_good(self, row: JobRow, truth: Job) -> bool:
        """Words for one end that differ where the system kept silent: then only the files tell."""
        told, silent = row.state, self.plan.hushed
        if truth.forgotten:
            return told is JobState.CANCELLED and row.cancel_requested
        if told is JobState.FAILED and row.missing:
            return truth.state is JobState.COMPLETED and self.plan.outputs and self.plan.output_missing
        if truth.state in (JobState.NODE_FAIL, JobState.TIMEOUT, JobState.OOM, JobState.PREEMPTED):
            return silent and told in (JobState.FAILED, JobState.CANCELLED)
        if truth.state is JobState.CANCELLED:
            return silent and told is JobState.FAILED
        return truth.state is JobState.FAILED and told is JobState.CANCELLED and row.cancel_requested


def shrink(plan: Plan, breaks: Callable[[Plan], bool]) -> Plan:
    """The smallest plan found that still breaks: without this actor, that fault, that death."""
    quiet = Lies(has_history=plan.lies.has_history, absence=plan.lies.absence)
    simpler: list[Callable[[Plan], Plan]] = [
        *(lambda p, n=n: replace(p, actors=tuple(a for i, a in enumerate(p.actors) if i != n)) for n in (3, 2, 1, 0)),
        *(
            lambda p, name=name: replace(p, lies=replace(p.lies, **{name: getattr(quiet, name)}))
            for name in Lies.__dataclass_fields__
        ),
        *(
            lambda p, name=name: replace(p, **{name: getattr(Plan(0, ()), name)})
            for name in Plan.__dataclass_fields__
            if name not in ("seed", "actors", "lies", "work_s")
        ),
        *(
            lambda p, name=name, n=n: replace(
                p, actors=tuple(replace(a, **{name: None}) if i == n else a for i, a in enumerate(p.actors))
            )
            for name in ("killed_after", "dies_at", "stalls_at", "interrupted_after")
            for n in range(4)
        ),
        lambda p: replace(p, actors=tuple(replace(a, host="h1") for a in p.actors)),
    ]
    for simplify in [*simpler, *simpler]:
        candidate = simplify(plan)
        if candidate != plan and candidate.actors and breaks(candidate):
            plan = candidate
    return plan


def breaks(plan: Plan, storage: Storage, tell: Callable[[str], None] | None = None) -> str:
    """Why this plan breaks a promise; '' if it keeps all."""
    try:
        History(plan, storage, tell).live()
    except (Broken, AssertionError) as error:
        return str(error)
    return ""


def all_points(storage: Storage) -> list[str]:
    """The names of all points at which a process may die, as histories without a death pass them."""
    found: set[str] = set()
    for seed in range(40):
        plan = replace(plan_of(seed), database_down=None, fine=seed % 4 == 0)
        history = History(replace(plan, actors=tuple(replace(a, killed_after=None) for a in plan.actors)), storage)
        with contextlib.suppress(Broken):  # told where the seed is lived
            history.live()
        found |= history.points
    return sorted(found)


def main(seeds: Sequence[str], *, tell: bool = False) -> None:
    storage = Storage()
    points = all_points(storage)
    for seed in seeds:
        plan = plan_of(int(seed), points)
        why = breaks(plan, storage)
        print(f"{seed}: {why or 'all promises kept'}")
        if why:
            small = shrink(plan, lambda plan: bool(breaks(plan, storage)))
            print(f"  as small as it gets: {unusual(small)}\n  {breaks(small, storage)}")
            if tell:
                breaks(small, storage, print)


def unusual(value: object) -> str:
    """A plan in words: only what is not as usual."""
    if not is_dataclass(value):
        return repr(value)
    usual = {each.name: each.default for each in fields(value)}
    parts = []
    for name, was in usual.items():
        now = getattr(value, name)
        if isinstance(now, tuple) and now and is_dataclass(now[0]):
            parts.append(f"{name}=({', '.join(unusual(one) for one in now)})")
        elif is_dataclass(now):
            parts.append(f"{name}={unusual(now)}")
        elif now != was:
            parts.append(f"{name}={now!r}")
    return f"{type(value).__name__}({', '.join(parts)})"


if __name__ == "__main__":
    main([word for word in sys.argv[1:] if word != "--tell"], tell="--tell" in sys.argv)
