"""Differential evolution, one generation at a time: pure functions of a population, its energies and random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

SMALLEST = 4  # a member, and three others that make its challenger


@dataclass(frozen=True)
class Evolution:
    """How challengers are made, in the usual words.

    Example:
        bold = Evolution(strategy="rand1bin", weight=0.9, reach=1.0)
        optimize_circuit(molecule, seed=24, generations=2, population=4, shots=50, samples_per_batch=10, evolution=bold)
    """

    strategy: Literal["best1bin", "rand1bin"] = "best1bin"
    weight: float = 0.6  # of the difference of two members
    crossover: float = 0.8  # share of the parameters that come from it
    spread: float = 0.05  # standard deviation of the starting population about its first member
    reach: float = 0.5  # parameters stay this near to those of the first member

    def first(self, start: Array, size: int, rng: np.random.Generator) -> Array:
        """The starting population: `start` itself, and others around it."""
        others = start + self.spread * rng.standard_normal((size - 1, len(start)))
        return np.vstack([start, np.clip(others, start - self.reach, start + self.reach)])

    def next_generation(self, population: Array, energies: Array, rng: np.random.Generator, *, start: Array) -> Array:
        """A challenger for each member. Energies are infinite where a member has none: it is then never the best."""
        size, width = population.shape
        best = population[int(np.argmin(energies))]
        trials = np.empty_like(population)
        for place in range(size):
            others = np.delete(np.arange(size), place)
            first, second, third = population[rng.choice(others, 3, replace=False)]
            base = best if self.strategy == "best1bin" else third
            mutant = base + self.weight * (first - second)
            chosen = np.asarray(rng.random(width) < self.crossover)
            chosen[rng.integers(width)] = True
            trials[place] = np.where(chosen, mutant, population[place])
        low, high = start - self.reach, start + self.reach
        trials = np.where(trials < low, (low + population) / 2, trials)  # halfway from where it was to the bound
        return np.where(trials > high, (high + population) / 2, trials)


def select(population: Array, energies: Array, trials: Array, found: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The better of each member and its challenger, their energies, and which challengers won.

    The energy of a challenger that has none is infinite or no number, and never wins. Any energy wins against none.
    """
    with np.errstate(invalid="ignore"):
        accepted = np.isfinite(found) & (found <= energies)
    return np.where(accepted[:, None], trials, population), np.where(accepted, found, energies), accepted
