"""Who diagonalizes the subspaces of an iteration: jobs of a solver, this process, a function, or qiskit-addon-sqd itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

import numpy as np

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.sqd.values import Subspace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult

    from dagster_hpc.engine.job import JobResult
    from dagster_hpc.resources.step import Context
    from dagster_hpc.sqd.molecule import MolecularIntegrals
    from dagster_hpc.subspace import SolverRun, SubspaceSolver

SCISolver: TypeAlias = (
    "Callable[[list[Subspace], NDArray[np.float64], NDArray[np.float64], int, tuple[int, int]], list[SCIResult]]"
)
IN_PROCESS_BELOW = 5_000  # determinants: hundredths of a second here; from there on jobs are as quick as one process


class SolverFailed(HPCError):
    """The solver came back without an answer that can be one."""


@dataclass(frozen=True)
class Answer:
    """What was found in one subspace. <S²> and size of the state are None where the solver keeps it to itself."""

    result: SCIResult
    spin_square: float | None
    determinants: int | None
    jobs: tuple[JobResult, ...] = ()
    in_process: bool = False

    @classmethod
    def of(cls, result: SCIResult) -> Answer:
        state = result.sci_state
        if state is None:
            return cls(result, None, None)
        return cls(result, float(state.spin_square()), int(state.amplitudes.size))

    @classmethod
    def of_run(cls, result: SCIResult, run: SolverRun[Any]) -> Answer:
        spin_square, dimension = run.result.spin_square, run.result.dimension
        return cls(
            result,
            None if spin_square is None else float(spin_square),
            None if dimension is None else int(dimension),
            tuple(run.jobs),
        )


@dataclass(frozen=True)
class Solver:
    """Who diagonalizes, and what it is told."""

    given: SCISolver | SubspaceSolver | None
    context: Context | None
    how: Mapping[str, Any]
    seed: int
    spin_sq: float | None
    in_process_below: int  # determinants: smaller subspaces do not become jobs
    name: str | None = None  # of the calculation: jobs of the same iteration of it are the same jobs

    def solve(
        self, subspaces: Sequence[Subspace], integrals: MolecularIntegrals, iteration: int, round_index: int
    ) -> list[Answer]:
        """Of every subspace the lowest state. A function may answer for fewer, as qiskit-addon-sqd allows it to."""
        asked = integrals.one_body, integrals.two_body, integrals.norb, integrals.nelec
        if self.given is None:
            from qiskit_addon_sqd.fermion import solve_sci_batch

            return [Answer.of(one) for one in solve_sci_batch(list(subspaces), *asked, spin_sq=self.spin_sq)]
        if not is_subspace_solver(self.given):
            return [Answer.of(one) for one in cast("SCISolver", self.given)(list(subspaces), *asked)]
        answers: dict[int, Answer] = {}
        small = [place for place, one in enumerate(subspaces) if self._is_small(one)]
        large = [place for place in range(len(subspaces)) if place not in small]
        if large:
            found = self._as_jobs([subspaces[place] for place in large], asked, iteration, round_index)
            answers |= zip(large, found, strict=True)
        answers |= zip(small, self._here([subspaces[place] for place in small], integrals), strict=True)
        return [answers[place] for place in range(len(subspaces))]

    def _as_jobs(self, subspaces: list[Subspace], asked: Any, iteration: int, round_index: int) -> list[Answer]:
        runs: list[SolverRun[Any]] = []
        key = self.name and f"sqd-{self.name}-{iteration}-{round_index}"
        collect: Callable[[Iterable[SolverRun[Any]]], None] = runs.extend
        told = {**self.how, **({} if self.spin_sq is None else {"spin_sq": self.spin_sq})}
        solve = self.seeded(iteration).as_sci_solver(self.context, key=key, on_runs=collect, **told)
        results = solve(subspaces, *asked)
        return [Answer.of_run(result, run) for result, run in zip(results, runs, strict=True)]

    def _here(self, subspaces: Sequence[Subspace], integrals: MolecularIntegrals) -> list[Answer]:
        from dagster_hpc.diagonalization.davidson import EigenError
        from dagster_hpc.sqd.in_process import solve_here

        try:
            found = [solve_here(one, integrals, seed=self.seed, spin_sq=self.spin_sq) for one in subspaces]
        except EigenError as error:
            raise SolverFailed(
                f"a subspace of less than {self.in_process_below} determinants was not solved in this process: {error}",
                advice="with in_process_below=0 it becomes a job of the solver.",
            ) from error
        return [
            Answer(result, spin_square, len(alpha) * len(beta), in_process=True)
            for (result, spin_square), (alpha, beta) in zip(found, subspaces, strict=True)
        ]

    def _is_small(self, subspace: Subspace) -> bool:
        grows = getattr(self.given, "select_cutoff", None) is not None  # the jobs would find more than the subspace
        return not grows and len(subspace[0]) * len(subspace[1]) < self.in_process_below

    def seeded(self, iteration: int) -> SubspaceSolver:
        """The solver with a seed of the loop's, where it takes one and has none."""
        solver = cast("SubspaceSolver", self.given)
        if "seed" not in type(solver).model_fields or getattr(solver, "seed") is not None:  # noqa: B009
            return solver
        derived = int(np.random.SeedSequence([self.seed, iteration]).generate_state(1)[0] >> 1)  # 31 bits
        return solver.model_copy(update={"seed": derived})

    @cached_property
    def settings(self) -> Any:
        """What changes its answers."""
        if self.given is None:
            return "qiskit-addon-sqd"
        if not is_subspace_solver(self.given):
            return "function"
        return [type(self.given).__name__, self.given.identity(), self.in_process_below]


def is_subspace_solver(solver: SCISolver | SubspaceSolver | None) -> TypeGuard[SubspaceSolver]:
    return hasattr(solver, "as_sci_solver")
