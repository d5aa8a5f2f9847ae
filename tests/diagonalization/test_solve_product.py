"""The embedded solver as a function: energies against another code, each form of H, threads, spin, several roots."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("pyscf")

from pyscf import ao2mo, gto, scf

from dagster_hpc.diagonalization import problem, solve_product
from dagster_hpc.diagonalization.davidson import EigenError, States
from dagster_hpc.diagonalization.kernel import CompiledProduct
from dagster_hpc.diagonalization.product import ProductHamiltonian
from dagster_hpc.diagonalization.solution import Solution
from dagster_hpc.diagonalization.spin import Penalty, SpinWish
from dagster_hpc.diagonalization.threads import threads_allowed
from dagster_hpc.electrons.fcidump import integrals_of
from dagster_hpc.electrons.hamiltonian import hamiltonian_matrix
from dagster_hpc.electrons.selection import grown
from dagster_hpc.electrons.space import DeterminantSpace
from dagster_hpc.engine.errors import ConfigurationError
from tests.diagonalization import slater_condon

WATER = "O 0 0 0.1173; H 0 0.7572 -0.4692; H 0 -0.7572 -0.4692"
SQUARE = "H 0 0 0; H 0 1.3 0; H 1.3 0 0; H 1.3 1.3 0"


@dataclass(frozen=True)
class Case:
    one_body: np.ndarray
    two_body: np.ndarray
    nelec: tuple[int, int]

    @property
    def norb(self) -> int:
        return len(self.one_body)

    def strings(self, counts: tuple[int | None, int | None]) -> tuple[list[int], list[int]]:
        """The strings of least orbital energy, or all."""
        kept = []
        for electrons in self.nelec:
            every = [sum(1 << p for p in chosen) for chosen in combinations(range(self.norb), electrons)]
            kept.append(sorted(every, key=lambda string: (sum(p * (string >> p & 1) for p in range(200)), string)))
        return kept[0][: counts[0]], kept[1][: counts[1]]

    def solve(self, counts: tuple[int | None, int | None], **how: object):  # type: ignore[no-untyped-def]
        return solve_product(*self.strings(counts), self.one_body, self.two_body, self.norb, self.nelec, **how)

    def reference(self, counts: tuple[int | None, int | None], roots: int = 1) -> np.ndarray:
        matrix = slater_condon.matrix(*self.strings(counts), self.one_body, self.two_body, self.norb)
        return slater_condon.lowest(matrix, roots)

    def space(self, counts: tuple[int | None, int | None]) -> DeterminantSpace:
        return DeterminantSpace.product(
            *[
                np.array([[bool(string >> p & 1) for p in range(self.norb)] for string in strings]).reshape(
                    -1, self.norb
                )
                for strings in self.strings(counts)
            ]
        )

    def among(self, norb: int, first: int) -> Case:
        """The same orbitals from place `first` on, among others that nothing leads to."""
        one_body, two_body = np.zeros((norb,) * 2), np.zeros((norb,) * 4)
        place = np.arange(first, first + self.norb)
        one_body[np.ix_(place, place)] = self.one_body
        two_body[np.ix_(place, place, place, place)] = self.two_body
        return Case(one_body, two_body, self.nelec)


@lru_cache
def molecule(
    atoms: str, basis: str, nelec: tuple[int, int], frozen: int = 0, spin: int = 0, norb: int | None = None
) -> Case:
    mol = gto.M(atom=atoms, basis=basis, spin=spin, verbose=0)
    field = scf.ROHF(mol).run() if spin else scf.RHF(mol).run()
    orbitals = field.mo_coeff[:, frozen : None if norb is None else frozen + norb]
    core = field.mo_coeff[:, :frozen]
    density = 2 * core @ core.T
    coulomb, exchange = field.get_jk(mol, density)
    one_body = orbitals.T @ (field.get_hcore() + coulomb - exchange / 2) @ orbitals
    return Case(one_body, ao2mo.restore(1, ao2mo.kernel(mol, orbitals), orbitals.shape[1]), nelec)


N2 = ("N 0 0 0; N 0 0 1.1", "6-31g", (5, 5), 2)
OH = ("O 0 0 0; H 0 0 0.97", "sto-3g", (5, 4), 0, 1)
O2 = ("O 0 0 0; O 0 0 1.21", "sto-3g", (7, 5), 2, 2)
TABLE = [
    (("H 0 0 0; H 0 0 0.74", "sto-3g", (1, 1)), (None, None)),
    (("Li 0 0 0; H 0 0 1.6", "sto-3g", (2, 2)), (None, None)),
    ((WATER, "sto-3g", (5, 5)), (None, None)),
    ((WATER, "sto-3g", (5, 5)), (9, 12)),
    (OH, (None, None)),
    (OH, (4, 9)),
    (O2, (None, None)),
    (O2, (6, 20)),
    (N2, (61, 61)),
    (("N 0 0 0; N 0 0 2.2", *N2[1:]), (31, 41)),
    ((SQUARE, "6-31g", (4, 0)), (None, None)),
    (("Be 0 0 0", "6-31g", (3, 1)), (None, None)),
]


@pytest.mark.parametrize(("given", "counts"), TABLE)
def test_the_energy_is_that_of_another_code(given: tuple[object, ...], counts: tuple[int | None, int | None]) -> None:
    case = molecule(*given)

    found = case.solve(counts)

    assert found.energies[0] == pytest.approx(case.reference(counts)[0], abs=1e-10)
    assert found.residual <= 1e-7


@pytest.mark.parametrize("norb", [63, 64, 66, 70])
def test_orbitals_beyond_a_machine_word(norb: int) -> None:
    narrow = molecule(WATER, "6-31g", (4, 4), 1, 0, 10)
    wide = narrow.among(norb, norb - 10)

    found = solve_product(
        *([string << norb - 10 for string in strings] for strings in narrow.strings((24, 31))),
        wide.one_body,
        wide.two_body,
        norb,
        (4, 4),
    )

    assert found.energies[0] == pytest.approx(narrow.reference((24, 31))[0], abs=1e-10)
    assert found.state().spin_square() == pytest.approx(narrow.solve((24, 31)).state().spin_square(), abs=1e-6)


FORMS = [
    (molecule, N2, (40, 55)),
    (molecule, ("H 0 0 0; H 0 0.9 0; H 1.3 0 0.3; H 1 1.7 1", "6-31g", (3, 1)), (40, 8)),
    (molecule, (SQUARE, "6-31g", (4, 0)), (60, 1)),
    (molecule, ("Be 0 0 0", "6-31g", (1, 1)), (9, 7)),
    (molecule, ("Be 0 0 0", "6-31g", (1, 0)), (9, 1)),
]


@pytest.mark.parametrize(("make", "given", "counts"), FORMS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_form_of_the_hamiltonian_is_the_same_matrix(make, given, counts, threads: int) -> None:  # type: ignore[no-untyped-def]
    case = make(*given)
    space, integrals = case.space(counts), integrals_of(case.one_body, case.two_body)
    vectors = np.random.default_rng(1).standard_normal((3, len(space)))
    parts = ProductHamiltonian.of(space, integrals)

    listed = hamiltonian_matrix(space, integrals)
    by_kernel = CompiledProduct(parts, threads).apply(vectors)

    assert np.abs(by_kernel - (listed @ vectors.T).T).max() < 1e-11
    assert np.abs(by_kernel - (parts.stored() @ vectors.T).T).max() < 1e-11
    assert np.abs(parts.among(np.arange(len(space))) - listed.toarray()).max() < 1e-11


def test_the_kernel_gives_the_same_bits_whatever_the_number_of_threads() -> None:
    case = molecule(*N2)
    parts = ProductHamiltonian.of(case.space((70, 50)), integrals_of(case.one_body, case.two_body))
    vectors = np.random.default_rng(1).standard_normal((2, 3500))

    one, two, many = (CompiledProduct(parts, threads).apply(vectors) for threads in (1, 2, 7))

    assert np.array_equal(one, two)
    assert np.array_equal(one, many)


@pytest.fixture
def never_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem, "STORED", 0.0)
    monkeypatch.setattr(problem, "DENSE", 10)


@pytest.mark.usefixtures("never_stored")
@pytest.mark.parametrize("roots", [1, 4])
def test_the_kernel_and_the_stored_matrix_lead_to_the_same_states(roots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = molecule(*N2)
    one = case.solve((40, 40), nroots=roots, threads=1)
    two, again = (case.solve((40, 40), nroots=roots, threads=threads) for threads in (2, 1))
    monkeypatch.setattr(problem, "STORED", 1e9)

    stored = case.solve((40, 40), nroots=roots)

    assert one.energies == pytest.approx(case.reference((40, 40), roots), abs=1e-10)
    assert two.energies == pytest.approx(one.energies, abs=1e-10)
    assert stored.energies == pytest.approx(one.energies, abs=1e-10)
    assert np.array_equal(one.vectors, again.vectors)


def test_without_numba_a_matrix_that_does_not_fit_is_refused_with_the_way_out(
    never_stored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "find_spec", lambda name: None)
    monkeypatch.setattr(problem, "_memory_available", lambda: 1e6)

    with pytest.raises(MemoryError, match=r"numba is needed.*pip install"):
        molecule(*N2).solve((61, 61))


def test_without_numba_a_matrix_that_fits_is_stored(never_stored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem, "find_spec", lambda name: None)
    case = molecule(*N2)

    assert case.solve((20, 20)).energies[0] == pytest.approx(case.reference((20, 20))[0], abs=1e-10)


def test_strings_given_twice_count_once_and_wrong_ones_are_named() -> None:
    case = molecule(*TABLE[1][0])
    alpha, beta = case.strings((None, None))
    tensors = case.one_body, case.two_body, case.norb, case.nelec

    twice = solve_product(alpha * 2, beta + beta[:3], *tensors, core_energy=0.5)

    assert twice.energies[0] == pytest.approx(case.solve((None, None)).energies[0] + 0.5, abs=1e-12)
    with pytest.raises(ConfigurationError, match="beta string 7 has 3 electrons instead of 2"):
        solve_product(alpha, [*beta, 7], *tensors)


def spins(case: Case, counts: tuple[int | None, int | None], **how: object) -> list[float]:
    found = case.solve(counts, **how)
    return [found.state(root).spin_square() for root in range(len(found.energies))]


O2_SINGLET = ("O 0 0 0; O 0 0 1.21", "sto-3g", (6, 6), 2)


@pytest.mark.parametrize("stored", [0.0, 1e9])
def test_the_lowest_singlet_can_be_asked_for_where_the_ground_state_is_a_triplet(
    stored: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "STORED", stored)
    case = molecule(*O2_SINGLET)
    every = case.solve((None, None), nroots=4)
    squares = [every.state(root).spin_square() for root in range(4)]
    singlets = [energy for energy, square in zip(every.energies, squares, strict=True) if square < 0.01]

    found = case.solve((None, None), spin_sq=0.0)

    assert squares[0] == pytest.approx(2, abs=1e-6)
    assert found.state().spin_square() == pytest.approx(0, abs=1e-6)
    assert found.energies[0] == pytest.approx(singlets[0], abs=1e-9)  # of H alone, without the penalty
    assert found.spin is not None
    assert found.spin.spin_squares == pytest.approx((0.0,), abs=1e-6)
    assert found.spin.residual < 1e-6  # the space holds all spin partners


def test_a_higher_spin_can_be_asked_for_where_lower_ones_lie_below() -> None:
    case = molecule(*N2)
    plain = case.solve((20, 20), nroots=8)
    squares = np.array([plain.state(root).spin_square() for root in range(8)])

    found = case.solve((20, 20), spin_sq=2.0, spin_shift=1.0)

    assert squares[0] < 0.5
    assert found.state().spin_square() == pytest.approx(2, abs=0.1)
    assert found.energies[0] > plain.energies[0]


def test_in_a_space_without_all_spin_partners_the_state_says_that_it_is_none_of_h() -> None:
    case = molecule("N 0 0 0; N 0 0 2.2", *N2[1:])

    plain, found = case.solve((25, 31)), case.solve((25, 31), spin_sq=0.0)

    assert found.spin is not None
    assert found.spin.residual > 1e-3
    assert found.residual <= 1e-7  # of H and penalty together
    assert found.spin.spin_squares[0] == pytest.approx(found.state().spin_square(), abs=1e-9)
    assert found.spin.spin_squares[0] < plain.state().spin_square() - 1e-3
    assert plain.energies[0] < found.energies[0]


@pytest.mark.parametrize(
    ("given", "counts"), [(O2, (6, 20)), (N2, (7, 9)), ((SQUARE, "6-31g", (4, 0)), (9, 1)), (OH, (None, 5))]
)
def test_s_squared_is_what_a_state_says_of_itself(given: tuple[object, ...], counts: tuple[int | None, int]) -> None:
    case = molecule(*given)
    found = case.solve(counts)
    penalty = Penalty.of(found.space, SpinWish(0.75))
    random = np.random.default_rng(3).standard_normal(len(found.space))
    random /= np.linalg.norm(random)

    for vector in (found.vectors[:, 0], random):
        state = type(found)(found.space, found.energies, vector[:, None], 1, 0.0).state()
        assert vector @ penalty.spin_square(vector[None])[0] == pytest.approx(state.spin_square(), abs=1e-10)
    assert penalty.apply(random[None])[0] == pytest.approx(penalty.matrix() @ random, abs=1e-12)


def test_s_squared_of_a_grown_set_leads_out_of_it_and_back() -> None:
    """S+ of a determinant has a norm, whether or not what it leads to is in the set."""
    case = molecule(*O2)
    product = case.space((3, 5))
    weight = np.random.default_rng(5).standard_normal(len(product))
    space = grown(product, weight / np.linalg.norm(weight), 0.02, integrals_of(case.one_body, case.two_body))
    penalty = Penalty.of(space, SpinWish(3.75))
    vector = np.random.default_rng(4).standard_normal(len(space))
    vector /= np.linalg.norm(vector)
    images: dict[tuple[bytes, bytes], float] = {}
    for a, b, value in zip(space.alpha[space.index_a], space.beta[space.index_b], vector, strict=True):
        for p in np.flatnonzero(b & ~a):  # a†_p b_p, all alpha operators before all beta ones
            raised, lowered = a.copy(), b.copy()
            raised[p], lowered[p] = True, False
            sign = (-1) ** int(a.sum() + a[:p].sum() + b[:p].sum())
            key = raised.tobytes(), lowered.tobytes()
            images[key] = images.get(key, 0.0) + sign * value
    s = (space.nelec[0] - space.nelec[1]) / 2

    found = vector @ penalty.spin_square(vector[None])[0]

    assert len(product) < len(space)
    assert not space.is_product
    assert found == pytest.approx(s * (s + 1) + sum(value**2 for value in images.values()), abs=1e-12)
    state = Solution.of(space, 0.0, States(np.zeros(1), vector[:, None], 1, 0.0), None).state()
    assert found == pytest.approx(state.spin_square(), abs=1e-10)
    assert penalty.apply(vector[None])[0] == pytest.approx(penalty.matrix() @ vector, abs=1e-12)


@pytest.mark.parametrize(("said", "threads"), [("3", 3), ("2,4", 2), (" 5 ", 5)])
def test_threads_are_those_that_the_profile_says(said: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)

    assert threads_allowed() == threads


@pytest.mark.parametrize("said", ["", "0", "many"])
def test_otherwise_threads_are_the_cores_that_the_process_may_use(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 3, 7}, raising=False)

    assert threads_allowed() == 3


def test_a_state_that_cannot_be_reached_is_an_error(never_stored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_hpc.diagonalization.davidson.MAX_ITERATIONS", 2)

    with pytest.raises(EigenError, match="not converged after 2 iterations"):
        molecule(*N2).solve((40, 40))


def test_the_kernel_works_where_no_directory_can_keep_it() -> None:
    code = (
        "from dagster_hpc.diagonalization.kernel import compiled; import numpy as np; "
        "from dagster_hpc.diagonalization import problem, solve_product; problem.STORED, problem.DENSE = 0, 2; "
        "strings = [3, 5, 6, 9, 10, 12]; "
        "print(solve_product(strings, strings, np.diag(np.arange(4.0)), np.zeros((4,) * 4), 4, (2, 2)).energies)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": "/proc/none"},
        capture_output=True,
        text=True,
    )

    assert done.stdout.split() == ["[2.]"], done.stderr
