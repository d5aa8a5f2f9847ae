"""The lowest states of a matrix that is stored: the blocks that it falls into are known, and solved apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.diagonalization.davidson import States, lowest_states

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from dagster_hpc.diagonalization.davidson import Vector

DENSE = 400  # up to this size all of LAPACK is as fast as any iteration, and cannot miss a state


@dataclass(frozen=True)
class MatrixOperator:
    """A stored sparse matrix."""

    matrix: csr_array

    @property
    def diagonal(self) -> Vector:
        return np.asarray(self.matrix.diagonal())

    def apply(self, vectors: Vector) -> Vector:
        return np.array([self.matrix @ vector for vector in vectors])

    def among(self, places: NDArray[np.intp]) -> Vector:
        return np.asarray(self.matrix[places][:, places].toarray())


def lowest_states_of_matrix(
    matrix: csr_array, nroots: int, *, tolerance: float, seed: int = 0, guesses: Sequence[Vector] = ()
) -> States:
    """The `nroots` lowest states; blocks that the matrix does not connect are solved one by one."""
    size = matrix.shape[0]
    nroots = min(nroots, size)
    if size <= DENSE:
        return _dense(matrix.toarray(), nroots)

    from scipy.sparse.csgraph import connected_components  # takes longer to load than a small matrix to solve

    count, label = connected_components(matrix, directed=False)
    if count == 1:
        return lowest_states(MatrixOperator(matrix), nroots, tolerance=tolerance, seed=seed, guesses=guesses)

    # Only blocks that can hold one of the lowest states are solved: Gershgorin bounds the others away.
    diagonal = matrix.diagonal()
    radius = abs(matrix).sum(axis=1) - abs(diagonal)
    floor = np.full(count, np.inf)
    np.minimum.at(floor, label, diagonal - radius)
    ceiling = np.full(count, np.inf)
    np.minimum.at(ceiling, label, diagonal)
    known: list[tuple[float, NDArray[np.intp], Vector]] = []
    iterations, residual = 1, 0.0
    members = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1])
    for block in np.argsort(ceiling, kind="stable"):
        if len(known) >= nroots and floor[block] > sorted(energy for energy, _, _ in known)[nroots - 1]:
            continue
        inside = members[block]
        part = matrix[inside][:, inside]
        wanted = min(nroots, len(inside))
        if len(inside) <= DENSE:
            states = _dense(part.toarray(), wanted)
        else:
            local = [guess[inside] for guess in guesses if np.linalg.norm(guess[inside]) > 1e-8]
            states = lowest_states(MatrixOperator(part), wanted, tolerance=tolerance, seed=seed, guesses=local)
        iterations, residual = max(iterations, states.iterations), max(residual, states.residual)
        known += [(float(e), inside, states.vectors[:, k]) for k, e in enumerate(states.energies)]
    known.sort(key=lambda state: state[0])
    vectors = np.zeros((size, nroots))
    for k, (_, inside, vector) in enumerate(known[:nroots]):
        vectors[inside, k] = vector
    return States(np.array([energy for energy, _, _ in known[:nroots]]), vectors, iterations, residual)


def _dense(matrix: Vector, nroots: int) -> States:
    energies, vectors = (part[..., :nroots] for part in np.linalg.eigh(matrix))
    residual = float(np.linalg.norm(matrix @ vectors - vectors * energies, axis=0).max())
    return States(energies, vectors, 1, residual)
