"""The variational iterations: solve, let determinants join by the schedule, solve again; with Dice's table as they go."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.dice.determinants import width_of
from dagster_hpc.dice.embedded.problem import Problem
from dagster_hpc.dice.embedded.words import say
from dagster_hpc.dice.hamiltonian import DeterminantSpace, diagonal_energies, grown
from dagster_hpc.dice.state import SparseState

if TYPE_CHECKING:
    from dagster_hpc.dice.davidson import States, Vector
    from dagster_hpc.dice.determinants import Words
    from dagster_hpc.dice.embedded.asked import Schedule
    from dagster_hpc.dice.hamiltonian import Integrals, Occupations

TIGHTEST = 1e-7  # residual: the energy is then good to 1e-12 or so, and occupancies to 1e-7, whatever davidsonTol says


@dataclass(frozen=True)
class Solution:
    """The variational states at the end of the schedule; energies include the core."""

    space: DeterminantSpace
    energies: Vector
    vectors: Vector

    def state(self, root: int) -> SparseState:
        space = self.space
        index_a, index_b = space.index_a.astype(np.int32), space.index_b.astype(np.int32)
        return SparseState(_words(space.alpha), _words(space.beta), index_a, index_b, self.vectors[:, root], space.norb)


def _words(strings: Occupations) -> Words:
    """The same strings as words of 64 orbitals."""
    packed = np.zeros((len(strings), 8 * width_of(strings.shape[1])), np.uint8)
    bits = np.packbits(strings, axis=1, bitorder="little")
    packed[:, : bits.shape[1]] = bits
    return packed.view("<u8").astype(np.uint64)


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
    return Solution(space, energies, states.vectors)


def _padded(vector: Vector, size: int) -> Vector:
    return np.concatenate([vector, np.zeros(size - len(vector))])
