"""`run_sqd`: sample-based quantum diagonalization that goes on, after any crash, at the iteration where it stood.

The loop is qiskit-addon-sqd's own, `diagonalize_fermionic_hamiltonian`, called for one iteration at a time: with the
occupancies, the strings carried over and the random generator as the last iteration left them. These, and the energies,
are on disk before the next iteration begins, so that a first run and a resumed one go the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.inputs import Settings, both_spins, refuse_misfit, refuse_nonsense, require_addon
from dagster_hpc.sqd.iteration import Loop
from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule, require_same
from dagster_hpc.sqd.policy import policy_settings
from dagster_hpc.sqd.solver import IN_PROCESS_BELOW, Solver, is_subspace_solver
from dagster_hpc.sqd.state import State, fingerprint
from dagster_hpc.sqd.values import Iteration, Occupancies, Problem, Samples, SQDResult, best_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIState, SubspacePolicy

    from dagster_hpc.resources.step import Context
    from dagster_hpc.sqd.inputs import CIString
    from dagster_hpc.sqd.solver import SCISolver
    from dagster_hpc.subspace import SubspaceSolver


def run_sqd(
    molecule: Molecule | MolecularIntegrals,
    bitstrings: NDArray[np.bool_] | Samples,
    *,
    samples_per_batch: int,
    seed: int,
    num_batches: int = 1,
    sci_solver: SCISolver | SubspaceSolver | None = None,
    max_iterations: int = 100,
    energy_tol: float = 1e-8,
    occupancies_tol: float = 1e-5,
    symmetrize_spin: bool = False,
    max_dim: int | tuple[int, int] | None = None,
    include_configurations: Literal["hf"]
    | Sequence[CIString]
    | tuple[Sequence[CIString], Sequence[CIString]]
    | None = None,
    spin_sq: float | None = None,
    policy: SubspacePolicy | None = None,
    in_process_below: int = IN_PROCESS_BELOW,
    initial_occupancies: Occupancies | Literal["ccsd", "hf"] | None = None,
    carryover_threshold: float | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    key: str = "",
    callback: Callable[[Iteration], None] | None = None,
    context: Context | None = None,
    **how: Any,
) -> SQDResult:
    """Recover configurations, subsample, diagonalize, and again until energy and occupancies stay.

    The answer is that of `diagonalize_fermionic_hamiltonian` with the same arguments.

    Args:
        molecule: Or its integrals. With `state_dir` those of the first start are kept: orbitals of equal energy do not
            turn under the samples when the loop is resumed.
        bitstrings: One row per shot, alpha in the right half, as `sample_bitstrings` gives them; or `Samples`, which are
            refused where they were drawn for another Hamiltonian.
        seed: All randomness of the loop comes from it.
        sci_solver: Diagonalizes all subspaces of an iteration: a `DiceSolver` or another `SubspaceSolver`, whose jobs
            a resumed loop joins where they still run, or a function as qiskit-addon-sqd defines it; default: its own
            one, in this process.
        include_configurations: Strings of every subspace, for both spins or a pair of lists; "hf" is the string of the
            reference determinant.
        spin_sq: The <S²> that is wanted, as 0 for a singlet. Solvers that can do so raise the energy of other states. None:
            what the solver's own field says, else the lowest state, whatever its spin. A function is not told.
        policy: How an iteration spends its diagonalizations, as qiskit-addon-sqd's `TrimPolicy()`; default: its
            `StandardPolicy`. Its attributes tell a calculation from others; it must not remember earlier iterations.
        in_process_below: Subspaces with fewer determinants are solved in this process instead of jobs; 0: none are.
        carryover_threshold: Strings with larger coefficients stay for the next iteration; default 1e-4. A policy has
            its own.
        initial_occupancies: Where recovery starts: a pair of arrays, or that of "ccsd" or "hf" of a `Molecule`; default:
            the first iteration takes only strings with the right numbers of electrons.
        max_iterations: Of all starts together; a larger number later goes on from where the loop ended.
        state_dir: Here each iteration is written, in a folder for these very inputs. None: nothing is kept.
        key: What else tells this calculation from others in `state_dir`, such as the settings of a solver function.
        callback: Called with each new iteration, once it is on disk.
        context: Of the asset or op in which the loop runs; for a `SubspaceSolver`.
        **how: For a `SubspaceSolver`, as in its `runs`: profile, overrides, reuse, …

    Example:
        result = run_sqd(
            molecule, samples, seed=24, samples_per_batch=20, num_batches=2, max_iterations=2, sci_solver=dice,
            state_dir="sqd",
        )
        print(result.total_energy, result.converged)
    """
    settings = Settings(
        samples_per_batch, num_batches, energy_tol, occupancies_tol, symmetrize_spin, max_dim,
        both_spins(include_configurations), 1e-4 if carryover_threshold is None else carryover_threshold, seed,
        _wanted(spin_sq, sci_solver), policy_settings(policy),
    )  # fmt: skip
    matrix = np.asarray(bitstrings.bitstrings if isinstance(bitstrings, Samples) else bitstrings)
    refuse_nonsense(settings, matrix, max_iterations)
    if policy is not None and carryover_threshold is not None:
        raise ConfigurationError("carryover_threshold is one of the policy's own settings: give it to the policy")
    if how and not is_subspace_solver(sci_solver):
        raise ConfigurationError(
            f"{', '.join(how)}: only a SubspaceSolver such as DiceSolver takes that, or it is misspelt"
        )
    require_addon()
    solver = Solver(sci_solver, context, how, seed, settings.spin_sq, in_process_below)
    state = None
    if state_dir is not None:
        name = fingerprint(molecule, matrix, settings, initial_occupancies, [solver.settings, key])
        state = State(Path(os.path.expanduser(state_dir)) / name)
        solver = replace(solver, name=name)
    problem = _problem_of(molecule, initial_occupancies, state)
    refuse_misfit(problem, matrix, settings)
    if isinstance(bitstrings, Samples):
        require_same(bitstrings.hamiltonian, problem.integrals)
    loop = Loop(problem, matrix, settings, solver, policy)
    return _run(loop, state, max_iterations, callback)


def _run(
    loop: Loop, state: State | None, max_iterations: int, callback: Callable[[Iteration], None] | None
) -> SQDResult:
    done = state.iterations()[:max_iterations] if state else []
    # Tolerances are part of the folder's name, so that what is recorded ended as it would end now.
    resumed = len(done)
    best: tuple[int, SCIState | None] | None = None  # number of the iteration, its state
    while not _converged(done, loop.settings) and len(done) < max_iterations:
        iteration, sci_state = loop.step(done)
        done.append(iteration)
        if best_of(done) is iteration:
            best = iteration.number, sci_state
        if state:
            state.write(iteration, sci_state if best_of(done) is iteration else None, best=best_of(done).number)
        if callback:
            callback(iteration)
    chosen = best_of(done)
    if best is None or best[0] != chosen.number:  # found by an earlier start
        known, sci_state = state.sci_state(chosen.number, loop.problem) if state else (False, None)
        if not known:  # a better one came later, beyond the iterations that are wanted now
            _, sci_state = loop.step(done[: chosen.number - 1])
        best = chosen.number, sci_state
    problem = loop.problem
    return SQDResult(
        energy=chosen.energy,
        core_energy=problem.integrals.core_energy,
        reference_energy=problem.reference_energy,
        occupancies=chosen.occupancies,
        sci_state=best[1],
        iterations=tuple(done),
        converged=_converged(done, loop.settings),
        norb=problem.integrals.norb,
        nelec=problem.integrals.nelec,
        seed=loop.settings.seed,
        resumed=resumed,
        spin_sq=loop.settings.spin_sq,
    )


def _wanted(spin_sq: float | None, solver: SCISolver | SubspaceSolver | None) -> float | None:
    """The <S²> that is asked for: of this loop, or of its solver."""
    own = solver.spin_sq if spin_sq is None and is_subspace_solver(solver) else spin_sq
    return None if own is None else float(own)


def _converged(done: Sequence[Iteration], settings: Settings) -> bool:
    """qiskit-addon-sqd's own criterion."""
    if len(done) < 2:
        return False
    before, now = done[-2], done[-1]
    moved = np.max(np.abs(np.ravel(before.occupancies) - np.ravel(now.occupancies)))
    return bool(abs(before.energy - now.energy) < settings.energy_tol and moved < settings.occupancies_tol)


def _problem_of(
    molecule: Molecule | MolecularIntegrals,
    initial: Occupancies | Literal["ccsd", "hf"] | None,
    state: State | None,
) -> Problem:
    kept = state.inputs() if state else None
    if kept:
        return kept
    if isinstance(molecule, Molecule):
        integrals = molecule.integrals()
        start = molecule.initial_occupancies(initial) if isinstance(initial, str) else initial
    else:
        integrals = molecule
        if isinstance(initial, str):
            raise ConfigurationError(f"initial_occupancies {initial!r} needs a Molecule, not its integrals only")
        start = initial
    problem = Problem(integrals, start)
    if state:
        state.write_inputs(problem)
    return problem
