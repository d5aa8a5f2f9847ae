"""The jobs of many steps are watched together, and none keeps the others waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from dagster_hpc import Command, HPCJobRunner, JobResult, SubmitRefused
from dagster_hpc.engine.job import Request, RetryRule
from dagster_hpc.executor import watch
from dagster_hpc.executor.watch import JobWatch
from dagster_hpc.resources.resolve import resolve
from tests.resources.conftest import hpc

__all__ = ["hpc"]

Said = list[tuple[str, JobResult | None]]


@pytest.fixture
def said() -> Said:
    return []


def request(hpc: HPCJobRunner, name: str, script: str = "true") -> Request:
    spec = resolve(Command.shell(script, name=name), hpc.profile("small"), hpc.target)
    return Request(spec, work_root=hpc.folder, identity=name)


def submit(jobs: JobWatch, hpc: HPCJobRunner, name: str, said: Said, script: str = "true") -> None:
    jobs.submit(name, name, lambda words, result: said.append((words, result)), lambda: request(hpc, name, script))


def trouble(jobs: JobWatch, name: str, wait_for: Callable[[str], bool] = bool) -> str:
    """What is told of this step, once there is something."""
    deadline = time.monotonic() + 60
    while not wait_for(words := jobs.trouble(name)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return words


def test_one_look_answers_for_all_steps(hpc: HPCJobRunner, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, looks = JobWatch(hpc, clock=lambda: 100.0), []
    for name in ("a", "b", "c"):
        submit(jobs, hpc, name, said, "sleep 60")
    polled = HPCJobRunner.polled
    monkeypatch.setattr(HPCJobRunner, "polled", lambda self, within_s: looks.append(1) or polled(self, within_s))
    assert [jobs.trouble(name) for name in ("a", "b", "c")] == ["", "", ""]
    assert len(looks) == 1


def test_the_same_attempt_is_submitted_once(hpc: HPCJobRunner, said: Said) -> None:
    submit(JobWatch(hpc), hpc, "a", said)
    submit(JobWatch(hpc), hpc, "a", said, "echo another script")
    assert len(hpc.jobs()) == 1


def test_a_job_that_was_over_before_is_not_submitted_again(hpc: HPCJobRunner, said: Said) -> None:
    jobs = JobWatch(hpc)
    submit(jobs, hpc, "a", said, "exit 3")
    assert "exit code 3" in trouble(jobs, "a")
    submit(JobWatch(hpc), hpc, "a", said)
    assert len(hpc.jobs()) == 1


def test_a_refused_submission_is_the_trouble_of_its_step_alone(
    hpc: HPCJobRunner, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = JobWatch(hpc)
    submit(jobs, hpc, "good", said, "sleep 60")

    def refuse(*_: object) -> None:
        raise SubmitRefused("invalid account")

    monkeypatch.setattr(type(hpc._engine()), "submit", refuse)
    submit(jobs, hpc, "bad", said)
    assert "invalid account" in jobs.trouble("bad")
    assert jobs.trouble("good") == ""


def test_a_submission_that_takes_long_keeps_nobody_waiting(
    hpc: HPCJobRunner, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, engine = JobWatch(hpc), hpc._engine()
    ordinary = type(engine).submit
    released: list[bool] = []

    def slowly(self: object, asked: Request) -> object:
        while not released:
            time.sleep(0.05)
        return ordinary(engine, asked)

    monkeypatch.setattr(watch, "_SUBMIT_S", 0.1)
    monkeypatch.setattr(type(engine), "submit", slowly)
    submit(jobs, hpc, "a", said, "exit 3")
    assert jobs.trouble("a") == ""
    assert hpc.jobs() == []
    released.append(True)
    assert "exit code 3" in trouble(jobs, "a")


def test_what_a_job_has_cost_is_told_when_its_step_has_reported(hpc: HPCJobRunner, said: Said) -> None:
    jobs = JobWatch(hpc)
    submit(jobs, hpc, "a", said)
    jobs.has_reported("a")
    jobs.finish()
    words, result = said[-1]
    assert "ended as COMPLETED" in words
    assert result is not None
    assert result.metrics.elapsed_s is not None


def test_a_job_that_fails_after_its_step_has_reported_is_not_tried_again(hpc: HPCJobRunner, said: Said) -> None:
    jobs, rule = JobWatch(hpc), RetryRule(on=("FAILED",))
    asked = replace(request(hpc, "a", "sleep 2; exit 3"), retry=(rule,))
    jobs.submit("a", "a", lambda words, result: said.append((words, result)), lambda: asked)
    jobs.has_reported("a")
    jobs.finish()
    assert "ended as FAILED" in said[-1][0]
    assert len(hpc.jobs()) == 1


def test_all_jobs_are_cancelled_together(hpc: HPCJobRunner, said: Said) -> None:
    jobs = JobWatch(hpc)
    for name in ("a", "b"):
        submit(jobs, hpc, name, said, "sleep 60")
    assert jobs.cancel() == "the jobs of 2 steps were cancelled"
    assert jobs.cancel() == ""
