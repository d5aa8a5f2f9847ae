"""The lowest states of a large symmetric matrix, with the answer checked before it is believed.

Selected-CI spaces of sampled determinants often fall apart into blocks that the Hamiltonian does not connect. A solver that
starts from one determinant then converges, with a residual of zero, to the lowest state of that determinant's block and not
of the space. Hence: blocks are solved apart, several starting vectors share one Krylov space, the state above the wanted
ones is followed too, and at the end a Lanczos run from a random vector looks for anything lower.
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

DENSE = 1200  # up to this size all of LAPACK is faster than any iteration, and cannot miss a state
MAX_ITERATIONS = 800  # Dice's own cap; here, reaching it is an error
_GUARD_TOLERANCE = 1e-3  # residual to which the state above the wanted ones is followed
_LANCZOS_STEPS = 40
_LOWER = 1e-7  # Hartree: a state this much lower than the answer makes the answer wrong


class EigenError(ArithmeticError):
    """No state can be given that deserves the name."""


class Operator(Protocol):
    """A symmetric matrix that need not be stored."""

    @property
    def diagonal(self) -> Vector: ...

    def apply(self, vectors: Vector) -> Vector:
        """The matrix times each column."""
        ...


@dataclass(frozen=True)
class MatrixOperator:
    """A stored sparse matrix."""

    matrix: csr_array

    @property
    def diagonal(self) -> Vector:
        return np.asarray(self.matrix.diagonal())

    def apply(self, vectors: Vector) -> Vector:
        return np.asarray(self.matrix @ vectors)


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
    """The `nroots` lowest states by block Davidson from several starts, verified by Lanczos from a random one.

    Raises EigenError where the residual does not come down to `tolerance`.
    """
    rng = np.random.default_rng(seed)
    diagonal = operator.diagonal
    size = len(diagonal)
    starts = [*guesses, *(_unit(size, place) for place in np.argsort(diagonal, kind="stable")[: nroots + 1])]
    starts.append(rng.standard_normal(size) / (1 + diagonal - diagonal.min()) ** 2)  # favours low determinants
    starts.append(rng.standard_normal(size))  # favours none, so that no block and no symmetry is left out
    iterations = 0
    for _ in range(4):
        states = _davidson(operator, diagonal, nroots, starts, tolerance)
        iterations += states.iterations
        lower = _anything_lower(operator, states, rng)
        if lower is None:
            return States(states.energies, states.vectors, iterations, states.residual)
        starts = [*states.vectors.T, lower, rng.standard_normal(size)]
    raise EigenError("Davidson keeps converging to states that are not the lowest")


def _unit(size: int, place: int) -> Vector:
    vector = np.zeros(size)
    vector[place] = 1.0
    return vector


def _dense(matrix: Vector, nroots: int) -> States:
    from scipy.linalg import eigh

    energies, vectors = eigh(matrix, subset_by_index=[0, nroots - 1])
    residual = float(np.linalg.norm(matrix @ vectors - vectors * energies, axis=0).max())
    return States(energies, vectors, 1, residual)


def _davidson(operator: Operator, diagonal: Vector, nroots: int, starts: Sequence[Vector], tolerance: float) -> States:
    """Block Davidson with thick restarts over `nroots` states and one guard state above them."""
    size = len(diagonal)
    followed = min(nroots + 1, size)
    largest = min(size, max(len(starts) + 4 * followed, 12 * followed))
    wanted_residual = np.full(followed, tolerance)
    wanted_residual[nroots:] = max(_GUARD_TOLERANCE, tolerance)

    basis = _orthonormal(np.empty((size, 0)), np.column_stack(starts))
    image = operator.apply(basis)
    for iteration in range(1, MAX_ITERATIONS + 1):
        small = basis.T @ image
        values, rotation = np.linalg.eigh((small + small.T) / 2)
        kept = min(followed, len(values))
        vectors = basis @ rotation[:, :kept]
        residuals = image @ rotation[:, :kept] - vectors * values[:kept]
        norms = np.linalg.norm(residuals, axis=0)
        if not np.all(np.isfinite(norms)):
            raise EigenError("Davidson produced numbers that are not finite; are the integrals?")
        open_ = np.flatnonzero(norms > wanted_residual[:kept])
        if len(open_) == 0 or basis.shape[1] == size:
            worst = float(norms[:nroots].max())
            return States(values[:nroots].copy(), vectors[:, :nroots], iteration, worst)
        if basis.shape[1] + len(open_) > largest:
            keep = min(basis.shape[1], 3 * followed)  # more than the states themselves: a thick restart loses little
            basis = _orthonormal(np.empty((size, 0)), basis @ rotation[:, :keep])
            image = operator.apply(basis)
        gap = diagonal[:, None] - values[open_]
        gap[np.abs(gap) < 1e-4] = 1e-4
        new = _orthonormal(basis, residuals[:, open_] / gap)
        if new.shape[1] == 0:
            raise EigenError(f"Davidson has no direction left at a residual of {norms[:nroots].max():.1e}")
        basis = np.hstack([basis, new])
        image = np.hstack([image, operator.apply(new)])
    raise EigenError(
        f"Davidson is not converged after {MAX_ITERATIONS} iterations: residual {norms[:nroots].max():.1e}"
    )


def _orthonormal(basis: Vector, candidates: Vector) -> Vector:
    """The candidates made orthonormal to the basis and to each other, without those that add nothing."""
    accepted = np.empty((candidates.shape[0], 0))
    for column in candidates.T:
        norm = np.linalg.norm(column)
        if norm == 0 or not np.isfinite(norm):
            continue
        vector = column / norm
        for _ in range(2):  # once is not enough in floating point
            vector = vector - basis @ (basis.T @ vector)
            vector = vector - accepted @ (accepted.T @ vector)
            left = np.linalg.norm(vector)
            if left < 1e-7:
                break
            vector = vector / left
        else:
            accepted = np.column_stack([accepted, vector])
    return accepted


def _anything_lower(operator: Operator, states: States, rng: np.random.Generator) -> Vector | None:
    """A vector of lower energy than the highest of `states`, in the space that is left when they are taken away, or None."""
    found = states.vectors
    size = found.shape[0]
    steps = min(_LANCZOS_STEPS, size - found.shape[1])
    if steps <= 0:
        return None
    krylov = np.empty((size, steps))
    image = np.empty((size, steps))
    vector = np.asarray(rng.standard_normal(size))
    for step in range(steps):
        for _ in range(2):
            vector = vector - found @ (found.T @ vector)
            vector = vector - krylov[:, :step] @ (krylov[:, :step].T @ vector)
        norm = np.linalg.norm(vector)
        if norm < 1e-10:
            krylov, image = krylov[:, :step], image[:, :step]
            break
        krylov[:, step] = vector / norm
        vector = operator.apply(krylov[:, step : step + 1])[:, 0]
        image[:, step] = vector
    values, rotation = np.linalg.eigh(krylov.T @ image)
    if values[0] < states.energies[-1] - _LOWER:
        return np.asarray(krylov @ rotation[:, 0])
    return None
