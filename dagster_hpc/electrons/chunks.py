"""Lists of different lengths gone through together, a part at a time, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def chunks(lengths: NDArray[np.integer[Any]], most: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Every entry of every list, as the place of its list and its place there: some `most` at a time, lists in one piece.

    Example:
        chunks(np.array([2, 0, 1]), 100)    # one chunk: places [0, 0, 2], entries [0, 1, 0]
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    low = 0
    while low < len(lengths):
        done = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, done + most, side="right")))
        length = lengths[low:high]
        place = np.repeat(np.arange(low, high), length)
        if len(place):
            yield place, np.arange(len(place)) - np.repeat(ends[low:high] - length - done, length)
        low = high
