"""The figures of steps that a launcher has started somewhere in an allocation: only the accounting knows them.

They are there some seconds after a step's result, which does not wait for them. Whoever looks asks for everybody: one
question for all steps of the jobs that held the allocation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from dagster_hpc.engine.job import JobMetrics
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.process import new_owner
from dagster_hpc.engine.target import Target
from dagster_hpc.engine.workplace import Workplace

_SOON_S, _USUAL_S, _SLOWEST_S = 15.0, 30.0, 300.0
_WITHIN_S = 10.0  # an answer is not waited for longer: who asks has the ends of other steps to see
_SPARE = 20  # a question that took a second is not asked again for so many


class StepFigures:
    """Asks for what an allocation's steps have cost. `inner_of`: where a job that held it went."""

    def __init__(self, inner_of: Callable[[JobRow], Target]) -> None:
        self._inner_of = inner_of
        self._holder = new_owner()
        self._due_at = 0.0
        self._silent: set[str] = set()  # the targets that have no accounting of steps

    def take_in(self, work: Workplace) -> None:
        """Ask if that is due and nobody else is at it, and keep what is told."""
        began_at = work.clock.monotonic()
        if began_at < self._due_at:
            return
        leases, key = work.ledger.leases, f"{work.target.key} figures"
        lease = leases.take(key, self._holder)
        due_in_s = lease.due_in_s
        if lease.taken:
            due_in_s = _SLOWEST_S
            try:
                due_in_s = self._take_in(lease.interval_s, work)
                due_in_s = max(due_in_s, _SPARE * (work.clock.monotonic() - began_at))
            finally:
                leases.release(key, self._holder, interval_s=due_in_s)
        self._due_at = work.clock.monotonic() + due_in_s

    def _take_in(self, interval_s: float, work: Workplace) -> float:
        """The seconds until the next question: what is never told is asked for less and less often."""
        steps = {row.job_id or "": row for row in work.ledger.steps_without_figures(work.target.key)}
        if not steps:
            return _SOON_S
        told = self._told(_held(steps.values(), work), steps)
        work.ledger.observations.figures(
            {steps[name].token: figures.or_else(steps[name].metrics).derived() for name, figures in told.items()}
        )
        return _USUAL_S if told else min(max(2 * interval_s, _USUAL_S), _SLOWEST_S)

    def _told(self, held: Iterable[JobRow], names: Collection[str]) -> dict[str, JobMetrics]:
        """The figures of the steps in these jobs. There a step's name is its id."""
        inners: dict[str, Target] = {}
        ids: dict[str, list[str]] = {}
        for row in held:
            inners[row.target] = self._inner_of(row)
            ids.setdefault(row.target, []).append(row.job_id or "")
        told: dict[str, JobMetrics] = {}
        for key in inners.keys() - self._silent:
            for name, figures in self._ask(key, inners[key], ids[key], names).items():
                told[name] = replace(figures, raw={**figures.raw, "accounted_by": inners[key].scheduler.system})
        return told

    def _ask(self, key: str, inner: Target, ids: Sequence[str], names: Collection[str]) -> Mapping[str, JobMetrics]:
        scheduler, host = inner.scheduler, inner.host
        questions = scheduler.steps(ids[: scheduler.history_ids_per_call])
        try:
            answers = [host.run(replace(question, timeout_s=_WITHIN_S)) for question in questions]
        except FileNotFoundError:  # no such command here: whoever looks on a host that has it is told
            return {}
        figures = scheduler.read_steps(answers, names)
        if figures is None:
            self._silent.add(key)
        return figures or {}


def _held(steps: Iterable[JobRow], work: Workplace) -> list[JobRow]:
    """The jobs in which these steps ran, as far as the ledger still knows them."""
    tokens = dict.fromkeys(step.metrics.raw["holder"].partition(".")[0] for step in steps)
    return [row for token in tokens for row in work.ledger.jobs(batch=token) if row.job_id]
