"""The same molecule has the same orbitals, whatever process, threads and rounding: bits of samples keep their meaning."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

from dagster_hpc.sqd.molecule import Molecule, same_hamiltonian, signature_of
from dagster_hpc.sqd.molecule.canonical import Order, Places, canonical, with_fixed_signs
from dagster_hpc.sqd.molecule.mean_field import solved

pytest.importorskip("pyscf")

_T = 1.087 / np.sqrt(3)
CH4 = f"C 0 0 0; H {_T} {_T} {_T}; H {-_T} {-_T} {_T}; H {-_T} {_T} {-_T}; H {_T} {-_T} {-_T}"
NH3 = "N 0 0 0.1; H 0.94 0 -0.27; H -0.47 0.814064 -0.27; H -0.47 -0.814064 -0.27"
MOLECULES = {
    "N2": Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", frozen_core=2),
    "N2 askew": Molecule(geometry="N 0 0 0; N 0.3 0.7 0.8", basis="6-31g"),
    "N2 askew in its point group": Molecule(geometry="N 0 0 0; N 0.3 0.7 0.8", basis="6-31g", symmetry=True),
    "Li": Molecule(geometry="Li 0 0 0", basis="6-31g", spin=1),
    "Be": Molecule(geometry="Be 0 0 0", basis="cc-pvdz"),
    "O": Molecule(geometry="O 0.1 0.2 0.3", basis="6-31g", spin=2),
    "O in its point group": Molecule(geometry="O 0 0 0", basis="6-31g", spin=2, symmetry=True),
    "OH": Molecule(geometry="O 0 0 0; H 0.3 0.7 0.6", basis="6-31g", spin=1),
    "NH3": Molecule(geometry=NH3, basis="6-31g"),
    "CH4": Molecule(geometry=CH4, basis="6-31g"),
    "H6": Molecule(geometry="; ".join(f"H 0 0 {place}" for place in range(6)), basis="6-31g"),
    "two H2": Molecule(geometry="H 0 0 0; H 0 0 0.74; H 50 0 0; H 50 0 0.74", basis="6-31g"),
    "C2": Molecule(geometry="C 0 0 0; C 0 0 1.24", basis="6-31g"),
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    """The integrals as two other processes compute them, with one thread and with two."""
    folder = tmp_path_factory.mktemp("elsewhere")
    code = (
        "import sys, numpy as np; from tests.sqd.test_molecule_orbitals import MOLECULES; "
        "np.savez(sys.argv[1], **{f'{name} {k}': part for name, one in MOLECULES.items() "
        "for k, part in enumerate(one.integrals()[:2])})"
    )
    running = []
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        command = [sys.executable, "-c", code, str(folder / f"{threads}.npz")]
        running.append(subprocess.Popen(command, env=environment))
    assert [process.wait() for process in running] == [0, 0]
    found = []
    for path in folder.iterdir():
        with np.load(path) as arrays:
            found.append(dict(arrays))
    return found


@pytest.mark.parametrize("name", MOLECULES)
def test_integrals_are_the_same_in_every_process(name: str, elsewhere: list[dict[str, np.ndarray]]) -> None:
    one_body, two_body, *_ = MOLECULES[name].integrals()

    for other in elsewhere:
        assert np.abs(other[f"{name} 0"] - one_body).max() < 1e-8
        assert np.abs(other[f"{name} 1"] - two_body).max() < 1e-8


@pytest.mark.parametrize(
    ("geometry", "spin", "basis"),
    [
        ("N 0 0 0; N 0 0 1.1", 0, "cc-pvtz"),  # pi, delta and phi orbitals
        ("N 0 0 0; N 0.3 0.7 0.8", 0, "cc-pvdz"),
        ("Ne 0 0 0", 0, "cc-pvtz"),  # p, d and f shells
        (NH3, 0, "cc-pvdz"),
        (CH4, 0, "cc-pvdz"),
        ("H 0 0 0; H 0 0 0.74; H 50 0 0; H 50 0 0.74", 0, "6-31g"),  # no symmetry tells these apart
    ],
)
def test_orbitals_of_one_energy_that_were_turned_by_hand_are_turned_back(geometry: str, spin: int, basis: str) -> None:
    mean = solved(Molecule(geometry=geometry, basis=basis, spin=spin))
    by_energy, places = [Order(lambda: mean.fock, 1e-4)], Places(mean.mol)
    empty = mean.field.mo_coeff[:, mean.field.mo_occ == 0]
    expected, equals = canonical(empty, by_energy, places)
    rng = np.random.default_rng(3)
    turned = expected.copy()
    for run in equals:
        turn, _ = np.linalg.qr(rng.standard_normal((run.stop - run.start,) * 2))
        turned[:, run] = expected[:, run] @ turn

    found, _ = canonical(turned, by_energy, places)

    assert any(run.stop - run.start > 1 for run in equals)
    assert np.abs(turned - expected).max() > 0.1
    assert found == pytest.approx(expected, abs=1e-8)


def test_a_sign_is_not_decided_between_two_coefficients_of_one_size() -> None:
    orbital = np.array([[0.01, -0.7, 0.7]]).T

    for noise in (-1e-12, 0, 1e-12):
        for sign in (1, -1):
            found = with_fixed_signs(sign * orbital + np.array([[0, noise, 0]]).T)

            assert np.sign(found[:, 0]).tolist() == [-1, 1, -1]


def test_pi_orbitals_lie_along_the_axes() -> None:
    """So that as many integrals vanish as with the point group named."""
    plain = MOLECULES["N2"].integrals()
    named = MOLECULES["N2"].model_copy(update={"symmetry": True}).integrals()

    assert plain.two_body == pytest.approx(named.two_body, abs=1e-8)


def test_the_point_group_is_kept_in_any_orientation() -> None:
    straight, askew = (
        Molecule(geometry=geometry, basis="6-31g", symmetry=True).integrals().two_body
        for geometry in ("N 0 0 0; N 0 0 1.1", f"N 0 0 0; N 0 {1.1 * 0.6!r} {1.1 * 0.8!r}")
    )

    assert np.sum(np.abs(straight) > 1e-8) == np.sum(np.abs(askew) > 1e-8)


def test_the_doubly_occupied_orbital_of_an_open_shell_has_one_direction() -> None:
    """Any direction of the p orbital with two electrons is a solution; in each process another would be another basis."""
    here, there = (Molecule(geometry=f"O {place}", basis="6-31g", spin=2) for place in ("0 0 0", "1 2 3"))

    assert same_hamiltonian(signature_of(here.integrals()), signature_of(there.integrals()))


def test_a_saddle_point_is_left_for_the_minimum() -> None:
    from pyscf import gto, scf

    saddle = scf.ROHF(gto.M(atom="O 0 0 0; O 0 0 1.2", basis="sto-3g", spin=2, verbose=0)).run()

    found = Molecule(geometry="O 0 0 0; O 0 0 1.2", basis="sto-3g", spin=2).hf_energy()

    assert found < saddle.e_tot - 1e-4


def test_a_saddle_point_without_a_way_down_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyscf.scf.hf import RHF

    monkeypatch.setattr(RHF, "stability", lambda field, **_: (field.mo_coeff, None, False, None))

    with pytest.warns(UserWarning, match="is a saddle point, and no lower solution was found"):
        Molecule(geometry="H 0 0 0; H 0 0 0.9", basis="sto-3g").integrals()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"active_space": (6, 4)}, "orbitals 7 and 8 are equal by the symmetry .* 7 active and 8 left out"),
        ({"frozen_core": 6}, "orbitals 5 and 6 are equal by the symmetry .* 6 active and 5 frozen"),
        ({"active_orbitals": (4, 6, 7, 8)}, "orbitals 5 and 6 are equal by the symmetry .* 6 active and 5 frozen"),
    ],
)
def test_an_active_space_that_cuts_through_a_shell_is_a_warning(fields: dict[str, Any], words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        Molecule(geometry="N 0 0 0; N 0 0 1.11", basis="6-31g", **fields).integrals()


def test_an_active_space_of_whole_shells_is_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Molecule(geometry="N 0 0 0; N 0 0 1.11", basis="6-31g", active_space=(6, 6)).integrals()


def test_a_molecule_that_is_moved_keeps_its_hamiltonian() -> None:
    here, there = (
        Molecule(geometry=f"O 0 0 {z}; H 0 0 {z + 0.97}", basis="6-31g", spin=1).integrals() for z in (0, 3.5)
    )

    assert same_hamiltonian(signature_of(here), signature_of(there))
