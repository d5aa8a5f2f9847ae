"""Miyabi: what its commands are asked. qsub is PBS's; qstat and qdel are the site's own, with options of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Report, Room
from dagster_hpc.engine.schedulers.miyabi import replies
from dagster_hpc.engine.schedulers.pbs.requests import PBS

# `-H` alone shows 3 days and 100 jobs. A job is asked for soon after its end, but an orchestrator may be away for weeks:
# 31 is the most that --hday takes, and nobody has more jobs in that time than this --hnum.
WINDOW = "--hday 31 --hnum 10000"


@dataclass(frozen=True)
class Miyabi(PBS):
    """PBS as Miyabi has it. `window` is how much of the history is looked through; '' where qstat refuses that."""

    kind: ClassVar[str] = "miyabi"
    dialect_of: ClassVar[str] = "pbs"
    ids_per_call: ClassVar[int] = 2000  # one table shows all jobs, whoever asks; so many can be deleted in one command
    history_ids_per_call: ClassVar[int] = 50  # full records, of 3 kB each

    window: str = WINDOW

    def identify(self) -> None:
        """Its qstat has no -B, and there is one Miyabi."""
        return

    # -- what the script says

    def select(self, spec: JobSpec) -> str:
        """No ngpus, which is refused: the queue gives the GPU. On the queues for MIG a chunk is an instance, not a node."""
        if not is_mig(spec.queue):
            return super().select(replace(spec, gpus_per_node=0))
        instances = max(spec.gpus_per_node, 1)
        one = replace(
            spec,
            gpus_per_node=0,
            nodes=spec.nodes * instances,
            ranks_per_node=math.ceil(spec.ranks_per_node / instances),
            memory_per_node_mib=spec.memory_per_node_mib and math.ceil(spec.memory_per_node_mib / instances),
        )
        return super().select(one)

    def place(self, spec: JobSpec) -> str:
        return "" if is_mig(spec.queue) else super().place(spec)  # instances may be neighbours on one node

    def unsupported(self, spec: JobSpec) -> list[str]:
        faults = super().unsupported(spec)
        if spec.gpus_per_node and spec.queue.endswith("-c"):
            faults.append(f"the nodes of the queue {spec.queue!r} have no GPU: choose one that ends in -g or -mig")
        elif spec.gpus_per_node > 1 and not is_mig(spec.queue):
            faults.append(
                "a node of Miyabi has one GPU (gpus_per_node=1): ask for more nodes, or for a queue that ends in -mig"
            )
        return faults

    def own_id(self, spec: JobSpec) -> str:
        """Inside a job the id has the server's name, which qstat does not show."""
        return '$(hpc_id=${PBS_JOBID:-$$}; echo "${hpc_id%%.*}")'

    # -- submit

    def read_submit(self, answer: Answer) -> str:
        """Without the server's name: so qstat prints ids, so all commands take them, and so the ledger keeps them."""
        return super().read_submit(answer).partition(".")[0]

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        """All live jobs in one table, never by queue: a job that was sent to regular-g is shown in small-g."""
        return Call(("qstat", "-ll", "-t"))

    def read_queue(self, answer: Answer) -> Report:
        return replies.queue_report(answer)

    def history(self, ids: Sequence[str]) -> Call:
        elements = ("-t",) if any("[]" in job_id for job_id in ids) else ()
        return Call(("qstat", "-H", *self.window.split(), "-f", *elements, *ids))

    def read_history(self, answer: Answer) -> Report:
        if replies.refuses_window(answer):
            return Report(instead=replace(self, window="")) if self.window else Report(disabled=True)
        return replies.full_report(answer)

    def look_for(self, job_id: str) -> Call:
        """In other words than the table and the history, which both have just failed to show it."""
        return Call(("qstat", "-f", job_id))

    def read_look_for(self, answer: Answer) -> Report:
        return replies.full_report(answer)

    # -- room

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return [Call(("qstat", "--limit"), about=f"{project}:{queue}")]

    def read_room(self, answers: Sequence[Answer]) -> Room:
        (limits,) = answers
        group, _, queue = limits.about.partition(":")
        return replies.room(limits, group, "C" if queue.endswith("-c") else "G")

    # -- find

    def find(self, job_name: str) -> list[Call]:
        """There is no qselect. The table shows names of up to 64 characters under -ll."""
        return [
            Call(("qstat", "-ll"), about=job_name),
            Call(("qstat", "-ll", "-H", *self.window.split()), about=job_name),
        ]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer, answer.about)


def is_mig(queue: str) -> bool:
    return queue.endswith("-mig")
