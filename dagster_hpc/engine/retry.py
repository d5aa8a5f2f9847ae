"""Whether a job that ended badly is tried again, and as what: decided once, when its end is written down.

Pure: from the plan of the attempt and the way in which it ended. Who makes the next attempt is in `submit/again.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.job.retries import NOT_STARTED, RetryPlan, RetryRule
from dagster_hpc.engine.units import format_walltime

_NEVER = (JobState.COMPLETED, JobState.CANCELLED, JobState.LOST, JobState.REFUSED)
_ONE_NODE = re.compile(r"[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class End:
    """How an attempt ended."""

    state: JobState
    exit_code: int | None = None
    began: bool = True  # its script was seen to begin
    node: str | None = None

    @property
    def kinds(self) -> frozenset[str]:
        """The words by which a rule may mean it."""
        failed_to_start = not self.began and self.state in (JobState.FAILED, JobState.NODE_FAIL)
        return frozenset({self.state.value, *([NOT_STARTED] if failed_to_start else [])})


@dataclass(frozen=True)
class Again:
    """The next attempt: its plan, when it is due, and what is said of it."""

    plan: RetryPlan
    delay_s: float
    words: str


def next_attempt(plan: RetryPlan, end: End) -> Again | str:
    """The attempt that follows this end; or why there is none, '' where no rule is about such an end."""
    if end.state in _NEVER or not end.state.is_final:
        return ""
    if plan.resume and end.state is JobState.FAILED and end.exit_code == plan.resume.exit_code:
        if plan.resume.most < 1:
            return "not resumed again: this was the last time that `most` of its Resume allows"
        left = replace(plan.resume, most=plan.resume.most - 1)
        return Again(replace(plan, resume=left), 0.0, "it is not finished, and is resumed")
    why_not: list[str] = []
    for number, rule in enumerate(plan.rules):
        if not _is_about(rule, end):
            continue
        if rule.count < 1:
            why_not.append("not tried again: the attempts that its rule allows are used up")
            continue
        found = _by_rule(plan, number, rule, end)
        if isinstance(found, Again):
            return found
        why_not.append(found)
    return why_not[0] if why_not else ""


def _is_about(rule: RetryRule, end: End) -> bool:
    by_code = end.state is JobState.FAILED and end.exit_code in rule.exit_codes
    return by_code or bool(end.kinds & set(rule.on))


def _by_rule(plan: RetryPlan, number: int, rule: RetryRule, end: End) -> Again | str:
    rules = (*plan.rules[:number], replace(rule, count=rule.count - 1), *plan.rules[number + 1 :])
    changed, said = replace(plan, rules=rules), []
    walltime_s = _raised(plan.walltime_s, rule.walltime, rule.most_walltime_s)
    memory_mib = _raised(plan.memory_mib, rule.memory, rule.most_memory_mib)
    raises = rule.walltime > 1 or rule.memory > 1
    if raises and walltime_s is None and memory_mib is None:
        return _at_the_cap(plan, rule)
    if walltime_s is not None:
        changed = replace(changed, walltime_s=walltime_s)
        said.append(f"with a walltime of {format_walltime(walltime_s)}")
    if memory_mib is not None:
        changed = replace(changed, memory_mib=memory_mib)
        said.append(f"with {memory_mib} MiB of memory per node")
    # Of several nodes nobody says which was the bad one, and without all of them there may be none left.
    if rule.elsewhere and end.node and _ONE_NODE.fullmatch(end.node) and end.node not in plan.excluded:
        changed = replace(changed, excluded=(*plan.excluded, end.node))
        said.append(f"on another node than {end.node}")
    after = f" in {rule.delay_s:g} s" if rule.delay_s else ""
    return Again(changed, rule.delay_s, f"tried again{after}{_sentence(said)}")


def _raised(asked: int | None, factor: float, most: int | None) -> int | None:
    """So many times as much, at most the cap; None where that is no more than was asked for."""
    if asked is None or factor <= 1:
        return None
    raised = math.ceil(asked * factor)
    raised = raised if most is None else min(raised, most)
    return raised if raised > asked else None


def _at_the_cap(plan: RetryPlan, rule: RetryRule) -> str:
    reached = []
    if rule.walltime > 1:
        reached.append(f"its walltime of {format_walltime(plan.walltime_s)} is at the cap of the rule")
    if rule.memory > 1:
        asked = plan.memory_mib
        reached.append(
            "it asks for no memory_per_node that could be raised"
            if asked is None
            else f"its {asked} MiB of memory per node are at the cap of the rule"
        )
    return f"not tried again: {', and '.join(reached)}"


def _sentence(said: Sequence[str]) -> str:
    return f" {', '.join(said)}" if said else ""
