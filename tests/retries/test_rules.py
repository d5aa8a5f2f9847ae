"""Which ends lead to another attempt, with what more, and what is said where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dagster_hpc import ConfigurationError, QueueLimits, RetryRule
from dagster_hpc.engine import job
from dagster_hpc.engine.job import JobSpec, JobState, RetryPlan
from dagster_hpc.engine.retry import Again, End, next_attempt
from dagster_hpc.resources.retry import Resume, engine_resume, engine_rules

TIMEOUT, FAILED = End(JobState.TIMEOUT), End(JobState.FAILED, 3)


def plan(*rules: job.RetryRule, **more: Any) -> RetryPlan:
    return RetryPlan(rules, **{"walltime_s": 100, "memory_mib": 1000, **more})


def again(found: Again | str) -> Again:
    assert isinstance(found, Again), found
    return found


def test_a_timeout_gets_more_walltime() -> None:
    found = again(next_attempt(plan(job.RetryRule(on=("TIMEOUT",), walltime=2)), TIMEOUT))
    assert (found.plan.walltime_s, found.plan.memory_mib) == (200, 1000)
    assert found.words == "tried again with a walltime of 00:03:20"


def test_out_of_memory_gets_more_memory() -> None:
    found = again(next_attempt(plan(job.RetryRule(on=("OOM",), memory=1.5)), End(JobState.OOM)))
    assert (found.plan.walltime_s, found.plan.memory_mib) == (100, 1500)


def test_no_attempt_gets_more_than_the_cap() -> None:
    rule = job.RetryRule(on=("TIMEOUT",), walltime=2, most_walltime_s=150, count=5)
    first = again(next_attempt(plan(rule), TIMEOUT))
    assert first.plan.walltime_s == 150
    assert next_attempt(first.plan, TIMEOUT) == "not tried again: its walltime of 00:02:30 is at the cap of the rule"


def test_a_rule_counts_its_own_attempts() -> None:
    rules = (job.RetryRule(on=("TIMEOUT",), walltime=2), job.RetryRule(on=("OOM",), memory=2))
    after_timeout = again(next_attempt(plan(*rules), TIMEOUT)).plan
    assert next_attempt(after_timeout, TIMEOUT) == "not tried again: the attempts that its rule allows are used up"
    assert again(next_attempt(after_timeout, End(JobState.OOM))).plan.walltime_s == 200


def test_the_first_rule_that_can_is_taken() -> None:
    rules = (job.RetryRule(on=("FAILED",), count=1), job.RetryRule(exit_codes=(3,), delay_s=60))
    first = again(next_attempt(plan(*rules), FAILED))
    assert first.delay_s == 0
    assert again(next_attempt(first.plan, FAILED)).delay_s == 60


def test_an_exit_code_is_tried_again_only_where_the_rule_names_it() -> None:
    rule = job.RetryRule(exit_codes=(7,))
    assert next_attempt(plan(rule), FAILED) == ""
    again(next_attempt(plan(rule), End(JobState.FAILED, 7)))


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED", "LOST", "REFUSED"])
def test_what_was_wanted_so_or_may_still_run_is_never_tried_again(state: str) -> None:
    everything = job.RetryRule(on=(state, *job.KINDS_OF_END), exit_codes=(0, 1, 3), count=9)
    assert next_attempt(plan(everything, resume=job.Resume(3, 9)), End(JobState(state), 3)) == ""


def test_a_job_that_never_began_is_known_apart_from_one_that_failed() -> None:
    rule = job.RetryRule(on=("NOT_STARTED",), elsewhere=True)
    assert next_attempt(plan(rule), End(JobState.FAILED, 1, began=True, node="n7")) == ""
    found = again(next_attempt(plan(rule), End(JobState.FAILED, 72, began=False, node="n7")))
    assert found.plan.excluded == ("n7",)
    assert found.words == "tried again on another node than n7"


def test_of_several_nodes_none_is_excluded() -> None:
    rule = job.RetryRule(on=("NODE_FAIL",), elsewhere=True)
    assert again(next_attempt(plan(rule), End(JobState.NODE_FAIL, node="n[1-4]"))).plan.excluded == ()


def test_memory_that_was_not_asked_for_cannot_be_raised() -> None:
    found = next_attempt(plan(job.RetryRule(on=("OOM",), memory=2), memory_mib=None), End(JobState.OOM))
    assert found == "not tried again: it asks for no memory_per_node that could be raised"


def test_what_is_not_finished_is_resumed_so_many_times() -> None:
    once = plan(resume=job.Resume(3, 1))
    first = again(next_attempt(once, FAILED))
    assert first.words == "it is not finished, and is resumed"
    assert "not resumed again" in str(next_attempt(first.plan, FAILED))


def test_a_plan_is_the_same_after_it_was_written_down() -> None:
    whole = plan(job.RetryRule(on=("OOM",), exit_codes=(3,), most_memory_mib=7), resume=job.Resume(4, 2), excluded=("n1",))
    assert RetryPlan.from_dict(whole.to_dict()) == whole
    assert RetryPlan.from_dict(whole.closed.to_dict()) == replace(whole, rules=(), resume=None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"on": ["TIMEOT"]}, "did you mean 'TIMEOUT'?"),
        ({"on": ["CANCELLED"]}, "no end after which a job is tried again"),
        ({}, "give `on` or `exit_codes`"),
        ({"exit_codes": [256]}, "between 1 and 255"),
        ({"on": ["TIMEOUT"], "most_walltime": "long"}, "walltime 'long'"),
        ({"on": ["OOM"], "most_memory": "16"}, "memory '16'"),
        ({"on": ["OOM"], "memory": 0.5}, "greater than or equal to 1"),
        ({"on": ["OOM"], "memmory": 2}, "memmory"),
    ],
)
def test_a_rule_that_makes_no_sense_is_an_error_where_it_is_written(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="RetryRule") as wrong:
        RetryRule(**given)
    assert words in str(wrong.value)


def test_the_usual_rules_are_those_of_most_jobs() -> None:
    timeout, oom, never_began, machine = engine_rules(RetryRule.usual(most_walltime="1h", most_memory="4G"))
    assert (timeout.on, timeout.walltime, timeout.most_walltime_s) == (("TIMEOUT",), 2, 3600)
    assert (oom.on, oom.memory, oom.most_memory_mib) == (("OOM",), 1.5, 4096)
    assert (never_began.on, never_began.elsewhere) == (("NOT_STARTED",), True)
    assert (machine.on, machine.walltime, machine.memory) == (("NODE_FAIL", "PREEMPTED"), 1, 1)


def test_no_attempt_gets_more_than_its_queue_allows() -> None:
    limits = QueueLimits(max_walltime="2h", max_memory_per_node="8G")
    uncapped, capped = engine_rules(
        [RetryRule(on=["TIMEOUT"], walltime=2), RetryRule(on=["OOM"], memory=2, most_memory="4G")], limits
    )
    assert (uncapped.most_walltime_s, uncapped.most_memory_mib) == (7200, 8192)
    assert (capped.most_walltime_s, capped.most_memory_mib) == (7200, 4096)


def test_a_job_that_nobody_warns_cannot_be_resumed() -> None:
    with pytest.raises(ConfigurationError, match="nothing tells it that its walltime ends") as wrong:
        engine_resume(Resume(exit_code=85), JobSpec(name="relax"))
    assert "set signal_before_end of its profile" in wrong.value.advice
