"""The steps of an allocation: what the queue in `step_batch/` is asked, and what may be asked of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Report, Scheduler
from dagster_hpc.engine.schedulers.steps import replies
from dagster_hpc.engine.schedulers.steps.launch import step_faults
from dagster_hpc.engine.units import format_walltime

START_WITHIN_S = 60  # of an allocation, in which it is to have found its first step
_OF_THE_JOB = "belongs to the job that holds the allocation: say it in the profile of the Allocation"


@dataclass(frozen=True)
class Steps(Scheduler):
    """Steps of a job that is held; `spool` is the folder in which they wait for it. The rest is what that job has."""

    kind: ClassVar[str] = "steps"
    suffix: ClassVar[str] = ".step"
    template: ClassVar[str] = "steps.sh.j2"
    job_id_variable: ClassVar[str] = "STEP_ID"
    index_variable: ClassVar[str] = "STEP_INDEX"
    sees_ends_after_s: ClassVar[float] = 0.05  # the holder is the parent of every step
    lacks: ClassVar[Mapping[str, str]] = {
        "dependencies": "an allocation starts its steps in the order in which they came, and knows no dependencies",
        "mail": f"nobody writes mails about a step (mail_to): that {_OF_THE_JOB}, or let a sensor do it, "
        "build_hpc_notification_sensor",
        "qos": f"a quality of service {_OF_THE_JOB}",
        "reservation": f"a reservation {_OF_THE_JOB}",
        "exclusive": f"whole nodes are asked for by their cores: `exclusive` {_OF_THE_JOB}",
    }

    spool: str = ""
    inside: str = ""  # the system of the job that is held: by its launcher steps find their cores
    nodes: int = 1
    cores_per_node: int | None = None  # None: all that the nodes have
    memory_per_node_mib: int | None = None
    gpus_per_node: int = 0
    walltime_s: int = 0

    @property
    def longest_s(self) -> int:
        """The walltime of a step that an allocation can take when it begins, and still after that for a while."""
        return max(0, self.walltime_s - min(START_WITHIN_S, self.walltime_s // 4))

    def unsupported(self, spec: JobSpec) -> list[str]:
        asked = (
            ("nodes", spec.nodes, self.nodes),
            ("cores on each node", spec.cores_per_node, self.cores_per_node),
            ("GPUs on each node", spec.gpus_per_node, self.gpus_per_node),
            ("MiB of memory on each node", spec.memory_per_node_mib, self.memory_per_node_mib),
        )
        faults = [
            f"a step asks for {wanted} {what}, and its allocation has {there}"
            for what, wanted, there in asked
            if wanted is not None and there is not None and wanted > there
        ]
        if spec.walltime_s > self.longest_s:
            faults.append(
                f"a step asks for a walltime of {format_walltime(spec.walltime_s)}, and an allocation of "
                f"{format_walltime(self.walltime_s)} takes none above {format_walltime(self.longest_s)}"
            )
        if spec.directives:
            faults.append(f"directives are for a scheduler, and a step meets none: what they ask {_OF_THE_JOB}")
        known = replace(spec, launcher="single") if spec.launcher == self.inside else spec
        return super().unsupported(known) + step_faults(spec, self.inside) + faults

    def identify(self) -> Call | None:
        return self._ask("identify")

    def read_identity(self, answer: Answer) -> str:
        return replies.identity(answer)

    def log_path(self, spec: JobSpec, directory: str) -> str:
        return f"{directory}/%a/scheduler.log" if spec.is_array else f"{directory}/scheduler.log"

    def submit(self, script: str) -> Call:
        return self._ask("submit", script)

    def read_submit(self, answer: Answer) -> str:
        return replies.submitted(answer)

    def queue(self, ids: Sequence[str]) -> Call:
        return self._ask("query", *ids)

    def read_queue(self, answer: Answer) -> Report:
        return replies.queue_report(answer)

    def find(self, job_name: str) -> list[Call]:
        return [self._ask("find", job_name)]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return self._ask("cancel", *ids)

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}_{index}"

    def array_id(self, element_id: str) -> str:
        return element_id.partition("_")[0]

    def _ask(self, command: str, *words: str) -> Call:
        return Call((sys.executable, "-m", "dagster_hpc.step_batch", "--spool", self.spool, command, *words))
