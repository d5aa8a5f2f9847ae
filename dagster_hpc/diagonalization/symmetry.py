"""Parts of a space of determinants that the Hamiltonian does not connect, by the symmetry of its integrals.

A label gives each orbital a parity so that every integral that is not zero has an even number of odd orbitals: a mirror
plane of the molecule does, for orbitals that it keeps or turns round. H then keeps the parity of a determinant, that of the
number of its electrons in odd orbitals. All labels follow from the integrals, as solutions of linear equations modulo 2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dagster_hpc.electrons.integrals import Indices, Integrals
    from dagster_hpc.electrons.space import DeterminantSpace, Occupations

NOISE = 1e-5  # Hartree: a self-consistent field without symmetry leaves up to 1e-6 in integrals that should be zero
MOST = 64  # sectors: D2h has 8; orbitals that no integral connects have labels of their own, of which a few will do


@dataclass(frozen=True)
class Symmetry:
    """Independent labels, from which all others follow as sums: bit p of each is the parity of orbital p."""

    labels: tuple[int, ...]

    @classmethod
    def of(cls, integrals: Integrals) -> Symmetry:
        return cls(tuple(_solutions(_equations(integrals), integrals.norb)))

    def sectors(self, space: DeterminantSpace) -> list[NDArray[np.intp]]:
        """The places of the determinants of each sector."""
        found: Indices = np.zeros(len(space), np.int64)
        for label in self.labels:
            alpha, beta = (_parities(strings, label) for strings in (space.alpha, space.beta))
            names, numbers = np.unique(2 * found + (alpha[space.index_a] ^ beta[space.index_b]), return_inverse=True)
            if len(names) <= MOST:
                found = numbers.ravel()
        return [np.flatnonzero(found == number) for number in range(found.max(initial=0) + 1)]

    def imposed(self, integrals: Integrals) -> Integrals:
        """Those integrals that the symmetry allows, the others zero."""
        one_body, table = integrals.one_body.copy(), integrals.pair_integrals.copy()
        lower = np.tril_indices(integrals.norb)  # in the order of the pairs
        for label in self.labels:
            odd = _odd(label, integrals.norb)
            pair = odd[lower[0]] ^ odd[lower[1]]
            one_body[odd[:, None] != odd] = 0
            table[pair[:, None] != pair] = 0
        return replace(integrals, one_body=one_body, pair_integrals=table)


def largest_difference(integrals: Integrals, others: Integrals) -> float:
    one = np.abs(integrals.one_body - others.one_body).max()
    return float(max(one, np.abs(integrals.pair_integrals - others.pair_integrals).max()))


def _odd(label: int, norb: int) -> Indices:
    return np.array([label >> orbital & 1 for orbital in range(norb)], dtype=np.int64)


def _parities(strings: Occupations, label: int) -> Indices:
    return np.asarray(strings @ _odd(label, strings.shape[1]) & 1)


def _equations(integrals: Integrals) -> list[int]:
    """Sets of orbitals, as bits, of which every label has an even number odd.

    (pq|rs) says that the pairs pq and rs have the same parity: pairs that integrals connect have that of the first of them.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    pairs = [1 << p ^ 1 << q for p in range(integrals.norb) for q in range(p + 1)]
    connected = csr_array(np.abs(integrals.pair_integrals) > NOISE)
    _, component = connected_components(connected, directed=False)
    first = np.unique(component, return_index=True)[1]
    rows, columns = np.nonzero(np.tril(np.abs(integrals.one_body) > NOISE))
    return [
        *(1 << int(p) ^ 1 << int(q) for p, q in zip(rows, columns, strict=True)),
        *(pair ^ pairs[first[number]] for pair, number in zip(pairs, component, strict=True)),
    ]


def _solutions(equations: Iterable[int], unknowns: int) -> list[int]:
    """Independent solutions modulo 2, by Gauss and Jordan."""
    solved: dict[int, int] = {}  # by the highest unknown, which stands in no other
    for equation in equations:
        left = reduce(xor, (other for top, other in solved.items() if equation >> top & 1), equation)
        if not left:
            continue
        top = left.bit_length() - 1
        solved = {key: other ^ left if other >> top & 1 else other for key, other in solved.items()}
        solved[top] = left
    free = [unknown for unknown in range(unknowns) if unknown not in solved]
    return [
        1 << unknown | sum(1 << top for top, equation in solved.items() if equation >> unknown & 1) for unknown in free
    ]
