"""dets.bin: the determinants of the answer, one character per orbital, with their coefficients.

    int32 number of determinants, int32 number of orbitals, then for each determinant
    float64 coefficient and per orbital one of "0" (empty), "a", "b" or "2" (both)

All little endian, largest coefficient first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from dagster_hpc.electrons.determinants import bits_of, width_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.electrons.determinants import Words

HEADER_BYTES = 8
_CHUNK_BYTES = 1 << 18  # of characters: small enough for the processor's second cache
_CHARACTERS = np.frombuffer(b"0ab2", np.uint8)


def _every(byte: int) -> np.uint64:
    word: np.uint64 = np.uint64(byte * 0x0101010101010101)
    return word


@dataclass(frozen=True)
class Determinants:
    """dets.bin as it is, decoded but not judged. Strings are spread (see `spread`)."""

    coefficients: NDArray[np.float64]
    alpha: Words
    beta: Words
    stray: int  # the first determinant with a character that is none of the four, -1 if there is no such


def read_header(file: BinaryIO) -> tuple[int, int]:
    """(number of determinants, number of orbitals); zeros where the file is too short for it."""
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return 0, 0
    count, norb = np.frombuffer(header, "<i4")
    return int(count), int(norb)


def size_of(count: int, norb: int) -> int:
    """The exact size of a file."""
    return HEADER_BYTES + count * (8 + norb)


def read_determinants(file: BinaryIO, count: int, norb: int) -> Determinants:
    """What follows the header, in pieces that stay in the cache: the file is never in memory as a whole."""
    record, width = 8 + norb, width_of(norb)
    coefficients = np.empty(count)
    alpha, beta = np.empty((count, width), np.uint64), np.empty((count, width), np.uint64)
    step = max(1024, _CHUNK_BYTES // record)
    buffer = np.empty(min(step, max(count, 1)) * record, np.uint8)
    decoder = _Decoder(norb, min(step, max(count, 1)))
    stray = -1
    for begin in range(0, count, step):
        end = min(begin + step, count)
        piece = buffer[: (end - begin) * record]
        if file.readinto(piece.data) != len(piece):  # type: ignore[attr-defined]
            raise EOFError(f"dets.bin ends within determinant {begin} to {end}")
        coefficients[begin:end] = np.ndarray(end - begin, "<f8", piece, 0, (record,))
        where = decoder.decode(piece, alpha[begin:end], beta[begin:end])
        if where >= 0 and stray < 0:
            stray = begin + where
    return Determinants(coefficients, alpha, beta, stray)


class _Decoder:
    """Eight characters at a time, as one word.

    Bit 1 of a character says that beta is there, bit 6 that exactly one spin is; alpha is therefore the exclusive or of
    both. The other bits follow from these two, which is how a character that is none of the four is found.
    """

    def __init__(self, norb: int, longest: int) -> None:
        self.norb, self.lanes = norb, -(-norb // 8)
        self._x, self._beta, self._single, self._other = np.empty((4, self.lanes, longest), np.uint64)
        self._columns = (np.arange(self.lanes, dtype=np.uint64) % np.uint64(8))[:, None]

    def decode(self, raw: NDArray[np.uint8], alpha: Words, beta: Words) -> int:
        """Fill both from the records. The first record with a wrong character, or -1."""
        record, count = 8 + self.norb, len(alpha)
        x, b, s, t = (array[:, :count] for array in (self._x, self._beta, self._single, self._other))
        whole, rest = divmod(self.norb, 8)
        x[:whole] = np.ndarray((whole, count), "<u8", raw, 8, (8, record))
        if rest:  # the last eight bytes of the record, shifted so that "0" stands for orbitals that there are not
            x[whole] = np.ndarray(count, "<u8", raw, record - 8, (record,))
            x[whole] >>= np.uint64(8 * (8 - rest))
            x[whole] |= _every(ord("0")) << np.uint64(8 * rest)
        np.right_shift(x, np.uint64(1), out=b)
        b &= _every(1)
        np.right_shift(x, np.uint64(6), out=s)
        s &= _every(1)
        np.bitwise_and(b, s, out=t)  # the character is "0" + 2 beta + 49 single - beta·single
        x += t
        x -= _every(ord("0"))
        np.multiply(s, np.uint64(49), out=t)
        x -= t
        np.add(b, b, out=t)
        wrong = x != t
        b <<= self._columns
        s <<= self._columns
        for word in range(alpha.shape[1]):
            lanes = slice(8 * word, 8 * word + 8)
            np.bitwise_or.reduce(b[lanes], axis=0, out=beta[:, word])
            np.bitwise_or.reduce(s[lanes], axis=0, out=alpha[:, word])
        alpha ^= beta
        return int(wrong.any(axis=0).argmax()) if wrong.any() else -1


def spread(words: Words) -> Words:
    """Between orbital order and the order in which the decoder leaves the bits (8·i + k for 8·k + i). Its own inverse."""
    x = words
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
        by = np.uint64(shift)
        t = (x ^ (x >> by)) & np.uint64(mask)
        x = x ^ t ^ (t << by)
    return x


def write_determinants(path: Path, alpha: Words, beta: Words, coefficients: NDArray[np.float64], norb: int) -> None:
    """dets.bin, sorted as Dice sorts it: by the size of the coefficient."""
    order = np.argsort(-np.abs(coefficients), kind="stable")
    record: Any = np.dtype([("coefficient", "<f8"), ("orbitals", "u1", (norb,))])
    with path.open("wb") as file:
        file.write(np.array([len(order), norb], "<i4").tobytes())
        for begin in range(0, len(order), 1 << 14):
            chosen = order[begin : begin + (1 << 14)]
            rows = np.empty(len(chosen), record)
            rows["coefficient"] = coefficients[chosen]
            rows["orbitals"] = _CHARACTERS[bits_of(alpha[chosen], norb) + 2 * bits_of(beta[chosen], norb)]
            file.write(rows.tobytes())
