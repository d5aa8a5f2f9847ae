"""The Hamiltonian among chosen determinants: a product of strings or any list, with as many orbitals as Dice's files hold.

A determinant is a pair of occupation rows (alpha, beta). The phase is PySCF's and that of Dice's dets.bin: all alpha
operators, orbitals ascending, then all beta.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from dagster_hpc.dice.davidson import Vector

Occupations = NDArray[np.bool_]  # one row per string, one column per orbital
Indices = NDArray[np.int64]
Keys = NDArray[np.bytes_]

_CHUNK = 4_000_000  # pairs of determinants handled at a time
_BYTES_PER_PAIR = 40  # of memory while the matrix is put together


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


def _keys(packed: NDArray[np.uint8]) -> Keys:
    return np.ascontiguousarray(packed).view(f"S{packed.shape[1]}").ravel()


def _distinct(occupations: Occupations) -> tuple[Occupations, Indices]:
    _, first, inverse = np.unique(_keys(pack(occupations)), return_index=True, return_inverse=True)
    return occupations[first], np.asarray(inverse.ravel(), dtype=np.int64)


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
        before = np.concatenate([[0], np.cumsum(self.later)])
        low = 0
        while low < len(self.later):
            high = max(low + 1, int(np.searchsorted(before, before[low] + _CHUNK, side="right")) - 1)
            count = self.later[low:high]
            first = np.repeat(np.arange(low, high), count)
            if len(first):
                yield first, first + 1 + np.arange(len(first)) - np.repeat(before[low:high] - before[low], count)
            low = high

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
    names, left = np.unique(_keys(kept.reshape(-1, packed.shape[1])), return_inverse=True)
    sign = np.array([(-1) ** sum(places) for places in ways], dtype=np.int8)
    return TakenOut(np.asarray(left.reshape(count, len(ways)), dtype=np.int64), len(names), orbitals, sign)


def grown(space: DeterminantSpace, weight: Vector, cutoff: float, integrals: Integrals) -> DeterminantSpace:
    """The space with every determinant a that a member i of weight |c_i| selects: |H_ai c_i| > cutoff.

    Selects as Dice does, determinant by determinant: doubles by their integral in single precision; singles by their matrix
    element, and only where one of the integrals in it passes by itself. The old determinants stay first, in their order.
    """
    with np.errstate(divide="ignore"):
        threshold = cutoff / np.abs(weight)
    alpha, beta = pack(space.alpha)[space.index_a], pack(space.beta)[space.index_b]
    width = alpha.shape[1]
    members = np.hstack([alpha, beta])
    known = _keys(members)
    filled = (space.alpha[space.index_a], space.beta[space.index_b])
    bit = pack(np.eye(space.norb, dtype=bool))
    nothing = np.zeros_like(bit)
    flip = (np.hstack([bit, nothing]), np.hstack([nothing, bit]))

    found: Keys = np.empty(0, dtype=known.dtype)
    waiting: list[Keys] = []
    for candidates in _excitations(filled, threshold, integrals, members, flip):
        waiting.append(np.unique(_keys(candidates)))
        if sum(map(len, waiting)) > _CHUNK:
            found, waiting = np.unique(np.concatenate([found, *waiting])), []
    found = np.unique(np.concatenate([found, *waiting]))
    found = found[~np.isin(found, known)]
    # A fixed-width key that ends in zero bytes loses them when taken out singly, not when seen as a whole array.
    new = np.frombuffer(found.tobytes(), dtype=np.uint8).reshape(-1, 2 * width)
    together = np.vstack([members, new])
    return DeterminantSpace.of(unpack(together[:, :width], space.norb), unpack(together[:, width:], space.norb))


def _excitations(
    filled: tuple[Occupations, Occupations],
    threshold: Vector,
    integrals: Integrals,
    members: NDArray[np.uint8],
    flip: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> Iterator[NDArray[np.uint8]]:
    norb = integrals.norb
    lowest = float(threshold.min(initial=np.inf))
    table, pair = integrals.pair_integrals, integrals.pair

    # Singles
    coulomb = table[pair][:, :, pair.diagonal()]  # (pq|kk)
    everyone = np.arange(norb)
    for i in range(norb):
        for a in range(norb):
            if a == i:
                continue
            direct = coulomb[i, a]
            exchange = table[pair[i, everyone], pair[everyone, a]]
            at_most = max(abs(integrals.one_body[i, a]), np.abs(direct - exchange).max(), np.abs(direct).max())
            if at_most <= lowest:
                continue
            for spin in (0, 1):
                mine, other = filled[spin], filled[1 - spin]
                which = np.flatnonzero(mine[:, i] & ~mine[:, a] & (threshold < at_most))
                if len(which) == 0:
                    continue
                element = integrals.one_body[i, a] + mine[which] @ (direct - exchange) + other[which] @ direct
                which = which[np.abs(element) > threshold[which]]
                if len(which):
                    yield members[which] ^ flip[spin][i] ^ flip[spin][a]

    # Doubles
    if np.abs(table).max() < lowest:
        return
    for i in range(norb):
        for j in range(norb):
            direct = table[np.ix_(pair[i], pair[j])].astype(np.float32)  # (ia|jb)
            yield from _doubles(direct, i, j, (0, 1), filled, threshold, lowest, members, flip)
            if i > j:
                same = table[np.ix_(pair[i], pair[j])] - table[np.ix_(pair[i], pair[j])].T
                once = np.tril(same, -1).astype(np.float32)
                for spin in (0, 1):
                    yield from _doubles(once, i, j, (spin, spin), filled, threshold, lowest, members, flip)


def _doubles(
    integral: NDArray[np.float32],
    i: int,
    j: int,
    spins: tuple[int, int],
    filled: tuple[Occupations, Occupations],
    threshold: Vector,
    lowest: float,
    members: NDArray[np.uint8],
    flip: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> Iterator[NDArray[np.uint8]]:
    """Electrons of i and j to orbitals a and b wherever |integral[a, b]| reaches the determinant's threshold."""
    size = np.abs(integral.astype(np.float64))
    a, b = np.nonzero((size >= lowest) & (size > 1e-10))
    if len(a) == 0:
        return
    order = np.argsort(-size[a, b], kind="stable")
    a, b = a[order], b[order]
    size = size[a, b]
    which = np.flatnonzero(filled[spins[0]][:, i] & filled[spins[1]][:, j] & (threshold <= size[0]))
    if len(which) == 0:
        return
    count = np.searchsorted(-size, -threshold[which], side="right")
    ends = np.cumsum(count)
    low = 0
    while low < len(which):
        start = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, start + _CHUNK, side="right")))
        part = count[low:high]
        det = np.repeat(which[low:high], part)
        at = np.arange(len(det)) - np.repeat(ends[low:high] - part - start, part)
        empty = ~(filled[spins[0]][det, a[at]] | filled[spins[1]][det, b[at]])
        det, at = det[empty], at[empty]
        if len(det):
            out = flip[spins[0]][i] ^ flip[spins[1]][j]
            yield members[det] ^ out ^ flip[spins[0]][a[at]] ^ flip[spins[1]][b[at]]
        low = high
