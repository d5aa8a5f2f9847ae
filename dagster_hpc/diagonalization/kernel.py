"""H C of a product of strings, compiled by numba and on as many threads as are given.

Threads write to parts of the result that do not overlap, each number summed in one order: the answer does not depend on how
many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.diagonalization.davidson import Vector
    from dagster_hpc.diagonalization.product import ProductHamiltonian
    from dagster_hpc.electrons.integrals import Indices

_NARROWEST = 16  # rows that one thread multiplies at a time, below which the processor's vectors stay empty


class CompiledProduct:
    """The matrix of a ProductHamiltonian as an operator; nothing of the size of the space is stored but the diagonal."""

    def __init__(self, parts: ProductHamiltonian, threads: int) -> None:
        self._parts, self._threads = parts, threads
        alpha, beta = parts.shape
        own_a, own_b = parts.own
        single_a, single_b = parts.singles
        moves_b = _begins(single_b.target, beta), single_b.source, single_b.pair, single_b.sign
        self._in_row = (
            *(own_a.indptr, own_a.indices, own_a.data),
            *(own_b.indptr, own_b.indices, own_b.data),
            *(*moves_b, parts.seen[0]),
        )
        self._between = *moves_b, parts.moves, parts.seen[1]

        # Each thread has rows of its own, as many as there is work for; the moves to them, one pair of orbitals after the
        # other, are what it multiplies at a time.
        pairs = len(parts.moves)
        blocks = max(1, min(threads, len(single_a) // (pairs * _NARROWEST)))
        block = np.arange(len(single_a)) * blocks // max(1, len(single_a))
        block = block[np.searchsorted(single_a.target, single_a.target)]  # a row belongs to one block
        self._lists = []
        for number in range(blocks):
            inside = np.flatnonzero(block == number)
            inside = inside[np.argsort(single_a.pair[inside], kind="stable")]
            values = single_a.target[inside], single_a.source[inside], single_a.sign[inside]
            self._lists.append((_begins(single_a.pair[inside], pairs), *values))
        self._columns = _even(beta, -(-threads // blocks))
        self._diagonal = parts.diagonal.reshape(alpha, beta)

    @property
    def diagonal(self) -> Vector:
        return self._parts.diagonal

    def among(self, places: NDArray[np.intp]) -> Vector:
        return self._parts.among(places)

    def apply(self, vectors: Vector) -> Vector:
        """H times each row."""
        in_row, between = compiled()
        shape = self._parts.shape
        result = np.empty_like(vectors)
        with ThreadPoolExecutor(self._threads) as pool:
            for vector, out in zip(vectors, result, strict=True):
                given = np.ascontiguousarray(vector).reshape(shape), out.reshape(shape)
                rows = [
                    pool.submit(in_row, *given, low, high, self._diagonal, *self._in_row)
                    for low, high in _even(shape[0], 4 * self._threads)
                ]
                for done in rows:
                    done.result()
                moves = [
                    pool.submit(between, *given, low, high, *moves_of_rows, *self._between)
                    for moves_of_rows in self._lists
                    for low, high in self._columns
                ]
                for done in moves:
                    done.result()
        return result


def _begins(ordered: Indices, count: int) -> Indices:
    """Where the entries of 0, 1, … count-1 begin in a sorted list, and where it ends."""
    return np.searchsorted(ordered, np.arange(count + 1))


def _even(count: int, parts: int) -> list[tuple[int, int]]:
    ends = [count * part // parts for part in range(parts + 1)]
    return [(low, high) for low, high in pairwise(ends) if low < high]


@lru_cache
def compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """The two loops below as machine code, kept on disk for the next process where a directory for it can be written."""
    import numba

    def compile_one(loop: Callable[..., None]) -> Callable[..., None]:
        how: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "reassoc"}}
        try:
            return numba.njit(loop, cache=True, **how)  # type: ignore[no-any-return]
        except RuntimeError:  # neither beside this file nor in the user's own directories
            return numba.njit(loop, **how)  # type: ignore[no-any-return]

    return compile_one(_in_row), compile_one(_between)


def _in_row(
    given: NDArray[np.float64],
    out: NDArray[np.float64],
    low: int,
    high: int,
    diagonal: NDArray[np.float64],
    begin_a: NDArray[np.int32],
    index_a: NDArray[np.int32],
    value_a: NDArray[np.float64],
    begin_b: NDArray[np.int32],
    index_b: NDArray[np.int32],
    value_b: NDArray[np.float64],
    begin: NDArray[np.int64],
    source: NDArray[np.int64],
    pair: NDArray[np.int64],
    sign: NDArray[np.float64],
    seen: NDArray[np.float64],
) -> None:
    """Rows low to high of what moves electrons of one spin only, the other spin's electrons standing by."""
    columns = given.shape[1]
    tile = 16  # rows that move side by side through the matrix of the beta strings
    beside = np.zeros(columns * tile)
    standing = np.zeros(len(seen) * tile)
    total = np.empty(tile)
    for top in range(low, high, tile):
        height = min(tile, high - top)
        for b in range(columns):
            for j in range(height):
                beside[b * tile + j] = given[top + j, b]
        for move in range(len(seen)):
            for j in range(height):
                standing[move * tile + j] = seen[move, top + j]
        for b in range(columns):
            for j in range(tile):
                total[j] = 0.0
            for k in range(begin_b[b], begin_b[b + 1]):
                value, at = value_b[k], index_b[k] * tile
                for j in range(tile):
                    total[j] += value * beside[at + j]
            for k in range(begin[b], begin[b + 1]):
                value, at, move = sign[k], source[k] * tile, pair[k]
                for j in range(tile):
                    total[j] += value * standing[move * tile + j] * beside[at + j]
            for j in range(height):
                out[top + j, b] = total[j] + diagonal[top + j, b] * given[top + j, b]
    for left in range(0, columns, 128):  # few enough columns that all rows of them stay in the processor's cache
        right = min(columns, left + 128)
        for row in range(low, high):
            for k in range(begin_a[row], begin_a[row + 1]):
                value, other = value_a[k], index_a[k]
                for b in range(left, right):
                    out[row, b] += value * given[other, b]


