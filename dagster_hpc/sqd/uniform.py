"""Random bitstrings: what SQD makes of no information at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.sources import UniformSource


def uniform(
    source: UniformSource, norb: int, nelec: tuple[int, int], shots: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """So many rows, beta in the left half and alpha in the right one."""
    if not source.right_particle_number:
        return rng.integers(2, size=(shots, 2 * norb), dtype=bool)
    halves = []
    for electrons in (nelec[1], nelec[0]):  # beta is the left half
        half = np.zeros((shots, norb), dtype=bool)
        np.put_along_axis(half, rng.random((shots, norb)).argsort(axis=1)[:, :electrons], True, axis=1)
        halves.append(half)
    return np.hstack(halves)
