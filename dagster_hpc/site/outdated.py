"""Limits of a file held against what the scheduler tells of its queues now: a file stays as it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dagster_hpc.checks.base import Check, Finding, Queue, Survey
from dagster_hpc.engine.errors import did_you_mean
from dagster_hpc.resources.limits import EVERY_QUEUE, QueueLimits, limits_of
from dagster_hpc.site.first_file import limits_in_words

_LIMITS = ("max_nodes", "max_cores_per_node", "max_memory_per_node", "max_gpus_per_node", "max_walltime")


def outdated_limits(limits: Mapping[str, QueueLimits], survey: Survey) -> Iterator[Check]:
    """A warning for each limit that lets through what the scheduler refuses, and for each queue that there is not."""
    there = {queue.name: queue for queue in survey.queues}
    for name in limits if there else ():
        if name in there:
            yield from _too_generous(limits_of(limits, name), there[name])
        elif name != EVERY_QUEUE:
            sentence = f"the scheduler has no queue {name!r}: {did_you_mean(name, list(there))}"
            yield Check(f"limits {name}", Finding("warn", sentence, "correct its name."))


def _too_generous(limits: QueueLimits, queue: Queue) -> Iterator[Check]:
    told = QueueLimits(**limits_in_words(queue))
    for limit in _LIMITS:
        ours, theirs = limits.number(limit), told.number(limit)
        if ours is not None and theirs is not None and ours > theirs:
            what = f"{limit} is {getattr(limits, limit)}, and the scheduler allows {getattr(told, limit)}"
            where = limits.set_by.get(limit, "the file")
            yield Check(f"limits {queue.name}", Finding("warn", what, f"correct {where}, or ask your site."))
