"""The determinants that join a space because members of it with large weights lead to them, as Dice selects them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dagster_hpc.electrons.chunks import chunks
from dagster_hpc.electrons.hamiltonian import Vector
from dagster_hpc.electrons.integrals import Integrals
from dagster_hpc.electrons.space import DeterminantSpace, Keys, Occupations, keys_of, pack, unpack

_CHUNK = 4_000_000  # candidates handled at a time


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
    known = keys_of(members)
    filled = (space.alpha[space.index_a], space.beta[space.index_b])
    bit = pack(np.eye(space.norb, dtype=bool))
    nothing = np.zeros_like(bit)
    flip = (np.hstack([bit, nothing]), np.hstack([nothing, bit]))

    found: Keys = np.empty(0, dtype=known.dtype)
    waiting: list[Keys] = []
    for candidates in _excitations(filled, threshold, integrals, members, flip):
        waiting.append(np.unique(keys_of(candidates)))
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
    for place, at in chunks(count, _CHUNK):
        det = which[place]
        empty = ~(filled[spins[0]][det, a[at]] | filled[spins[1]][det, b[at]])
        det, at = det[empty], at[empty]
        if len(det):
            out = flip[spins[0]][i] ^ flip[spins[1]][j]
            yield members[det] ^ out ^ flip[spins[0]][a[at]] ^ flip[spins[1]][b[at]]
