"""The embedded local scheduler: what the little batch system in `local_batch/` is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Outlook, Report, Scheduler
from dagster_hpc.engine.schedulers.local import outlook, replies
from dagster_hpc.local_batch.directives import MOST_ELEMENTS


@dataclass(frozen=True)
class Local(Scheduler):
    """Jobs on this very machine, queued so that they do not overload it."""

    kind: ClassVar[str] = "local"
    suffix: ClassVar[str] = ".sh"
    template: ClassVar[str] = "local.sh.j2"
    job_id_variable: ClassVar[str] = "LOCAL_JOB_ID"
    index_variable: ClassVar[str] = "LOCAL_ARRAY_INDEX"
    sees_ends_after_s: ClassVar[float] = 0.0  # its daemon is the parent of every job

    spool: str = ""
    cores: int | None = None
    memory_mib: int | None = None

    def unsupported(self, spec: JobSpec) -> list[str]:
        too_many = [f"the local scheduler takes arrays of at most {MOST_ELEMENTS} elements, not {len(spec.elements)}"]
        return super().unsupported(spec) + (too_many if len(spec.elements) > MOST_ELEMENTS else [])

    def log_path(self, spec: JobSpec, directory: str) -> str:
        escaped = directory.replace("%", "%%")
        return f"{escaped}/%a/scheduler.log" if spec.is_array else f"{escaped}/scheduler.log"

    def submit(self, script: str) -> Call:
        cores = ("--capacity-cores", str(self.cores)) if self.cores else ()
        memory = ("--capacity-memory", str(self.memory_mib)) if self.memory_mib else ()
        return self.ask("submit", *cores, *memory, script)

    def read_submit(self, answer: Answer) -> str:
        return replies.submitted(answer)

    def queue(self, ids: Sequence[str]) -> Call:
        return self.ask("query", *ids)

    def read_queue(self, answer: Answer) -> Report:
        return replies.queue_report(answer)

    def outlook(self, job_id: str) -> Call:
        return replace(self.ask("query"), about=job_id)  # without ids: all live jobs

    def read_outlook(self, answer: Answer) -> Outlook:
        return outlook.read(answer)

    def find(self, job_name: str) -> list[Call]:
        return [self.ask("query", "--name", job_name)]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return self.ask("cancel", *ids)

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}_{index}"

    def own_id(self, spec: JobSpec) -> str:
        return '"${LOCAL_JOB_ID}_${LOCAL_ARRAY_INDEX}"' if spec.is_array else super().own_id(spec)

    def array_id(self, element_id: str) -> str:
        return element_id.partition("_")[0]

    def ask(self, verb: str, *arguments: str) -> Call:
        """A command of the embedded system's, for the right spool."""
        return Call((sys.executable, "-m", "dagster_hpc.local_batch", verb, "--spool", self.spool, *arguments))
