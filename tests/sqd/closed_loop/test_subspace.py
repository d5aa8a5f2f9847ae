"""The subspace of a trial: what is carried over, and new configurations, each once, as many as there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dagster_hpc.sqd.closed_loop.subspace import Shape, pool_of, recovered, subspace_of
from tests.sqd.closed_loop.made import integrals, strings_of_weights

pytest.importorskip("qiskit_addon_sqd")
NOTHING = (np.empty(0, np.int64), np.empty(0, np.int64))


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def pool() -> Any:
    return pool_of(strings_of_weights(np.zeros(6), 40, 3))


def test_strings_are_different_and_ascending(pool: Any) -> None:
    for strings in subspace_of(pool, NOTHING, Shape(7), integrals(), rng()):
        assert 0 < len(strings) <= 7
        assert (np.diff(strings) > 0).all()


def test_more_samples_than_there_are_is_all_of_them(pool: Any) -> None:
    whole = subspace_of(pool, NOTHING, Shape(10_000), integrals(), rng())
    powers = 1 << np.arange(6)[::-1]
    assert whole[0].tolist() == sorted({int(row[6:] @ powers) for row in pool[0]})


def test_what_is_carried_over_is_not_drawn_again(pool: Any) -> None:
    """Drawn from all, one sample would most often bring nothing new."""
    alpha, beta = subspace_of(pool, NOTHING, Shape(10_000), integrals(), rng())
    carried = alpha[:-1], beta[:-1]
    for seed in range(20):
        larger = subspace_of(pool, carried, Shape(1), integrals(), rng(seed))
        assert len(larger[0]) + len(larger[1]) > len(carried[0]) + len(carried[1])
        assert set(carried[0]) <= set(larger[0])


def test_nothing_new_is_what_was_carried_over(pool: Any) -> None:
    everything = subspace_of(pool, NOTHING, Shape(10_000), integrals(), rng())
    again = subspace_of(pool, everything, Shape(5), integrals(), rng())
    assert [part.tolist() for part in again] == [part.tolist() for part in everything]


def test_half_of_a_limited_subspace_is_for_new_strings(pool: Any) -> None:
    everything = subspace_of(pool, NOTHING, Shape(10_000), integrals(), rng())
    alpha, beta = subspace_of(pool, (everything[0][::-1], everything[1][::-1]), Shape(100, 6), integrals(), rng())
    assert len(alpha) == len(beta) == 6
    assert {int(one) for one in everything[0][-3:]} <= {int(one) for one in alpha}


def test_one_list_for_both_spins(pool: Any) -> None:
    alpha, beta = subspace_of(pool, NOTHING, Shape(3, symmetrize_spin=True), integrals(), rng())
    assert alpha.tolist() == beta.tolist()


def test_recovery_makes_the_electrons_right_and_follows_its_random_numbers() -> None:
    noise = pool_of(rng().integers(2, size=(60, 12), dtype=bool))
    occupancies = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1]), np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    rows, probabilities = recovered(noise, occupancies, integrals(), rng(1))
    assert (rows[:, 6:].sum(axis=1) == 3).all()
    assert (rows[:, :6].sum(axis=1) == 3).all()
    assert probabilities.sum() == pytest.approx(1)
    assert np.array_equal(recovered(noise, occupancies, integrals(), rng(1))[0], rows)
    assert not np.array_equal(recovered(noise, occupancies, integrals(), rng(2))[0], rows)
    chosen, _ = recovered(noise, None, integrals(), rng(1))
    assert 0 < len(chosen) < len(noise[0])
