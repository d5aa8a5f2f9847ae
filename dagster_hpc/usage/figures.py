"""The figures of many jobs: used against given, waits, failures by cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.usage.job import cause, is_bad, memory_per_node_mib, node_hours


@dataclass(frozen=True)
class Share:
    """So much was used of what was given, by the jobs of which both are known."""

    used: float = 0.0
    given: float = 0.0
    jobs: int = 0

    @property
    def ratio(self) -> float | None:
        return self.used / self.given if self.given else None


@dataclass(frozen=True)
class Usage:
    """What these jobs have used, together."""

    name: str
    jobs: int
    well: int
    badly: int
    node_hours: float
    lost_node_hours: float  # of those that ended badly
    walltime: Share  # seconds
    cores: Share  # seconds of CPU, of cores times elapsed
    memory: Share  # MiB per node
    energy_j: float | None
    wait_median_s: float | None
    wait_p95_s: float | None
    causes: dict[str, int] = field(default_factory=dict)  # of failures, the most frequent first

    @property
    def live(self) -> int:
        return self.jobs - self.well - self.badly

    def to_dict(self) -> dict[str, Any]:
        shares = {name: {**asdict(share), "ratio": share.ratio} for name, share in self.shares.items()}
        return {**asdict(self), "live": self.live, **shares}

    @property
    def shares(self) -> dict[str, Share]:
        return {"walltime": self.walltime, "cores": self.cores, "memory": self.memory}


def usage_of(name: str, rows: Sequence[JobRow], now: float) -> Usage:
    """The figures of these jobs."""
    bad = [row for row in rows if is_bad(row)]
    waits = sorted(row.metrics.queue_wait_s for row in rows if row.metrics.queue_wait_s is not None)
    energies = [row.metrics.energy_j for row in rows if row.metrics.energy_j is not None]
    return Usage(
        name,
        jobs=len(rows),
        well=sum(row.state.is_final for row in rows) - len(bad),
        badly=len(bad),
        node_hours=sum(node_hours(row, now) for row in rows),
        lost_node_hours=sum(node_hours(row, now) for row in bad),
        walltime=_share((row.metrics.elapsed_s, row.given.walltime_s) for row in rows),
        cores=_share((row.metrics.cpu_time_s, _core_seconds(row)) for row in rows),
        memory=_share((memory_per_node_mib(row), row.given.memory_mib) for row in rows),
        energy_j=sum(energies) if energies else None,
        wait_median_s=quantile(waits, 0.5),
        wait_p95_s=quantile(waits, 0.95),
        causes=dict(Counter(cause(row) for row in bad).most_common()),
    )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which this share of them lies, between two neighbours where need be. None of none."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _share(pairs: Iterable[tuple[float | None, float | None]]) -> Share:
    known = [(used, of) for used, of in pairs if used is not None and of]
    return Share(sum(used for used, _ in known), sum(of for _, of in known), len(known))


def _core_seconds(row: JobRow) -> float | None:
    m = row.metrics
    return m.cores * m.elapsed_s if m.cores and m.elapsed_s else None
