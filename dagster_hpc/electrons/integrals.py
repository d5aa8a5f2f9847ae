"""One- and two-electron integrals over orbitals, as they are looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Integrals:
    """One- and two-electron integrals; the latter over pairs p >= q, as in (pq|rs) with pq -> p(p+1)/2+q."""

    core_energy: float
    one_body: NDArray[np.float64]
    pair_integrals: NDArray[np.float64]

    @property
    def norb(self) -> int:
        return len(self.one_body)

    @cached_property
    def pair(self) -> Indices:
        """Index of the pair (p, q), in either order."""
        row, column = np.indices((self.norb, self.norb))
        high, low = np.maximum(row, column), np.minimum(row, column)
        return np.asarray(high * (high + 1) // 2 + low, dtype=np.int64)

    @cached_property
    def coulomb(self) -> NDArray[np.float64]:
        """(pp|qq)"""
        same = self.pair.diagonal()
        return self.pair_integrals[np.ix_(same, same)]

    @cached_property
    def exchange(self) -> NDArray[np.float64]:
        """(pq|qp)"""
        return np.asarray(self.pair_integrals.diagonal()[self.pair])
