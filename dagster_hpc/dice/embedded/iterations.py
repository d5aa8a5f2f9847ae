"""The variational iterations: solve, let determinants join by the schedule, solve again; with Dice's table as they go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.dice.embedded.problem import Problem
from dagster_hpc.dice.embedded.solution import TIGHTEST, Solution
from dagster_hpc.dice.embedded.words import say
from dagster_hpc.dice.hamiltonian import DeterminantSpace, diagonal_energies, grown

if TYPE_CHECKING:
    from dagster_hpc.dice.davidson import States, Vector
    from dagster_hpc.dice.embedded.asked import Schedule
    from dagster_hpc.dice.hamiltonian import Integrals, Occupations


def solve(schedule: Schedule, integrals: Integrals, alpha: Occupations, beta: Occupations) -> Solution:
    """The variational iterations, with Dice's table as they go."""
    started = time.monotonic()
    space = DeterminantSpace.product(alpha, beta)
    problem = Problem(integrals, schedule.roots, min(schedule.davidson_tolerance, TIGHTEST), schedule.seed)
    say(
        f"{'Iter':>4} {'Root':>4}  {'Eps1 ':>10}  {'#Var. Det.':>10}   {'Energy':>18}   {'#Davidson':>9}  {'Time(s)':>10}"
    )

    # Dice selects for the first time without having solved: the lowest determinant weighs as much as there are
    # determinants, each other one weighs 1.
    weight = np.ones(len(space))
    weight[np.argmin(diagonal_energies(space, integrals))] = len(space)
    weight /= np.linalg.norm(weight)
    states: States | None = None
    before = -10.0
    for iteration, cutoff in enumerate(schedule.cutoffs):
        larger = grown(space, weight, cutoff, integrals)
        if states is None or len(larger) > len(space):
            guesses = [] if states is None else [_padded(vector, len(larger)) for vector in states.vectors.T]
            space = larger
            states = problem.solve(space, guesses)
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
    say("Exiting variational iterations")
    energies = states.energies + integrals.core_energy
    say(f"\nVariational calculation result\n{'Root':>4} {'Energy':>18}  {'Time(s)':>10}")
    for root, energy in enumerate(energies):
        say(f"{root:4d}  {energy:18.10f}  {time.monotonic() - started:10.2f}")
    return Solution(space, energies, states.vectors, states.iterations, states.residual)


def _padded(vector: Vector, size: int) -> Vector:
    return np.concatenate([vector, np.zeros(size - len(vector))])
