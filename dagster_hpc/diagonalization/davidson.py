"""The lowest states of a large symmetric matrix, where an iteration from one start would be trapped.

Selected-CI spaces of sampled determinants often fall apart into blocks that the Hamiltonian does not connect. A solver that
starts from one determinant then converges, with a residual of zero, to the lowest state of that determinant's block and not
of the space. Hence: sectors that are known not to be connected are searched apart, all at the price of one; a starting
vector from chance shares one Krylov space with the good ones; and a guard, the state above the wanted ones, is followed in
it, so that a lower one would show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

MAX_ITERATIONS = 800  # Dice's own cap; here, reaching it is an error
_GUARD = 3e-3  # residual to which the guard is followed, and further where it comes closer to a wanted state
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
class States:
    """Eigenvalues, ascending; normalised eigenvectors as columns; the iterations used; the largest residual norm."""

    energies: Vector
    vectors: Vector
    iterations: int
    residual: float


def lowest_states(
    operator: Operator,
    nroots: int,
    *,
    tolerance: float,
    seed: int = 0,
    guesses: Sequence[Vector] = (),
    sectors: Sequence[NDArray[np.intp]] | None = None,
    near: float = 0.0,
) -> States:
    """The `nroots` lowest states by block Davidson: from guesses, or the lowest states among few places, and from chance.

    `sectors`: all places, in parts that the operator does not connect. Each is searched with starts of its own. One vector
    holds one of each sector, so that the operator is applied to all of them at the price of one. `near`: states that are no
    more than that above the wanted ones are given too, with residuals no larger than their distance.
    Raises EigenError where the residual does not come down to `tolerance`.
    """
    rng = np.random.default_rng(seed)
    diagonal = operator.diagonal
    searches = []
    for places in sectors or [np.arange(len(diagonal))]:
        own = diagonal[places]
        leading = _Leading.of(operator, places, own)
        starts = [guess[places] for guess in guesses if np.linalg.norm(guess[places]) > 1e-8]
        if len(starts) < nroots:
            starts += [*leading.states(nroots + 1, len(own))]
        low = rng.standard_normal(len(own)) / (1 + own - own.min()) ** 2  # favours low determinants
        any_ = rng.standard_normal(len(own))  # favours none, so that no block and no symmetry is left out
        starts.append(low / np.linalg.norm(low) + any_ / np.linalg.norm(any_))
        searches.append(_Search(places, own, leading, nroots + 1, starts))
    return _together(operator, searches, min(nroots, len(diagonal)), tolerance, near)


def refined(operator: Operator, states: States, nroots: int, *, tolerance: float) -> States:
    """The `nroots` lowest states from those of an operator that hardly differs."""
    diagonal = operator.diagonal
    places = np.arange(len(diagonal))
    leading = _Leading.of(operator, places, diagonal)
    search = _Search(places, diagonal, leading, len(states.energies), [*states.vectors.T])
    found = _together(operator, [search], min(nroots, len(diagonal)), tolerance)
    return replace(found, iterations=states.iterations + found.iterations)


@dataclass(frozen=True)
class _Leading:
    """The places of a sector's smallest diagonal elements, and the eigenstates of the matrix among them.

    They hold most of the low states: as starts, and in place of the bare diagonal, they save half of the iterations.
    """

    places: NDArray[np.intp]
    energies: Vector
    rotation: Vector

    @classmethod
    def of(cls, operator: Operator, sector: NDArray[np.intp], diagonal: Vector) -> _Leading:
        size = len(diagonal)
        count = min(size, max(100, min(1000, int(1.3 * size**0.5))))  # a small part of the time of the rest
        places = np.sort(np.argpartition(diagonal, count - 1)[:count])
        return cls(places, *np.linalg.eigh(operator.among(sector[places])))

    def states(self, count: int, size: int) -> Vector:
        """The lowest of them, as rows of the whole sector."""
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


class _Search:
    """Block Davidson with thick restarts in one sector, whose vectors are rows here; others apply the operator."""

    def __init__(
        self, places: NDArray[np.intp], diagonal: Vector, leading: _Leading, followed: int, starts: Sequence[Vector]
    ) -> None:
        size = len(places)
        self.places, self._diagonal, self._leading = places, diagonal, leading
        self._followed, self._new = followed, starts
        largest = min(size, max(len(starts) + 2 * followed, _LARGEST * followed))
        self._basis, self._image = np.empty((largest, size)), np.empty((largest, size))
        self._small = np.zeros((largest, largest))
        self._count = 0
        self._over = False
        self.values, self._rotation = np.empty(0), np.empty((0, 0))

    def enter(self) -> Vector:
        """The new basis vectors, to which the operator is to be applied."""
        before, new = self._count, self._new
        if before + len(new) > len(self._basis) and before:
            before = self._restarted()
        self._count = _orthonormalised(self._basis, before, new)
        self._over |= self._count == len(self.places) or (len(new) > 0 and self._count == before)
        return self._basis[before : self._count]

    def _restarted(self) -> int:
        """More is kept than the states themselves: a thick restart loses little."""
        keep = min(self._count, 2 * self._followed)
        for rows in (self._basis, self._image):
            rows[:keep] = self._rotation[:, :keep].T @ rows[: self._count]
        self._small[:keep, :keep] = np.diag(self.values[:keep])
        return keep

    def learn(self, image: Vector) -> None:
        """The operator times the new vectors."""
        count, before = self._count, self._count - len(image)
        self._image[before:count] = image
        self._small[:count, before:count] = self._basis[:count] @ image.T
        self._small[before:count, :before] = self._small[:before, before:count].T
        self.values, self._rotation = np.linalg.eigh(self._small[:count, :count])

    def states(self, most: int) -> tuple[Vector, Vector]:
        """The lowest ones and their residuals."""
        kept = self._rotation[:, :most].T
        vectors = kept @ self._basis[: self._count]
        return vectors, kept @ self._image[: self._count] - self.values[: len(kept), None] * vectors

    def seek(self, level: float, tolerance: float) -> bool:
        """Whether there is more to do, with states up to `level` wanted."""
        residuals = self.states(self._followed)[1]
        norms, values = np.linalg.norm(residuals, axis=1), self.values[: len(residuals)]
        if not np.all(np.isfinite(norms)):
            raise EigenError("Davidson produced numbers that are not finite; are the integrals?")
        # Within its residual, a guard's energy must be above the wanted ones.
        allowed = np.maximum(tolerance, np.where(values > level, np.minimum(_GUARD, values - level), 0.0))
        open_ = np.flatnonzero(norms > allowed)
        if self._over:
            worst = float(norms[values <= level].max(initial=0.0))
            if worst > tolerance and self._count < len(self.places):
                raise EigenError(f"Davidson has no direction left at a residual of {worst:.1e}")
            open_ = open_[:0]
        self._new = [self._leading.divided(residuals[state], self._diagonal, values[state]) for state in open_]
        return len(self._new) > 0


def _together(
    operator: Operator, searches: Sequence[_Search], nroots: int, tolerance: float, near: float = 0.0
) -> States:
    """All searches in step, until none has more to do."""
    size = sum(len(search.places) for search in searches)
    for iteration in range(1, MAX_ITERATIONS + 1):
        rows = [search.enter() for search in searches]
        packed = np.zeros((max(map(len, rows)), size))
        for search, own in zip(searches, rows, strict=True):
            packed[: len(own), search.places] = own
        image = operator.apply(packed)
        for search, own in zip(searches, rows, strict=True):
            search.learn(image[: len(own), search.places])
        values = np.sort(np.concatenate([search.values for search in searches]))
        level = float(values[nroots - 1])
        more = [search.seek(level, tolerance) for search in searches]
        if not any(more):
            return _found(searches, max(nroots, int(np.searchsorted(values, level + near))), iteration)
    worst = _found(searches, nroots, iteration).residual
    raise EigenError(f"Davidson is not converged after {MAX_ITERATIONS} iterations: residual {worst:.1e}")


def _found(searches: Sequence[_Search], nroots: int, iterations: int) -> States:
    """The lowest states of all sectors."""
    lowest = sorted(
        (value, number, k) for number, search in enumerate(searches) for k, value in enumerate(search.values)
    )
    chosen = lowest[:nroots]
    vectors = np.zeros((sum(len(search.places) for search in searches), nroots))
    residual = 0.0
    for number in {number for _, number, _ in chosen}:
        own = [root for root, (_, other, _) in enumerate(chosen) if other == number]  # its lowest ones
        states, residuals = searches[number].states(len(own))
        vectors[searches[number].places[:, None], own] = states.T
        residual = max(residual, float(np.linalg.norm(residuals, axis=1).max()))
    return States(np.array([value for value, _, _ in chosen]), vectors, iterations, residual)


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
