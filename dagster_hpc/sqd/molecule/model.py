"""A molecule and what SQD needs of it, all in one basis: the orbitals of its active space.

Integrals, CCSD amplitudes and occupancies belong together: orbital p of one is orbital p of the others and bit p of a
sampled string. They are therefore all computed from the same integrals: no density is made in one basis and read in another.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dagster_hpc.engine.errors import ConfigurationError, HPCError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_ELEMENTS = (  # noqa: SIM905 - a hundred quoted symbols are harder to read
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc "
    "Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi "
    "Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()
_CHARGE_OF = {symbol.upper(): number for number, symbol in enumerate(_ELEMENTS, 1)}


class NotConverged(HPCError):
    """A self-consistent field that does not converge has no orbitals to sample in."""


class MolecularIntegrals(NamedTuple):
    """The Hamiltonian of the active space, (pq|rs) in chemists' order, energies in Hartree.

    `core_energy` is all that no active electron takes part in: nuclear repulsion and frozen orbitals.
    """

    one_body: Array
    two_body: Array
    core_energy: float
    norb: int
    nelec: tuple[int, int]


@dataclass(frozen=True)
class Amplitudes:
    """Coupled-cluster singles and doubles in the active space.

    Closed shell: `t1[i, a]`, `t2[i, j, a, b]`. Open shell: `t1` is (alpha, beta), `t2` (alpha-alpha, alpha-beta, beta-beta).
    """

    t1: Array | tuple[Array, Array]
    t2: Array | tuple[Array, Array, Array]
    correlation_energy: float
    occupancies: tuple[Array, Array]
    converged: bool


class Molecule(BaseModel):
    """Atoms, basis and electrons; or a Hamiltonian given as an FCIDUMP file.

    Example:
        Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", symmetry=True, frozen_core=2)
        Molecule.from_fcidump("n2.fcidump")
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometry: str | None = Field(
        default=None,
        description="Atoms as PySCF reads them: 'N 0 0 0; N 0 0 1.1', a Z-matrix, or (symbol, (x, y, z)) one by one.",
    )
    basis: str | None = Field(default=None, description="Basis set, as in 6-31g or cc-pvdz.")
    charge: int = Field(default=0, description="Net charge: protons minus electrons.")
    spin: int = Field(default=0, ge=0, description="Unpaired electrons, 2S: 0 a singlet, 1 a doublet, 2 a triplet.")
    symmetry: bool | str = Field(default=False, description="Point group: False, True (find it) or a name such as D2h.")
    unit: Literal["angstrom", "bohr"] = Field(default="angstrom", description="Of the geometry.")
    active_space: tuple[int, int] | None = Field(
        default=None,
        description="(electrons, orbitals) about the highest occupied orbital; default: all but the frozen core.",
    )
    frozen_core: int = Field(default=0, ge=0, description="So many of the lowest orbitals stay doubly occupied.")
    fcidump: str | None = Field(default=None, description="Path of an FCIDUMP file, in place of geometry and basis.")

    @classmethod
    def from_fcidump(cls, path: str | Path, *, spin: int | None = None) -> Molecule:
        """The Hamiltonian of an FCIDUMP file, orbitals as they stand there; `spin` replaces the file's MS2."""
        from dagster_hpc.dice.fcidump import read_fcidump

        file = Path(path).absolute()
        if not file.is_file():
            raise ConfigurationError(f"there is no FCIDUMP file {file}")
        if spin is None:
            said = re.search(r"\bMS2\s*=\s*(-?\d+)", file.read_text()[:4096], re.IGNORECASE)
            spin = abs(int(said[1])) if said else read_fcidump(file).electrons % 2
        return cls(fcidump=str(file), spin=spin)

    @field_validator("geometry", mode="before")
    @classmethod
    def _as_text(cls, geometry: Any) -> Any:
        if geometry is None or isinstance(geometry, str):
            return geometry
        if isinstance(geometry, Sequence):
            return "; ".join(f"{symbol} {x!r} {y!r} {z!r}" for symbol, (x, y, z) in geometry)
        return geometry

    @model_validator(mode="after")
    def _sensible(self) -> Molecule:
        faults: list[str] = []
        if (self.geometry is None) == (self.fcidump is None):
            faults.append(
                "give either a geometry, as in 'N 0 0 0; N 0 0 1.1', or an FCIDUMP file; there is no default molecule"
            )
        elif self.geometry is not None:
            if not self.basis:
                faults.append("a geometry needs a basis, as in 6-31g")
            faults += self._electron_faults()
        elif self.basis or self.charge or self.active_space or self.frozen_core or self.symmetry:
            faults.append("an FCIDUMP file has its orbitals and electrons already: leave out basis, charge, symmetry, "
                          "active_space and frozen_core")  # fmt: skip
        if self.active_space and self.frozen_core:
            faults.append(
                "active_space and frozen_core exclude each other: the active space says how many orbitals are frozen"
            )
        if faults:
            raise ConfigurationError(faults)
        return self

    def _electron_faults(self) -> list[str]:
        protons = 0
        for entry in filter(None, (part.strip() for part in re.split(r"[;\n]", self.geometry or ""))):
            symbol = re.match(r"[A-Za-z]+", entry)
            if symbol is None or symbol[0].upper() not in _CHARGE_OF:
                return [f"no element begins the atom {entry!r}"]
            protons += _CHARGE_OF[symbol[0].upper()]
        if not protons:
            return ["the geometry has no atoms"]
        electrons = protons - self.charge
        if electrons < 1:
            return [f"a charge of {self.charge} leaves {electrons} electrons of {protons}"]
        faults = []
        if self.spin > electrons or (electrons - self.spin) % 2:
            kind = "an even" if electrons % 2 == 0 else "an odd"
            faults.append(
                f"spin {self.spin} (unpaired electrons) is impossible with {electrons} electrons at charge {self.charge}: "
                f"it must be {kind} number, {electrons} at most"
            )
            return faults
        paired = (electrons - self.spin) // 2
        if self.frozen_core > paired:
            faults.append(f"frozen_core {self.frozen_core} is more than the {paired} doubly occupied orbitals")
        if self.active_space:
            active, orbitals = self.active_space
            if active < max(1, self.spin) or active > electrons or (active - self.spin) % 2:
                faults.append(
                    f"an active space of {active} electrons does not fit {electrons} electrons, {self.spin} of them unpaired"
                )
            elif (active + self.spin) // 2 > orbitals:
                faults.append(f"{active} electrons of spin {self.spin} need more than {orbitals} active orbitals")
        return faults

    def integrals(self) -> MolecularIntegrals:
        """(one_body, two_body, core_energy, norb, nelec) of the active space."""
        return deepcopy(_integrals(self, self._stamp()))

    def hf_energy(self) -> float:
        """Energy of the reference determinant, the lowest orbitals filled: Hartree-Fock's when the orbitals are."""
        from dagster_hpc.dice.fcidump import integrals_of
        from dagster_hpc.dice.hamiltonian import DeterminantSpace, diagonal_energies

        h, eri, core, norb, nelec = _integrals(self, self._stamp())
        alpha, beta = ((np.arange(norb) < count)[None] for count in nelec)
        return core + float(diagonal_energies(DeterminantSpace.product(alpha, beta), integrals_of(h, eri))[0])

    def amplitudes(self) -> Amplitudes:
        """CCSD on the reference determinant; `converged` says whether to believe it."""
        return deepcopy(_amplitudes(self, self._stamp()))

    def initial_occupancies(self, method: Literal["ccsd", "hf"] = "ccsd") -> tuple[Array, Array]:
        """Mean occupancy of each active orbital, alpha and beta: where configuration recovery starts.

        From the CCSD density; where CCSD does not converge, with a warning, those of the reference determinant.
        """
        integrals = _integrals(self, self._stamp())
        alpha, beta = ((np.arange(integrals.norb) < count).astype(float) for count in integrals.nelec)
        if method == "hf":
            return alpha, beta
        amplitudes = self.amplitudes()
        if not amplitudes.converged:
            warnings.warn("CCSD does not converge: occupancies of the reference determinant are used", stacklevel=2)
            return alpha, beta
        return amplitudes.occupancies

    def _stamp(self) -> tuple[int, int] | None:
        """What tells one content of the FCIDUMP file from another."""
        if self.fcidump is None:
            return None
        try:
            now = Path(self.fcidump).stat()
        except OSError as error:
            raise ConfigurationError(f"cannot read the FCIDUMP file {self.fcidump}: {error.strerror}") from None
        return now.st_mtime_ns, now.st_size


