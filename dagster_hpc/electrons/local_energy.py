"""Single rows of the eigenvalue equation: what H makes of a state at one determinant.

For an eigenstate, sum_j H_kj c_j is the energy times c_k, whatever k. One row costs as much as reading the determinants, and
all of H the square of that; but a wrong sign, a lost determinant or a wrong energy shows in it, if it is anywhere near k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.electrons.hamiltonian import diagonal_energies
from dagster_hpc.electrons.space import DeterminantSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.electrons.integrals import Indices, Integrals
    from dagster_hpc.electrons.space import Occupations


@dataclass(frozen=True)
class _Moves:
    """How strings differ from one of them: electrons moved, from where (holes) to where (particles), the sign."""

    count: NDArray[np.int64]
    holes: NDArray[np.int64]  # two columns; -1 where less has moved
    particles: NDArray[np.int64]
    sign: NDArray[np.float64]


def image_at(space: DeterminantSpace, coefficients: NDArray[np.float64], integrals: Integrals, place: int) -> float:
    """Row `place` of H times the coefficients, core included."""
    own_a, own_b = int(space.index_a[place]), int(space.index_b[place])
    moves = _moves(space.alpha, own_a), _moves(space.beta, own_b)
    moved_a, moved_b = moves[0].count[space.index_a], moves[1].count[space.index_b]
    row = 0.0
    for count_a, count_b in ((1, 0), (0, 1), (2, 0), (0, 2), (1, 1)):
        which = np.flatnonzero((moved_a == count_a) & (moved_b == count_b))
        if not len(which):
            continue
        a, b = space.index_a[which], space.index_b[which]
        if (count_a, count_b) == (1, 1):
            elements = _opposite(moves[0], a, moves[1], b, integrals)
        else:
            mine, strings, other = (moves[0], a, space.beta[own_b]) if count_a else (moves[1], b, space.alpha[own_a])
            own = space.alpha[own_a] if count_a else space.beta[own_b]
            kind = _single if count_a + count_b == 1 else _double
            elements = kind(mine, strings, own, other, integrals)
        row += float(elements @ coefficients[which])
    one = DeterminantSpace(
        space.alpha[own_a][None], space.beta[own_b][None], np.zeros(1, np.int64), np.zeros(1, np.int64)
    )
    diagonal = float(diagonal_energies(one, integrals)[0]) + integrals.core_energy
    return diagonal * float(coefficients[place]) + row


def _moves(strings: Occupations, own: int) -> _Moves:
    mine = strings[own]
    holes, particles = mine & ~strings, strings & ~mine
    count = holes.sum(axis=1)
    near = np.flatnonzero((count == 1) | (count == 2))
    places = np.full((2, len(strings), 2), -1)
    sign = np.ones(len(strings))
    for moved in (1, 2):
        rows = near[count[near] == moved]
        for side, bits in enumerate((holes, particles)):
            places[side, rows, :moved] = np.nonzero(bits[rows])[1].reshape(len(rows), moved)
        now = np.repeat(mine[None], len(rows), axis=0)
        each = np.arange(len(rows))
        for k in range(moved):  # an electron taken out of one orbital and put into another, one at a time
            for side, filled in ((0, False), (1, True)):
                orbital = places[side, rows, k]
                below = now & (np.arange(now.shape[1]) < orbital[:, None])
                sign[rows] *= 1 - 2 * (below.sum(axis=1) % 2)
                now[each, orbital] = filled
    return _Moves(count, places[0], places[1], sign)


def _single(
    moves: _Moves, strings: Indices, own: NDArray[np.bool_], other: NDArray[np.bool_], integrals: Integrals
) -> NDArray[np.float64]:
    pair, table = integrals.pair, integrals.pair_integrals
    q, p = moves.holes[strings, 0], moves.particles[strings, 0]
    mine, theirs = np.flatnonzero(own), np.flatnonzero(other)
    values = integrals.one_body[p, q]
    values = values + table[pair[p, q][:, None], pair[mine, mine]].sum(axis=1)  # the moved electron itself cancels
    values -= table[pair[p[:, None], mine], pair[mine, q[:, None]]].sum(axis=1)
    values += table[pair[p, q][:, None], pair[theirs, theirs]].sum(axis=1)
    return np.asarray(values * moves.sign[strings])


def _double(
    moves: _Moves, strings: Indices, own: NDArray[np.bool_], other: NDArray[np.bool_], integrals: Integrals
) -> NDArray[np.float64]:
    pair, table = integrals.pair, integrals.pair_integrals
    (q, s), (p, r) = moves.holes[strings].T, moves.particles[strings].T
    return np.asarray((table[pair[p, q], pair[r, s]] - table[pair[p, s], pair[r, q]]) * moves.sign[strings])


def _opposite(
    alpha: _Moves, strings_a: Indices, beta: _Moves, strings_b: Indices, integrals: Integrals
) -> NDArray[np.float64]:
    pair = integrals.pair
    bra = pair[alpha.particles[strings_a, 0], alpha.holes[strings_a, 0]]
    ket = pair[beta.particles[strings_b, 0], beta.holes[strings_b, 0]]
    return np.asarray(integrals.pair_integrals[bra, ket] * alpha.sign[strings_a] * beta.sign[strings_b])
