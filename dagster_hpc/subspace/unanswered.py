"""The error of a batch in which a subspace has no answer in the end. The answers of the others are in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    from dagster_hpc.subspace.tasks import SolverRun


class SubspacesUnanswered(HPCError):
    """Some subspaces of a batch have no answer.

    `runs` holds what was found, in the order of the subspaces, with None in place of each that is missing; `errors` says
    why, by place.

    Example:
        solver = DiceSolver(hpc=hpc, executable="narrow-dice", fallback=False)
        batch = [(strings[:5], strings[:5]), (strings, strings)]  # the first is too small for Dice, and solved all the same
        try:
            solver.solve_batch(batch, one_body, two_body, norb=10, nelec=(1, 1))
        except SubspacesUnanswered as error:
            print([run and run.result.energy for run in error.runs], error.errors)
    """

    def __init__(self, runs: Sequence[SolverRun[Any] | None], errors: Mapping[int, HPCError]) -> None:
        self.runs = tuple(runs)
        self.errors = dict(errors)
        lines = "\n".join(f"- subspace {place}: {error.message}" for place, error in errors.items())
        first = next(iter(errors.values()))
        super().__init__(
            f"{len(errors)} of {len(runs)} subspaces have no answer:\n{lines}",
            advice=f"{first.advice} The other answers are in `runs` of this error; asked again with the same key and "
            'reuse="succeeded", their jobs are taken and only the missing ones run.'.strip(),
            work_dir=first.work_dir,
        )
