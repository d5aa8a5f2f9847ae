"""How much time and memory to ask for, from what jobs have used: what 95 in 100 needed, and a margin.

A job that ran into its walltime, or out of memory, has needed at least what it had. Jobs that failed otherwise say
nothing of what the work needs.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.units import format_walltime
from dagster_hpc.usage.figures import quantile
from dagster_hpc.usage.job import memory_per_node_mib
from dagster_hpc.usage.report import BY, NOBODY

SHARE = 0.95  # of the jobs would have fitted, before the margin
_STEPS_S = ((6 * 3600, 1800), (3600, 300), (0, 60))  # above this, advice is rounded up to that
_STEPS_MIB = ((65536, 4096), (8192, 1024), (1024, 256), (0, 64))


@dataclass(frozen=True)
class Need:
    """What jobs need of one thing."""

    jobs: int  # that it rests on
    limited: int  # of them had no more, and were ended for it
    used: float | None  # what 95 in 100 have used
    was: int | None  # what is asked for now, mostly
    advised: int | None  # None: too few jobs

    @property
    def is_least(self) -> bool:
        """More may be needed: so many were ended for it that nobody knows what 95 in 100 would have used."""
        return self.limited > (1 - SHARE) * self.jobs


@dataclass(frozen=True)
class Advice:
    """For the jobs of one profile, or of one asset under one profile."""

    name: str
    profile: str
    walltime: Need  # seconds
    memory: Need  # MiB per node

    def to_dict(self) -> dict[str, Any]:
        needs = {"walltime": self.walltime, "memory": self.memory}
        return {**asdict(self), **{name: {**asdict(need), "is_least": need.is_least} for name, need in needs.items()}}


def advise(rows: Sequence[JobRow], by: str, *, least: int, margin: float) -> list[Advice]:
    """For each profile (or asset), the one with most jobs first. `least`: so many jobs, or no advice."""
    groups: dict[tuple[str, str], list[JobRow]] = {}
    for row in rows:
        profile = row.given.profile
        name = profile if by == "profile" else BY[by](row)
        if name not in ("", NOBODY):
            groups.setdefault((name, profile), []).append(row)
    found = [
        Advice(
            name, profile,
            _need(some, JobState.TIMEOUT, _elapsed_s, lambda row: row.given.walltime_s, least, margin, _STEPS_S),
            _need(some, JobState.OOM, memory_per_node_mib, lambda row: row.given.memory_mib, least, margin, _STEPS_MIB),
        )
        for (name, profile), some in groups.items()
    ]  # fmt: skip
    return sorted(found, key=lambda advice: (-advice.walltime.jobs, advice.name, advice.profile))


def as_toml(advice: Sequence[Advice], *, least: int, margin: float) -> str:
    """Ready to be pasted into a site file: what is said of each in comments, and only what is advised in values."""
    return "\n\n".join(_section(one, least, margin) for one in advice)


def _section(advice: Advice, least: int, margin: float) -> str:
    time, memory = advice.walltime, advice.memory
    if time.advised is None and memory.advised is None:
        most = max(time.jobs, memory.jobs)
        return f"# {advice.name}: {_jobs(most)} to learn from, {least} are needed"
    lines = [f"# {advice.name}: what 95 in 100 jobs have used, and {margin:.0%} more", f"[profiles.{_key(advice.name)}]"]
    if time.advised is not None and time.used is not None:
        used, was = format_walltime(math.ceil(time.used)), format_walltime(time.was) if time.was else "not kept"
        lines.append(f'walltime = "{format_walltime(time.advised)}"  # {_why(time, used, was, "their walltime")}')
    if memory.advised is not None and memory.used is not None:
        was = f"{memory.was} MiB" if memory.was else "the site's default"
        used = f"{math.ceil(memory.used)} MiB"
        lines.append(f'memory_per_node = "{memory.advised}M"  # {_why(memory, used, was, "the end of their memory")}')
    return "\n".join(lines)


def _why(need: Need, used: str, was: str, wall: str) -> str:
    limited = f"; at least: {need.limited} ran into {wall}" if need.is_least else ""
    return f"was {was}; used {used} by {_jobs(need.jobs)}{limited}"


def _need(
    rows: Sequence[JobRow],
    ended_for_it: JobState,
    used: Callable[[JobRow], float | None],
    was: Callable[[JobRow], int | None],
    least: int,
    margin: float,
    steps: Sequence[tuple[int, int]],
) -> Need:
    amounts, limited = [], 0
    for row in rows:
        amount = used(row)
        if row.state is ended_for_it:
            limited += 1
            amounts.append(max(amount or 0.0, float(was(row) or 0)))
        elif row.state.is_success and amount is not None:
            amounts.append(amount)
    found = quantile(sorted(amounts), SHARE)
    asked = Counter(was(row) for row in rows if was(row)).most_common(1)
    enough = found is not None and len(amounts) >= least
    advised = _rounded(found * (1 + margin), steps) if enough and found else None
    return Need(len(amounts), limited, found, asked[0][0] if asked else None, advised)


def _elapsed_s(row: JobRow) -> float | None:
    return row.metrics.elapsed_s


def _rounded(amount: float, steps: Sequence[tuple[int, int]]) -> int:
    step = next(step for above, step in steps if amount > above or above == 0)
    return math.ceil(amount / step) * step


def _jobs(number: int) -> str:
    return f"{number} job{'' if number == 1 else 's'}"


def _key(name: str) -> str:
    """A name as TOML takes it."""
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else json.dumps(name)
