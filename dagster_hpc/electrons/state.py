"""What a list of determinants with coefficients says: densities, total spin, weights of the strings.

Phase: all alpha operators, orbitals ascending, then all beta; PySCF's convention and that of dets.bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.electrons.chunks import chunks
from dagster_hpc.electrons.densities import two_rdms
from dagster_hpc.electrons.determinants import StringTable, bits_of, popcounts, sorted_unique, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIState

    from dagster_hpc.electrons.determinants import Words

_PAIRS = 1 << 18  # of strings, handled at a time


@dataclass(frozen=True)
class SparseState:
    """Determinant k is string index_a[k] of alpha with string index_b[k] of beta. The strings are ascending and distinct."""

    alpha: Words
    beta: Words
    index_a: NDArray[np.int32]
    index_b: NDArray[np.int32]
    coefficients: NDArray[np.float64]
    norb: int

    @classmethod
    def of(cls, alpha: Words, beta: Words, coefficients: NDArray[np.float64], norb: int) -> SparseState:
        """From one alpha and one beta string for each determinant."""
        strings_a, strings_b = sorted_unique(alpha), sorted_unique(beta)
        places = StringTable(strings_a).find(alpha), StringTable(strings_b).find(beta)
        return cls(strings_a, strings_b, *places, coefficients, norb)

    @classmethod
    def of_dense(cls, state: SCIState) -> SparseState:
        """From qiskit-addon-sqd's state, without the determinants that have no weight."""
        a, b = np.nonzero(state.amplitudes)
        words = words_of(state.ci_strs_a, state.norb), words_of(state.ci_strs_b, state.norb)
        return cls.of(words[0][a], words[1][b], np.asarray(state.amplitudes[a, b], np.float64), int(state.norb))

    def __len__(self) -> int:
        return len(self.coefficients)

    def weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The squared coefficients summed over each alpha and over each beta string."""
        squares = self.coefficients**2
        alpha = np.bincount(self.index_a, squares, len(self.alpha)).astype(np.float64, copy=False)
        beta = np.bincount(self.index_b, squares, len(self.beta)).astype(np.float64, copy=False)
        return alpha, beta

    def occupancies(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Electrons per orbital, alpha and beta."""
        weight_a, weight_b = self.weights()
        return weight_a @ bits_of(self.alpha, self.norb), weight_b @ bits_of(self.beta, self.norb)

    def one_rdm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """<p†q> of alpha and of beta electrons."""
        return (
            _spin_rdm(self.alpha, self.index_a, self.index_b, self.coefficients, self.norb),
            _spin_rdm(self.beta, self.index_b, self.index_a, self.coefficients, self.norb),
        )

    def two_rdm(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """<p†r†sq> at [p, q, r, s]: both electrons alpha; p, q alpha and r, s beta; both beta. PySCF's `make_rdm2s`."""
        return two_rdms(self)

    def spin_square(self) -> float:
        """<S²> = s(s+1) + |S+ ψ|² with s half the excess of alpha electrons; exact also where S+ leads out of the state."""
        if not len(self):
            return 0.0
        s = (int(popcounts(self.alpha[:1])[0]) - int(popcounts(self.beta[:1])[0])) / 2
        norm = float(self.coefficients @ self.coefficients)
        return s * (s + 1) + self._raised_norm() / norm

    def _raised_norm(self) -> float:
        """The squared norm of S+ ψ."""
        raised: list[tuple[Words, Words, NDArray[np.float64]]] = []
        bits_a, bits_b = bits_of(self.alpha, self.norb), bits_of(self.beta, self.norb)
        sign_a, sign_b = _parity_below(bits_a), _parity_below(bits_b)
        for orbital in range(self.norb):
            open_shell = ~bits_a[:, orbital].astype(bool)[self.index_a] & bits_b[:, orbital].astype(bool)[self.index_b]
            which = np.flatnonzero(open_shell)
            if not len(which):
                continue
            a, b = self.index_a[which], self.index_b[which]
            bit = words_of([1 << orbital], self.norb)
            sign = sign_a[a, orbital] * sign_b[b, orbital]
            raised.append((self.alpha[a] | bit, self.beta[b] & ~bit, self.coefficients[which] * sign))
        if not raised:
            return 0.0
        alpha, beta, values = (np.concatenate(column) for column in zip(*raised, strict=True))
        state = SparseState.of(alpha, beta, values, self.norb)
        _, same = np.unique(state.index_a * np.int64(len(state.beta)) + state.index_b, return_inverse=True)
        return float((np.bincount(same.ravel(), values) ** 2).sum())


def _parity_below(bits: NDArray[np.uint8]) -> NDArray[np.int8]:
    """+1 or -1 for each string and orbital: the parity of the electrons in lower orbitals."""
    below = np.cumsum(bits, axis=1, dtype=np.int16) - bits
    return (1 - 2 * (below & 1)).astype(np.int8)


def _spin_rdm(
    strings: Words, index: NDArray[np.int32], other: NDArray[np.int32], values: NDArray[np.float64], norb: int
) -> NDArray[np.float64]:
    from scipy.sparse import csr_array

    density = np.zeros((norb, norb))
    bits = bits_of(strings, norb)
    string, orbital = np.nonzero(bits)
    if not len(string):
        return density
    rows = csr_array((values, (index, other)), shape=(len(strings), int(other.max()) + 1))
    sign = _parity_below(bits)[string, orbital]
    single = np.array([words_of([1 << p], norb)[0] for p in range(norb)])
    rest = strings[string] ^ single[orbital]  # two strings that leave the same are one excitation apart
    group = StringTable(sorted_unique(rest)).find(rest)
    order = np.argsort(group, kind="stable")
    string, orbital, sign, group = string[order], orbital[order], sign[order], group[order]
    sizes = np.bincount(group)
    begins = np.cumsum(sizes) - sizes
    for first, number in chunks(sizes[group], _PAIRS):
        second = begins[group[first]] + number
        pair, inverse = np.unique(string[first] * np.int64(len(strings)) + string[second], return_inverse=True)
        overlap = np.asarray((rows[pair // len(strings)] * rows[pair % len(strings)]).sum(axis=1)).ravel()
        terms = overlap[inverse.ravel()] * sign[first] * sign[second]
        np.add.at(density, (orbital[first], orbital[second]), terms)
    return density
