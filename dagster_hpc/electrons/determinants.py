"""Occupation strings of up to 128 orbitals: as integers for people, as words of 64 bits for arithmetic, as bytes for Dice.

A list of n strings is an array of shape (n, width): column 0 holds orbitals 0 to 63, column 1, if any, orbitals 64 to 127.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words: TypeAlias = NDArray[np.uint64]

MAX_ORBITALS = 128  # what Dice's 16 bytes per string hold
STRING_BYTES = 16
_CHUNK = 1 << 15
_LOW = (1 << 64) - 1
_ONE = np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)


def width_of(norb: int) -> int:
    """Words per string."""
    if not 1 <= norb <= MAX_ORBITALS:
        raise ConfigurationError(f"norb is {norb}; Dice's string files hold 1 to {MAX_ORBITALS} orbitals.")
    return 1 if norb <= 64 else 2


def words_of(strings: Iterable[int] | NDArray[Any], norb: int, label: str = "string") -> Words:
    """Strings given as a list or array of integers of any kind. One outside of the orbitals is an error that names it."""
    width = width_of(norb)
    array: Any = strings if isinstance(strings, np.ndarray) else _integers(list(strings), label)
    if array.ndim != 1:
        raise ConfigurationError(f"{label}s must be one list of integers, not an array of shape {array.shape}")
    if array.dtype.kind == "O":
        numbers = [_integer(value, label) for value in array]
        wrong = next((value for value in numbers if value < 0 or value >> norb), None)
        if wrong is not None:
            raise ConfigurationError(f"{label} {wrong} has a bit outside of the {norb} orbitals")
        columns = [[(value >> 64 * column) & _LOW for value in numbers] for column in range(width)]
        return np.ascontiguousarray(np.array(columns, np.uint64).T)
    if array.dtype.kind not in "iu":
        raise ConfigurationError(f"{label}s must be integers, not {array.dtype}")
    if array.dtype.kind == "i" and len(array) and array.min() < 0:
        raise ConfigurationError(f"{label} {array.min()} is negative")
    low: Words = np.ascontiguousarray(array).astype(np.uint64, copy=False)[:, None]
    if width == 1:
        require_range(low, norb, label)
        return low
    return np.hstack([low, np.zeros_like(low)])


def _integers(values: list[Any], label: str) -> NDArray[Any]:
    numbers = [_integer(value, label) for value in values]
    fits = all(-(1 << 63) <= value < 1 << 63 for value in numbers)
    return np.array(numbers, np.int64 if fits else object)


def _integer(value: Any, label: str) -> int:
    try:
        return index(value)
    except TypeError:
        raise ConfigurationError(f"{label}s must be integers, not {value!r}") from None


def integers_of(words: Words, norb: int) -> NDArray[Any]:
    """Strings as qiskit-addon-sqd writes them: int64 below 64 orbitals, Python integers from there on."""
    if norb < 64:
        return words[:, 0].astype(np.int64)
    numbers = words[:, 0].astype(object)
    for column in range(1, words.shape[1]):
        numbers = numbers + (words[:, column].astype(object) << 64 * column)
    return numbers


def popcounts(words: Words) -> NDArray[np.uint8]:
    """Electrons in each string."""
    if hasattr(np, "bitwise_count"):
        counts = np.bitwise_count(words)
        return np.asarray(counts[:, 0] if words.shape[1] == 1 else counts[:, 0] + counts[:, 1])
    bits = np.unpackbits(words.view(np.uint8).reshape(len(words), -1), axis=1)
    return np.asarray(bits.sum(axis=1, dtype=np.uint8))


def require_range(words: Words, norb: int, label: str) -> None:
    """No bit outside of the orbitals."""
    spare = 64 * words.shape[1] - norb
    if not spare or not len(words):
        return
    top = words[:, -1]
    if int(top.max()) >> (64 - spare):
        wrong = words[int(top.argmax())][None]
        raise ConfigurationError(f"{label} {_number(wrong[0])} has a bit outside of the {norb} orbitals")


def require_electrons(words: Words, electrons: int, label: str) -> None:
    """As many electrons in every string: Dice takes the number from the first one and gives up at any other."""
    counts = popcounts(words)
    wrong = counts != electrons
    if wrong.any():
        first = int(wrong.argmax())
        raise ConfigurationError(
            f"{label} {_number(words[first])} has {counts[first]} electrons instead of {electrons}"
            + (f", and so have {wrong.sum() - 1} more of {len(words)}" if wrong.sum() > 1 else "")
        )


def _number(word: NDArray[np.uint64]) -> int:
    return sum(int(part) << 64 * column for column, part in enumerate(word))


def sorted_unique(words: Words) -> Words:
    """Each string once, ascending. Dice keeps duplicates and then answers with an energy that is too low."""
    if is_sorted_unique(words):
        return words
    if words.shape[1] == 1:
        return _without_repeats(np.sort(words, axis=0))
    # Sorting by one number that most often tells two strings apart is faster, and leaves few for the exact order.
    likely = _without_repeats(words[np.argsort(words[:, 0] * _MIX + words[:, 1])])
    return _without_repeats(likely[np.lexsort(likely.T)])


def _without_repeats(ordered: Words) -> Words:
    keep = np.ones(len(ordered), bool)
    keep[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[keep]


def is_sorted_unique(words: Words) -> bool:
    if words.shape[1] == 1:
        column = words[:, 0]
        return bool((column[1:] > column[:-1]).all())
    low, high = words[:, 0], words[:, 1]
    return bool(((high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))).all())


def bits_of(words: Words, norb: int) -> NDArray[np.uint8]:
    """0 or 1 for each string and orbital."""
    return np.unpackbits(words.astype("<u8").view(np.uint8), axis=1, bitorder="little")[:, :norb]


def encoded_chunks(words: Words) -> Iterator[NDArray[Any]]:
    """The bytes of AlphaDets.bin in pieces that stay in the processor's cache: 16 per string, the highest bit first."""
    buffer = np.zeros((min(len(words), _CHUNK), 2), ">u8")
    for begin in range(0, len(words), _CHUNK):
        piece = words[begin : begin + _CHUNK]
        out = buffer[: len(piece)]
        for column in range(words.shape[1]):
            out[:, 1 - column] = piece[:, column]
        yield out


