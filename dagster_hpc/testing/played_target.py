"""A target as the engine sees it, whose commands are answered in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import SubmitRefused
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Report, Scheduler
from dagster_hpc.engine.target import Target
from dagster_hpc.resources.targets.local import LocalTarget
from dagster_hpc.testing.system import PlayedSystem


class AnyTarget(LocalTarget):
    """Where nothing is known of a cluster: every program is where its name says."""

    name: str = "played"

    def executable(self, key: str) -> str:
        return self.executable_map.get(key, key)


def played(target: Target, system: PlayedSystem) -> Target:
    """The same target, but that its scheduler is this one: scripts are those of the target, answers those of the test."""
    scheduler = target.scheduler
    kind = type(f"Played{type(scheduler).__name__}", (_Played, type(scheduler)), {"system_here": system})
    return replace(target, scheduler=kind(**vars(scheduler)), host=_PlayedHost(system), keep=None)


class _PlayedHost(LocalHost):
    """Files as on any host; commands go to the played system."""

    def __init__(self, system: PlayedSystem) -> None:
        super().__init__()
        self._system = system

    def run(self, call: Call) -> Answer:
        if call.argv[0] == "bash":  # what asks a Python for its version: nothing is known of it
            return Answer(call.argv, 127, "", "")
        return self._system.answer(call)


class _Played(Scheduler):
    """The questions and answers of the played system, before those of a real one, whose scripts stay as they are."""

    system_here: ClassVar[PlayedSystem]
    sees_ends_after_s: ClassVar[float] = 0.0
    forgets_deleted: ClassVar[bool] = False

    def log_path(self, spec: JobSpec, directory: str) -> str:
        # Asked whenever a script is rendered, by whichever part of the engine: here what is submitted becomes known.
        token = directory.rpartition("/")[2]
        self.system_here.rendered(spec, directory, self.job_name(spec.name, token))
        path: str = super().log_path(spec, directory)  # type: ignore[safe-super]
        return path

    def identify(self) -> Call | None:
        return None

    def submit(self, script: str) -> Call:
        return Call(("submit", script))

    def read_submit(self, answer: Answer) -> str:
        if answer.code != 0:
            raise SubmitRefused(f"the played scheduler refused the job: {answer.words}")
        return answer.stdout

    def queue(self, ids: Sequence[str]) -> Call:
        return Call(("queue", *ids))

    def read_queue(self, answer: Answer) -> Report:
        told = json.loads(answer.stdout)
        jobs = {job_id: _status(record) for job_id, record in told["jobs"].items()}
        return Report(jobs, unknown=frozenset(told["unknown"]))

    def history(self, ids: Sequence[str]) -> Call | None:
        return None

    def look_for(self, job_id: str) -> Call:
        return self.queue([job_id])

    def read_look_for(self, answer: Answer) -> Report:
        return self.read_queue(answer)

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return []

    def find(self, job_name: str) -> list[Call]:
        return [Call(("find", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        return list(json.loads(answer.stdout))

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("cancel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        """It has taken the order."""

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}_{index}"

    def array_id(self, element_id: str) -> str:
        return element_id.partition("_")[0]

    def statistics_of(self, work_dir: str, index: int | None) -> str | None:
        return None

    def read_log(self, text: str) -> JobStatus | None:
        return None


def _status(record: dict[str, Any]) -> JobStatus:
    return JobStatus(
        JobState(record["state"]),
        reason=record["reason"],
        exit_code=record["exit_code"],
        job_name=record["name"],
        metrics=JobMetrics.from_dict(record["metrics"]).derived(),
    )
