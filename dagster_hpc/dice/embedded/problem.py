"""One Hamiltonian in one space of determinants after another: as a stored matrix, or as products that PySCF applies."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.dice.davidson import DENSE, States, lowest_states, lowest_states_of_matrix
from dagster_hpc.dice.hamiltonian import DeterminantSpace, diagonal_energies, hamiltonian_matrix

if TYPE_CHECKING:
    from dagster_hpc.dice.davidson import Vector
    from dagster_hpc.dice.hamiltonian import Integrals, Occupations

STORED_PAIRS = 3e7  # matrix elements up to which a product of strings is stored rather than left to PySCF


@dataclass(frozen=True)
class Problem:
    """One Hamiltonian, solved in one space after another."""

    integrals: Integrals
    roots: int
    tolerance: float
    seed: int

    def solve(self, space: DeterminantSpace, guesses: Sequence[Vector]) -> States:
        if self._is_for_pyscf(space):
            operator = ProductOperator(space, self.integrals)
            return lowest_states(operator, self.roots, tolerance=self.tolerance, seed=self.seed, guesses=guesses)
        matrix = hamiltonian_matrix(space, self.integrals, most_bytes=0.8 * _memory_available())
        return lowest_states_of_matrix(matrix, self.roots, tolerance=self.tolerance, seed=self.seed, guesses=guesses)

    def _is_for_pyscf(self, space: DeterminantSpace) -> bool:
        if not (len(space) > DENSE and space.is_product and space.norb <= 63 and min(space.nelec) > 0):
            return False
        connected = [_connections(strings) for strings in (space.alpha, space.beta)]
        (single_a, any_a), (single_b, any_b) = connected
        elements = len(space.beta) * any_a + len(space.alpha) * any_b + single_a * single_b
        return elements > STORED_PAIRS


def _connections(strings: Occupations) -> tuple[float, float]:
    """How many ordered pairs of strings differ by one electron, and by one or two; estimated from a part of a long list."""
    part = strings[:: max(1, len(strings) // 1000)].astype(np.float32)
    common = part @ strings.astype(np.float32).T
    filled, scale = float(strings[0].sum()), len(strings) / len(part)
    single = float(np.count_nonzero(common == filled - 1)) * scale
    return single, single + float(np.count_nonzero(common == filled - 2)) * scale


class ProductOperator:
    """The Hamiltonian among all products of given strings, by PySCF's selected CI; nothing of its size is stored."""

    def __init__(self, space: DeterminantSpace, integrals: Integrals) -> None:
        from pyscf import ao2mo
        from pyscf.fci import direct_spin1, selected_ci

        norb, nelec = space.norb, space.nelec
        bit = 1 << np.arange(norb, dtype=np.int64)
        self._strings = tuple((strings * bit).sum(axis=1) for strings in (space.alpha, space.beta))
        self._shape = len(space.alpha), len(space.beta)
        packed = integrals.pair_integrals
        self._two_body = ao2mo.restore(1, direct_spin1.absorb_h1e(integrals.one_body, packed, norb, nelec, 0.5), norb)
        self._links = selected_ci._all_linkstr_index(self._strings, norb, nelec)
        self._norb, self._nelec = norb, nelec
        self._contract, self._vector = selected_ci.contract_2e, selected_ci._as_SCIvector
        self._diagonal = diagonal_energies(space, integrals)

    @property
    def diagonal(self) -> Vector:
        return self._diagonal

    def apply(self, vectors: Vector) -> Vector:
        columns = [
            np.asarray(
                self._contract(
                    self._two_body,
                    self._vector(np.ascontiguousarray(column).reshape(self._shape), self._strings),
                    self._norb,
                    self._nelec,
                    self._links,
                )
            ).ravel()
            for column in vectors.T
        ]
        return np.column_stack(columns)


def _memory_available() -> float:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if found:
            return float(found[1]) * 1024
    except OSError:
        pass
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
