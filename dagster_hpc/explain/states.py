"""Which of the explanations fits the state of a job."""

from __future__ import annotations

import re
from dataclasses import replace

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.units import format_walltime
from dagster_hpc.explain.ends import explain_end
from dagster_hpc.explain.explanation import Explanation, Facts
from dagster_hpc.explain.waiting import explain_in_ledger, explain_waiting


def explain(facts: Facts) -> Explanation:
    """Why this job is where it is, and what could be changed."""
    said = _by_state(facts)
    if facts.row.cancel_requested and not facts.row.state.is_final:
        going = "It is being cancelled: the scheduler is told until it is gone."
        said = replace(said, details=(*said.details, going), remedies=())
    named = [_named(text, facts) for text in said.remedies]
    return replace(said, remedies=tuple(named))


def _by_state(facts: Facts) -> Explanation:
    state = facts.row.state
    if state.is_final:
        return explain_end(facts)
    if state is JobState.READY:
        return explain_in_ledger(facts)
    if state is JobState.SUBMITTING:
        return Explanation(
            "It is being submitted.",
            ("If that is broken off, whoever polls next looks it up, and submits it if the scheduler does not know it.",),
        )
    if state is JobState.RUNNING:
        return _running(facts)
    if state is JobState.UNKNOWN:
        why = f": {facts.row.reason}" if facts.row.reason else ""
        return Explanation(
            f"Nobody knows where it stands{why}.",
            ("That is no end: it is asked for again at every poll.",),
            remedies=("`dagster-hpc doctor` checks whether the scheduler and its accounting answer.",),
        )
    return explain_waiting(facts)


def _running(facts: Facts) -> Explanation:
    started, given_s = facts.row.metrics.started_at, facts.row.given.walltime_s
    if started is None:
        return Explanation("It runs.")
    ran_s = round(max(0.0, facts.now - started))
    of = f" of {format_walltime(given_s)}" if given_s else ""
    left = f"Its walltime ends in {format_walltime(max(0, given_s - ran_s))}." if given_s else ""
    return Explanation(
        f"It runs, for {format_walltime(ran_s)}{of} so far.",
        (left,) if left else (),
        remedies=("`dagster-hpc logs -f TOKEN` prints its output as it comes.",),
    )


def _named(remedy: str, facts: Facts) -> str:
    """With this job's names in place of the words for them."""
    return re.sub(r"\bJOB\b", facts.row.job_id or "JOB", remedy.replace("TOKEN", facts.row.token))