# The results belong to the value of a molecule, not to an instance, of which a changed copy may be made.
@lru_cache(maxsize=4)
def _integrals(molecule: Molecule, stamp: tuple[int, int] | None) -> MolecularIntegrals:
    return _from_file(molecule) if stamp else _from_atoms(molecule)


def _from_file(molecule: Molecule) -> MolecularIntegrals:
    from pyscf import ao2mo

    from dagster_hpc.dice.fcidump import read_fcidump

    assert molecule.fcidump is not None
    dump = read_fcidump(molecule.fcidump)
    if (
        molecule.spin > dump.electrons
        or (dump.electrons - molecule.spin) % 2
        or (dump.electrons + molecule.spin) // 2 > dump.norb
    ):
        raise ConfigurationError(
            f"{molecule.fcidump}: {dump.electrons} electrons in {dump.norb} orbitals cannot have {molecule.spin} unpaired"
        )
    two_body = ao2mo.restore(1, dump.integrals.pair_integrals, dump.norb)
    nelec = (dump.electrons + molecule.spin) // 2, (dump.electrons - molecule.spin) // 2
    return MolecularIntegrals(dump.integrals.one_body, two_body, dump.integrals.core_energy, dump.norb, nelec)


def _from_atoms(molecule: Molecule) -> MolecularIntegrals:
    from pyscf import ao2mo, gto, scf

    mol = gto.M(
        atom=molecule.geometry, basis=molecule.basis, charge=molecule.charge, spin=molecule.spin, symmetry=molecule.symmetry,
        unit=molecule.unit, verbose=0,
    )  # fmt: skip
    field = scf.RHF(mol) if molecule.spin == 0 else scf.ROHF(mol)
    field.conv_tol = 1e-11
    field.kernel()
    if not field.converged:
        field = field.newton()
        field.kernel()
    if not field.converged:
        raise NotConverged(
            f"Hartree-Fock of {molecule.geometry} in {molecule.basis} does not converge",
            advice="check geometry, charge and spin; for a stretched bond start from a smaller basis.",
        )
    # Occupied before virtual whatever their energies, and one sign of each orbital: the same molecule, the same numbers.
    orbitals = np.asarray(field.mo_coeff)[:, np.argsort(-field.mo_occ, kind="stable")]
    largest = np.take_along_axis(orbitals, np.abs(orbitals).argmax(axis=0)[None], axis=0)
    orbitals = orbitals * np.where(largest < 0, -1.0, 1.0)

    frozen, active = molecule.frozen_core, orbitals.shape[1] - molecule.frozen_core
    electrons = sum(mol.nelec) - 2 * frozen
    if molecule.active_space:
        electrons, active = molecule.active_space
        frozen = (sum(mol.nelec) - electrons) // 2
        if frozen + active > orbitals.shape[1]:
            raise ConfigurationError(
                f"{frozen} frozen and {active} active orbitals are more than the {orbitals.shape[1]} of {molecule.basis}"
            )
    core, chosen = orbitals[:, :frozen], orbitals[:, frozen : frozen + active]
    density = 2 * core @ core.T
    hcore, mean_field = field.get_hcore(), np.zeros_like(density)
    if frozen:
        coulomb, exchange = field.get_jk(mol, density)
        mean_field = coulomb - 0.5 * exchange
    core_energy = field.energy_nuc() + float(np.sum(density * (hcore + 0.5 * mean_field)))
    one_body = chosen.T @ (hcore + mean_field) @ chosen
    two_body = ao2mo.restore(1, ao2mo.kernel(mol, chosen), active)
    nelec = (electrons + molecule.spin) // 2, (electrons - molecule.spin) // 2
    return MolecularIntegrals(one_body, two_body, float(core_energy), active, nelec)


