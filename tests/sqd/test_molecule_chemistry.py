"""Potentials, relativity, references, active spaces: the numbers are PySCF's, and what cannot be is a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.molecule import Molecule, NotConverged

pytest.importorskip("pyscf")

HI = "H 0 0 0; I 0 0 1.61"
N2 = "N 0 0 0; N 0 0 1.3"
OH = "O 0 0 0; H 0 0 0.97"


def pyscf_molecule(geometry: str, basis: str, **fields: Any) -> Any:
    from pyscf import gto

    return gto.M(atom=geometry, basis=basis, verbose=0, **fields)


def exact_energy(molecule: Molecule) -> float:
    from pyscf import fci

    h, eri, core, norb, nelec = molecule.integrals()
    energy, _ = fci.direct_spin1.FCI().kernel(h, eri, norb, nelec)
    return float(energy + core)


@pytest.mark.parametrize(
    ("basis", "ecp", "said"),
    [("def2-svp", None, "def2-svp"), ("lanl2dz", None, "lanl2dz"), ("def2-svp", "lanl2dz", "lanl2dz")],
)
def test_an_effective_core_potential_is_that_of_the_basis_or_the_one_that_is_named(
    basis: str, ecp: str | None, said: str
) -> None:
    from pyscf import scf

    molecule = Molecule(geometry=HI, basis=basis, ecp=ecp, active_space=(2, 2))

    assert molecule.hf_energy() == pytest.approx(
        scf.RHF(pyscf_molecule(HI, basis, ecp={"I": said})).run(conv_tol=1e-11).e_tot, abs=1e-7
    )


def test_the_potential_of_iodine_is_not_forgotten() -> None:
    assert Molecule(geometry=HI, basis="def2-svp", active_space=(2, 2)).hf_energy() == pytest.approx(
        -297.2315, abs=1e-4
    )


@pytest.mark.parametrize("basis", ["ccecp-cc-pvdz", "bfd-vdz", "stuttgart"])
def test_light_atoms_have_potentials_too_in_bases_that_are_made_so(basis: str) -> None:
    assert sum(Molecule(geometry="C 0 0 0", basis=basis, spin=2).integrals().nelec) == 4


def test_the_basis_with_diffuse_functions_has_the_potentials_of_the_one_without() -> None:
    molecule = Molecule(geometry="Zn 0 0 0", basis="aug-cc-pvdz-pp", active_space=(2, 2))

    assert molecule.hf_energy() == pytest.approx(-225.95, abs=0.02)


def test_all_electrons_in_a_basis_for_potentials_are_a_warning_or_impossible() -> None:
    with pytest.warns(
        UserWarning, match="poor: def2-svp is made for effective core potentials of I, and ecp is 'none'"
    ):
        Molecule(geometry="H 0 0 0; I 0 0 1.6", basis="def2-svp", ecp="none", active_space=(2, 2)).integrals()
    with pytest.raises(
        ConfigurationError, match="lanl2dz has 10 orbitals here, too few for 54 electrons: lanl2dz is made"
    ):
        Molecule(geometry=HI, basis="lanl2dz", ecp="none").hf_energy()


def test_x2c_is_pyscfs() -> None:
    from pyscf import scf

    geometry = "H 0 0 0; Cl 0 0 1.28"
    field = scf.RHF(pyscf_molecule(geometry, "6-31g")).sfx2c1e().run(conv_tol=1e-11)

    molecule = Molecule(geometry=geometry, basis="6-31g", relativity="x2c", active_space=(4, 4))

    assert molecule.hf_energy() == pytest.approx(field.e_tot, abs=1e-7)


@pytest.mark.parametrize(
    "fields", [{"reference": "uhf"}, {"orbitals": "ccsd"}, {"orbitals": "mp2", "reference": "uhf"}]
)
@pytest.mark.parametrize(("geometry", "spin"), [(OH, 1), ("H 0 0 0; H 0 0 1.8; H 0 0 3.6; H 0 0 5.4", 0)])
def test_the_exact_energy_does_not_depend_on_the_orbitals(geometry: str, spin: int, fields: dict[str, Any]) -> None:
    plain = Molecule(geometry=geometry, basis="sto-3g", spin=spin)

    assert exact_energy(plain.model_copy(update=fields)) == pytest.approx(exact_energy(plain), abs=1e-8)


def test_unrestricted_orbitals_are_the_natural_ones_of_both_spins() -> None:
    stretched = Molecule(geometry="H 0 0 0; H 0 0 2.5", basis="6-31g", reference="uhf")

    occupancies = stretched.molecular_orbitals().occupancies

    assert occupancies.sum() == pytest.approx(2)
    assert 1 < occupancies[0] < 1.5  # two separate electrons: restricted orbitals would have 2 and 0
    assert np.all(np.diff(occupancies) < 1e-6)


def test_numbered_orbitals_are_active_and_the_other_occupied_ones_frozen() -> None:
    from pyscf import mcscf, scf

    molecule = Molecule(geometry=N2, basis="6-31g", symmetry=True, active_orbitals=(4, 5, 6, 7, 8, 10))

    solver = mcscf.CASCI(scf.RHF(pyscf_molecule(N2, "6-31g")).run(conv_tol=1e-11), 6, 6)
    expected = solver.kernel(solver.sort_mo([4, 5, 6, 7, 8, 10], base=0))[0]
    assert molecule.integrals().nelec == (3, 3)
    assert exact_energy(molecule) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("geometry", "spin", "labels"), [(N2, 0, ["N 2p"]), (OH, 1, ["O 2p", "H 1s"])])
def test_avas_chooses_what_overlaps_with_the_named_orbitals(geometry: str, spin: int, labels: list[str]) -> None:
    from pyscf import mcscf, scf
    from pyscf.mcscf import avas

    molecule = Molecule(geometry=geometry, basis="6-31g", spin=spin, avas=labels)

    field = (scf.ROHF if spin else scf.RHF)(pyscf_molecule(geometry, "6-31g", spin=spin)).run(conv_tol=1e-11)
    norb, electrons, orbitals = avas.avas(field, labels, openshell_option=3)
    assert (molecule.integrals().norb, sum(molecule.integrals().nelec)) == (norb, electrons)
    assert exact_energy(molecule) == pytest.approx(mcscf.CASCI(field, norb, electrons).kernel(orbitals)[0], abs=1e-6)
    assert molecule.hf_energy() == pytest.approx(field.e_tot, abs=1e-8)


def test_casscf_orbitals_give_the_casscf_energy() -> None:
    from pyscf import mcscf, scf

    geometry = "Li 0 0 0; H 0 0 2.4"
    field = scf.RHF(pyscf_molecule(geometry, "6-31g")).run(conv_tol=1e-11)
    molecule = Molecule(geometry=geometry, basis="6-31g", orbitals="casscf", active_space=(2, 2))

    assert exact_energy(molecule) == pytest.approx(mcscf.CASSCF(field, 2, 2).kernel()[0], abs=1e-7)


def test_casscf_starts_from_what_avas_chooses() -> None:
    chosen = Molecule(geometry=OH, basis="6-31g", spin=1, avas=["O 2p", "H 1s"])
    optimised = chosen.model_copy(update={"orbitals": "casscf"})

    assert optimised.integrals().nelec == chosen.integrals().nelec
    assert exact_energy(optimised) < exact_energy(chosen) - 1e-3


def test_natural_orbitals_are_in_falling_order_of_occupancy_and_carry_more_of_the_correlation() -> None:
    energies = {}
    for orbitals in ("hf", "mp2", "ccsd"):
        molecule = Molecule(
            geometry="H 0 0 0; F 0 0 0.92", basis="6-31g*", orbitals=orbitals, active_space=(8, 7)
        )  # fmt: skip
        energies[orbitals] = exact_energy(molecule)
        occupancies = molecule.molecular_orbitals().occupancies
        assert np.all(np.diff(occupancies) < 1e-4)

    assert max(energies["mp2"], energies["ccsd"]) < energies["hf"] - 1e-2


@pytest.mark.parametrize(
    "fields",
    [{"orbitals": "mp2"}, {"orbitals": "ccsd"}, {"reference": "uhf"}, {"orbitals": "casscf", "active_space": (2, 2)}],
)
def test_coupled_cluster_of_two_electrons_is_exact_in_orbitals_of_any_kind(fields: dict[str, Any]) -> None:
    molecule = Molecule(geometry="H 0 0 0; H 0 0 1.4", basis="6-31g", **fields)

    amplitudes = molecule.amplitudes()

    assert amplitudes.converged
    assert molecule.hf_energy() + amplitudes.correlation_energy == pytest.approx(exact_energy(molecule), abs=1e-7)


def test_a_casscf_that_is_too_large_is_refused() -> None:
    molecule = Molecule(geometry=N2, basis="6-31g", orbitals="casscf", active_space=(14, 18))

    with pytest.raises(ConfigurationError, match="CASSCF would diagonalize 1,012,766,976 determinants in each step"):
        molecule.integrals()


def test_natural_orbitals_of_a_coupled_cluster_that_does_not_converge_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pyscf.cc.ccsd import CCSD

    monkeypatch.setattr(CCSD, "kernel", lambda self: setattr(self, "converged", False))
    monkeypatch.setattr(CCSD, "solve_lambda", lambda self: None)

    with pytest.raises(NotConverged, match="has no natural orbitals"):
        Molecule(geometry="H 0 0 0; H 0 0 1.3", basis="6-31g", orbitals="ccsd").integrals()


@pytest.mark.parametrize(
    ("geometry", "basis", "fields"),
    [
        ("Li 0 0 0.3; H 0.2 0 1.9", "6-31g", {"frozen_core": 1}),
        (HI, "def2-svp", {"active_space": (6, 6), "symmetry": True}),
        ("O 0 0 0; H 0 0 0.97", "6-31g", {"spin": 1}),
    ],
)
def test_the_dipole_moment_of_the_reference_is_pyscfs(geometry: str, basis: str, fields: dict[str, Any]) -> None:
    from pyscf import scf

    molecule = Molecule(geometry=geometry, basis=basis, **fields)
    occupied = np.diag(np.sum(molecule.initial_occupancies("hf"), axis=0))
    ecp = {"ecp": {"I": "def2-svp"}} if "I" in geometry else {}
    spin = fields.get("spin", 0)
    mol = pyscf_molecule(geometry, basis, spin=spin, **ecp)
    field = (scf.ROHF if spin else scf.RHF)(mol).run(conv_tol=1e-11)

    dipole = molecule.dipole_integrals()

    moment = dipole.core + np.einsum("xpq,pq->x", dipole.one_body, occupied)
    assert moment == pytest.approx(field.dip_moment(unit="au", verbose=0), abs=1e-6)


def test_an_fcidump_file_has_no_dipole_integrals(tmp_path: Path) -> None:
    path = tmp_path / "fcidump"
    path.write_text("&FCI NORB=1,NELEC=2,\n&END\n0.5 1 1 1 1\n-1.0 1 1 0 0\n0 0 0 0 0\n")
    molecule = Molecule.from_fcidump(path)

    with pytest.raises(
        ConfigurationError, match=r"an FCIDUMP file has no dipole integrals: .* knows neither atoms nor basis"
    ):
        molecule.dipole_integrals()
    with pytest.raises(ConfigurationError, match="has no orbitals in terms of atomic ones"):
        molecule.molecular_orbitals()


@pytest.mark.parametrize("text", ["2\na comment; 1 2 3\nN 0 0 0\nN 0.0 0.0 1.3 -0.5\n", "2\n\n7 0 0 0\n7 0 0.0 1.3\n"])
def test_atoms_come_from_an_xyz_file_or_its_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "n2.xyz"
    path.write_text(text)
    expected = Molecule(geometry=N2, basis="sto-3g").hf_energy()

    for molecule in (
        Molecule(geometry=str(path), basis="sto-3g"),
        Molecule.from_xyz(path, basis="sto-3g"),
        Molecule(geometry=text, basis="sto-3g"),
    ):
        assert molecule.hf_energy() == pytest.approx(expected, abs=1e-9)


def test_a_molecule_of_a_file_is_that_of_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "n2.xyz"
    path.write_text("2\n\nN 0 0 0\nN 0 0 1.3\n")

    molecule = Molecule.from_xyz(path, basis="sto-3g")
    path.unlink()

    assert molecule == Molecule(geometry=N2, basis="sto-3g")
    assert Molecule.model_validate_json(molecule.model_dump_json()) == molecule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("N 0 0 0\n", "first line of an XYZ file is the number of atoms"),
        ("2\n\nN 0 0 0\nN 0 0\n", "line 4: 'N 0 0' is no atom"),
        ("2\n\nN 0 0 0\n", "promises 2 atoms in its first line and has 1"),
        ("1\n\nN 0 0 0\nN 0 0 1\n", "promises 1 atoms in its first line and has more"),
    ],
)
def test_a_broken_xyz_file_is_refused_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.xyz"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=words):
        Molecule(geometry=str(path), basis="sto-3g")


def test_a_missing_xyz_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the XYZ file .*none\.xyz: No such file"):
        Molecule(geometry=str(tmp_path / "none.xyz"), basis="sto-3g")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reference": "rhf"}, "rhf pairs all electrons, and 1 are unpaired"),
        ({"orbitals": "mp2"}, "'mp2' of an open shell need reference='uhf'"),
        ({"orbitals": "casscf"}, "optimised for an active space: give active_space, active_orbitals or avas"),
        ({"active_space": (3, 3), "avas": ["O 2p"]}, "active_space and avas exclude each other"),
        ({"frozen_core": 1, "active_orbitals": [4]}, "frozen_core and active_orbitals exclude each other"),
        ({"active_orbitals": [1, 2]}, "leaves out 4: unpaired electrons must be active"),
        ({"active_orbitals": [4, 4]}, "must be different numbers, the first orbital being 0"),
        ({"active_orbitals": [-1, 4]}, "must be different numbers"),
        ({"avas": "N 2p"}, "avas 'N 2p': the molecule has no N"),
        ({"avas": "2p"}, "begins with no element"),
        ({"ecp": "nonsense"}, "PySCF has no effective core potential nonsense for O, H"),
        ({"geometry": "O 0 0 0; H 0 0 x"}, "'x' is no number in the atom 'H 0 0 x'"),
        (
            {"geometry": HI, "spin": 0, "relativity": "x2c", "basis": "def2-svp"},
            "x2c is for all electrons, but I would have",
        ),
        (
            {"geometry": HI, "spin": 0, "frozen_core": 14, "basis": "def2-svp"},
            "13 doubly occupied .*28 are in effective core",
        ),
        (
            {"geometry": HI, "spin": 0, "active_orbitals": [13, 14], "basis": "def2-svp"},
            "occupied are the orbitals 0 to 12",
        ),
        (
            {"geometry": None, "basis": None, "spin": 0, "fcidump": "x", "ecp": "none", "avas": "O 2p"},
            "leave out ecp, avas",
        ),
    ],
)
def test_what_does_not_fit_together_is_a_sentence(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Molecule(**{"geometry": OH, "basis": "6-31g", "spin": 1, **fields})


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Molecule(geometry=OH, basis="6-31g", spin=1, reference="rhf", avas="N 2p", active_space=(2, 2), ecp="nonsense")

    assert len(caught.value.faults) == 5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"avas": "O 7x"}, "avas 'O 7x' names no valence orbital of an atom"),
        ({"active_orbitals": (4, 50)}, "names orbital 50; sto-3g has 6, numbered from 0"),
        ({"basis": "nonsense"}, "PySCF cannot build the molecule: Unknown basis"),
        ({"symmetry": "Td"}, "PySCF cannot build the molecule: Unable to identify input symmetry Td"),
    ],
)
def test_what_only_pyscf_can_tell_is_a_sentence_too(fields: dict[str, Any], words: str) -> None:
    molecule = Molecule(**{"geometry": OH, "basis": "sto-3g", "spin": 1, **fields})

    with pytest.raises(ConfigurationError, match=words):
        molecule.integrals()
