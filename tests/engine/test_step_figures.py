"""The figures of an allocation's steps, asked of an accounting that answers as a real Slurm did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobMetrics, JobState
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.flux.requests import Flux
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.schedulers.steps.requests import Steps
from dagster_hpc.engine.step_figures import StepFigures
from dagster_hpc.engine.target import Target
from dagster_hpc.engine.workplace import Workplace
from tests.transcripts import transcript

KEY, HELD = "slurm-steps", "held2345"
COLLECTED_AT = 1000.0


class At(Clock):
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = COLLECTED_AT + 30

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Accounting(LocalHost):
    """The transcripts of `steps`, and what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.takes: Callable[[], object] = lambda: None
        self.answers = {"sacct": transcript("slurm", "steps_0"), "scontrol": transcript("slurm", "steps_1")}

    def run(self, call: Call) -> Answer:
        self.asked.append(" ".join(call.argv[:5]))
        self.takes()
        return self.answers[call.argv[0]]


class World:
    """One ledger with steps that ran in job 4, and as many processes that look as a test likes."""

    def __init__(self, folder: Path, scheduler: Scheduler) -> None:
        self.clock, self.host = At(), Accounting()
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db", self.clock)
        self.inner = Target("slurm", scheduler, self.host)
        self.work = Workplace(Target(KEY, Steps(), self.host), self.ledger, clock=self.clock)
        held = JobRow(HELD, HELD, "allocation", "slurm", "{}", "/x", JobState.RUNNING, 1.0, job_id="4")
        self.ledger.insert_missing([held])

    def ended(self, *ids: str, cpu_time_s: float | None = None) -> None:
        """Steps with these ids, as their holder tells of them and as they were collected."""
        known = JobMetrics(cpu_time_s=cpu_time_s, elapsed_s=3.0, cores=1, raw={"id": "x", "holder": f"{HELD}.1"})
        row = JobRow("", "", "x", KEY, "{}", "/x", JobState.COMPLETED, 2.0, collected_at=COLLECTED_AT, metrics=known)
        self.ledger.insert_missing([replace(row, token=f"t{one}", batch=f"t{one}", job_id=one) for one in ids])

    def process(self) -> StepFigures:
        return StepFigures(lambda row: self.inner)

    def figures(self, step: str) -> JobMetrics:
        return self.ledger.job(f"t{step}").metrics

    def after(self, seconds: float, *looking: StepFigures) -> list[str]:
        """What is asked when these look, so much later."""
        self.clock.time += seconds
        before = len(self.host.asked)
        for each in looking or [self.process()]:
            each.take_in(self.work)
        return self.host.asked[before:]


@pytest.fixture
def world_of(tmp_path: Path) -> Callable[[Scheduler], World]:
    return lambda scheduler: World(tmp_path, scheduler)


@pytest.fixture
def world(world_of: Callable[[Scheduler], World]) -> World:
    return world_of(Slurm())


def test_one_question_tells_the_figures_of_all_steps(world: World) -> None:
    world.ended("long", "wide")

    asked = world.after(0)

    assert asked == ["sacct -n -P --noconvert -j", "scontrol show config"]
    assert world.figures("long").cpu_time_s == pytest.approx(2.742)
    assert world.figures("long").cpu_efficiency == pytest.approx(2.742 / 3.0)
    assert world.figures("wide").cpu_time_s == pytest.approx(5.338)
    assert world.figures("wide").max_rss_mib == pytest.approx(73.05, abs=0.01)
    assert world.figures("long").raw["JobID"] == "4.0"


def test_the_question_is_the_same_however_many_look(world: World) -> None:
    world.ended("long", "runs")

    assert len(world.after(0, *(world.process() for _ in range(10)))) == 2


def test_what_the_accounting_has_told_is_not_asked_for_again(world: World) -> None:
    world.ended("long", "short", "killed")
    process = world.process()
    assert world.after(0, process)

    assert world.after(3600, process) == []


def test_a_step_that_has_just_ended_is_left_for_the_next_look(world: World) -> None:
    world.ended("long")
    world.clock.time = COLLECTED_AT + 2.0  # the accounting does not know it yet
    process = world.process()

    assert world.after(0, process) == []
    assert world.after(20, process) != []


def test_what_is_never_told_is_asked_for_less_and_less_often_and_not_for_ever(world: World) -> None:
    world.ended("never-started")
    process = world.process()

    moments = [moment for moment in range(0, 90000, 15) if world.after(15, process)]

    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 300
    assert moments[-1] <= 86400


@pytest.mark.parametrize("told", [3.5, 0.0])
def test_a_step_whose_holder_has_counted_is_not_asked_for(world: World, told: float) -> None:
    world.ended("long", cpu_time_s=told)

    assert world.after(0) == []
    assert world.figures("long").cpu_time_s == told


def test_a_system_without_accounting_is_asked_once(world: World) -> None:
    world.ended("long")
    world.host.answers["sacct"] = transcript("slurm", "history_accounting_disabled")
    process = world.process()
    assert world.after(0, process)

    assert world.after(3600, process) == []


def test_a_system_that_accounts_for_jobs_only_is_not_asked(world_of: Callable[[Scheduler], World]) -> None:
    world = world_of(Flux())
    world.ended("long")

    assert world.after(0) == []


def test_an_accounting_that_is_down_is_asked_again(world: World) -> None:
    world.ended("long")
    answers = dict(world.host.answers)
    world.host.answers["sacct"] = transcript("slurm", "history_accounting_down")
    process = world.process()
    world.after(0, process)
    assert world.figures("long").cpu_time_s is None

    world.host.answers = answers
    world.after(60, process)

    assert world.figures("long").cpu_time_s == pytest.approx(2.742)


def test_steps_whose_job_was_taken_out_of_the_ledger_keep_what_is_known(world: World) -> None:
    world.ended("long")
    gone = JobMetrics(raw={"holder": "gone2345.1"})
    row = replace(world.ledger.job("tlong"), token="tother", batch="tother", job_id="other", metrics=gone)
    world.ledger.insert_missing([row])

    world.after(0)

    assert world.figures("long").cpu_time_s is not None
    assert world.figures("other").cpu_time_s is None


def test_a_question_that_takes_long_is_asked_less_often(world: World) -> None:
    world.ended("long", "runs")
    world.host.takes = lambda: setattr(world.clock, "time", world.clock.time + 4.0)
    process = world.process()

    moments = [moment for moment in range(0, 600, 15) if world.after(15, process)]

    assert min(later - earlier for earlier, later in pairwise(moments)) >= 20 * 8.0 - 15
