"""Attempts until every subspace has an answer that is believed: again by chance, at last with another solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobResult, JobState, failure_of
from dagster_hpc.subspace.checks import AnswerInvalid, NoAnswer
from dagster_hpc.subspace.exit_codes import may_have_answered
from dagster_hpc.subspace.jobs import launch
from dagster_hpc.subspace.tasks import Asking, SolverRun, Task
from dagster_hpc.subspace.telling import tell
from dagster_hpc.subspace.unanswered import SubspacesUnanswered

if TYPE_CHECKING:
    from dagster_hpc.resources.step import Context
    from dagster_hpc.subspace.problem import Subspace
    from dagster_hpc.subspace.result import SubspaceResult
    from dagster_hpc.subspace.solver import SubspaceSolver


@dataclass(frozen=True)
class Attempts:
    """A solver, how often it is asked, and who takes over what it cannot do."""

    solver: SubspaceSolver
    stand_in: SubspaceSolver | None
    asking: Asking

    def solve(self, subspaces: Sequence[Subspace]) -> list[SolverRun[Any]]:
        """The answers in the order of the subspaces. All of them, or an error that carries those that there are."""
        tasks = [self._task(subspace) for subspace in subspaces]
        waiting = [task for task in tasks if task.solver is self.solver]
        retries = self.solver.max_retries
        for attempt in range(retries + 1):
            if waiting:
                self._attempt(waiting, attempt)
            waiting = [task for task in waiting if task.failed_by_chance]
            if waiting and attempt < retries:
                _tell(self.asking.context, waiting, "it is tried again")
        self._hand_over([task for task in tasks if task.solver is self.stand_in or task.is_for_another], retries + 1)
        return self._answers(tasks)

    def _task(self, subspace: Subspace) -> Task:
        """With the files of the solver that is asked first."""
        unsuited = self.stand_in is not None and not self.solver.suits(subspace, self.asking.problem)
        first = self.stand_in if self.stand_in is not None and unsuited else self.solver
        return Task(subspace, first, first.input_files(subspace, self.asking.problem))

    def _hand_over(self, tasks: list[Task], attempt: int) -> None:
        """What this solver is not made for, and what it could not do."""
        if self.stand_in is None or not tasks:
            return
        _tell(self.asking.context, [task for task in tasks if task.problems], "the embedded solver takes over")
        for task in tasks:
            if task.solver is not self.stand_in:
                task.solver = self.stand_in
                task.files = self.stand_in.input_files(task.subspace, self.asking.problem)
        self._attempt(tasks, attempt)

    def _attempt(self, tasks: list[Task], attempt: int) -> None:
        """All of these tasks have the same solver."""
        solver = tasks[0].solver
        jobs = launch(solver, tasks, self.asking, attempt, serial=solver is not self.solver)
        for task, job in zip(tasks, jobs, strict=True):
            task.jobs.append(job)
            task.is_lost = False
            answer = self._answer(task, job)
            if isinstance(answer, HPCError):
                task.errors.append(answer)
                task.problems.append(answer.message)
            else:
                task.run = SolverRun(answer, tuple(task.jobs), solver.name, tuple(task.problems))

    def _answer(self, task: Task, job: JobResult) -> SubspaceResult | HPCError:
        """What the files say. A job that was stopped, or never came to start the solver, has none to look at."""
        if job.state not in (JobState.COMPLETED, JobState.FAILED) or not may_have_answered(job.exit_code):
            return failure_of(job)
        try:
            return task.solver.read(Path(job.handle.work_dir), task.subspace, self.asking.problem)
        except AnswerInvalid as error:
            if error.names == ("files",) and not job.succeeded:
                task.is_lost = True
                return failure_of(job)
            return error
        except NoAnswer as error:
            return error

    def _answers(self, tasks: list[Task]) -> list[SolverRun[Any]]:
        runs = [task.run for task in tasks]
        errors = {}
        for place, task in enumerate(tasks):
            if task.run is None:
                errors[place] = task.solver.explained(task.errors, self.asking.problem)
                for job in task.jobs:
                    if job.succeeded:  # to the scheduler; whoever asks again wants another answer
                        self.solver.hpc.reject(job)
        if not errors:
            return [run for run in runs if run is not None]
        first = next(iter(errors.values()))
        if len(tasks) == 1:
            raise first
        raise SubspacesUnanswered(runs, errors) from first


def _tell(context: Context | None, tasks: list[Task], what_now: str) -> None:
    for task in tasks:
        tell(context, f"{what_now}: {task.problems[-1]}")
