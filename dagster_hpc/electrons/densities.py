"""One- and two-particle density matrices of a list of determinants, by taking electrons out of it.

What is left of a state when electrons are taken out of given orbitals is a column of a sparse matrix, with a row for each
string that can be left. All products of two columns are the density matrix: one sparse multiplication, in parts that fit
into memory. The indices are PySCF's:

    rdm1[p, q]       = <p† q>            of one spin, real and so symmetric
    rdm2[p, q, r, s] = <p† r† s q>       energy = Σ h[p,q] rdm1[p,q] + ½ Σ (pq|rs) rdm2[p,q,r,s], plus the core
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dagster_hpc.electrons.determinants import StringTable, bits_of, sorted_unique, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.electrons.determinants import Words
    from dagster_hpc.electrons.state import SparseState

    Array: TypeAlias = NDArray[np.float64]
    Indices: TypeAlias = NDArray[np.int64]

_ENTRIES = 1 << 23  # of the sparse matrix, at a time


def two_rdms(state: SparseState) -> tuple[Array, Array, Array]:
    """The alpha-alpha, alpha-beta and beta-beta parts, as `make_rdm2s` of PySCF: rdm2[p,q,r,s] = <p† r† s q>.

    In the mixed part p and q are of alpha, r and s of beta.
    """
    return (
        _same_spin(state.alpha, state.index_a, state.index_b, state.coefficients, state.norb),
        _opposite_spin(state),
        _same_spin(state.beta, state.index_b, state.index_a, state.coefficients, state.norb),
    )


def summed(parts: tuple[Array, Array, Array]) -> Array:
    """The spin-summed two-particle matrix."""
    same_a, mixed, same_b = parts
    return np.asarray(same_a + same_b + mixed + mixed.transpose(2, 3, 0, 1))


def _same_spin(strings: Words, index: NDArray[np.int32], other: NDArray[np.int32], values: Array, norb: int) -> Array:
    taken = _taken_out(strings, norb, 2)
    density = np.zeros((norb * norb, norb * norb))
    if taken is None:
        return density.reshape((norb,) * 4)
    left, orbitals, sign = taken
    ways = left.shape[1]
    order = np.argsort(other, kind="stable")  # two determinants of different other spin have nothing in common
    kinds = int(left.max()) + 1
    for part in _parts(other[order], ways):
        which = order[part]
        string = index[which]
        rows = left[string] + kinds * (other[which] - other[which[0]]).astype(np.int64)[:, None]
        columns = orbitals[string, :, 0] * norb + orbitals[string, :, 1]
        density += _products(rows, columns, values[which, None] * sign, norb * norb)
    pairs = density.reshape((norb,) * 4)  # [p, r, q, s] with p < r and q < s
    pairs = pairs - pairs.transpose(1, 0, 2, 3)
    pairs = pairs - pairs.transpose(0, 1, 3, 2)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3))


def _opposite_spin(state: SparseState) -> Array:
    norb = state.norb
    one_a, one_b = _taken_out(state.alpha, norb, 1), _taken_out(state.beta, norb, 1)
    density = np.zeros((norb * norb, norb * norb))
    if one_a is None or one_b is None:
        return density.reshape((norb,) * 4)
    (left_a, orbital_a, sign_a), (left_b, orbital_b, sign_b) = one_a, one_b
    ways, kinds = left_a.shape[1], int(left_b.max()) + 1
    rest = left_a[state.index_a].ravel()
    order = np.argsort(rest, kind="stable")
    for part in _parts(rest[order], left_b.shape[1]):
        which, way = np.divmod(order[part], ways)
        alpha, beta = state.index_a[which], state.index_b[which]
        begin = int(rest[order[part.start]])
        rows = (left_a[alpha, way] - begin)[:, None] * kinds + left_b[beta]
        columns = orbital_a[alpha, way] * norb + orbital_b[beta, :, 0]
        density += _products(rows, columns, (state.coefficients[which] * sign_a[way])[:, None] * sign_b, norb * norb)
    return np.ascontiguousarray(density.reshape((norb,) * 4).transpose(0, 2, 1, 3))


def _taken_out(strings: Words, norb: int, electrons: int) -> tuple[Indices, Indices, NDArray[np.int8]] | None:
    """Strings with electrons removed in every way: a number for what is left, the orbitals emptied, the sign of the way.

    None where there are not so many electrons. Of two orbitals the lower one comes first, as in (higher · lower)|string>.
    """
    bits = bits_of(strings, norb)
    filled = int(bits[0].sum())
    if filled < electrons:
        return None
    orbital = np.nonzero(bits)[1].reshape(len(strings), filled)
    ways = np.array(list(combinations(range(filled), electrons)))
    orbitals = orbital[:, ways]
    single = np.concatenate([words_of([1 << p], norb) for p in range(norb)])
    rest = np.bitwise_xor.reduce(single[orbitals], axis=2) ^ strings[:, None]
    flat = rest.reshape(-1, rest.shape[2])
    left = StringTable(sorted_unique(flat)).find(flat).reshape(len(strings), len(ways)).astype(np.int64)
    sign = 1 - 2 * (ways.sum(axis=1) % 2)
    return left, orbitals, (sign if electrons == 1 else -sign).astype(np.int8)


def _parts(ordered: NDArray[np.integer], ways: int) -> Iterator[slice]:
    """Ranges that end where the value changes, of about so many entries as fit into memory."""
    ends = np.append(np.flatnonzero(np.diff(ordered)) + 1, len(ordered))
    low = 0
    while low < len(ordered):
        high = int(ends[np.searchsorted(ends, low + _ENTRIES // ways, side="right") - 1])
        if high <= low:
            high = int(ends[np.searchsorted(ends, low, side="right")])
        yield slice(low, high)
        low = high


def _products(rows: Indices, columns: Indices, values: Array, width: int) -> Array:
    from scipy.sparse import csr_array

    _, row = np.unique(rows, return_inverse=True)
    row = row.ravel()
    columns = np.broadcast_to(columns, values.shape)
    matrix = csr_array((values.ravel(), (row, columns.ravel())), shape=(int(row.max()) + 1, width))
    return np.asarray((matrix.T @ matrix).toarray())
