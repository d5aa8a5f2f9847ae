"""ext-SQD: a result, its subspace enlarged by excitations of what matters in it, and one more diagonalization."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.inputs import require_addon
from dagster_hpc.sqd.iteration import job_record, strings_not_met
from dagster_hpc.sqd.molecule import MolecularIntegrals
from dagster_hpc.sqd.solver import IN_PROCESS_BELOW, Answer, Solver, SolverFailed, is_subspace_solver
from dagster_hpc.sqd.values import Iteration, SQDResult, Subspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.resources.step import Context
    from dagster_hpc.sqd.molecule import Molecule
    from dagster_hpc.sqd.solver import SCISolver
    from dagster_hpc.sqd.values import Hamiltonian
    from dagster_hpc.subspace import SubspaceSolver

_RISE = 1e-7  # Hartree: a larger subspace with a higher energy is no lowest state


def extend(
    result: SQDResult,
    molecule: Molecule | MolecularIntegrals | Hamiltonian,
    *,
    rank: Literal[1, 2] = 1,
    threshold: float = 0.02,
    max_dim: int | None = None,
    sci_solver: SCISolver | SubspaceSolver | None = None,
    in_process_below: int = IN_PROCESS_BELOW,
    key: str | None = None,
    context: Context | None = None,
    **how: Any,
) -> SQDResult:
    """The result with one more iteration: its strings, and excitations of the important ones, diagonalized together.

    Nothing here is random: the same result gives the same answer.

    Args:
        molecule: Of the result; or its integrals, or the stored `Hamiltonian`.
        rank: 1: single excitations within each string; 2: double ones too. Single excitations of alpha and of beta
            strings make double excitations of determinants, as all strings are combined.
        threshold: Strings in a determinant with a coefficient of at least this are excited.
        max_dim: Most strings of each spin; those of the result are never left out, and the excitations of the most
            important strings come first.
        sci_solver, in_process_below, key, context, **how: As in `run_sqd`. The spin that is wanted is that of the result.

    Example:
        result = run_sqd(molecule, samples, seed=24, samples_per_batch=5, max_iterations=1)
        larger = extend(result, molecule, threshold=0.05)
        assert larger.energy <= result.energy
    """
    require_addon()
    integrals = molecule if isinstance(molecule, MolecularIntegrals) else molecule.integrals()
    _refuse_misfit(result, integrals, rank, threshold, how, sci_solver)
    own, important = _strings_of(result, threshold)
    alpha, beta = (
        _enlarged(kept, chosen, integrals.norb, rank, max_dim) for kept, chosen in zip(own, important, strict=True)
    )
    is_bounded = result.sci_state is not None and result.spin_sq is None  # all of that state is in the larger subspace
    if is_subspace_solver(sci_solver) and is_bounded:
        how = {"parent_energies": [result.energy], **how}
    started, number = time.monotonic(), len(result.iterations) + 1
    solver = Solver(sci_solver, context, how, result.seed, result.spin_sq, in_process_below, key)
    (answer,) = solver.solve([(alpha, beta)], integrals, number, 0)
    energy = float(answer.result.energy)
    if not np.isfinite(energy) or (is_bounded and energy > result.energy + _RISE):
        raise SolverFailed(
            f"the energy of the extended subspace came out as {energy}, that of the subspace in it was {result.energy}",
            advice="the solver has missed the lowest state: solve it with a DiceSolver, which looks for that.",
        )
    added = _iteration(result.iterations, answer, (alpha, beta), time.monotonic() - started)
    return replace(
        result,
        energy=min(energy, result.energy),
        occupancies=added.occupancies if energy < result.energy else result.occupancies,
        sci_state=answer.result.sci_state if energy < result.energy else result.sci_state,
        iterations=(*result.iterations, added),
    )


def excited(strings: Sequence[int] | NDArray[Any], norb: int, rank: int = 1) -> NDArray[Any]:
    """The strings, then those that are up to `rank` excitations away from one of them, each once."""
    known = dict.fromkeys(int(one) for one in strings)
    newest = list(known)
    for _ in range(rank):
        found = dict.fromkeys(moved for one in newest for moved in _single_excitations(one, norb))
        newest = [one for one in found if one not in known]
        known |= dict.fromkeys(newest)
    return np.array(list(known), object if norb > 63 else np.int64)


def _single_excitations(string: int, norb: int) -> Iterator[int]:
    filled = [p for p in range(norb) if string >> p & 1]
    empty = [p for p in range(norb) if not string >> p & 1]
    return (string ^ (1 << i) ^ (1 << a) for i in filled for a in empty)


def _strings_of(result: SQDResult, threshold: float) -> tuple[Subspace, Subspace]:
    """All strings of the result, and the important ones; of a solver that keeps its state, what it carried over."""
    from qiskit_addon_sqd.fermion import SCIResult, StandardPolicy

    state = result.sci_state
    if state is None:
        return result.best.carryover, result.best.carryover
    policy = StandardPolicy(carryover_threshold=threshold)
    chosen = policy.select_carryover(SCIResult(result.energy, state, result.occupancies))
    return (state.ci_strs_a, state.ci_strs_b), chosen


def _enlarged(kept: NDArray[Any], important: NDArray[Any], norb: int, rank: int, max_dim: int | None) -> NDArray[Any]:
    strings = list(dict.fromkeys([*kept.tolist(), *excited(important, norb, rank).tolist()]))
    if max_dim is not None:
        strings = strings[: max(max_dim, len(kept))]
    return np.array(sorted(strings), object if norb > 63 else np.int64)  # PySCF wants them ascending


def _iteration(done: Sequence[Iteration], answer: Answer, subspace: Subspace, seconds: float) -> Iteration:
    from qiskit_addon_sqd.fermion import StandardPolicy

    alpha, beta = (np.array(part, np.float64) for part in answer.result.orbital_occupancies)
    return replace(
        done[-1],
        number=len(done) + 1,
        energies=(float(answer.result.energy),),
        energy=float(answer.result.energy),
        occupancies=(alpha, beta),
        carryover=StandardPolicy().select_carryover(answer.result),
        subspaces=((len(subspace[0]), len(subspace[1])),),
        seconds=seconds,
        spin_square=answer.spin_square,
        determinants=answer.determinants,
        jobs=tuple(job_record(job) for job in answer.jobs),
        recovered=0.0,
        made=0,
        new_strings=(strings_not_met([subspace], done, 0), strings_not_met([subspace], done, 1)),
        rounds=1,
        in_process=int(answer.in_process),
    )


def _refuse_misfit(
    result: SQDResult, integrals: MolecularIntegrals, rank: int, threshold: float, how: dict[str, Any], solver: Any
) -> None:
    faults = []
    if (result.norb, result.nelec) != (integrals.norb, integrals.nelec):
        faults.append(
            f"the result is of {result.nelec} electrons in {result.norb} orbitals, the molecule has {integrals.nelec} in "
            f"{integrals.norb}"
        )
    if rank not in (1, 2):
        faults.append(f"rank is {rank}; it is 1 (single excitations) or 2 (double ones too)")
    if not 0 <= threshold <= 1:
        faults.append(f"threshold is {threshold}; it is a coefficient, from 0 to 1")
    if how and not is_subspace_solver(solver):
        faults.append(f"{', '.join(how)}: only a SubspaceSolver such as DiceSolver takes that, or it is misspelt")
    if faults:
        raise ConfigurationError(faults)