def encode(words: Words) -> bytes:
    """The contents of AlphaDets.bin or BetaDets.bin, in the order given."""
    return b"".join(piece.tobytes() for piece in encoded_chunks(words))


def decode(data: bytes, norb: int) -> Words:
    """The strings of AlphaDets.bin or BetaDets.bin, in the order of the file."""
    pairs = np.frombuffer(data, ">u8").reshape(-1, 2)
    words = np.empty((len(pairs), width_of(norb)), np.uint64)
    for column in range(words.shape[1]):
        words[:, column] = pairs[:, 1 - column]
    if words.shape[1] == 1 and pairs[:, 0].any():
        raise ConfigurationError(f"a string has a bit outside of the {norb} orbitals")
    require_range(words, norb, "string")
    return words


class StringTable:
    """Where each of a list of distinct strings stands in it: a few passes over the queries, whatever their order.

    A hash table filled all at once. Strings that lose their slot to another go into a smaller table behind it.
    """

    def __init__(self, words: Words) -> None:
        self.words = words
        self._levels: list[tuple[tuple[np.uint64, np.uint64], np.uint64, NDArray[np.int32]]] = []
        left = np.arange(len(words), dtype=np.int32)
        random = np.random.default_rng(1)
        while len(left):
            odd = random.integers(1 << 32, 1 << 63, 2, dtype=np.uint64) << _ONE | _ONE
            bits = max(6, int(8 * len(left) - 1).bit_length())
            level = (odd[0], odd[1]), np.uint64(64 - bits), np.zeros(1 << bits, np.int32)
            slots = self._slots(words[left], level[0], level[1])
            level[2][slots] = left
            left = left[level[2][slots] != left]
            self._levels.append(level)

    def find(self, queries: Words) -> NDArray[np.int32]:
        """The place of each query, -1 for one that is not in the list."""
        places = np.empty(len(queries), np.int32)
        for begin in range(0, len(queries), _CHUNK):
            piece = queries[begin : begin + _CHUNK]
            places[begin : begin + _CHUNK] = self._find(piece, 0)
        return places

    def _find(self, queries: Words, depth: int) -> NDArray[np.int32]:
        if depth == len(self._levels):
            return np.full(len(queries), -1, np.int32)
        odd, shift, table = self._levels[depth]
        places = table[self._slots(queries, odd, shift)]
        found = self.words[places, 0] == queries[:, 0]
        if queries.shape[1] == 2:
            found &= self.words[places, 1] == queries[:, 1]
        if not found.all():
            missed = np.flatnonzero(~found)
            places[missed] = self._find(queries[missed], depth + 1)
        return places

    @staticmethod
    def _slots(words: Words, odd: tuple[np.uint64, np.uint64], shift: np.uint64) -> NDArray[np.int64]:
        mixed = words[:, 0] * odd[0]
        if words.shape[1] == 2:
            mixed += words[:, 1] * odd[1]
        return (mixed >> shift).view(np.int64)
