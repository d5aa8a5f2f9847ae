"""The correction is the sum that its formula says, and leads to full CI."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dagster_hpc.electrons.determinants import words_of
from dagster_hpc.electrons.fcidump import integrals_of
from dagster_hpc.electrons.hamiltonian import hamiltonian_matrix
from dagster_hpc.electrons.integrals import Integrals
from dagster_hpc.electrons.perturbation import Correction, epstein_nesbet, extrapolate
from dagster_hpc.electrons.space import DeterminantSpace
from dagster_hpc.electrons.state import SparseState
from dagster_hpc.engine.errors import ConfigurationError
from tests.dice.made import random_strings


def random_integrals(norb: int, core: float = 0.7) -> Integrals:
    rng = np.random.default_rng(norb)
    h = rng.standard_normal((norb, norb)) + np.diag(np.arange(norb) * 2.0)
    four = rng.standard_normal((norb,) * 4) * 0.1
    for axes in ((1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)):
        four = (four + four.transpose(axes)) / 2
    return integrals_of((h + h.T) / 2, four, core)


def whole_space(norb: int, nelec: tuple[int, int]) -> DeterminantSpace:
    strings = [np.array(random_strings(norb, count, 10**6, 1)) for count in nelec]
    alpha, beta = ((one[:, None] >> np.arange(norb) & 1).astype(bool) for one in strings)
    return DeterminantSpace.product(alpha, beta)


class Problem:
    """All of H, and the lowest state among some determinants."""

    def __init__(self, norb: int, nelec: tuple[int, int], size: int, integrals: Integrals | None = None) -> None:
        self.integrals = integrals or random_integrals(norb)
        self.space = whole_space(norb, nelec)
        self.matrix: Any = hamiltonian_matrix(self.space, self.integrals).toarray()
        self.inside = np.argsort(self.matrix.diagonal(), kind="stable")[:size]
        values, vectors = np.linalg.eigh(self.matrix[np.ix_(self.inside, self.inside)])
        self.energy, self.vector = float(values[0]) + self.integrals.core_energy, vectors[:, 0]
        powers = [1 << p for p in range(norb)]
        strings = (
            words_of([int(row @ powers) for row in part], norb)[index[self.inside]]
            for part, index in ((self.space.alpha, self.space.index_a), (self.space.beta, self.space.index_b))
        )
        self.state = SparseState.of(*strings, self.vector, norb)

    def by_the_formula(self, cutoff: float) -> Correction:
        outside = np.setdiff1d(np.arange(len(self.space)), self.inside)
        contributions = self.matrix[np.ix_(outside, self.inside)] * self.vector
        contributions[np.abs(contributions) <= cutoff] = 0
        sums = contributions.sum(axis=1)
        gap = self.energy - self.integrals.core_energy - self.matrix.diagonal()[outside]
        return Correction(float(np.sum(sums**2 / gap)), int(np.count_nonzero((contributions != 0).any(axis=1))))


@pytest.mark.parametrize(
    ("norb", "nelec", "size"), [(5, (3, 2), 30), (5, (2, 2), 1), (6, (3, 3), 60), (5, (0, 3), 4), (4, (4, 1), 2)]
)
@pytest.mark.parametrize("cutoff", [0.0, 1e-3, 0.05])
def test_it_is_the_sum_over_all_connected_determinants(
    norb: int, nelec: tuple[int, int], size: int, cutoff: float
) -> None:
    problem = Problem(norb, nelec, size)
    expected = problem.by_the_formula(cutoff)
    found = epstein_nesbet(problem.state, problem.energy, problem.integrals, cutoff=cutoff)
    assert found.energy == pytest.approx(expected.energy, abs=1e-12)
    assert found.determinants == expected.determinants


def test_a_state_that_is_no_ground_state_is_named() -> None:
    problem = Problem(5, (2, 2), 30)
    lowest = problem.matrix.diagonal().argmin()
    high = SparseState.of(problem.state.alpha[-1:], problem.state.beta[-1:], np.ones(1), 5)
    energy = float(problem.matrix.diagonal()[lowest]) + problem.integrals.core_energy + 5.0
    with pytest.warns(UserWarning, match="determinants outside of the state lie below its energy"):
        epstein_nesbet(high, energy, problem.integrals)


@pytest.mark.parametrize("most", [10, 30, 100])
def test_little_memory_changes_nothing(most: int) -> None:
    problem = Problem(6, (3, 3), 60)
    whole = epstein_nesbet(problem.state, problem.energy, problem.integrals)
    parts = epstein_nesbet(problem.state, problem.energy, problem.integrals, most=most)
    assert parts.determinants == whole.determinants > most
    assert parts.energy == pytest.approx(whole.energy, abs=1e-13)


@pytest.mark.parametrize("norb", [33, 65])
def test_determinants_of_many_orbitals(norb: int) -> None:
    """Four orbitals among many that nothing connects them with."""
    small = Problem(4, (2, 2), 12, random_integrals(4))
    place = np.array([0, 5, norb - 2, norb - 1])
    h, rows = np.diag(np.full(norb, 50.0)), np.tril_indices(4)
    h[np.ix_(place, place)] = small.integrals.one_body
    kept = place[rows[0]] * (place[rows[0]] + 1) // 2 + place[rows[1]]
    pairs = np.zeros((norb * (norb + 1) // 2,) * 2)
    pairs[np.ix_(kept, kept)] = small.integrals.pair_integrals
    wide = integrals_of(h, pairs, small.integrals.core_energy)

    def moved(words: Any) -> Any:
        return words_of([sum(1 << int(place[p]) for p in range(4) if int(one) >> p & 1) for one in words[:, 0]], norb)

    state = small.state
    same = SparseState.of(moved(state.alpha)[state.index_a], moved(state.beta)[state.index_b], state.coefficients, norb)
    expected = epstein_nesbet(state, small.energy, small.integrals)
    found = epstein_nesbet(same, small.energy, wide)
    assert found.determinants == expected.determinants
    assert found.energy == pytest.approx(expected.energy, abs=1e-12)


def nitrogen() -> Integrals:
    from dagster_hpc.sqd import Molecule

    h, eri, core, *_ = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", active_space=(6, 6)).integrals()
    return integrals_of(h, eri, core)


def test_both_lead_to_full_ci() -> None:
    pytest.importorskip("pyscf")
    integrals = nitrogen()
    sizes = (20, 40, 80)
    problems = [Problem(6, (3, 3), size, integrals) for size in sizes]
    exact = float(np.linalg.eigvalsh(problems[0].matrix)[0]) + integrals.core_energy
    found = [epstein_nesbet(one.state, one.energy, integrals).energy for one in problems]
    for problem, energy in zip(problems, found, strict=True):
        assert energy < 0
        assert abs(problem.energy + energy - exact) < abs(problem.energy - exact)
    end = extrapolate([one.energy for one in problems], found)
    assert abs(end.energy - exact) < abs(problems[-1].energy - exact)
    assert end.slope < 0


def test_a_line_ends_where_it_should() -> None:
    x = np.array([-0.3, -0.2, -0.1])
    end = extrapolate(-7.0 - 1.2 * x, x)
    assert end.energy == pytest.approx(-7.0)
    assert end.slope == pytest.approx(-1.2)
    assert end.error == pytest.approx(abs(-7.0 - (-7.0 + 0.02)) / 5)
    two = extrapolate([-1.0, -1.1], [-0.2, -0.1])
    assert two.energy == pytest.approx(-1.2)
    assert two.error == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("energies", "corrections"), [([1.0], [0.1]), ([1.0, 2.0], [0.1, 0.1]), ([1.0, 2.0], [0.1])])
def test_no_line_through_one_point(energies: list[float], corrections: list[float]) -> None:
    with pytest.raises(ConfigurationError, match="two different corrections"):
        extrapolate(energies, corrections)
