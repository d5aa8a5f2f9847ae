"""One seed, and a stream of random numbers for each of its uses: none of them moves when another one draws more."""

from __future__ import annotations

import numpy as np

SAMPLING, NOISE = range(2)


def stream(seed: int | np.random.SeedSequence, use: int) -> np.random.Generator:
    """The random numbers of one use. Unlike spawning, asking twice gives the same."""
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.default_rng(np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, use)))
