"""What second-order perturbation theory adds to a selected-CI energy, and where both lead when nothing is left out.

Epstein and Nesbet's correction of a state with the coefficients c_i, summed over the determinants a that are not in it:

    E2 = Σ_a (Σ_i H_ai c_i)² / (E - H_aa)

It is the same sum in each run: no sampling. Determinants are handled as bits of 2·norb spin orbitals, alpha first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from dagster_hpc.electrons.chunks import chunks
from dagster_hpc.electrons.determinants import bits_of
from dagster_hpc.electrons.hamiltonian import diagonal_energies
from dagster_hpc.electrons.space import DeterminantSpace
from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.electrons.determinants import Words
    from dagster_hpc.electrons.integrals import Integrals
    from dagster_hpc.electrons.state import SparseState

    Array: TypeAlias = NDArray[np.float64]
    Sums: TypeAlias = tuple[Words, Array]

_CHUNK = 1 << 20  # contributions made at a time
_MOST = 1 << 22  # determinants outside of the state that are held at a time, with their sums
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Correction(NamedTuple):
    """E2 in Hartree, and over how many determinants it is summed."""

    energy: float
    determinants: int


class Extrapolation(NamedTuple):
    """The energy where no correction is left. `slope`: Hartree for each Hartree of E2, about -1 or a little beyond."""

    energy: float
    error: float
    slope: float


def epstein_nesbet(
    state: SparseState, energy: float, integrals: Integrals, *, cutoff: float = 1e-8, most: int = _MOST
) -> Correction:
    """E2 of a state whose energy, the core of `integrals` included, is `energy`.

    `cutoff`: contributions |H_ai c_i| that are smaller are left out. 0 leaves out none.
    `most`: determinants that are held at a time. Where there are more, the sum is made in several passes.
    """
    members = _Members(state)
    total, count, lower = 0.0, 0, 0
    for keys, values in _sums(lambda: _contributions(members, integrals, cutoff), members.keys, most):
        for low in range(0, len(keys), _CHUNK // 4):
            part = slice(low, low + _CHUNK // 4)
            gap = energy - integrals.core_energy - diagonal_energies(_space_of(keys[part], state.norb), integrals)
            total += float(np.sum(values[part] ** 2 / gap))
            lower += int(np.count_nonzero(gap >= 0))
        count += len(keys)
    if lower:
        warnings.warn(
            f"{lower} determinants outside of the state lie below its energy of {energy:.6f}: it is not near a ground "
            "state, and its correction means little",
            stacklevel=2,
        )
    return Correction(total, count)


def extrapolate(energies: Sequence[float], corrections: Sequence[float]) -> Extrapolation:
    """A straight line through variational energies over their corrections, to where the correction is zero.

    `error`: what is usual for such a line, a fifth of the way from the best E + E2 to its end, or the standard error of
    its end where that is larger.
    """
    x, y = np.asarray(corrections, float), np.asarray(energies, float)
    if x.shape != y.shape or x.ndim != 1 or len(np.unique(x)) < 2:
        raise ConfigurationError(
            f"a line needs two different corrections, and an energy for each: here are {y.size} energies, "
            f"{len(np.unique(x))} different corrections"
        )
    away = x - x.mean()
    slope = float(away @ y / (away @ away))
    end = float(y.mean() - slope * x.mean())
    best = int(np.argmin(np.abs(x)))
    error = abs(end - float(x[best] + y[best])) / 5
    if len(x) > 2:
        spread = float(np.sum((y - end - slope * x) ** 2)) / (len(x) - 2)
        error = max(error, float(np.sqrt(spread * (1 / len(x) + x.mean() ** 2 / (away @ away)))))
    return Extrapolation(end, error, slope)


class _Members:
    """The determinants of the state: keys, coefficients, occupied spin orbitals, electrons below each orbital."""

    def __init__(self, state: SparseState) -> None:
        self.norb = state.norb
        self.coefficients = state.coefficients
        self.occupied = tuple(
            bits_of(strings, state.norb)[index].astype(bool)
            for strings, index in ((state.alpha, state.index_a), (state.beta, state.index_b))
        )
        self.below = tuple(np.cumsum(bits, axis=1, dtype=np.int16) - bits for bits in self.occupied)
        self.keys = _keys(np.hstack(self.occupied))

    def sign(self, spin: int, rows: NDArray[np.intp], i: int, a: NDArray[np.intp] | int) -> NDArray[np.int64]:
        """Electrons that are passed from i to a; only whether they are even in number means anything."""
        below = self.below[spin]
        return np.asarray(below[rows, i].astype(np.int64) + below[rows, a] + (i < np.asarray(a)))


def _keys(bits: NDArray[np.bool_]) -> Words:
    packed = np.packbits(bits, axis=1, bitorder="little")
    width = -(-packed.shape[1] // 8)
    padded = np.zeros((len(packed), 8 * width), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8").astype(np.uint64, copy=False)


def _space_of(keys: Words, norb: int) -> DeterminantSpace:
    bits, each = bits_of(keys, 2 * norb).astype(bool), np.arange(len(keys))
    return DeterminantSpace(bits[:, :norb], bits[:, norb:], each, each)


# ------------------------------------------------------------------------------------------- sums over what is connected


def _sums(make: Callable[[], Iterator[Sums]], known: Words, most: int) -> Iterator[Sums]:
    """Each determinant that is not known, with the sum of its contributions; in as many passes as memory asks for.

    A pass takes the determinants whose hash ends in certain bits. When it meets too many, it takes one bit more, and
    leaves the other half to a later pass.
    """
    passes = [(0, 0)]
    while passes:
        bits, ending = passes.pop()
        # Members of the state start with a sum that is no number, and so have none in the end.
        keys, values = _of_pass(known, np.full(len(known), np.nan), bits, ending)
        waiting: list[Sums] = []
        for piece in make():
            waiting.append(_of_pass(*piece, bits, ending))
            if sum(len(part[1]) for part in waiting) < most:
                continue
            (keys, values), waiting = _summed([(keys, values), *waiting]), []
            while len(keys) > most and bits < 32:
                passes.append((bits + 1, ending | 1 << bits))
                bits += 1
                keys, values = _of_pass(keys, values, bits, ending)
        keys, values = _summed([(keys, values), *waiting])
        outside = ~np.isnan(values)
        yield keys[outside], values[outside]


def _of_pass(keys: Words, values: Array, bits: int, ending: int) -> Sums:
    if not bits:
        return keys, values
    mixed = np.zeros(len(keys), np.uint64)
    for column in keys.T:
        mixed = (mixed ^ column) * _MIX
        mixed ^= mixed >> np.uint64(32)
    chosen = (mixed & np.uint64((1 << bits) - 1)) == np.uint64(ending)
    return keys[chosen], values[chosen]


def _summed(parts: list[Sums]) -> Sums:
    keys, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(keys):
        return keys, values
    order = np.argsort(keys[:, 0]) if keys.shape[1] == 1 else np.lexsort(keys.T)
    keys, values = keys[order], values[order]
    begins = np.append(0, np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1)
    return keys[begins], np.add.reduceat(values, begins)


# ------------------------------------------------------------------------------------------ excitations with their elements


def _contributions(members: _Members, integrals: Integrals, cutoff: float) -> Iterator[Sums]:
    """H_ai c_i above the cutoff in size, with the keys of a; a may be a member too."""
    norb, table, pair = integrals.norb, integrals.pair_integrals, integrals.pair
    with np.errstate(divide="ignore"):
        threshold = cutoff / np.abs(members.coefficients)
    flip = _keys(np.eye(2 * norb, dtype=bool))
    yield from _singles(members, integrals, threshold, flip)
    for i in range(norb):
        for j in range(norb):
            direct = table[np.ix_(pair[i], pair[j])]  # (ia|jb)
            yield from _doubles(members, direct, (i, j), (0, 1), threshold, flip)
            if i > j:
                once = np.tril(direct - direct.T, -1)  # a above b: (ia|jb) - (ib|ja)
                for spin in (0, 1):
                    yield from _doubles(members, once, (i, j), (spin, spin), threshold, flip)


def _singles(members: _Members, integrals: Integrals, threshold: Array, flip: Words) -> Iterator[Sums]:
    norb, table, pair = integrals.norb, integrals.pair_integrals, integrals.pair
    coulomb, everyone = table[pair][:, :, pair.diagonal()], np.arange(norb)  # (pq|kk)
    for spin in (0, 1):
        mine, other = members.occupied[spin], members.occupied[1 - spin]
        for i in range(norb):
            filled = np.flatnonzero(mine[:, i])
            for a in range(norb):
                which = filled[~mine[filled, a]]
                direct = coulomb[i, a]
                exchange = table[pair[i, everyone], pair[everyone, a]]
                element = integrals.one_body[i, a] + mine[which] @ (direct - exchange) + other[which] @ direct
                large = np.abs(element) > threshold[which]
                which, element = which[large], element[large]
                if len(which):
                    sign = 1 - 2 * (members.sign(spin, which, i, a) & 1)
                    keys = members.keys[which] ^ flip[spin * norb + i] ^ flip[spin * norb + a]
                    yield keys, element * sign * members.coefficients[which]


def _doubles(
    members: _Members, integral: Array, out: tuple[int, int], spins: tuple[int, int], threshold: Array, flip: Words
) -> Iterator[Sums]:
    """Electrons of orbitals i and j to a and b, wherever |integral[a, b]| is above the determinant's threshold."""
    (i, j), norb = out, members.norb
    a, b = np.nonzero(integral)
    which = np.flatnonzero(members.occupied[spins[0]][:, i] & members.occupied[spins[1]][:, j])
    if not len(a) or not len(which):
        return
    order = np.argsort(-np.abs(integral[a, b]), kind="stable")
    a, b = a[order], b[order]
    value = integral[a, b]
    count = np.searchsorted(-np.abs(value), -threshold[which], side="left")
    for place, at in chunks(count, _CHUNK):
        det = which[place]
        empty = ~(members.occupied[spins[0]][det, a[at]] | members.occupied[spins[1]][det, b[at]])
        det, at = det[empty], at[empty]
        if not len(det):
            continue
        to_a, to_b = a[at], b[at]
        passed = members.sign(spins[0], det, i, to_a) + members.sign(spins[1], det, j, to_b)
        if spins[0] == spins[1]:  # the second electron meets i empty and a filled
            passed = passed + (i < j) + (i < to_b) + (to_a < j) + (to_a < to_b)
        keys = members.keys[det] ^ flip[spins[0] * norb + i] ^ flip[spins[1] * norb + j]
        keys = keys ^ flip[spins[0] * norb + to_a] ^ flip[spins[1] * norb + to_b]
        yield keys, value[at] * (1 - 2 * (passed & 1)) * members.coefficients[det]
