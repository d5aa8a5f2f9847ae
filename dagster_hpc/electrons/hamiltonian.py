"""The Hamiltonian among the determinants of a space: its diagonal, and all of it as a sparse matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dagster_hpc.electrons.chunks import chunks
from dagster_hpc.electrons.integrals import Indices, Integrals
from dagster_hpc.electrons.space import DeterminantSpace, Occupations, keys_of, pack

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Vector = NDArray[np.float64]

_CHUNK = 4_000_000  # pairs of determinants handled at a time
_BYTES_PER_PAIR = 40  # of memory while the matrix is put together


def diagonal_energies(space: DeterminantSpace, integrals: Integrals) -> Vector:
    """<D|H|D> of each determinant, without the core energy."""
    repulsion = integrals.coulomb - integrals.exchange
    one = integrals.one_body.diagonal()
    of_string = []
    for strings in (space.alpha.astype(float), space.beta.astype(float)):
        of_string.append(strings @ one + 0.5 * np.einsum("ip,pq,iq->i", strings, repulsion, strings, optimize=True))
    seen_by_beta = space.alpha.astype(float) @ integrals.coulomb
    energies = of_string[0][space.index_a] + of_string[1][space.index_b]
    for low in range(0, len(space), _CHUNK // 64):
        part = slice(low, low + _CHUNK // 64)
        energies[part] += np.einsum("ip,ip->i", seen_by_beta[space.index_a[part]], space.beta[space.index_b[part]])
    return np.asarray(energies)


def hamiltonian_matrix(space: DeterminantSpace, integrals: Integrals, *, most_bytes: float | None = None) -> csr_array:
    """H among the determinants of the space, without the core energy.

    Two determinants that H connects become equal when two electrons are taken from each. So the determinants are sorted
    by what is left of them, and every pair that leaves the same is a matrix element: the work grows with the number of
    elements, not with the square of the space. One-electron integrals ride along as two-electron ones, h/(N-1) for each
    other electron.
    """
    from scipy.sparse import coo_array, csr_array, diags_array

    electrons = sum(space.nelec)
    size = len(space)
    total: Any = diags_array(diagonal_energies(space, integrals)).tocsr()
    if electrons == 1:
        orbital = np.nonzero(np.hstack([space.alpha[space.index_a], space.beta[space.index_b]]))[1]
        same_spin = (orbital[:, None] < space.norb) == (orbital[None, :] < space.norb)
        return csr_array(integrals.one_body[np.ix_(orbital % space.norb, orbital % space.norb)] * same_spin)
    if electrons == 0:
        return csr_array(total)

    table = integrals.pair_integrals.copy()
    lower = np.tril_indices(space.norb)
    share = np.empty(len(table))
    share[integrals.pair[lower]] = integrals.one_body[lower] / (electrons - 1)
    same = integrals.pair.diagonal()
    table[:, same] += share[:, None]
    table[same, :] += share[None, :]

    classes = list(_reductions(space))
    pairs = sum(reduction.pair_count for reduction in classes)
    if most_bytes is not None and pairs * _BYTES_PER_PAIR > most_bytes:
        raise MemoryError(
            f"{size} determinants have some {pairs:.1e} matrix elements: {pairs * _BYTES_PER_PAIR / 2**30:.1f} GiB "
            f"of memory, more than the {most_bytes / 2**30:.1f} GiB allowed"
        )
    for reduction in classes:
        for first, second in reduction.pairs():
            rows, columns = reduction.determinant[first], reduction.determinant[second]
            values = reduction.elements(table, integrals.pair, first, second)
            upper = coo_array((values, (rows, columns)), shape=(size, size)).tocsr()
            total = total + upper + upper.T
    total.eliminate_zeros()
    return csr_array(total)


@dataclass(frozen=True)
class _Reduction:
    """Determinants with two electrons of given spins taken out: which, from where, with which sign, and what is left."""

    same_spin: bool
    determinant: NDArray[np.int32]
    taken: tuple[NDArray[np.int16], NDArray[np.int16]]
    sign: NDArray[np.int8]
    later: NDArray[np.int64]  # how many of the following entries leave the same

    @classmethod
    def sorted_by(
        cls,
        left: Indices,
        same_spin: bool,
        determinant: NDArray[np.int32],
        taken: tuple[NDArray[np.int16], NDArray[np.int16]],
        sign: NDArray[np.int8],
    ) -> _Reduction:
        order = np.argsort(left, kind="stable")
        left = left[order]
        end = np.append(np.flatnonzero(np.diff(left)) + 1, len(left))
        sizes = np.diff(end, prepend=0)
        later = np.repeat(end, sizes) - np.arange(len(left)) - 1
        return cls(same_spin, determinant[order], (taken[0][order], taken[1][order]), sign[order], later)

    @property
    def pair_count(self) -> float:
        return float(self.later.sum())

    def pairs(self) -> Iterator[tuple[Indices, Indices]]:
        """Every two different entries that leave the same, in chunks."""
        for first, number in chunks(self.later, _CHUNK):
            yield first, first + 1 + number

    def elements(self, table: Vector, pair: Indices, first: Indices, second: Indices) -> Vector:
        (p, r), (q, s) = ((self.taken[0][at], self.taken[1][at]) for at in (first, second))
        values = table[pair[p, q], pair[r, s]]
        if self.same_spin:
            values = values - table[pair[p, s], pair[r, q]]
        return np.asarray(values * (self.sign[first] * self.sign[second]))


def _reductions(space: DeterminantSpace) -> Iterator[_Reduction]:
    """Alpha-beta, alpha-alpha and beta-beta pairs of electrons taken out of every determinant."""
    size = len(space)
    one_a, one_b = taken_out(space.alpha, 1), taken_out(space.beta, 1)
    if one_a is not None and one_b is not None:
        count_a, count_b = one_a.left.shape[1], one_b.left.shape[1]
        shape = (size, count_a, count_b)
        left = one_a.left[space.index_a][:, :, None] * one_b.kinds + one_b.left[space.index_b][:, None, :]
        yield _Reduction.sorted_by(
            left.ravel(),
            False,
            np.repeat(np.arange(size, dtype=np.int32), count_a * count_b),
            (
                np.broadcast_to(one_a.orbitals[space.index_a][:, :, None, 0], shape).ravel(),
                np.broadcast_to(one_b.orbitals[space.index_b][:, None, :, 0], shape).ravel(),
            ),
            np.broadcast_to((one_a.sign[:, None] * one_b.sign)[None], shape).ravel(),
        )
    for strings, index, other in (
        (space.alpha, space.index_a, space.index_b),
        (space.beta, space.index_b, space.index_a),
    ):
        two = taken_out(strings, 2)
        if two is None:
            continue
        ways = two.left.shape[1]
        left = two.left[index] * (int(other.max()) + 1) + other[:, None]
        yield _Reduction.sorted_by(
            left.ravel(),
            True,
            np.repeat(np.arange(size, dtype=np.int32), ways),
            (two.orbitals[index][:, :, 0].ravel(), two.orbitals[index][:, :, 1].ravel()),
            np.tile(two.sign, size),
        )


@dataclass(frozen=True)
class TakenOut:
    """Strings with electrons removed, in every way: a number for what is left, the orbitals emptied, the sign."""

    left: Indices  # (strings, ways)
    kinds: int
    orbitals: NDArray[np.int16]  # (strings, ways, electrons)
    sign: NDArray[np.int8]  # (ways,)


def taken_out(strings: Occupations, electrons: int) -> TakenOut | None:
    """Every way to take that many electrons out of each string; None where it has fewer."""
    count, norb = strings.shape
    filled = int(strings[0].sum())
    if filled < electrons:
        return None
    orbital = np.nonzero(strings)[1].reshape(count, filled).astype(np.int16)
    ways = list(combinations(range(filled), electrons))
    packed = pack(strings)
    bit = pack(np.eye(norb, dtype=bool))
    kept = np.empty((count, len(ways), packed.shape[1]), dtype=np.uint8)
    orbitals = np.empty((count, len(ways), electrons), dtype=np.int16)
    for way, places in enumerate(ways):
        rest = packed
        for number, place in enumerate(places):
            rest = rest ^ bit[orbital[:, place]]
            orbitals[:, way, number] = orbital[:, place]
        kept[:, way] = rest
    names, left = np.unique(keys_of(kept.reshape(-1, packed.shape[1])), return_inverse=True)
    sign = np.array([(-1) ** sum(places) for places in ways], dtype=np.int8)
    return TakenOut(np.asarray(left.reshape(count, len(ways)), dtype=np.int64), len(names), orbitals, sign)
