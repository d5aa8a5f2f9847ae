"""Attempts until every subspace has an answer that is believed: again by chance, at last with another solver."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobResult, JobState, failure_of
from dagster_hpc.subspace.checks import AnswerInvalid, NoAnswer
from dagster_hpc.subspace.exit_codes import may_have_answered
from dagster_hpc.subspace.jobs import launch
from dagster_hpc.subspace.tasks import Asking, SolverRun, Task

if TYPE_CHECKING:
    from dagster_hpc.resources.step import Context
    from dagster_hpc.subspace.result import SubspaceResult
    from dagster_hpc.subspace.solver import SubspaceSolver


@dataclass(frozen=True)
class Attempts:
    """A solver, how often it is asked, and who takes over what it cannot do."""

    solver: SubspaceSolver
    stand_in: SubspaceSolver | None
    asking: Asking

    def solve(self, tasks: list[Task]) -> None:
        """Every task gets its run, or the first error is raised."""
        retries, waiting = self.solver.max_retries, tasks
        for attempt in range(retries + 1):
            self._attempt(waiting, self.solver, attempt)
            waiting = [task for task in tasks if task.failed_by_chance]
            if not waiting:
                break
            if attempt < retries:
                _tell(self.asking.context, waiting, "it is tried again")
        hard = [task for task in tasks if task.is_for_another]
        if self.stand_in is not None and hard:
            _tell(self.asking.context, hard, "the embedded solver takes over")
            for task in hard:
                task.files = self.stand_in.input_files(task.subspace, self.asking.problem)
            self._attempt(hard, self.stand_in, retries + 1, serial=True)
        for task in tasks:
            if task.error is not None:
                raise task.error

    def _attempt(self, tasks: list[Task], solver: SubspaceSolver, attempt: int, *, serial: bool = False) -> None:
        jobs = launch(solver, tasks, self.asking, attempt, serial=serial)
        for task, job in zip(tasks, jobs, strict=True):
            task.jobs.append(job)
            task.is_lost = False
            answer = self._answer(task, job, solver)
            if isinstance(answer, HPCError):
                task.errors.append(answer)
                task.problems.append(answer.message)
            else:
                task.run = SolverRun(answer, tuple(task.jobs), solver.name, tuple(task.problems))

    def _answer(self, task: Task, job: JobResult, solver: SubspaceSolver) -> SubspaceResult | HPCError:
        """What the files say. A job that was stopped, or never came to start the solver, has none to look at."""
        if job.state not in (JobState.COMPLETED, JobState.FAILED) or not may_have_answered(job.exit_code):
            return failure_of(job)
        try:
            return solver.read(Path(job.handle.work_dir), task.subspace, self.asking.problem)
        except AnswerInvalid as error:
            if error.names == ("files",) and not job.succeeded:
                task.is_lost = True
                return failure_of(job)
            return error
        except NoAnswer as error:
            return error


def _tell(context: Context | None, tasks: list[Task], what_now: str) -> None:
    for task in tasks:
        message = f"{what_now}: {task.problems[-1]}"
        if context is not None:
            context.log.warning(message)
        else:
            warnings.warn(message, stacklevel=5)
