"""The Hamiltonian among all products of alpha and beta strings, from what it does to the strings.

With the coefficients as a matrix C of alpha rows and beta columns, H C has four parts: the diagonal times C; the alpha
strings' own matrix times C; C times the beta strings' own; and the repulsion of an alpha electron that moves (a' <- a by
rs) from a beta electron that moves (b' <- b by pq) or stays: (pq|rs) for each pair of moves. Strings are few, products many:
everything here is of the size of the strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.diagonalization.strings import NEGLIGIBLE, Singles, single_excitations, string_hamiltonian
from dagster_hpc.electrons.hamiltonian import diagonal_energies, hamiltonian_matrix
from dagster_hpc.electrons.space import DeterminantSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from dagster_hpc.diagonalization.davidson import Vector
    from dagster_hpc.electrons.integrals import Integrals


@dataclass(frozen=True)
class ProductHamiltonian:
    """H in parts."""

    space: DeterminantSpace
    integrals: Integrals
    diagonal: Vector
    own: tuple[csr_array, csr_array]  # H of the alpha and of the beta strings among themselves, without diagonals
    singles: tuple[Singles, Singles]
    moves: NDArray[np.float64]  # (pq|rs), zero where negligible
    seen: tuple[
        NDArray[np.float64], NDArray[np.float64]
    ]  # sum of (pq|rr) over the electrons r of an alpha, a beta string

    @classmethod
    def of(cls, space: DeterminantSpace, integrals: Integrals) -> ProductHamiltonian:
        """Of a space that is the product of its strings."""
        table = np.where(np.abs(integrals.pair_integrals) > NEGLIGIBLE, integrals.pair_integrals, 0.0)
        standing = table[:, integrals.pair.diagonal()]
        alpha, beta = space.alpha, space.beta
        return cls(
            space,
            integrals,
            diagonal_energies(space, integrals),
            (string_hamiltonian(alpha, integrals), string_hamiltonian(beta, integrals)),
            (single_excitations(alpha, integrals.pair), single_excitations(beta, integrals.pair)),
            table,
            (standing @ alpha.T.astype(float), standing @ beta.T.astype(float)),
        )

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.space.alpha), len(self.space.beta)

    def among(self, places: NDArray[np.intp]) -> Vector:
        """The elements between some determinants, as a dense matrix."""
        space = self.space
        few = DeterminantSpace.of(space.alpha[space.index_a[places]], space.beta[space.index_b[places]])
        return np.asarray(hamiltonian_matrix(few, self.integrals).toarray())

    @property
    def elements(self) -> float:
        """How many numbers a stored matrix takes: also the multiplications of one product H C."""
        alpha, beta = self.shape
        of_pair = [np.bincount(singles.pair, minlength=len(self.moves)) for singles in self.singles]
        both_move = float(of_pair[0] @ (self.moves != 0).astype(float) @ of_pair[1])
        single_a, single_b = map(len, self.singles)
        own: int = (self.own[0].nnz + single_a) * beta + (self.own[1].nnz + single_b) * alpha
        return both_move + own + alpha * beta

    def stored(self) -> csr_array:
        """The matrix; an element may be stored in two summands."""
        from scipy.sparse import coo_array, csr_array

        alpha, beta = self.shape
        every_a, every_b = np.arange(alpha, dtype=np.int32), np.arange(beta, dtype=np.int32)
        own_a, own_b = (matrix.tocoo() for matrix in self.own)
        single_a, single_b = self.singles
        parts = [
            _outer(own_a.coords, own_a.data[:, None], (every_b, every_b), np.ones((1, beta)), beta),
            _outer((every_a, every_a), np.ones((alpha, 1)), own_b.coords, own_b.data[None], beta),
            _outer(
                (single_a.target, single_a.source),
                single_a.sign[:, None] * self.seen[1][single_a.pair],
                (every_b, every_b),
                np.ones((1, beta)),
                beta,
            ),
            _outer(
                (every_a, every_a),
                np.ones((alpha, 1)),
                (single_b.target, single_b.source),
                single_b.sign * self.seen[0][single_b.pair].T,
                beta,
            ),
        ]
        for pair in np.unique(single_b.pair):
            by_b = np.flatnonzero(single_b.pair == pair)
            values = self.moves[pair][single_a.pair] * single_a.sign
            by_a = np.flatnonzero(values)
            parts.append(
                _outer(
                    (single_a.target[by_a], single_a.source[by_a]),
                    values[by_a][:, None],
                    (single_b.target[by_b], single_b.source[by_b]),
                    single_b.sign[by_b][None],
                    beta,
                )
            )
        every = np.arange(alpha * beta, dtype=np.int32)
        rows, columns, values = (
            np.concatenate([last, *(part[k] for part in parts)]) for k, last in enumerate((every, every, self.diagonal))
        )
        size = alpha * beta
        return csr_array(coo_array((values, (rows, columns)), shape=(size, size)))


def _outer(
    on_alpha: tuple[NDArray[np.integer], NDArray[np.integer]],
    values_a: NDArray[np.float64],
    on_beta: tuple[NDArray[np.integer], NDArray[np.integer]],
    values_b: NDArray[np.float64],
    beta: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Rows, columns and values of the product of two lists of elements, (target, source) on each spin's strings."""
    rows, columns = (
        (a.astype(np.int32)[:, None] * np.int32(beta) + b.astype(np.int32)).ravel()
        for a, b in zip(on_alpha, on_beta, strict=True)
    )
    return rows, columns, (values_a * values_b).ravel()
