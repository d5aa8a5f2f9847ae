"""Checks against the Hamiltonian: all of it for small sets, a few rows of it for large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.dice import validation as check
from dagster_hpc.electrons.determinants import bits_of, popcounts
from dagster_hpc.electrons.fcidump import restricted
from dagster_hpc.electrons.hamiltonian import diagonal_energies, hamiltonian_matrix
from dagster_hpc.electrons.local_energy import image_at
from dagster_hpc.electrons.space import DeterminantSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.dice.validation import Check
    from dagster_hpc.electrons.integrals import Integrals
    from dagster_hpc.electrons.state import SparseState

MATRIX_BYTES = 2**30  # of matrix elements
_BOUNDING = 10_000  # determinants, the largest, that bound the energy
_LEADING, _RANDOM = 4, 8  # rows of H that are looked at one by one
WHOLE = ("expectation", "residual")
OF_EIGENSTATES = ("variational_bound", "local_energy", "sampled_residual", "residual")
ALL = ("variational_bound", "local_energy", "sampled_residual", *WHOLE)


def against_hamiltonian(
    state: SparseState,
    energy: float,
    integrals: Integrals,
    *,
    tolerance: float,
    up_to: int,
    is_eigenstate: bool = True,
    is_lowest: bool = True,
) -> list[Check]:
    """`tolerance`: the residual that Dice was asked for. `up_to`: determinants for which all of H is affordable."""
    for words in (state.alpha, state.beta):
        if len(set(popcounts(words).tolist())) != 1:
            return [check.not_made(name, "the determinants differ in their electrons") for name in ALL]
    orbitals = np.flatnonzero(bits_of(np.concatenate([state.alpha, state.beta]), state.norb).any(axis=0))
    integrals = restricted(integrals, orbitals)  # the others have no electrons
    alpha, beta = (bits_of(words, state.norb)[:, orbitals].astype(bool) for words in (state.alpha, state.beta))
    space = DeterminantSpace(alpha, beta, state.index_a.astype(np.int64), state.index_b.astype(np.int64))
    made = _as_a_whole(space, state.coefficients, energy, integrals, tolerance, up_to)
    is_whole = all(one.passed is not None for one in made)
    made += _by_rows(space, state.coefficients, energy, integrals, tolerance, sampled=not is_whole)
    if not is_lowest:
        made = [one for one in made if one.name != "variational_bound"]
    if is_eigenstate:
        return made
    why = "the state was found with a penalty on its spin"
    return [check.not_made(one.name, why) if one.name in OF_EIGENSTATES else one for one in made]


def _by_rows(
    space: DeterminantSpace,
    vector: NDArray[np.float64],
    energy: float,
    integrals: Integrals,
    tolerance: float,
    *,
    sampled: bool,
) -> list[Check]:
    """What a few rows of H tell, however many there are."""
    largest = DeterminantSpace(space.alpha, space.beta, space.index_a[:_BOUNDING], space.index_b[:_BOUNDING])
    lowest = float(diagonal_energies(largest, integrals).min()) + integrals.core_energy

    def rows(places: NDArray[np.intp]) -> list[tuple[float, float]]:
        return [(float(vector[k]), image_at(space, vector, integrals, int(k))) for k in places]

    leading = rows(np.argsort(-np.abs(vector), kind="stable")[:_LEADING])
    made = [check.variational_bound(energy, lowest), check.local_energy(energy, leading, tolerance)]
    if not sampled:
        return [*made, check.not_made("sampled_residual", "the whole residual is known")]
    chosen = np.random.default_rng(len(vector)).choice(len(vector), min(_RANDOM, len(vector)), replace=False)
    return [*made, check.sampled_residual(energy, rows(chosen), len(vector))]


def _as_a_whole(
    space: DeterminantSpace,
    vector: NDArray[np.float64],
    energy: float,
    integrals: Integrals,
    tolerance: float,
    up_to: int,
) -> list[Check]:
    """What all of H tells, where there are few enough determinants."""
    if len(vector) > up_to:
        return [check.not_made(name, f"more than {up_to} determinants") for name in WHOLE]
    try:
        matrix: Any = hamiltonian_matrix(space, integrals, most_bytes=MATRIX_BYTES)
    except MemoryError as error:
        return [check.not_made(name, str(error)) for name in WHOLE]
    image = matrix @ vector + integrals.core_energy * vector
    return [
        check.expectation(energy, float(vector @ image) / float(vector @ vector)),
        check.residual(float(np.linalg.norm(image - energy * vector)), tolerance),
    ]
