"""Density matrices are PySCF's, give the energy back, and the dipole moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc.dice.files import read_dice_outputs
from dagster_hpc.dice.result import DiceResult
from dagster_hpc.electrons import densities
from dagster_hpc.electrons.determinants import words_of
from dagster_hpc.electrons.fcidump import read_fcidump
from dagster_hpc.electrons.state import SparseState
from dagster_hpc.sqd import Molecule
from dagster_hpc.sqd.properties import dipole
from dagster_hpc.sqd.values import SQDResult, StateNotKnown
from tests.dice.golden import case
from tests.dice.made import grown

WATER = "O 0 0 0.1173; H 0 0.7572 -0.4692; H 0 -0.7572 -0.4692"
fci = pytest.importorskip("pyscf.fci")
fermion = pytest.importorskip("qiskit_addon_sqd.fermion")


def dense_of(norb: int, nelec: tuple[int, int], vector: Any) -> SparseState:
    """A vector of full CI as a list of determinants, in random order."""
    alpha, beta = (fci.cistring.make_strings(range(norb), count) for count in nelec)
    order = np.random.default_rng(5).permutation(vector.size)
    a, b = np.divmod(order, len(beta))
    return SparseState.of(words_of(alpha[a], norb), words_of(beta[b], norb), vector.ravel()[order], norb)


def random_vector(norb: int, nelec: tuple[int, int]) -> Any:
    shape = tuple(fci.cistring.num_strings(norb, count) for count in nelec)
    values = np.random.default_rng(norb).standard_normal(shape)
    return values / np.linalg.norm(values)


@pytest.mark.parametrize(
    ("norb", "nelec"), [(5, (3, 2)), (6, (1, 4)), (4, (4, 1)), (4, (1, 1)), (4, (0, 2)), (3, (1, 0))]
)
@pytest.mark.parametrize("entries", [1 << 23, 7])
def test_they_are_those_of_pyscf(
    norb: int, nelec: tuple[int, int], entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(densities, "_ENTRIES", entries)  # in one piece, and in as many as there can be
    vector = random_vector(norb, nelec)
    state = dense_of(norb, nelec, vector)
    ones, twos = fci.direct_spin1.make_rdm12s(vector, norb, nelec)
    np.testing.assert_allclose(state.one_rdm(), ones, atol=1e-12)
    np.testing.assert_allclose(state.two_rdm(), twos, atol=1e-12)


def test_a_grown_open_shell_set_has_those_of_its_dense_state(tmp_path: Path) -> None:
    result = grown(tmp_path, 9, (4, 3), 200).read()
    np.testing.assert_allclose(result.state.two_rdm(), result.sci_state().rdm(rank=2), atol=1e-12)
    np.testing.assert_allclose(result.rdm2, result.sci_state().rdm(rank=2, spin_summed=True), atol=1e-12)
    np.testing.assert_allclose(result.rdm1, result.sci_state().rdm(rank=1, spin_summed=True), atol=1e-12)
    np.testing.assert_allclose(SparseState.of_dense(result.sci_state()).two_rdm(), result.state.two_rdm(), atol=1e-12)


@pytest.mark.parametrize("norb", [63, 64, 66])
def test_wide_strings_too(norb: int) -> None:
    """The same state in the highest of many orbitals."""
    small = dense_of(3, (2, 1), random_vector(3, (2, 1)))
    moved = (words_of([int(one) << (norb - 3) for one in strings[:, 0]], norb) for strings in (small.alpha, small.beta))
    wide = SparseState(*moved, small.index_a, small.index_b, small.coefficients, norb)
    top = slice(norb - 3, None)
    for mine, expected in zip(wide.two_rdm(), small.two_rdm(), strict=True):
        np.testing.assert_allclose(mine[top, top, top, top], expected, atol=1e-14)
        assert np.abs(mine).sum() == pytest.approx(np.abs(expected).sum())


class Water:
    """H2O, the 1s frozen: full CI of its active space by PySCF."""

    def __init__(self) -> None:
        from pyscf import ao2mo, gto, mcscf, scf

        self.mol = gto.M(atom=WATER, basis="sto-3g", verbose=0)
        self.field = scf.RHF(self.mol).run()
        self.cas = mcscf.CASCI(self.field, 6, 8)
        self.energy = self.cas.kernel()[0]
        self.h, self.core = self.cas.get_h1eff()
        self.eri = ao2mo.restore(1, self.cas.get_h2eff(), 6)


@pytest.fixture(scope="module")
def water() -> Water:
    return Water()


@pytest.fixture(scope="module")
def solved(water: Water) -> DiceResult:
    state = dense_of(6, (4, 4), np.asarray(water.cas.ci))
    return DiceResult(water.energy, (water.energy,), state, 6, (4, 4))


def test_the_energy_comes_back(water: Water, solved: DiceResult) -> None:
    one = np.sum(water.h * solved.rdm1)
    two = 0.5 * np.sum(water.eri * solved.rdm2)
    assert water.core + one + two == pytest.approx(water.energy, abs=1e-10)


@pytest.mark.parametrize("name", ["h2o_sto3g", "n2_pyscf_subset", "ppp_norb40_3a2b"])
def test_the_energy_of_a_real_dice_comes_back(name: str) -> None:
    """From the coefficients that Dice wrote, which are good to half the digits of its energy."""
    golden = case(name)
    result = read_dice_outputs(golden.folder, norb=golden.norb, nelec=golden.nelec)
    integrals = read_fcidump(golden.folder / "fcidump.txt").integrals
    eri = integrals.pair_integrals[integrals.pair[:, :, None, None], integrals.pair]
    energy = integrals.core_energy + np.sum(integrals.one_body * result.rdm1) + 0.5 * np.sum(eri * result.rdm2)
    assert energy == pytest.approx(result.energy, abs=1e-8)


def test_the_dipole_moment_is_that_of_pyscf(water: Water) -> None:
    molecule = Molecule(geometry=WATER, basis="sto-3g", frozen_core=1)
    h, eri, core, norb, nelec = molecule.integrals()
    energy, vector = fci.direct_spin1.kernel(h, eri, norb, nelec, conv_tol=1e-13)
    result = DiceResult(energy + core, (energy + core,), dense_of(norb, nelec, np.asarray(vector)), norb, nelec)
    theirs = water.field.dip_moment(water.mol, water.cas.make_rdm1(), unit="AU", verbose=0)
    np.testing.assert_allclose(dipole(result, molecule), theirs, atol=1e-6)
    assert abs(theirs[2]) > 0.5


def test_an_sqd_result_has_them_through_its_state(solved: DiceResult) -> None:
    result = SQDResult(
        energy=0.0, core_energy=0.0, reference_energy=0.0, occupancies=solved.orbital_occupancies,
        sci_state=solved.sci_state(), iterations=(), converged=True, norb=6, nelec=(4, 4), seed=0,
    )  # fmt: skip
    np.testing.assert_allclose(result.rdm1, solved.rdm1, atol=1e-12)
    np.testing.assert_allclose(result.rdm2, solved.rdm2, atol=1e-12)
    with pytest.raises(StateNotKnown, match="return_sci_state"):
        _ = replace(result, sci_state=None).rdm1
