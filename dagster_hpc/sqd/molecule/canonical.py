"""One form of orbitals whose energies are equal: the same whatever process, thread count or linear algebra found them.

Any mixture of orbitals of one energy solves the same equations, and which one comes out is left to rounding. Here the
mixture is fixed by operators that have nothing to do with the energy: first where the electrons are along x, y and z, which
gives the pi orbitals along the axes that a chemist draws, and at last one that weighs every atomic orbital differently,
which leaves nothing undecided. Signs are fixed as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SAME_ENERGY = 1e-4  # Hartree; wide, since rounding turns orbitals the more, the closer their energies are
SAME_OCCUPANCY = 1e-4
_SAME_PLACE = 2e-3  # of the mean
_SAME_IRREP = 0.5
_LEADING = 0.95  # of the largest coefficient; equal ones, which symmetry makes, are all leading

# Unequal, and such that no axis in which a molecule is usually drawn is left without a difference of the other two.
_AXES = (1.0, 2.0, 3.43)


@dataclass(frozen=True)
class Order:
    """Orbitals are told apart, and ordered, by the eigenvalues of an operator in atomic orbitals."""

    matrix: Callable[[], Array]
    same: float  # eigenvalues that differ by no more are one
    relative: bool = False

    def apart(self, values: Array) -> list[slice]:
        """The runs of equal values."""
        unit = abs(float(values.mean())) if self.relative else 1.0
        ends = np.flatnonzero(np.diff(values) > self.same * unit) + 1
        return [slice(start, stop) for start, stop in pairwise([0, *ends.tolist(), len(values)])]


class Places:
    """The operators that fix what energies and occupancies leave open. `irreps`: that of a point group, which is kept."""

    def __init__(self, mol: Any, irreps: Array | None = None) -> None:
        self._mol, self._irreps = mol, irreps

    @property
    def orders(self) -> list[Order]:
        known = [] if self._irreps is None else [Order(lambda: np.asarray(self._irreps), _SAME_IRREP)]
        return [
            *known,
            Order(lambda: self._second, _SAME_PLACE, relative=True),
            Order(lambda: self._fourth, _SAME_PLACE, relative=True),
            Order(lambda: self._each, 0.0),
        ]

    @cached_property
    def _second(self) -> Array:
        """Tells apart what differs by x², y² or z²: pi orbitals, p and d shells, e and t2 orbitals."""
        with self._mol.with_common_orig(centre_of(self._mol)):
            squares = self._mol.intor_symmetric("int1e_rr", comp=9).reshape(3, 3, *(self._mol.nao,) * 2)
        return np.asarray(sum(weight * squares[axis, axis] for axis, weight in enumerate(_AXES)))

    @cached_property
    def _fourth(self) -> Array:
        """Likewise by their squares: delta orbitals, whose mean x² and y² are equal."""
        with self._mol.with_common_orig(centre_of(self._mol)):
            powers = self._mol.intor("int1e_rrrr", comp=81).reshape(3, 3, 3, 3, *(self._mol.nao,) * 2)
        return np.asarray(sum(weight * powers[axis, axis, axis, axis] for axis, weight in enumerate(_AXES)))

    @cached_property
    def _each(self) -> Array:
        overlap = self._mol.intor_symmetric("int1e_ovlp")
        weights = (np.arange(len(overlap)) + 1) * (np.sqrt(5) - 1) / 2 % 1
        return np.asarray(overlap * weights @ overlap)


def centre_of(mol: Any) -> Array:
    """The centre of the nuclear charges: it moves with the molecule."""
    charges = mol.atom_charges()
    return np.asarray(charges @ mol.atom_coords() / charges.sum())


def canonical(orbitals: Array, orders: Sequence[Order], places: Places) -> tuple[Array, list[slice]]:
    """The same span in its canonical form; and which of them only `places` could tell apart."""
    ordered, runs = _resolved(orbitals, orders)
    parts = [_resolved(ordered[:, run], places.orders)[0] for run in runs]
    return with_fixed_signs(np.hstack(parts)) if parts else orbitals, runs


def _resolved(orbitals: Array, orders: Sequence[Order]) -> tuple[Array, list[slice]]:
    count = orbitals.shape[1]
    if count == 0:
        return orbitals, []
    if count == 1 or not orders:
        return orbitals, [slice(0, count)]
    matrix = orbitals.T @ orders[0].matrix() @ orbitals
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    turned, parts, runs = orbitals @ vectors, [], []
    for run in orders[0].apart(values):
        part, finer = _resolved(turned[:, run], orders[1:])
        parts.append(part)
        runs += [slice(run.start + one.start, run.start + one.stop) for one in finer]
    return np.hstack(parts), runs


def with_fixed_signs(orbitals: Array) -> Array:
    """The first of the leading coefficients is positive: no two of nearly the same size can change that by rounding."""
    sizes = np.abs(orbitals)
    first = (sizes > _LEADING * sizes.max(axis=0)).argmax(axis=0)
    return np.asarray(orbitals * np.where(orbitals[first, np.arange(orbitals.shape[1])] < 0, -1.0, 1.0))
