"""Sectors that the Hamiltonian does not connect: found from the integrals, and searched each, at the price of one search."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from dagster_hpc.diagonalization import problem, solve_product
from dagster_hpc.diagonalization.davidson import lowest_states
from dagster_hpc.diagonalization.stored_matrix import MatrixOperator
from dagster_hpc.diagonalization.symmetry import MOST, NOISE, Symmetry, largest_difference
from dagster_hpc.electrons.fcidump import integrals_of
from dagster_hpc.electrons.hamiltonian import hamiltonian_matrix
from dagster_hpc.electrons.integrals import Integrals
from dagster_hpc.electrons.space import DeterminantSpace


@pytest.fixture(autouse=True)
def never_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem, "STORED", 0.0)
    monkeypatch.setattr(problem, "DENSE", 0)


def occupations(strings: list[int], norb: int) -> np.ndarray:
    return np.array([[bool(string >> p & 1) for p in range(norb)] for string in strings])


def with_parities(norb: int, parities: list[int], seed: int, forbidden: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Integrals by chance; those that the orbitals' parities (bits of a number) forbid are at most so large."""
    rng = np.random.default_rng(seed)
    one, two = rng.standard_normal((norb,) * 2), rng.standard_normal((norb,) * 4)
    one = one + one.T + np.diag(np.arange(norb))
    for axes in ((1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)):
        two = (two + two.transpose(axes)) / 2
    label = np.array(parities)
    pair = label[:, None] ^ label
    one[pair != 0] *= forbidden / np.abs(one).max()
    two[pair[:, :, None, None] != pair] *= forbidden / np.abs(two).max()
    return one, two


CASES = st.integers(4, 6).flatmap(
    lambda norb: st.tuples(
        st.just(norb),
        st.lists(st.integers(0, 7), min_size=norb, max_size=norb),
        st.tuples(*[st.integers(1, norb - 1)] * 2).flatmap(
            lambda nelec: st.tuples(
                *[
                    st.sets(
                        st.sampled_from([sum(1 << p for p in chosen) for chosen in combinations(range(norb), count)]),
                        min_size=1,
                    )
                    for count in nelec
                ]
            )
        ),
        st.integers(0, 2**32 - 1),
        st.sampled_from([0.0, 1e-13, 1e-8, 5e-6]),
        st.integers(1, 3),
    )
)


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_the_lowest_states_are_those_of_the_dense_matrix(case) -> None:  # type: ignore[no-untyped-def]
    norb, parities, strings, seed, forbidden, roots = case
    alpha, beta = map(sorted, strings)
    one_body, two_body = with_parities(norb, parities, seed, forbidden)
    integrals = integrals_of(one_body, two_body)
    space = DeterminantSpace.product(occupations(alpha, norb), occupations(beta, norb))
    matrix = hamiltonian_matrix(space, integrals).toarray()

    nelec = alpha[0].bit_count(), beta[0].bit_count()
    found = solve_product(alpha, beta, one_body, two_body, norb, nelec, nroots=roots, threads=1)

    assert found.energies == pytest.approx(np.linalg.eigvalsh(matrix)[:roots], abs=1e-9)
    assert np.abs(matrix @ found.vectors - found.vectors * found.energies).max() < 1e-6
    assert np.abs(found.vectors.T @ found.vectors - np.eye(len(found.energies))).max() < 1e-9


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_sectors_are_all_determinants_and_nothing_connects_them(case) -> None:  # type: ignore[no-untyped-def]
    norb, parities, strings, seed, forbidden, _ = case
    integrals = integrals_of(*with_parities(norb, parities, seed, forbidden))
    space = DeterminantSpace.product(*(occupations(sorted(some), norb) for some in strings))
    symmetry = Symmetry.of(integrals)

    sectors = symmetry.sectors(space)
    imposed = symmetry.imposed(integrals)

    label = np.array(parities)
    filled = space.alpha[space.index_a].astype(int), space.beta[space.index_b].astype(int)
    odd = [(spin @ (label >> bit & 1)) % 2 for bit in range(3) for spin in filled]
    made = {tuple(row) for row in np.transpose([odd[k] ^ odd[k + 1] for k in (0, 2, 4)])}
    assert len(sectors) >= len(made)  # chance may have made more
    assert sorted(np.concatenate(sectors)) == list(range(len(space)))
    matrix = hamiltonian_matrix(space, imposed).toarray()
    for one, other in combinations(sectors, 2):
        assert not matrix[np.ix_(one, other)].any()
    assert largest_difference(imposed, integrals) <= NOISE


def test_integrals_without_symmetry_make_one_sector() -> None:
    integrals = integrals_of(*with_parities(6, [0] * 6, 1))
    strings = occupations([sum(1 << p for p in chosen) for chosen in combinations(range(6), 3)], 6)

    symmetry = Symmetry.of(integrals)

    assert symmetry.labels == (0b111111,)  # the number of electrons is even or odd
    assert len(symmetry.sectors(DeterminantSpace.product(strings, strings))) == 1
    assert largest_difference(symmetry.imposed(integrals), integrals) == 0


def test_orbitals_that_nothing_connects_do_not_make_a_sector_of_each_determinant() -> None:
    alone = Integrals(0.0, np.diag(np.arange(12.0)), np.zeros((78, 78)))
    strings = occupations([1 << p for p in range(12)], 12)
    space = DeterminantSpace.product(strings, strings)

    sectors = Symmetry.of(alone).sectors(space)

    assert 1 < len(sectors) <= MOST
    assert sorted(np.concatenate(sectors)) == list(range(144))


