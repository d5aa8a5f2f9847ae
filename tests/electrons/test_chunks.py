"""Lists of different lengths, gone through a part at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.electrons.chunks import chunks


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 40))
def test_every_entry_once_in_order_and_no_more_at_a_time_than_asked_for(lengths: list[int], most: int) -> None:
    parts = list(chunks(np.array(lengths, np.int64), most))

    found = [(int(place), int(entry)) for places, entries in parts for place, entry in zip(places, entries, strict=True)]
    assert found == [(place, entry) for place, length in enumerate(lengths) for entry in range(length)]
    for places, _ in parts:
        assert 0 < len(places) <= most or len(set(places.tolist())) == 1  # a list stays in one piece
