"""Differential evolution as pure functions: who challenges whom, and who wins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies

from dagster_hpc.sqd.closed_loop.evolution import Evolution, select

NUMBERS = strategies.one_of(strategies.floats(-1e3, 1e3), strategies.just(np.inf))


@given(
    seed=strategies.integers(0, 2**32), size=strategies.integers(4, 9), width=strategies.integers(1, 6),
    strategy=strategies.sampled_from(["best1bin", "rand1bin"]), data=strategies.data(),
)  # fmt: skip
def test_challengers_stay_in_reach(seed: int, size: int, width: int, strategy: Any, data: Any) -> None:
    evolution, rng = Evolution(strategy=strategy, weight=1.9, reach=0.3, spread=1.0), np.random.default_rng(seed)
    start = rng.standard_normal(width)
    population = evolution.first(start, size, rng)
    energies = np.array(data.draw(strategies.lists(NUMBERS, min_size=size, max_size=size)))
    assert np.array_equal(population[0], start)
    for _ in range(3):
        trials = evolution.next_generation(population, energies, rng, start=start)
        assert trials.shape == population.shape
        assert np.all(np.abs(trials - start) <= 0.3 + 1e-12)
        population = trials


def test_the_same_random_numbers_give_the_same_challengers() -> None:
    evolution, start = Evolution(), np.zeros(5)
    population = evolution.first(start, 6, np.random.default_rng(1))
    made = [
        evolution.next_generation(population, np.arange(6.0), np.random.default_rng(seed), start=start)
        for seed in (2, 2, 3)
    ]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_at_least_one_parameter_is_new_and_a_member_is_never_its_own_partner() -> None:
    evolution = replace(Evolution(reach=100.0), crossover=0.0)
    population = np.arange(12.0).reshape(4, 3)
    trials = evolution.next_generation(population, np.arange(4.0), np.random.default_rng(0), start=np.zeros(3))
    assert ((trials != population).sum(axis=1) == 1).all()


@given(strategies.lists(strategies.tuples(NUMBERS, strategies.one_of(NUMBERS, strategies.just(np.nan))), min_size=1))
def test_the_better_one_stays(pairs: list[tuple[float, float]]) -> None:
    energies, found = (np.array(column) for column in zip(*pairs, strict=True))
    population, trials = np.zeros((len(pairs), 2)), np.ones((len(pairs), 2))
    kept, left, accepted = select(population, energies, trials, found)
    for old, new, energy, won, row in zip(energies, found, left, accepted, kept, strict=True):
        assert won == (np.isfinite(new) and new <= old)
        assert energy == (new if won else old)
        assert row.tolist() == ([1, 1] if won else [0, 0])


def test_any_energy_wins_against_none() -> None:
    """A population that began with the energy 0 would never take one that is positive."""
    _, energies, accepted = select(np.zeros((1, 1)), np.array([np.inf]), np.ones((1, 1)), np.array([+5.0]))
    assert energies.tolist() == [5.0]
    assert accepted.all()


@pytest.mark.parametrize("strategy", ["best1bin", "rand1bin"])
def test_it_finds_the_minimum_of_a_parabola(strategy: Any) -> None:
    evolution, rng, start = Evolution(strategy=strategy, spread=0.5, reach=3.0), np.random.default_rng(5), np.ones(3)

    def energies_of(points: Any) -> Any:
        return ((points - np.array([0.5, 1.5, 2.0])) ** 2).sum(axis=1)

    population = evolution.first(start, 12, rng)
    energies = energies_of(population)
    for _ in range(60):
        trials = evolution.next_generation(population, energies, rng, start=start)
        population, energies, _ = select(population, energies, trials, energies_of(trials))
    assert energies.min() < 1e-3