@lru_cache(maxsize=4)
def _amplitudes(molecule: Molecule, stamp: tuple[int, int] | None) -> Amplitudes:
    from pyscf import ao2mo, cc, gto, scf

    h, eri, core_energy, norb, nelec = _integrals(molecule, stamp)
    restricted = nelec[0] == nelec[1]
    if restricted and nelec[0] == norb:  # nothing to excite to
        full = np.ones(norb)
        return Amplitudes(np.zeros((norb, 0)), np.zeros((norb, norb, 0, 0)), 0.0, (full, full.copy()), True)

    # Coupled cluster on the reference determinant of these very integrals: its orbitals are the unit matrix.
    mol = gto.M(verbose=0)
    mol.nelectron, mol.spin, mol.incore_anyway = sum(nelec), nelec[0] - nelec[1], True
    mol.nao = norb
    mol.energy_nuc = lambda *_: core_energy
    field = (scf.RHF if restricted else scf.UHF)(mol)
    field.get_hcore = lambda *_: h
    field.get_ovlp = lambda *_: np.eye(norb)
    field._eri = ao2mo.restore(8, eri, norb)
    occupied = [(np.arange(norb) < count).astype(float) for count in nelec]
    unit = np.eye(norb)
    field.mo_coeff, field.mo_occ = (unit, occupied[0] * 2) if restricted else ((unit, unit), tuple(occupied))
    fock = field.get_fock(dm=field.make_rdm1())
    field.mo_energy = np.diagonal(fock) if restricted else tuple(np.diagonal(f) for f in fock)
    field.e_tot, field.converged = field.energy_tot(dm=field.make_rdm1()), True
    solver = (cc.CCSD if restricted else cc.UCCSD)(field)
    solver.conv_tol, solver.conv_tol_normt, solver.max_cycle = 1e-9, 1e-7, 200
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        solver.kernel()
        solver.solve_lambda()
    density = solver.make_rdm1()
    alpha, beta = (density / 2, density / 2) if restricted else density
    return Amplitudes(
        t1=solver.t1,
        t2=solver.t2,
        correlation_energy=float(solver.e_corr),
        occupancies=(np.clip(np.diagonal(alpha), 0, 1), np.clip(np.diagonal(beta), 0, 1)),
        converged=bool(solver.converged and solver.converged_lambda),
    )
