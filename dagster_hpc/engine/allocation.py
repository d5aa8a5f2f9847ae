"""Keeping an allocation: a job that holds it is there while steps wait, and what it ran has ended when it has.

Whoever asks for the steps does this for everybody, and any of it may be done twice: each job that holds the allocation
is of a generation with a number, whose identity only one job can have; what is written into the spool is written once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from dagster_hpc.engine.errors import SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.job import JobState, Request
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.step_figures import StepFigures
from dagster_hpc.engine.target import Target
from dagster_hpc.engine.workplace import Workplace
from dagster_hpc.step_batch import spool

_SOON_S = 1.0
_MOST_IN_VAIN = 2  # jobs that ended badly before they took a step; then the steps that waited for them have failed
# What the end of the held job was for the steps that ran in it; any other was not their doing.
_SAME_FOR_STEPS = (JobState.TIMEOUT, JobState.OOM, JobState.NODE_FAIL, JobState.PREEMPTED, JobState.CANCELLED)


@dataclass(frozen=True)
class Numbers:
    """The generations that there are."""

    alive: tuple[int, ...]  # whose end is not known here yet
    last: int  # 0: none yet
    begun: int  # the next, whose job somebody is submitting, or did not live to submit; 0: none


@dataclass(frozen=True)
class Generation:
    """One held job as it is now."""

    number: int
    row: JobRow
    lives: tuple[str, ...]  # the names of its holder: once more for each time that the scheduler started it
    drains: bool  # its holder leaves steps to the next
    used: bool  # it has taken a step

    @property
    def has_ended(self) -> bool:
        """It has, and all that it ran with it. A job that is lost may still run."""
        return self.row.state.is_final and not self.is_lost

    @property
    def is_lost(self) -> bool:
        """Nobody knows what became of it. Its steps are as lost; those that wait need not wait for it."""
        return self.row.state is JobState.LOST

    @property
    def was_in_vain(self) -> bool:
        return self.has_ended and not self.row.state.is_success and not self.used


class Watch:
    """Tells the steps of an allocation what has become of the jobs that held it. `inner_of`: where such a job went.

    It submits nothing: for those who know an allocation from the ledger only, and not what its next job would be.
    """

    def __init__(self, folder: str, inner_of: Callable[[JobRow], Target]) -> None:
        self._folder, self._inner_of = folder, inner_of
        self._runners: dict[str, Runner] = {}
        self._figures = StepFigures(inner_of)

    def __call__(self, work: Workplace) -> float | None:
        """Do what is due. The seconds after which it is worth while to come again; None where nothing is awaited."""
        try:
            due_in_s = self._keep(work)
        except OSError as error:  # a file system that does not answer says nothing
            raise SchedulerUnavailable(f"the queue of steps in {self._folder} cannot be seen: {error}") from error
        self._figures.take_in(work)
        return due_in_s

    def _keep(self, work: Workplace) -> float | None:
        numbers = self._numbers(work.target.host)
        for each in self._generations(numbers.alive, work):
            self._runner_on(self._inner_of(each.row), work).tick()
        self._tell_what_has_ended(numbers, work)
        return None

    def _runner_on(self, inner: Target, work: Workplace) -> Runner:
        if inner.key not in self._runners:
            self._runners[inner.key] = Runner(inner, work.ledger, work.listener, work.clock)
        return self._runners[inner.key]

    def _tell_what_has_ended(self, numbers: Numbers, work: Workplace) -> list[Generation]:
        """The generations that have not."""
        generations = self._generations(numbers.alive, work)
        for each in generations:
            if each.has_ended:
                self._say_that_it_is_over(each, work)
            elif each.is_lost:
                self._mark(each, spool.LOST, b"", work)
        live = [each for each in generations if not each.has_ended]
        if len(live) < len(generations):
            work.ledger.leases.hurry(work.target.key, 0.0)  # what ran there has ended: it is told at once
        return live

    def _numbers(self, host: Host) -> Numbers:
        names = host.list(f"{self._folder}/{spool.ALLOCATIONS}")
        kept = sorted(int(name) for name in names if name.isdigit())
        last = kept[-1] if kept else 0
        alive = tuple(number for number in kept if f"{number}.over" not in names)
        return Numbers(alive, last, last + 1 if f"{last + 1}.begins" in names else 0)

    def _generations(self, numbers: Iterable[int], work: Workplace) -> list[Generation]:
        """Those of these that the ledger knows: it may have been lost, or what is over taken out of it."""
        return [found for number in numbers if (found := self._generation(number, work)) is not None]

    def _generation(self, number: int, work: Workplace) -> Generation | None:
        host, holders = work.target.host, f"{self._folder}/{spool.HOLDERS}"
        token = (host.read(f"{self._folder}/{spool.ALLOCATIONS}/{number}") or b"").decode()
        rows = work.ledger.jobs(batch=token)
        if not rows:
            return None
        lives = tuple(name for name in host.list(holders) if name.partition(".")[0] == token)
        said = [set(host.list(f"{holders}/{name}")) for name in lives]
        drains, used = bool(said) and spool.DRAINS in said[-1], any(spool.USED in each for each in said)
        return Generation(number, rows[0], lives, drains, used)

    def _say_that_it_is_over(self, ended: Generation, work: Workplace) -> None:
        """Its end, for its steps, and then that this is done. Who takes a result of it takes none of its work."""
        row = ended.row
        state = row.state if row.state in _SAME_FOR_STEPS else JobState.NODE_FAIL
        reason = f"its allocation, job {row.job_id or row.token}, ended: {row.state}"
        verdict = {"state": state.value, "reason": f"{reason} ({row.reason})" if row.reason else reason}
        self._mark(ended, spool.OVER, json.dumps(verdict).encode(), work)
        work.clock.point("allocation: after its end is said")
        work.insist(lambda: work.ledger.deliveries.returned([row.token], None))
        work.target.host.create(f"{self._folder}/{spool.ALLOCATIONS}/{ended.number}.over", b"")

    def _mark(self, generation: Generation, name: str, content: bytes, work: Workplace) -> None:
        for life in generation.lives:
            work.target.host.create(f"{self._folder}/{spool.HOLDERS}/{life}/{name}", content)


class Keeper(Watch):
    """Keeps an allocation besides: a job is there while steps wait. `inner`: where it goes; `request`: such a job."""

    def __init__(self, folder: str, inner: Target, request: Callable[[], Request]) -> None:
        super().__init__(folder, lambda _: inner)
        self._inner, self._request = inner, request

    def _keep(self, work: Workplace) -> float | None:
        waiting = work.target.host.list(f"{self._folder}/{spool.QUEUE}")
        numbers = self._numbers(work.target.host)
        if not (waiting or numbers.begun or numbers.alive):
            return None
        runner = self._runner_on(self._inner, work)
        runner.tick()
        if self._keep_those_that_nobody_kept(numbers, work):
            numbers = self._numbers(work.target.host)
        live = self._tell_what_has_ended(numbers, work)
        if waiting and all(each.drains or each.is_lost for each in live):
            waiting = self._without_what_waits_in_vain(numbers.last, waiting, work)
            if waiting:
                self._begin(numbers.begun or numbers.last + 1, runner, waiting, work)
                return _SOON_S
        self._say_why_steps_wait(live, waiting, work)
        return self._inner.poll_interval_s if waiting or live else None

    def _keep_those_that_nobody_kept(self, numbers: Numbers, work: Workplace) -> bool:
        """Keep the tokens of jobs whose submitters did not live to do it, or were slower than another one's whole job."""
        latest = (numbers.last - 1, numbers.last)
        kept = {work.target.host.read(f"{self._folder}/{spool.ALLOCATIONS}/{number}") for number in latest}
        found = False
        for number in (numbers.last, numbers.last + 1):
            for row in work.ledger.jobs(identity=self._identity(number)):
                if row.token.encode() not in kept and row.state is not JobState.REFUSED:
                    found |= self._keep_token(number, row.token, work)
        return found

    def _keep_token(self, number: int, token: str, work: Workplace) -> bool:
        """Keep the token of a job of this generation, or of a later one if that is another's. False: it was kept."""
        while not work.target.host.create(path := f"{self._folder}/{spool.ALLOCATIONS}/{number}", token.encode()):
            if work.target.host.read(path) == token.encode():
                return False
            number += 1
        return True

    def _identity(self, number: int) -> str:
        return hashlib.sha256(f"allocation {self._folder} {number}".encode()).hexdigest()[:32]

    def _begin(self, number: int, runner: Runner, waiting: Sequence[str], work: Workplace) -> None:
        """Submit the job of this generation, unless somebody has, and keep its token."""
        work.target.host.create(f"{self._folder}/{spool.ALLOCATIONS}/{number}.begins", b"")
        try:
            handle = runner.submit(replace(self._request(), identity=self._identity(number)))[0]
        except SubmitRefused as error:
            self._fail(waiting, f"its allocation was refused: {error.message}", work)
            return
        work.clock.point("allocation: before its token is kept")
        self._keep_token(number, handle.token, work)
        self._say(f"waits for its allocation, job {handle.job_id or handle.token}", work)

    def _without_what_waits_in_vain(self, last: int, waiting: Sequence[str], work: Workplace) -> list[str]:
        """Let steps fail for which several jobs were submitted, and ended badly before they took any step; the others."""
        tried = self._generations(range(max(1, last - _MOST_IN_VAIN + 1), last + 1), work)
        if len(tried) < _MOST_IN_VAIN or not all(each.was_in_vain for each in tried):
            return list(waiting)
        since, row = tried[0].row.created_at, tried[-1].row
        in_vain = [token for token in waiting if self._submitted_at(token, work.target.host) <= since]
        why = f"{row.state}: {row.reason}" if row.reason else str(row.state)
        words = f"its allocation ended {_MOST_IN_VAIN} times before it took a step, last as job {row.job_id}, {why}"
        if in_vain:
            self._fail(in_vain, f"{words}; see `dagster-hpc logs {row.token}`", work)
        return [token for token in waiting if token not in in_vain]

    def _fail(self, tokens: Sequence[str], reason: str, work: Workplace) -> None:
        work.listener.on_warning(f"steps that waited have failed: {reason}")
        verdict = json.dumps({"state": JobState.FAILED.value, "reason": reason, "at": work.clock.now()}).encode()
        for token in tokens:
            submission = self._submission(token, work.target.host)
            for index in submission.indices if submission else ():
                work.target.host.create(f"{self._folder}/{spool.STEPS}/{token}/{index}", verdict)
        work.ledger.leases.hurry(work.target.key, 0.0)

    def _submission(self, token: str, host: Host) -> spool.Submission | None:
        text = host.read(f"{self._folder}/{spool.STEPS}/{token}/submission.json")
        return None if text is None else spool.Submission(**json.loads(text))

    def _submitted_at(self, token: str, host: Host) -> float:
        submission = self._submission(token, host)
        return submission.submitted_at if submission else float("inf")

    def _say_why_steps_wait(self, live: Sequence[Generation], waiting: Sequence[str], work: Workplace) -> None:
        if not (waiting and live):
            return
        row = live[-1].row
        if row.state is JobState.RUNNING:
            self._say(f"waits for room in its allocation, job {row.job_id}", work)
        else:
            why = f": {row.reason}" if row.reason else ""
            self._say(f"waits for its allocation, job {row.job_id or row.token} ({row.state}{why})", work)

    def _say(self, words: str, work: Workplace) -> None:
        """Keep the words that a query tells of steps that wait."""
        if work.target.host.read(f"{self._folder}/{spool.WAITS}") != words.encode():
            work.target.host.place(self._folder, {spool.WAITS: words.encode()})


