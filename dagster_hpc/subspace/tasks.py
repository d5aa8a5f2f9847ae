"""One call of a solver: what all its jobs have in common, each subspace on its way, and the answer in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dagster_hpc.subspace.checks import AnswerInvalid, NoAnswer
from dagster_hpc.subspace.result import SubspaceResult

if TYPE_CHECKING:
    from dagster_hpc.engine.errors import HPCError
    from dagster_hpc.engine.job import JobResult, Reuse
    from dagster_hpc.resources.step import Context
    from dagster_hpc.subspace.problem import Problem, Subspace
    from dagster_hpc.subspace.solver import SubspaceSolver

Result = TypeVar("Result", bound=SubspaceResult, covariant=True)


@dataclass(frozen=True)
class SolverRun(Generic[Result]):
    """An answer, and what it took: all jobs in their order, the last of which gave it.

    Example:
        (run,) = dice.runs([(strings, strings)], one_body, two_body, norb=10, nelec=(1, 1))
        assert isinstance(run, SolverRun) and run.solver == "embedded" and not run.problems
        print(run.result.energy, [job.metrics.elapsed_s for job in run.jobs])
    """

    result: Result
    jobs: tuple[JobResult, ...]
    solver: str  # its name: dice, embedded, sbd, …
    problems: tuple[str, ...] = ()  # why earlier answers were not believed


@dataclass
class Task:
    """One subspace on its way."""

    subspace: Subspace
    solver: SubspaceSolver  # that is asked next, or was last
    files: dict[str, bytes]  # for it
    jobs: list[JobResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    errors: list[HPCError] = field(default_factory=list)  # of every attempt
    run: SolverRun[SubspaceResult] | None = None
    is_lost: bool = False  # the last job died without a word, as Dice does when its ranks miss each other's memory

    @property
    def error(self) -> HPCError | None:
        """Of the last attempt, while there is no answer."""
        return self.errors[-1] if self.errors and self.run is None else None

    @property
    def failed_by_chance(self) -> bool:
        """Whether the same run may well go right when it is started again."""
        error = self.error
        return error is not None and (self.is_lost or (isinstance(error, (AnswerInvalid, NoAnswer)) and error.retryable))

    @property
    def is_for_another(self) -> bool:
        """Whether another solver may do what this one could not.

        Not where the inputs are at fault, nor where the job was stopped: it had too little time or memory, its machine
        failed, somebody cancelled it, or there is no such program. Another solver would only hide what is to be put right.
        """
        error = self.error
        return error is not None and (
            self.is_lost or (isinstance(error, (AnswerInvalid, NoAnswer)) and not error.inputs_at_fault)
        )


@dataclass(frozen=True)
class Asking:
    """What is common to all jobs of one call."""

    problem: Problem
    context: Context | None
    profile: str
    args: Sequence[str]
    overrides: Mapping[str, Any]
    key: str | None
    timeout: float | None
    reuse: Reuse | None
