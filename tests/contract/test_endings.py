"""How jobs end, well or not: on every system in the same words, and none of them in silence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from dagster_hpc import Dependency, JobState
from dagster_hpc.engine.job import DependencyKind, failure_of
from tests.contract.lives import MET, NEVER_MET, Life, Lives, after
from tests.contract.site import Site, lacks, opened
from tests.contract.systems.base import System
from tests.faults.place import eventually, told

WAITS = {JobState.PENDING, JobState.HELD}


@pytest.fixture(scope="module")
def lives(system: System) -> Iterator[Lives]:
    with opened(system) as site:
        yield Lives(site)


def never_ran(life: Life) -> bool:
    return not life.job.began and not Path(life.job.handle.work_dir, "ran").exists()


# ---------------------------------------------------------------------- well


def test_a_job_that_ends_well_leaves_its_output(lives: Lives) -> None:
    result = lives["success"].result
    assert (result.state, result.exit_code) == (JobState.COMPLETED, 0), result.reason
    assert (result.stdout_tail, result.stderr_tail) == ("to stdout", "to stderr")
    assert Path(result.outputs["answer"]).read_text() == "42\n"


def test_its_figures_are_there_and_are_numbers(lives: Lives) -> None:
    metrics = lives["success"].result.metrics
    assert metrics.queue_wait_s is not None
    assert metrics.elapsed_s is not None
    assert 0 <= metrics.queue_wait_s < 300
    assert 0.9 <= metrics.elapsed_s < 300
    assert metrics.node_list
    assert metrics.nodes in (None, 1)
    assert metrics.cores is None or metrics.cores >= 1
    assert metrics.submitted_at is not None
    assert metrics.submitted_at <= (metrics.started_at or math.inf) + 1  # whole seconds, on some systems
    assert not [
        name for name, value in asdict(metrics).items() if isinstance(value, float) and not math.isfinite(value)
    ]


def test_the_ledger_holds_its_id(lives: Lives, system: System) -> None:
    job = lives["success"].job
    assert job.row.job_id == job.id
    assert job.row.state is JobState.COMPLETED


def test_it_was_heard_of_in_order(lives: Lives) -> None:
    *before, last = lives["success"].job.heard
    assert last is JobState.COMPLETED
    assert not any(state.is_final for state in before)


# ---------------------------------------------------------------------- badly


def test_an_exit_code_is_told(lives: Lives) -> None:
    life = lives["exit 3"]
    assert (life.result.state, life.result.exit_code) == (JobState.FAILED, 3)
    assert life.result.reason == "its program ended with exit code 3"
    assert life.last_words == "last words"


def test_a_signal_is_told_by_its_name(lives: Lives) -> None:
    life = lives["signal"]
    assert (life.result.state, life.result.exit_code) == (JobState.FAILED, 139)
    assert "SIGSEGV" in life.result.reason


def test_a_script_that_is_killed_cannot_say_so_and_the_system_does(lives: Lives) -> None:
    life = lives["script killed"]
    assert life.result.state is JobState.FAILED
    assert life.result.exit_code in (None, 137)
    assert life.result.reason
    assert life.last_words.startswith("last words")


def test_a_pre_command_that_fails_ends_the_job(lives: Lives) -> None:
    life = lives["pre_command"]
    assert life.result.state is JobState.FAILED
    assert life.result.reason == "pre_command ls /no/such/place failed with exit code 2"
    assert not any(Path(life.job.handle.work_dir, name).exists() for name in ("ran", "went-on"))


def test_a_job_that_runs_into_its_walltime(lives: Lives) -> None:
    life = lives["walltime"]
    assert life.result.state is JobState.TIMEOUT, life.result.reason
    assert life.result.reason
    assert "last words" in life.last_words


def test_a_job_that_takes_too_much_memory(lives: Lives, system: System) -> None:
    if "memory" not in system.can and "memory" not in system.target().scheduler.lacks:
        pytest.skip(f"{system.kind} limits no memory here")
    if not lacks(system, "memory", memory_per_node="100M"):
        life = lives["memory"]
        assert life.result.state is JobState.OOM, life.result.reason
        assert "memory" in life.result.reason


@pytest.mark.parametrize("by", ["from outside", "by us"])
def test_a_running_job_is_cancelled(lives: Lives, by: str) -> None:
    life = lives[f"cancelled running {by}"]
    assert life.result.state is JobState.CANCELLED, life.result.reason
    assert life.result.reason
    assert JobState.RUNNING in life.job.seen
    assert "last words" in life.last_words


@pytest.mark.parametrize("by", ["from outside", "by us"])
def test_a_waiting_job_is_cancelled(lives: Lives, by: str) -> None:
    life = lives[f"cancelled waiting {by}"]
    assert life.result.state is JobState.CANCELLED, life.result.reason
    assert life.result.reason
    assert set(life.job.seen) <= WAITS
    assert never_ran(life)
    assert life.result.metrics.started_at is None


def test_a_waiting_job_that_is_the_only_one_is_cancelled(site: Site) -> None:
    """What a system says of one job reads differently where another's words follow."""
    with site.waiting("touch ran") as (job, _):
        site.hpc.cancel(job.handle)
        assert job.end().state is JobState.CANCELLED


