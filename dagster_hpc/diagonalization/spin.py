"""A total spin that is wished for: states of another one are pushed up by a penalty.

S² among the determinants is s(s+1) + R^T R, with s half the excess of alpha electrons and R what S+ does to each of them;
exact also where S+ leads out of the space. In a space that holds all spin partners of its determinants the penalty only
moves whole states. In any other one it mixes them: what comes out is then no eigenstate of H, but the lowest state of H and
penalty together, as in qiskit-addon-sqd and PySCF.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.electrons.space import DeterminantSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from dagster_hpc.diagonalization.davidson import Operator, Vector
    from dagster_hpc.electrons.integrals import Indices
    from dagster_hpc.electrons.space import Occupations


@dataclass(frozen=True)
class SpinWish:
    """The wanted <S²>, and by how many Hartree a state is pushed up for each unit of S² that it is away from it."""

    spin_sq: float
    shift: float = 0.2


@dataclass(frozen=True)
class SpinFound:
    """<S²> of each state, and the residual that the states have as eigenstates of H without the penalty."""

    spin_squares: tuple[float, ...]
    residual: float


@dataclass(frozen=True)
class Penalty:
    """S² less the wanted value; squared where states of lower spin have to be pushed up too."""

    wish: SpinWish
    lowest: float  # s(s+1), the smallest S² that there is
    raising: csr_array  # R

    @classmethod
    def of(cls, space: DeterminantSpace, wish: SpinWish) -> Penalty:
        s = (space.nelec[0] - space.nelec[1]) / 2
        return cls(wish, s * (s + 1), _raising(space))

    @property
    def squared(self) -> bool:
        return self.wish.spin_sq > self.lowest + 0.1

    def spin_square(self, vectors: Vector) -> Vector:
        """S² times each row."""
        return np.array([self.lowest * vector + self._lowering @ (self.raising @ vector) for vector in vectors])

    @cached_property
    def _lowering(self) -> csr_array:
        return self.raising.T.tocsr()

    def apply(self, vectors: Vector) -> Vector:
        """The penalty times each row, in Hartree."""
        away = self.spin_square(vectors) - self.wish.spin_sq * vectors
        if self.squared:
            away = self.spin_square(away) - self.wish.spin_sq * away
        return self.wish.shift * away

    def matrix(self, places: NDArray[np.intp] | None = None) -> csr_array:
        """As a stored matrix, of the determinants at some places alone if need be."""
        from scipy.sparse import eye_array

        raising: Any = self.raising if places is None else self.raising[:, places]
        away = raising.T @ raising + (self.lowest - self.wish.spin_sq) * eye_array(raising.shape[1])
        stored: csr_array = (self.wish.shift * (away @ away if self.squared else away)).tocsr()
        return stored


@dataclass(frozen=True)
class Penalised:
    """An operator with the penalty added."""

    operator: Operator
    penalty: Penalty

    @cached_property
    def diagonal(self) -> Vector:
        away = self.penalty.raising.multiply(self.penalty.raising).sum(axis=0)
        away = np.asarray(away).ravel() + self.penalty.lowest - self.penalty.wish.spin_sq
        return self.operator.diagonal + self.penalty.wish.shift * (away**2 if self.penalty.squared else away)

    def apply(self, vectors: Vector) -> Vector:
        return self.operator.apply(vectors) + self.penalty.apply(vectors)

    def among(self, places: NDArray[np.intp]) -> Vector:
        return np.asarray(self.operator.among(places) + self.penalty.matrix(places).toarray())


def _raising(space: DeterminantSpace) -> csr_array:
    """S+ from the determinants of the space to those that it leads to."""
    from scipy.sparse import csr_array

    sign_a, sign_b = _parity_below(space.alpha), _parity_below(space.beta)
    targets: list[Indices] = []
    sources: list[Indices] = []
    values: list[NDArray[np.int8]] = []
    raised, lowered = _Toggled(space.alpha), _Toggled(space.beta)
    for orbital in range(space.norb):
        moves = ~space.alpha[space.index_a, orbital] & space.beta[space.index_b, orbital]
        source = np.flatnonzero(moves)
        a, b = space.index_a[source], space.index_b[source]
        targets.append(raised.number[a, orbital] * lowered.count + lowered.number[b, orbital])
        sources.append(source)
        values.append(sign_a[a, orbital] * sign_b[b, orbital])
    names, rows = np.unique(np.concatenate(targets), return_inverse=True)
    data = np.concatenate(values).astype(np.float64)
    return csr_array((data, (rows.ravel(), np.concatenate(sources))), shape=(len(names), len(space)))


class _Toggled:
    """A number for each string with one orbital filled or emptied: equal for equal strings."""

    def __init__(self, strings: Occupations) -> None:
        count, norb = strings.shape
        changed = np.repeat(strings[:, None, :], norb, axis=1)
        every = np.arange(norb)
        changed[:, every, every] ^= True
        packed = np.packbits(changed.reshape(-1, norb), axis=1)
        names, number = np.unique(packed, axis=0, return_inverse=True)
        self.count = len(names)
        self.number = np.asarray(number.reshape(count, norb), np.int64)


def _parity_below(strings: Occupations) -> NDArray[np.int8]:
    """+1 or -1 for each string and orbital: the parity of the electrons in lower orbitals."""
    below = np.cumsum(strings, axis=1, dtype=np.int16) - strings
    return (1 - 2 * (below & 1)).astype(np.int8)
