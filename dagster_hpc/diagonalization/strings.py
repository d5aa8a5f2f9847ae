"""What the Hamiltonian does to the strings of one spin: their own matrix, and their single excitations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.electrons.hamiltonian import hamiltonian_matrix, taken_out
from dagster_hpc.electrons.space import DeterminantSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from dagster_hpc.electrons.integrals import Indices, Integrals
    from dagster_hpc.electrons.space import Occupations

NEGLIGIBLE = 1e-12  # Hartree: symmetry makes most integrals zero, rounding makes them this small


@dataclass(frozen=True)
class Singles:
    """Every two strings that differ by one electron, in both directions: target = sign a†_p a_q source; sorted by target."""

    target: Indices
    source: Indices
    pair: Indices  # of the orbitals p and q, as the integrals count them
    sign: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.target)


def single_excitations(strings: Occupations, pair: Indices) -> Singles:
    """Two strings are a single excitation apart when they become equal by the loss of one electron each."""
    removed = taken_out(strings, 1)
    if removed is None:
        nothing = np.empty(0, np.int64)
        return Singles(nothing, nothing, nothing, np.empty(0))
    ways = removed.left.shape[1]
    order = np.argsort(removed.left.ravel(), kind="stable")
    left = removed.left.ravel()[order]
    string, orbital = order // ways, removed.orbitals.ravel()[order]
    sign = removed.sign[order % ways].astype(np.float64)

    # Each entry meets every other one that leaves the same.
    end = np.append(np.flatnonzero(np.diff(left)) + 1, len(left))
    size = np.diff(end, prepend=0)
    mates, begin = np.repeat(size, size), np.repeat(end - size, size)
    first = np.repeat(np.arange(len(left)), mates)
    second = np.arange(len(first)) - np.repeat(np.cumsum(mates) - mates - begin, mates)
    different = first != second
    first, second = first[different], second[different]
    by_target = np.lexsort((string[second], string[first]))
    first, second = first[by_target], second[by_target]
    return Singles(string[first], string[second], pair[orbital[first], orbital[second]], sign[first] * sign[second])


def string_hamiltonian(strings: Occupations, integrals: Integrals) -> csr_array:
    """H among strings of one spin, as if there were no electron of the other; the diagonal is left out."""
    from scipy.sparse import csr_array

    alone = DeterminantSpace.product(strings, np.zeros((1, strings.shape[1]), bool))
    matrix = hamiltonian_matrix(alone, integrals).tocoo()
    row, column = matrix.coords
    kept = (row != column) & (np.abs(matrix.data) > NEGLIGIBLE)
    return csr_array((matrix.data[kept], (row[kept], column[kept])), shape=matrix.shape)
