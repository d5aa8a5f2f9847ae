"""Attempts until every subspace has an answer that is believed: again by chance, at last with the embedded solver."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dagster_hpc.dice.files import read_dice_outputs
from dagster_hpc.dice.layout import OUTPUT
from dagster_hpc.dice.output_text import DiceFailed, DiceNotConverged
from dagster_hpc.dice.tasks import Asking, DiceRun, Task
from dagster_hpc.dice.validation import DiceResultInvalid
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobResult, JobState, failure_of
from dagster_hpc.engine.script import STDOUT

if TYPE_CHECKING:
    from dagster_hpc.dice.jobs import SolverJobs
    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.resources.step import Context

_TRANSIENT_CODES = (0, 1, 134, 135, 139)  # with which Dice ended when two runs shared memory, or its ranks did not


@dataclass(frozen=True)
class Attempts:
    """How often, and what counts as an answer."""

    max_retries: int
    fallback: bool
    recompute_up_to: int

    def solve(self, tasks: list[Task], asking: Asking, jobs: SolverJobs) -> None:
        """Every task gets its run, or the first error is raised."""
        waiting = tasks
        for attempt in range(self.max_retries + 1):
            self._attempt(waiting, asking, jobs, attempt, embedded=jobs.executable is None)
            waiting = [task for task in tasks if task.failed_by_chance]
            if not waiting:
                break
            if attempt < self.max_retries:
                _tell(asking.context, waiting, "it is tried again")
        if self.fallback and jobs.executable is not None:
            hard = [task for task in tasks if task.error is not None and _is_not_converged(task.error)]
            if hard:
                _tell(asking.context, hard, "the embedded solver takes over")
                self._attempt(hard, asking, jobs, self.max_retries + 1, embedded=True)
        for task in tasks:
            if task.error is not None:
                raise task.error

    def _attempt(self, tasks: list[Task], asking: Asking, jobs: SolverJobs, attempt: int, *, embedded: bool) -> None:
        for task, job in zip(tasks, jobs.launch(tasks, asking, attempt, embedded=embedded), strict=True):
            task.jobs.append(job)
            task.is_lost = False
            answer = self._answer(task, job, asking)
            if isinstance(answer, HPCError):
                task.error = answer
                task.problems.append(answer.message)
            else:
                task.error = None
                solver: Literal["dice", "embedded"] = "embedded" if embedded else "dice"
                task.run = DiceRun(answer, tuple(task.jobs), solver, tuple(task.problems))

    def _answer(self, task: Task, job: JobResult, asking: Asking) -> DiceResult | HPCError:
        """What the files say. A job that was stopped, or never came to start the solver, has none to look at."""
        if job.state not in (JobState.COMPLETED, JobState.FAILED) or job.exit_code not in _TRANSIENT_CODES:
            return failure_of(job)
        try:
            return read_dice_outputs(
                job.handle.work_dir,
                norb=asking.norb,
                nelec=asking.nelec,
                stdout=_said(job),
                integrals=asking.integrals,
                parent_energy=task.parent_energy,
                recompute_up_to=self.recompute_up_to,
            )
        except DiceResultInvalid as error:
            if error.names == ("files",) and not job.succeeded:
                task.is_lost = True
                return failure_of(job)
            return error
        except DiceFailed as error:
            return error


def _tell(context: Context | None, tasks: list[Task], what_now: str) -> None:
    for task in tasks:
        message = f"{what_now}: {task.problems[-1]}"
        if context is not None:
            context.log.warning(message)
        else:
            warnings.warn(message, stacklevel=4)


def _said(job: JobResult) -> Path:
    """What the solver said, which its job keeps out of its own output; where it never came to start, that output."""
    said = Path(job.handle.work_dir, OUTPUT)
    return said if said.is_file() else Path(job.handle.work_dir, STDOUT)


def _is_not_converged(error: HPCError) -> bool:
    return isinstance(error, DiceNotConverged) or (isinstance(error, DiceResultInvalid) and error.not_converged)
