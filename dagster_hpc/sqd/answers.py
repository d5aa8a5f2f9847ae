"""The lowest states of some subspaces by whatever solver there is, with what each of them took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dagster_hpc.sqd.iteration import job_record
from dagster_hpc.sqd.solver import Solver, SolverFailed, is_dice

if TYPE_CHECKING:
    from qiskit_addon_sqd.fermion import SCIResult

    from dagster_hpc.dice.solver import DiceSolver
    from dagster_hpc.dice.tasks import DiceRun
    from dagster_hpc.resources.step import Context
    from dagster_hpc.sqd.molecule import MolecularIntegrals
    from dagster_hpc.sqd.solver import SCISolver
    from dagster_hpc.sqd.values import Subspace


@dataclass(frozen=True)
class Answer:
    """Of one subspace. <S²> and the size of the state are None where the solver keeps its state to itself."""

    result: SCIResult
    spin_square: float | None
    determinants: int | None
    jobs: tuple[Mapping[str, Any], ...] = ()


def answers_for(
    subspaces: Sequence[Subspace],
    integrals: MolecularIntegrals,
    solver: SCISolver | DiceSolver | None,
    *,
    context: Context | None = None,
    key: str | None = None,
    how: Mapping[str, Any] | None = None,
) -> list[Answer]:
    """One answer for each subspace, all solved together: as one array job of a `DiceSolver`.

    `solver`: None is qiskit-addon-sqd's own, in this process. `key` and `how` are for jobs, as in `run_sqd`.
    """
    from qiskit_addon_sqd.fermion import solve_sci_batch

    runs: list[DiceRun] = []
    solve: SCISolver = solve_sci_batch
    if is_dice(solver):
        collect: Callable[[list[DiceRun]], None] = runs.extend
        solve = solver.as_sci_solver(context, key=key, on_runs=collect, **(how or {}))
    elif solver is not None:
        solve = cast("SCISolver", solver)
    results = solve(list(subspaces), integrals.one_body, integrals.two_body, integrals.norb, integrals.nelec)
    if len(results) != len(subspaces):
        raise SolverFailed(f"the solver returned {len(results)} answers for {len(subspaces)} subspaces")
    if runs:
        return [_of_run(result, run) for result, run in zip(results, runs, strict=True)]
    return [_of_state(result) for result in results]


def settings_of(solver: SCISolver | DiceSolver | None) -> Any:
    """What changes the answers of a solver, for the name of a calculation."""
    return Solver(solver, None, {}).settings


def _of_run(result: SCIResult, run: DiceRun) -> Answer:
    found = run.result
    return Answer(result, found.spin_square, found.dimension, tuple(job_record(job) for job in run.jobs))


def _of_state(result: SCIResult) -> Answer:
    state = result.sci_state
    if state is None:
        return Answer(result, None, None)
    return Answer(result, float(state.spin_square()), int(state.amplitudes.size))
