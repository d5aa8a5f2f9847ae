"""Checks against the Hamiltonian: all of it for small sets, one row of it for large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.dice import validation as check
from dagster_hpc.dice.determinants import bits_of, popcounts
from dagster_hpc.dice.fcidump import restricted
from dagster_hpc.dice.hamiltonian import DeterminantSpace, diagonal_energies, hamiltonian_matrix
from dagster_hpc.dice.local_energy import local_energy

if TYPE_CHECKING:
    from dagster_hpc.dice.hamiltonian import Integrals
    from dagster_hpc.dice.state import SparseState
    from dagster_hpc.dice.validation import Check

MATRIX_BYTES = 2**30  # of matrix elements
_BOUNDING = 10_000  # determinants, the largest, that bound the energy
WHOLE = ("expectation", "residual")
ALL = ("variational_bound", "local_energy", *WHOLE)


def against_hamiltonian(
    state: SparseState, energy: float, integrals: Integrals, *, tolerance: float, up_to: int
) -> list[Check]:
    """`tolerance`: the residual that Dice was asked for. `up_to`: determinants for which all of H is affordable."""
    for words in (state.alpha, state.beta):
        if len(set(popcounts(words).tolist())) != 1:
            return [check.not_made(name, "the determinants differ in their electrons") for name in ALL]
    orbitals = np.flatnonzero(bits_of(np.concatenate([state.alpha, state.beta]), state.norb).any(axis=0))
    integrals = restricted(integrals, orbitals)  # the others have no electrons
    alpha, beta = (bits_of(words, state.norb)[:, orbitals].astype(bool) for words in (state.alpha, state.beta))
    space = DeterminantSpace(alpha, beta, state.index_a.astype(np.int64), state.index_b.astype(np.int64))
    vector = state.coefficients
    largest = DeterminantSpace(alpha, beta, space.index_a[:_BOUNDING], space.index_b[:_BOUNDING])
    lowest = float(diagonal_energies(largest, integrals).min()) + integrals.core_energy
    leading = int(np.argmax(np.abs(vector)))
    seen = local_energy(space, vector, integrals, leading)
    made = [
        check.variational_bound(energy, lowest),
        check.local_energy(energy, seen, float(vector[leading]), tolerance),
    ]
    if len(state) > up_to:
        return made + [check.not_made(name, f"more than {up_to} determinants") for name in WHOLE]
    try:
        matrix: Any = hamiltonian_matrix(space, integrals, most_bytes=MATRIX_BYTES)
    except MemoryError as error:
        return made + [check.not_made(name, str(error)) for name in WHOLE]
    image = matrix @ vector + integrals.core_energy * vector
    return [
        *made,
        check.expectation(energy, float(vector @ image) / float(vector @ vector)),
        check.residual(float(np.linalg.norm(image - energy * vector)), tolerance),
    ]
