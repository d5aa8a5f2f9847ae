"""Why a job has not begun: the reason that its scheduler gives, and what whoever asked for it could change."""

from __future__ import annotations

import re

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.units import format_walltime
from dagster_hpc.explain.explanation import Explanation, Facts
from dagster_hpc.explain.remedies import REMEDIES

_STUCK = (
    "Waiting does not help: cancel it (`dagster-hpc cancel TOKEN`), change what it asks for, and materialize again. "
    "cancel_stuck_after of the target does the first by itself."
)


def explain_waiting(facts: Facts) -> Explanation:
    """A job that the scheduler has taken, and that has not begun."""
    row, outlook = facts.row, facts.outlook
    reason = row.reason or "waits its turn"
    never = row.stuck_since is not None or "can never start" in reason
    told = " ".join([reason, *outlook.words])
    remedies = [remedy for pattern, remedy in REMEDIES.get(facts.system, ()) if re.search(pattern, told)]
    details = [given for given in [_given(facts)] if given]
    if row.state is JobState.SUSPENDED:
        details.append("It had begun, and goes on when it is resumed; its walltime may run on meanwhile.")
    return Explanation(
        f"It {reason}.",
        tuple(details),
        None if never else outlook.starts_at,
        outlook.words,
        (*remedies, *([_STUCK] if never else [])),
    )


def explain_in_ledger(facts: Facts) -> Explanation:
    """A job whose files are written, and for which its target has no room yet."""
    row = facts.row
    details = [f"{_count(facts.live, 'job')} of the target {_is(facts.live)} with the scheduler now."]
    if facts.before:
        details.append(f"{_count(facts.before, 'submission')} {_is(facts.before)} before it.")
    if row.follows:
        details.append(f"It is a part of a large array, and begins when the part {row.follows} is over.")
    why = f": {row.reason}" if row.reason else ""
    return Explanation(
        f"It waits in the ledger for room on {row.target}{why}.",
        tuple(details),
        remedies=(
            "Nothing has to be done: whoever polls submits it when there is room, in the order of the requests.",
            "max_jobs of the target is how many jobs it takes at once, unless the scheduler itself takes no more of yours.",
            "Nobody polls? `dagster-hpc jobs --refresh` does once; a run that waits, and a sensor, do so all the time.",
        ),
    )


def _given(facts: Facts) -> str:
    """What it asks for, by which one can see what to change."""
    given = facts.row.given
    if not given.walltime_s:
        return ""
    parts = [f"{_count(given.nodes, 'node')} with {_count(given.cores_per_node, 'core')} each" if given.nodes else ""]
    parts.append(f"{given.memory_mib} MiB per node" if given.memory_mib else "")
    parts.append(f"a walltime of {format_walltime(given.walltime_s)}")
    parts.append(f"in the queue {facts.row.queue}" if facts.row.queue else "")
    by = f", by the profile {given.profile!r}" if given.profile else ""
    return f"It asks for {', '.join(part for part in parts if part)}{by}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
