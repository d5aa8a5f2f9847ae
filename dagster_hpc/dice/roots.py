"""Several states of one run: are they different ones, and the lowest that there are?

Dice's Davidson starts further roots from random vectors. In sparse subspaces it then ends in states that are eigenstates,
normalised and orthogonal to each other, with lower ones in between that it never saw.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.dice import validation as check
from dagster_hpc.electrons.determinants import bits_of
from dagster_hpc.electrons.hamiltonian import diagonal_energies, hamiltonian_matrix
from dagster_hpc.electrons.space import DeterminantSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.dice.validation import Check
    from dagster_hpc.electrons.integrals import Integrals
    from dagster_hpc.electrons.state import SparseState

_BOUNDING = 400  # determinants, the lowest; of 15 answers of Dice that had missed a state 100 were enough for each


def together(roots: Sequence[DiceResult], integrals: Integrals | None) -> DiceResult:
    """The lowest root with the others, and one check for each question. `integrals`: None where no bounds are to be had."""
    made = [list(root.checks) for root in roots]
    vectors = _aligned([root.state for root in roots])
    if vectors is None:
        among = [check.other_determinants(len(roots))]
    else:
        among = [check.orthogonal(vectors)]
        if integrals is not None:
            among.append(
                check.root_bounds([root.energy for root in roots], _bounds(roots[0].state, integrals, len(roots)))
            )
    checks = tuple(_of_all(made, among))
    first, *others = (replace(root, checks=checks) for root in roots)
    return replace(first, others=tuple(replace(one, text=None) for one in others))


def _aligned(states: Sequence[SparseState]) -> NDArray[np.float64] | None:
    """The coefficients of each state in one order of the determinants; None where these are not the same."""
    first = states[0]
    rows, keys = [], []
    for state in states:
        if not (np.array_equal(state.alpha, first.alpha) and np.array_equal(state.beta, first.beta)):
            return None
        key = state.index_a * np.int64(len(state.beta)) + state.index_b
        order = np.argsort(key)
        keys.append(key[order])
        rows.append(state.coefficients[order])
    return np.array(rows) if all(np.array_equal(key, keys[0]) for key in keys) else None


def _bounds(state: SparseState, integrals: Integrals, count: int) -> list[float]:
    """The lowest energies among the determinants that are lowest themselves.

    Among all of them no root is higher than the same root among some (Cauchy's interlacing theorem).
    """
    alpha, beta = (bits_of(words, state.norb).astype(bool) for words in (state.alpha, state.beta))
    space = DeterminantSpace(alpha, beta, state.index_a.astype(np.int64), state.index_b.astype(np.int64))
    lowest = np.argsort(diagonal_energies(space, integrals), kind="stable")[:_BOUNDING]
    part = DeterminantSpace(alpha, beta, space.index_a[lowest], space.index_b[lowest])
    energies = np.linalg.eigvalsh(hamiltonian_matrix(part, integrals).toarray())[:count] + integrals.core_energy
    return [float(energy) for energy in energies]


def _of_all(roots: Sequence[Sequence[Check]], among: Sequence[Check]) -> list[Check]:
    """For each question what came closest to its limit, with the root that it is about."""
    worst: dict[str, Check] = {}
    for root, checks in enumerate([*roots, among]):
        for one in checks:
            if one.name not in worst or _strain(one) > _strain(worst[one.name]):
                named = 0 < root < len(roots)
                worst[one.name] = replace(one, sentence=f"root {root}: {one.sentence}") if named else one
    return list(worst.values())


def _strain(one: Check) -> float:
    """How near it is to failing."""
    if one.passed is None:
        return -np.inf
    if not one.passed:
        return np.inf
    return one.value / one.limit if one.value is not None and one.limit else 0.0