@pytest.mark.parametrize("where", ["running", "waiting"])
def test_what_we_cancel_says_that_it_was_us(lives: Lives, where: str) -> None:
    assert lives[f"cancelled {where} by us"].result.reason == "cancelled through dagster_hpc"


def test_whatever_ended_badly_says_what_to_do(lives: Lives) -> None:
    for name in ("exit 3", "signal", "script killed", "walltime", "cancelled running from outside"):
        life = lives[name]
        told(failure_of(life.result), life.job.row)


# ---------------------------------------------------------------------- dependencies


@pytest.mark.parametrize(("kind", "code"), MET)
def test_a_dependency_that_is_met_lets_the_job_run(
    lives: Lives, system: System, kind: DependencyKind, code: int
) -> None:
    if not lacks(system, kind, dependencies=[Dependency(kind, "1")]):
        life = lives[after(kind, code)]
        assert life.result.state is JobState.COMPLETED, life.result.reason
        assert life.job.seen[0] in WAITS


@pytest.mark.parametrize(("kind", "code"), NEVER_MET)
def test_a_dependency_that_can_never_be_met_ends_the_job(
    lives: Lives, system: System, kind: DependencyKind, code: int
) -> None:
    if not lacks(system, kind, dependencies=[Dependency(kind, "1")]):
        life = lives[after(kind, code)]
        assert life.result.state in (JobState.CANCELLED, JobState.FAILED), life.result.reason
        assert life.result.reason
        assert never_ran(life)


# ---------------------------------------------------------------------- held, stuck


def needs_a_way(system: System, what: str) -> None:
    """For what no request asks for: a system either can be brought to it, or there is nothing to be seen."""
    if what not in system.can:
        pytest.skip(f"{what}: nothing of the sort on {system.kind}")


def test_a_held_job_waits_until_it_is_released(lives: Lives, system: System) -> None:
    needs_a_way(system, "hold")
    life = lives["hold"]
    assert life.result.state is JobState.COMPLETED
    assert life.job.seen[-1] is JobState.HELD
    assert life.result.metrics.started_at is not None
    assert life.result.metrics.started_at >= life.released_at - 1  # whole seconds, on some systems


def test_a_job_that_can_never_start_is_given_up(lives: Lives, system: System) -> None:
    needs_a_way(system, "stuck")
    life = lives["stuck"]
    assert life.result.state is JobState.FAILED
    assert len(life.result.reason.split()) > 3, life.result.reason
    assert never_ran(life)
    eventually(lambda: not life.job.site.live_there(life.job.row), "the system has it no more")
