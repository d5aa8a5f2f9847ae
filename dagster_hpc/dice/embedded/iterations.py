"""The variational iterations: solve, let determinants join by the schedule, solve again; with Dice's table as they go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.diagonalization.problem import Problem
from dagster_hpc.diagonalization.solution import TIGHTEST, Solution
from dagster_hpc.diagonalization.threads import threads_allowed
from dagster_hpc.dice.embedded.words import say
from dagster_hpc.electrons.hamiltonian import diagonal_energies
from dagster_hpc.electrons.selection import grown
from dagster_hpc.electrons.space import DeterminantSpace

if TYPE_CHECKING:
    from dagster_hpc.diagonalization.davidson import States, Vector
    from dagster_hpc.diagonalization.spin import SpinFound, SpinWish
    from dagster_hpc.dice.embedded.asked import Schedule
    from dagster_hpc.electrons.integrals import Integrals
    from dagster_hpc.electrons.space import Occupations


def solve(
    schedule: Schedule, integrals: Integrals, alpha: Occupations, beta: Occupations, wish: SpinWish | None = None
) -> Solution:
    """The variational iterations, with Dice's table as they go."""
    started = time.monotonic()
    space = DeterminantSpace.product(alpha, beta)
    tolerance = min(schedule.davidson_tolerance, TIGHTEST)
    problem = Problem(integrals, schedule.roots, tolerance, schedule.seed, threads_allowed(), wish)
    say(
        f"{'Iter':>4} {'Root':>4}  {'Eps1 ':>10}  {'#Var. Det.':>10}   {'Energy':>18}   {'#Davidson':>9}  {'Time(s)':>10}"
    )

    # Dice selects for the first time without having solved: the lowest determinant weighs as much as there are
    # determinants, each other one weighs 1.
    weight = np.ones(len(space))
    weight[np.argmin(diagonal_energies(space, integrals))] = len(space)
    weight /= np.linalg.norm(weight)
    states: States | None = None
    spin: SpinFound | None = None
    before = -10.0
    for iteration, cutoff in enumerate(schedule.cutoffs):
        larger = grown(space, weight, cutoff, integrals)
        if states is None or len(larger) > len(space):
            guesses = [] if states is None else [_padded(vector, len(larger)) for vector in states.vectors.T]
            space = larger
            states, spin = problem.solve(space, guesses)
        for root, energy in enumerate(states.energies + integrals.core_energy):
            say(
                f"{iteration:4d} {root:4d}  {cutoff:10.2e}  {len(space):10d}   {energy:18.10f}  "
                f"{states.iterations:9d}  {time.monotonic() - started:10.2f}"
            )
        if abs(states.energies[0] - before) < schedule.energy_tolerance:
            break
        before = states.energies[0]
        weight = np.linalg.norm(states.vectors, axis=1)
    assert states is not None  # a schedule has an iteration or is refused
    say(f"Residual norm at the end: {states.residual:.1e} (asked for: {schedule.davidson_tolerance:g})")
    if wish is not None and spin is not None:
        found = " ".join(f"{value:.6f}" for value in spin.spin_squares)
        say(
            f"Spin: asked <S^2> {wish.spin_sq:g} by a penalty of {wish.shift:g}, found {found}; "
            f"residual norm of H alone {spin.residual:.1e}"
        )
    say("Exiting variational iterations")
    solution = Solution.of(space, integrals.core_energy, states, spin)
    say(f"\nVariational calculation result\n{'Root':>4} {'Energy':>18}  {'Time(s)':>10}")
    for root, energy in enumerate(solution.energies):
        say(f"{root:4d}  {energy:18.10f}  {time.monotonic() - started:10.2f}")
    return solution


def _padded(vector: Vector, size: int) -> Vector:
    return np.concatenate([vector, np.zeros(size - len(vector))])
