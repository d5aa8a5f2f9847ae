"""What a job cost, in the same units on every scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

_ADD_UP = ("queue_wait_s", "elapsed_s", "cpu_time_s", "energy_j", "node_hours")


@dataclass(frozen=True)
class JobMetrics:
    """What the job cost, in the same units on every scheduler. None where the system does not say.

    Example:
        metrics: JobMetrics = hpc.run(Command("bitcount"), profile="small").metrics
        print(f"{metrics.queue_wait_s} s in the queue, {metrics.node_hours} node hours")
    """

    queue_wait_s: float | None = None
    elapsed_s: float | None = None
    cpu_time_s: float | None = None
    cpu_efficiency: float | None = None
    max_rss_mib: float | None = None
    energy_j: float | None = None
    node_hours: float | None = None
    nodes: int | None = None
    cores: int | None = None
    node_list: str | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    raw: Mapping[str, str] = field(default_factory=dict)

    def or_else(self, other: JobMetrics) -> JobMetrics:
        """These metrics, with the gaps filled from a second source."""
        gaps = {
            f.name: getattr(other, f.name) for f in fields(self) if f.name != "raw" and getattr(self, f.name) is None
        }
        return replace(self, raw={**other.raw, **self.raw}, **gaps)

    def derived(self) -> JobMetrics:
        """These metrics, with what follows from the others computed."""
        m = self
        if m.elapsed_s is None and m.started_at is not None and m.ended_at is not None:
            m = replace(m, elapsed_s=max(0.0, m.ended_at - m.started_at))
        if m.queue_wait_s is None and m.submitted_at is not None and m.started_at is not None:
            m = replace(m, queue_wait_s=max(0.0, m.started_at - m.submitted_at))
        if m.node_hours is None and m.nodes is not None and m.elapsed_s is not None:
            m = replace(m, node_hours=m.nodes * m.elapsed_s / 3600)
        if m.cpu_efficiency is None and m.cpu_time_s is not None and m.cores and m.elapsed_s:
            share = m.cpu_time_s / (m.cores * m.elapsed_s)
            # The CPU time of a job of milliseconds counts its shell's own start, which its elapsed time does not.
            m = replace(m, cpu_efficiency=share if share <= 1 or m.elapsed_s >= 1 else None)
        return m

    @classmethod
    def of_all(cls, parts: Sequence[JobMetrics]) -> JobMetrics:
        """What several jobs cost that were one piece of work, one after the other."""
        totals: dict[str, Any] = {name: _total([getattr(one, name) for one in parts]) for name in _ADD_UP}
        return replace(
            parts[-1],
            **totals,
            max_rss_mib=max((one.max_rss_mib for one in parts if one.max_rss_mib is not None), default=None),
            submitted_at=parts[0].submitted_at,
            started_at=next((one.started_at for one in parts if one.started_at is not None), None),
            cpu_efficiency=None,
        ).derived()

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "raw": dict(self.raw)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobMetrics:
        return cls(**values)


def _total(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None