def _between(
    given: NDArray[np.float64],
    out: NDArray[np.float64],
    low: int,
    high: int,
    list_begin: NDArray[np.int64],
    list_target: NDArray[np.int64],
    list_source: NDArray[np.int64],
    list_sign: NDArray[np.float64],
    begin: NDArray[np.int64],
    source: NDArray[np.int64],
    pair: NDArray[np.int64],
    sign: NDArray[np.float64],
    moves: NDArray[np.float64],
    seen: NDArray[np.float64],
) -> None:
    """Adds to columns low to high, in the rows of one list of alpha moves, what a beta electron does to each of them.

    For one pair of orbitals at a time, the rows that its moves start from are laid side by side: the beta moves then
    multiply whole stretches of numbers.
    """
    widest = 0
    for move in range(len(list_begin) - 1):
        widest = max(widest, list_begin[move + 1] - list_begin[move])
    columns = given.shape[1]
    beside = np.empty(columns * widest)
    total = np.empty(widest)
    for move in range(len(list_begin) - 1):
        first = list_begin[move]
        width = list_begin[move + 1] - first
        if width == 0:
            continue
        for b in range(columns):
            for j in range(width):
                beside[b * width + j] = list_sign[first + j] * given[list_source[first + j], b]
        for b in range(low, high):
            value = seen[move, b]
            at = b * width
            for j in range(width):
                total[j] = value * beside[at + j]
            for k in range(begin[b], begin[b + 1]):
                value = moves[move, pair[k]] * sign[k]
                if value != 0.0:
                    at = source[k] * width
                    for j in range(width):
                        total[j] += value * beside[at + j]
            for j in range(width):
                out[list_target[first + j], b] += total[j]