NORB = 40


@cache
def hidden(noise: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Two electrons of opposite spin. With both among the first orbitals, or both among the others, one determinant is far
    below; with one in each, many high ones add up to a state one microhartree below that. Integrals, and its energy.
    """
    rng = np.random.default_rng(0)
    half = NORB // 2
    first, others = slice(0, half), slice(half, NORB)
    one_body = np.diag([0, 0.1, *rng.uniform(1, 4, NORB - 2)])
    within = 0.05 * rng.standard_normal((half, half))
    one_body[first, first] += within + within.T
    two_body = np.zeros((NORB,) * 4)
    two_body[first, first, others, others] = two_body[others, others, first, first] = -0.02

    def matrix() -> np.ndarray:
        single = np.eye(NORB)
        repulsion = two_body.transpose(0, 2, 1, 3).reshape(NORB**2, NORB**2)
        return np.asarray(np.kron(one_body, single) + np.kron(single, one_body) + repulsion)

    number = np.arange(NORB**2)
    odd = (number // NORB < half) ^ (number % NORB < half)
    even_lowest, odd_lowest = (np.linalg.eigvalsh(matrix()[np.ix_(some, some)])[0] for some in (~odd, odd))
    for p in range(half):
        for q in range(half, NORB):
            two_body[p, p, q, q] = two_body[q, q, p, p] = two_body[p, p, q, q] + even_lowest - odd_lowest - 1e-6
    one_body[0, -1] = one_body[-1, 0] = noise
    return one_body, two_body, float(np.linalg.eigvalsh(matrix())[0])


@pytest.mark.parametrize("noise", [0.0, 1e-9])
@pytest.mark.parametrize("seed", range(3))
def test_a_lower_state_of_another_symmetry_is_not_missed(noise: float, seed: int) -> None:
    """One search in the whole space, with a guard, ends one microhartree above it."""
    one_body, two_body, lowest = hidden(noise)
    strings = [1 << p for p in range(NORB)]

    found = solve_product(strings, strings, one_body, two_body, NORB, (1, 1), seed=seed)

    assert found.energies[0] == pytest.approx(lowest, abs=1e-9)
    assert found.residual <= 1e-7


def test_noise_is_part_of_the_answer() -> None:
    """The sectors are searched without it; the states are those of the integrals as they were given."""
    one_body, two_body = with_parities(7, [0, 0, 0, 1, 1, 1, 0], 5, forbidden=9e-6)
    strings = [sum(1 << p for p in chosen) for chosen in combinations(range(7), 3)]
    space = DeterminantSpace.product(*[occupations(strings, 7)] * 2)
    matrix = hamiltonian_matrix(space, integrals_of(one_body, two_body))

    found = solve_product(strings, strings, one_body, two_body, 7, (3, 3), nroots=2)

    assert len(Symmetry.of(integrals_of(one_body, two_body)).sectors(space)) == 2
    assert found.energies == pytest.approx(np.linalg.eigvalsh(matrix.toarray())[:2], abs=1e-10)
    assert np.linalg.norm(matrix @ found.vectors - found.vectors * found.energies, axis=0).max() <= 2e-7


def test_all_sectors_together_take_no_more_than_the_slowest_of_them_alone() -> None:
    applied: list[int] = []

    class Counted(MatrixOperator):
        def apply(self, vectors: np.ndarray) -> np.ndarray:
            applied.append(len(vectors))
            return super().apply(vectors)

    integrals = integrals_of(*with_parities(8, [0, 1, 2, 3, 4, 5, 6, 7], 3))
    weaker = replace(integrals, pair_integrals=0.1 * integrals.pair_integrals)
    strings = occupations([sum(1 << p for p in chosen) for chosen in combinations(range(8), 3)], 8)
    space = DeterminantSpace.product(strings, strings)
    matrix = hamiltonian_matrix(space, weaker)
    sectors = Symmetry.of(weaker).sectors(space)
    alone, energies = [], []
    for sector in sectors:
        own = lowest_states(Counted(matrix[sector][:, sector]), 1, tolerance=1e-7)
        energies.append(own.energies[0])
        alone.append(sum(applied))
        applied.clear()

    states = lowest_states(Counted(matrix), 1, tolerance=1e-7, sectors=sectors)

    assert len(sectors) == 8
    assert sum(applied) <= 1.2 * max(alone)  # its starts are others
    assert states.energies[0] == pytest.approx(min(energies), abs=1e-10)


def test_a_wanted_spin_is_sought_in_each_sector() -> None:
    one_body, two_body = with_parities(6, [0, 1, 0, 1, 0, 1], 2)
    strings = [sum(1 << p for p in chosen) for chosen in combinations(range(6), 3)]
    every = solve_product(strings, strings, one_body, two_body, 6, (3, 3), nroots=12)
    spins = [every.state(root).spin_square() for root in range(12)]
    triplets = [energy for energy, spin in zip(every.energies, spins, strict=True) if abs(spin - 2) < 1e-4]

    found = solve_product(strings, strings, one_body, two_body, 6, (3, 3), spin_sq=2.0, spin_shift=20.0)

    assert found.state().spin_square() == pytest.approx(2, abs=1e-6)
    assert found.energies[0] == pytest.approx(triplets[0], abs=1e-9)
