"""A space of determinants: a product of strings or any list, with as many orbitals as Dice's files hold.

A determinant is a pair of occupation rows (alpha, beta). The phase is PySCF's and that of Dice's dets.bin: all alpha
operators, orbitals ascending, then all beta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dagster_hpc.electrons.integrals import Indices

Occupations = NDArray[np.bool_]  # one row per string, one column per orbital
Keys = NDArray[np.bytes_]


@dataclass(frozen=True)
class DeterminantSpace:
    """Distinct determinants, as indices into sorted lists of distinct alpha and beta strings."""

    alpha: Occupations
    beta: Occupations
    index_a: Indices
    index_b: Indices

    @classmethod
    def product(cls, alpha: Occupations, beta: Occupations) -> DeterminantSpace:
        """Every alpha string with every beta string, alpha-major; strings given twice count once."""
        alpha, beta = _distinct(alpha)[0], _distinct(beta)[0]
        return cls(alpha, beta, np.repeat(np.arange(len(alpha)), len(beta)), np.tile(np.arange(len(beta)), len(alpha)))

    @classmethod
    def of(cls, alpha: Occupations, beta: Occupations) -> DeterminantSpace:
        """The determinants whose alpha and beta parts stand in the same row; all different."""
        strings_a, index_a = _distinct(alpha)
        strings_b, index_b = _distinct(beta)
        return cls(strings_a, strings_b, index_a, index_b)

    def __len__(self) -> int:
        return len(self.index_a)

    @property
    def norb(self) -> int:
        return int(self.alpha.shape[1])

    @property
    def nelec(self) -> tuple[int, int]:
        return int(self.alpha[0].sum()), int(self.beta[0].sum())

    @property
    def is_product(self) -> bool:
        return len(self) == len(self.alpha) * len(self.beta)


def pack(occupations: Occupations) -> NDArray[np.uint8]:
    """Rows as bytes that sort as the strings do when read as numbers (orbital p is bit p)."""
    return np.packbits(occupations[:, ::-1], axis=1)


def unpack(packed: NDArray[np.uint8], norb: int) -> Occupations:
    return np.unpackbits(packed, axis=1, count=norb)[:, ::-1].astype(bool)


def keys_of(packed: NDArray[np.uint8]) -> Keys:
    """Each row as one value, which can be sorted and compared."""
    return np.ascontiguousarray(packed).view(f"S{packed.shape[1]}").ravel()


def _distinct(occupations: Occupations) -> tuple[Occupations, Indices]:
    _, first, inverse = np.unique(keys_of(pack(occupations)), return_index=True, return_inverse=True)
    return occupations[first], np.asarray(inverse.ravel(), dtype=np.int64)
