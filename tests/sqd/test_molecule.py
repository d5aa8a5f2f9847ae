"""A molecule's numbers against PySCF's own, in the orbitals of its active space."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.molecule import Molecule

pytest.importorskip("pyscf")

N2 = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="sto-3g")
N2_631G = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", symmetry=True, frozen_core=2)
OH = Molecule(geometry="O 0 0 0; H 0 0 0.97", basis="6-31g", spin=1, frozen_core=1)
O2 = Molecule(geometry=[("O", (0, 0, 0)), ("O", (0, 0, 1.2))], basis="sto-3g", spin=2, symmetry=True)
CATION = Molecule(geometry="H 0 0 0; H 0 0 1", basis="6-31g", charge=1, spin=1)


def field_of(molecule: Molecule) -> Any:
    from pyscf import gto, scf

    mol = gto.M(atom=molecule.geometry, basis=molecule.basis, charge=molecule.charge, spin=molecule.spin, verbose=0)
    field = (scf.ROHF if molecule.spin else scf.RHF)(mol)
    field.conv_tol = 1e-11
    return field.run()


def fci_of(molecule: Molecule) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    from pyscf import fci

    h, eri, core, norb, nelec = molecule.integrals()
    energy, vector = fci.direct_spin1.FCI().kernel(h, eri, norb, nelec)
    alpha, beta = fci.direct_spin1.make_rdm1s(vector, norb, nelec)
    return energy + core, (np.diagonal(alpha), np.diagonal(beta))


@pytest.mark.parametrize("molecule", [N2, N2_631G, OH, O2, CATION])
def test_the_reference_determinant_has_the_hartree_fock_energy(molecule: Molecule) -> None:
    assert molecule.hf_energy() == pytest.approx(field_of(molecule).e_tot, abs=1e-8)


def test_integrals_of_all_orbitals_give_pyscfs_fci_energy() -> None:
    from pyscf import fci

    energy, _ = fci_of(N2)

    assert energy == pytest.approx(fci.FCI(field_of(N2)).kernel()[0], abs=1e-8)


def test_an_active_space_gives_pyscfs_casci_energy() -> None:
    from pyscf import mcscf

    molecule = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", active_space=(6, 6))

    integrals = molecule.integrals()

    assert (integrals.norb, integrals.nelec) == (6, (3, 3))
    assert fci_of(molecule)[0] == pytest.approx(mcscf.CASCI(field_of(molecule), 6, 6).kernel()[0], abs=1e-8)


@pytest.mark.parametrize(("molecule", "norb", "nelec"), [(N2_631G, 16, (5, 5)), (OH, 10, (4, 3)), (CATION, 4, (1, 0))])
def test_the_frozen_core_leaves_the_others_active(molecule: Molecule, norb: int, nelec: tuple[int, int]) -> None:
    one_body, two_body, _, found, electrons = molecule.integrals()

    assert (found, electrons) == (norb, nelec)
    assert one_body.shape == (norb, norb)
    assert two_body.shape == (norb,) * 4


@pytest.mark.parametrize("molecule", [N2, N2_631G, OH, O2])
def test_amplitudes_and_occupancies_are_those_of_pyscfs_ccsd_in_molecular_orbitals(molecule: Molecule) -> None:
    from pyscf import cc

    solver = (cc.UCCSD if molecule.spin else cc.CCSD)(field_of(molecule), frozen=molecule.frozen_core or None)
    solver.conv_tol, solver.conv_tol_normt = 1e-9, 1e-7
    solver.kernel()
    density = solver.make_rdm1()
    alpha, beta = density if molecule.spin else (density / 2, density / 2)

    ours = molecule.amplitudes()

    assert ours.converged
    assert ours.correlation_energy == pytest.approx(solver.e_corr, abs=1e-7)
    for occupancies, reference in zip(molecule.initial_occupancies(), (alpha, beta), strict=True):
        # Sorted, since two orbitals of one energy may come in either order.
        active = np.diagonal(reference)[molecule.frozen_core :]
        assert np.sort(occupancies) == pytest.approx(np.sort(active), abs=1e-5)


@pytest.mark.parametrize("molecule", [N2, OH, O2])
def test_occupancies_are_near_the_exact_ones_orbital_by_orbital(molecule: Molecule) -> None:
    """An AO density read as if it were one in molecular orbitals is off by tenths; CCSD by thousandths."""
    exact = fci_of(molecule)[1]

    for occupancies, reference, electrons in zip(
        molecule.initial_occupancies(), exact, molecule.integrals().nelec, strict=True
    ):
        assert np.abs(occupancies - reference).max() < 5e-3
        assert occupancies.sum() == pytest.approx(electrons, abs=1e-8)


def test_amplitudes_have_the_shapes_that_circuits_are_made_of() -> None:
    closed, open_ = N2.amplitudes(), OH.amplitudes()

    assert isinstance(closed.t1, np.ndarray)
    assert closed.t1.shape == (7, 3)
    assert np.shape(closed.t2) == (7, 7, 3, 3)
    assert [t.shape for t in open_.t1] == [(4, 6), (3, 7)]
    assert [t.shape for t in open_.t2] == [(4, 4, 6, 6), (4, 3, 6, 7), (3, 3, 7, 7)]


def test_hartree_fock_occupancies_fill_the_lowest_orbitals() -> None:
    alpha, beta = OH.initial_occupancies("hf")

    assert alpha.tolist() == [1] * 4 + [0] * 6
    assert beta.tolist() == [1] * 3 + [0] * 7


def test_nothing_to_excite_to() -> None:
    helium = Molecule(geometry="He 0 0 0", basis="sto-3g")

    assert helium.amplitudes().correlation_energy == 0
    assert helium.initial_occupancies()[0].tolist() == [1]


def test_occupancies_without_a_coupled_cluster_solution_come_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    diverged = replace(OH.amplitudes(), converged=False)
    monkeypatch.setattr("dagster_hpc.sqd.molecule.model.amplitudes_of", lambda *_: diverged)

    with pytest.warns(UserWarning, match="CCSD does not converge"):
        alpha, _ = OH.initial_occupancies()

    assert alpha.tolist() == [1] * 4 + [0] * 6


def test_a_file_gives_the_molecule_that_it_was_written_from(tmp_path: Path) -> None:
    from pyscf.tools import fcidump

    h, eri, core, norb, nelec = OH.integrals()
    path = tmp_path / "oh.fcidump"
    fcidump.from_integrals(str(path), h, eri, norb, sum(nelec), nuc=core, ms=1, tol=1e-18)

    molecule = Molecule.from_fcidump(path)

    assert molecule.integrals().nelec == nelec
    assert molecule.hf_energy() == pytest.approx(OH.hf_energy(), abs=1e-9)
    for ours, theirs in zip(molecule.initial_occupancies(), OH.initial_occupancies(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_a_file_in_other_orbitals_gives_occupancies_of_those_orbitals(tmp_path: Path) -> None:
    from pyscf.tools import fcidump

    h, eri, core, norb, nelec = N2.integrals()
    # Turn the two lowest virtual orbitals into each other: the energy stays, two occupancies become their mean.
    turn = np.eye(norb)
    turn[np.ix_([6, 4], [6, 4])] = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    eri = np.einsum("pqrs,pi,qj,rk,sl->ijkl", eri, turn, turn, turn, turn, optimize=True)
    path = tmp_path / "turned"
    fcidump.from_integrals(str(path), turn.T @ h @ turn, eri, norb, sum(nelec), nuc=core)

    turned = Molecule.from_fcidump(path)

    assert turned.hf_energy() == pytest.approx(N2.hf_energy(), abs=1e-8)
    exact = fci_of(turned)[1][0]
    assert np.abs(turned.initial_occupancies()[0] - exact).max() < 5e-3
    assert turned.amplitudes().correlation_energy == pytest.approx(N2.amplitudes().correlation_energy, abs=1e-7)


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "fcidump"
    path.write_text("&FCI NORB=1,NELEC=2,\n&END\n0.5 1 1 1 1\n-1.0 1 1 0 0\n0 0 0 0 0\n")
    molecule = Molecule.from_fcidump(path)
    before = molecule.hf_energy()

    path.write_text("&FCI NORB=1,NELEC=2,\n&END\n0.5 1 1 1 1\n-1.25 1 1 0 0\n0 0 0 0 0\n")

    assert before == pytest.approx(-1.5)
    assert molecule.hf_energy() == pytest.approx(-2.0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "there is no default molecule"),
        ({"geometry": "N 0 0 0; N 0 0 1"}, "needs a basis"),
        (
            {"geometry": "N 0 0 0", "basis": "sto-3g"},
            "spin 0 .* impossible with 7 electrons at charge 0: it must be an odd",
        ),
        ({"geometry": "N 0 0 0; N 0 0 1", "basis": "sto-3g", "charge": 1}, "impossible with 13 electrons at charge 1"),
        ({"geometry": "H 0 0 0", "basis": "sto-3g", "spin": 3}, "impossible with 1 electrons"),
        ({"geometry": "H 0 0 0", "basis": "sto-3g", "charge": 1}, "leaves 0 electrons of 1"),
        ({"geometry": "Zz 0 0 0", "basis": "sto-3g"}, "no element begins the atom 'Zz 0 0 0'"),
        ({"geometry": " ; ", "basis": "sto-3g"}, "no atoms"),
        ({"geometry": "He 0 0 0", "basis": "6-31g", "active_space": (3, 2)}, "active space of 3 electrons"),
        ({"geometry": "N 0 0 0; N 0 0 1", "basis": "6-31g", "active_space": (8, 3)}, "need more than 3 active"),
        ({"geometry": "He 0 0 0", "basis": "6-31g", "frozen_core": 2}, "more than the 1 doubly occupied"),
        ({"geometry": "He 0 0 0", "basis": "6-31g", "frozen_core": 1, "active_space": (2, 2)}, "exclude each other"),
        ({"geometry": "He 0 0 0", "basis": "6-31g", "fcidump": "x"}, "either a geometry"),
        ({"fcidump": "x", "basis": "6-31g"}, "has its orbitals and electrons already"),
    ],
)
def test_an_impossible_molecule_is_refused_with_the_reason(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Molecule(**fields)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no FCIDUMP file"):
        Molecule.from_fcidump(tmp_path / "none")


def test_an_active_space_beyond_the_basis_is_refused() -> None:
    molecule = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="sto-3g", active_space=(6, 20))

    with pytest.raises(ConfigurationError, match="more than the 10 of sto-3g"):
        molecule.integrals()


def test_a_molecule_is_a_value() -> None:
    again = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="sto-3g")
    again.integrals()

    assert again == N2
    assert hash(again) == hash(N2)
    assert pickle.loads(pickle.dumps(again)) == N2
    assert Molecule.model_validate_json(N2_631G.model_dump_json()) == N2_631G


def test_a_changed_copy_has_its_own_integrals_and_a_caller_cannot_change_them() -> None:
    N2.integrals().one_body[:] = 0

    longer = N2.model_copy(update={"geometry": "N 0 0 0; N 0 0 1.2"})

    assert longer.hf_energy() != pytest.approx(N2.hf_energy(), abs=1e-3)
    assert N2.hf_energy() == pytest.approx(field_of(N2).e_tot, abs=1e-8)


def test_the_same_molecule_gives_the_same_numbers_in_another_process() -> None:
    code = (
        "from dagster_hpc.sqd.molecule import Molecule; m = Molecule(geometry='N 0 0 0; N 0 0 1.1', basis='6-31g', "
        "symmetry=True, frozen_core=2); i = m.integrals(); print(repr(abs(i.one_body).sum()), repr(i.two_body.sum()))"
    )
    integrals = N2_631G.integrals()

    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    numbers = [float(word.split("(")[-1].rstrip(")")) for word in text.split()]
    assert numbers == pytest.approx([np.abs(integrals.one_body).sum(), integrals.two_body.sum()], abs=1e-6)


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys; from dagster_hpc.sqd.molecule import Molecule; import dagster_hpc.sqd.samples; "
        "Molecule(geometry='He 0 0 0', basis='6-31g'); "
        "print({'pyscf', 'qiskit', 'jax', 'ffsim', 'qiskit_ibm_runtime'} & set(sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
