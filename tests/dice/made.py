"""Runs that never were: a random state in a work directory, written as Dice would have left it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np

from dagster_hpc.dice.files import DiceOptions, read_dice_outputs, write_dice_inputs, write_dice_outputs
from dagster_hpc.dice.result import DiceResult


def random_strings(norb: int, electrons: int, count: int, seed: int) -> list[int]:
    """Different strings, the last orbital among them."""
    source = random.Random(seed)
    found = {(1 << electrons) - 1, ((1 << electrons) - 1) << (norb - electrons)}
    while len(found) < min(count, comb(norb, electrons)):
        found.add(sum(1 << p for p in source.sample(range(norb), electrons)))
    return sorted(found)[:count]


@dataclass(frozen=True)
class Made:
    folder: Path
    norb: int
    nelec: tuple[int, int]
    alpha: list[int]
    beta: list[int]
    coefficients: np.ndarray

    def read(self, **how: object) -> DiceResult:
        return read_dice_outputs(self.folder, norb=self.norb, nelec=self.nelec, **how)  # type: ignore[arg-type]


def product(folder: Path, norb: int, nelec: tuple[int, int], count: tuple[int, int], seed: int = 1) -> Made:
    """All products of some strings, as asked for."""
    strings = [random_strings(norb, n, k, seed + s) for s, (n, k) in enumerate(zip(nelec, count, strict=True))]
    alpha = [a for a in strings[0] for _ in strings[1]]
    beta = [b for _ in strings[0] for b in strings[1]]
    write_dice_inputs(folder, *strings, norb=norb, nelec=nelec, options=DiceOptions(select_cutoff=None))
    return _finished(folder, norb, nelec, alpha, beta, seed)


def grown(folder: Path, norb: int, nelec: tuple[int, int], size: int, seed: int = 1) -> Made:
    """Some determinants that are no product, grown from one."""
    alpha, beta = (random_strings(norb, n, max(3, size // 3), seed + s) for s, n in enumerate(nelec))
    options = DiceOptions(select_cutoff=5e-4)
    write_dice_inputs(folder, alpha[:1], beta[:1], norb=norb, nelec=nelec, options=options)
    pairs = {(alpha[0], beta[0])}
    source = random.Random(seed)
    while len(pairs) < size:
        pairs.add((source.choice(alpha), source.choice(beta)))
    return _finished(folder, norb, nelec, *(list(column) for column in zip(*sorted(pairs), strict=True)), seed)


def _finished(folder: Path, norb: int, nelec: tuple[int, int], alpha: list[int], beta: list[int], seed: int) -> Made:
    values = np.random.default_rng(seed).standard_normal(len(alpha))
    values /= np.linalg.norm(values)
    write_dice_outputs(folder, -1.5, alpha, beta, values, norb, nelec)
    return Made(folder, norb, nelec, alpha, beta, values)
