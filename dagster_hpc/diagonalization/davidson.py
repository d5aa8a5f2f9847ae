"""The lowest states of a large symmetric matrix, where an iteration from one start would be trapped.

Selected-CI spaces of sampled determinants often fall apart into blocks that the Hamiltonian does not connect. A solver that
starts from one determinant then converges, with a residual of zero, to the lowest state of that determinant's block and not
of the space. Hence: the blocks of a stored matrix are solved apart; starting vectors from chance share one Krylov space with
the good ones; and a guard, the state above the wanted ones, is followed in it, so that a lower one would show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Vector = NDArray[np.float64]

DENSE = 400  # up to this size all of LAPACK is as fast as any iteration, and cannot miss a state
MAX_ITERATIONS = 800  # Dice's own cap; here, reaching it is an error
_GUARD = 1e-3  # residual to which the guard is followed, and further where it comes closer to a wanted state
_LARGEST = 8  # basis vectors for each state that is followed: each takes 16 bytes per determinant


class EigenError(ArithmeticError):
    """No state can be given that deserves the name."""


class Operator(Protocol):
    """A symmetric matrix that need not be stored."""

    @property
    def diagonal(self) -> Vector: ...

    def apply(self, vectors: Vector) -> Vector:
        """The matrix times each row."""
        ...

    def among(self, places: NDArray[np.intp]) -> Vector:
        """The elements between some places, as a dense matrix."""
        ...


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


@dataclass(frozen=True)
class States:
    """Eigenvalues, ascending; normalised eigenvectors as columns; the iterations used; the largest residual norm."""

    energies: Vector
    vectors: Vector
    iterations: int
    residual: float


def lowest_states_of_matrix(
    matrix: csr_array, nroots: int, *, tolerance: float, seed: int = 0, guesses: Sequence[Vector] = ()
) -> States:
    """The `nroots` lowest states; blocks that the matrix does not connect are solved one by one."""
    from scipy.sparse.csgraph import connected_components

    size = matrix.shape[0]
    nroots = min(nroots, size)
    if size <= DENSE:
        return _dense(matrix.toarray(), nroots)
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


def lowest_states(
    operator: Operator, nroots: int, *, tolerance: float, seed: int = 0, guesses: Sequence[Vector] = ()
) -> States:
    """The `nroots` lowest states by block Davidson: from guesses or the lowest states among few places, and from chance.

    Raises EigenError where the residual does not come down to `tolerance`.
    """
    rng = np.random.default_rng(seed)
    diagonal = operator.diagonal
    size = len(diagonal)
    leading = _Leading.of(operator, diagonal)
    starts = [*guesses] or [*leading.states(nroots + 1, size)]
    starts.append(rng.standard_normal(size) / (1 + diagonal - diagonal.min()) ** 2)  # favours low determinants
    starts.append(rng.standard_normal(size))  # favours none, so that no block and no symmetry is left out
    return _davidson(operator, diagonal, leading, nroots, starts, tolerance)


@dataclass(frozen=True)
class _Leading:
    """The places of the smallest diagonal elements, and the eigenstates of the matrix among them.

    They hold most of the low states: as starts, and in place of the bare diagonal, they save half of the iterations.
    """

    places: NDArray[np.intp]
    energies: Vector
    rotation: Vector

    @classmethod
    def of(cls, operator: Operator, diagonal: Vector) -> _Leading:
        size = len(diagonal)
        count = min(size, max(100, min(1000, int(1.3 * size**0.5))))  # a small part of the time of the rest
        places = np.sort(np.argpartition(diagonal, count - 1)[:count])
        return cls(places, *np.linalg.eigh(operator.among(places)))

    def states(self, count: int, size: int) -> Vector:
        """The lowest of them, as rows of the whole space."""
        rows = np.zeros((min(count, len(self.places)), size))
        rows[:, self.places] = self.rotation[:, : len(rows)].T
        return rows

    def divided(self, vector: Vector, diagonal: Vector, energy: float) -> Vector:
        """About (H - energy)^-1 times the vector: exact among the leading places, by the diagonal elsewhere."""
        result = vector / _away_from_zero(diagonal - energy)
        inside = self.rotation.T @ vector[self.places]
        result[self.places] = self.rotation @ (inside / _away_from_zero(self.energies - energy))
        return result


def _away_from_zero(gap: Vector) -> Vector:
    return np.where(np.abs(gap) < 1e-2, np.copysign(1e-2, gap), gap)


def _dense(matrix: Vector, nroots: int) -> States:
    from scipy.linalg import eigh

    energies, vectors = eigh(matrix, subset_by_index=[0, nroots - 1])
    residual = float(np.linalg.norm(matrix @ vectors - vectors * energies, axis=0).max())
    return States(energies, vectors, 1, residual)


def _davidson(
    operator: Operator, diagonal: Vector, leading: _Leading, nroots: int, starts: Sequence[Vector], tolerance: float
) -> States:
    """Block Davidson with thick restarts over `nroots` states and the guard above them; vectors are rows here."""
    size = len(diagonal)
    followed = min(nroots + 1, size)
    largest = min(size, max(len(starts) + 2 * followed, _LARGEST * followed))

    basis, image = np.empty((largest, size)), np.empty((largest, size))
    small = np.zeros((largest, largest))
    count = 0
    new: Sequence[Vector] = starts
    for iteration in range(1, MAX_ITERATIONS + 1):
        more = _orthonormalised(basis, count, new)
        if more > count:
            image[count:more] = operator.apply(basis[count:more])
            small[:more, count:more] = basis[:more] @ image[count:more].T
            small[count:more, :count] = small[:count, count:more].T
        values, rotation = np.linalg.eigh(small[:more, :more])
        kept = rotation[:, : min(followed, more)].T
        vectors = kept @ basis[:more]
        residuals = kept @ image[:more] - values[: len(kept), None] * vectors
        norms = np.linalg.norm(residuals, axis=1)
        if not np.all(np.isfinite(norms)):
            raise EigenError("Davidson produced numbers that are not finite; are the integrals?")
        allowed = np.full(len(kept), tolerance)
        if len(kept) > nroots:  # within its residual, the guard's energy must be above the wanted ones
            allowed[nroots:] = max(tolerance, min(_GUARD, values[nroots] - values[nroots - 1]))
        open_ = np.flatnonzero(norms > allowed)
        worst = float(norms[:nroots].max())
        if len(open_) == 0 or more in (size, count):
            if worst > tolerance and more == count:
                raise EigenError(f"Davidson has no direction left at a residual of {worst:.1e}")
            return States(values[:nroots].copy(), vectors[:nroots].T, iteration, worst)
        count = more
        new = [leading.divided(residuals[state], diagonal, values[state]) for state in open_]
        if count + len(new) > largest:  # more is kept than the states themselves: a thick restart loses little
            keep = min(count, 2 * followed)
            basis[:keep], image[:keep] = rotation[:, :keep].T @ basis[:count], rotation[:, :keep].T @ image[:count]
            small[:keep, :keep] = np.diag(values[:keep])
            count = keep
    raise EigenError(f"Davidson is not converged after {MAX_ITERATIONS} iterations: residual {worst:.1e}")


def _orthonormalised(basis: Vector, count: int, candidates: Sequence[Vector]) -> int:
    """Puts the candidates behind the first `count` rows, orthonormal to them, without those that add nothing: new count."""
    for candidate in candidates:
        norm = np.linalg.norm(candidate)
        if count == len(basis) or norm == 0 or not np.isfinite(norm):
            continue
        vector = candidate / norm
        for _ in range(2):  # once is not enough in floating point
            vector -= (basis[:count] @ vector) @ basis[:count]
            left = np.linalg.norm(vector)
            if left < 1e-7:
                break
            vector /= left
        else:
            basis[count] = vector
            count += 1
    return count
