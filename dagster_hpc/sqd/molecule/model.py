"""`Molecule`: what a chemist asks for, and what SQD needs of it, all in one basis, the orbitals of the active space.

Integrals, CCSD amplitudes and occupancies belong together: orbital p of one is orbital p of the others and bit p of a
sampled string. They are therefore all computed from the same integrals.
"""

from __future__ import annotations

import re
import warnings
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.molecule.active_space import active_space_of, orbitals_of
from dagster_hpc.sqd.molecule.amplitudes import Amplitudes, amplitudes_of
from dagster_hpc.sqd.molecule.faults import faults_of
from dagster_hpc.sqd.molecule.geometry import as_text
from dagster_hpc.sqd.molecule.integrals import DipoleIntegrals, MolecularIntegrals, dipole_of, integrals_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class MolecularOrbitals(NamedTuple):
    """All orbitals of a molecule, one column each, numbered from 0: those that `active_orbitals` chooses from.

    `active` has the coefficients of the active orbitals themselves, in the order of integrals and bits.
    """

    coefficients: Array  # (atomic orbitals, molecular orbitals)
    energies: Array  # Hartree; of natural orbitals the diagonal of the Fock matrix
    occupancies: Array  # electrons of both spins
    active: Array  # (atomic orbitals, norb)


class Molecule(BaseModel):
    """Atoms, basis and electrons; or a Hamiltonian given as an FCIDUMP file.

    Orbitals are numbered from 0, in order of energy within doubly occupied, singly occupied and empty ones; natural orbitals
    in falling order of occupancy.

    Example:
        Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", symmetry=True, frozen_core=2)
        Molecule(geometry="ferrocene.xyz", basis="def2-svp", avas=["Fe 3d"], orbitals="casscf")
        Molecule.from_fcidump("n2.fcidump")
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometry: str | None = Field(
        default=None,
        description="Atoms as PySCF reads them: 'N 0 0 0; N 0 0 1.1', a Z-matrix, (symbol, (x, y, z)) one by one, the path "
        "of an XYZ file, or its text.",
    )
    basis: str | None = Field(default=None, description="Basis set, as in 6-31g or cc-pvdz.")
    charge: int = Field(default=0, description="Net charge: protons minus electrons.")
    spin: int = Field(default=0, ge=0, description="Unpaired electrons, 2S: 0 a singlet, 1 a doublet, 2 a triplet.")
    symmetry: bool | str = Field(default=False, description="Point group: False, True (find it) or a name such as D2h.")
    unit: Literal["angstrom", "bohr"] = Field(default="angstrom", description="Of the geometry.")
    ecp: str | None = Field(
        default=None,
        description="Effective core potential. Default: the one that the basis was made with (def2-svp of iodine, lanl2dz, "
        "cc-pvdz-pp, …); 'none': all electrons; or a name, as in 'def2-svp'.",
    )
    relativity: Literal["x2c"] | None = Field(
        default=None, description="x2c: scalar relativity by the exact two-component Hamiltonian, one-electron part."
    )
    reference: Literal["rhf", "rohf", "uhf"] | None = Field(
        default=None,
        description="Hartree-Fock of this kind; default: rhf, of open shells rohf. SQD has one set of orbitals for both "
        "spins: with uhf these are the natural orbitals of its density.",
    )
    orbitals: Literal["hf", "mp2", "ccsd", "casscf"] = Field(
        default="hf",
        description="Those of Hartree-Fock; the natural orbitals of MP2 or CCSD; or those that CASSCF optimises for the "
        "active space.",
    )
    frozen_core: int = Field(default=0, ge=0, description="So many of the lowest orbitals stay doubly occupied.")
    active_space: tuple[int, int] | None = Field(
        default=None,
        description="(electrons, orbitals) about the highest occupied orbital; default: all but the frozen core.",
    )
    active_orbitals: tuple[int, ...] | None = Field(
        default=None,
        description="Numbers of the active orbitals, the first of all being 0. Occupied ones that are not named are frozen.",
    )
    avas: tuple[str, ...] | None = Field(
        default=None,
        description="Atomic orbitals that the active space is to describe, as in ['N 2p'] or ['Fe 3d']: AVAS chooses "
        "electrons and orbitals.",
    )
    fcidump: str | None = Field(default=None, description="Path of an FCIDUMP file, in place of geometry and basis.")

    @classmethod
    def from_fcidump(cls, path: str | Path, *, spin: int | None = None) -> Molecule:
        """The Hamiltonian of an FCIDUMP file, orbitals as they stand there; `spin` replaces the file's MS2."""
        from dagster_hpc.electrons.fcidump import read_fcidump

        file = Path(path).absolute()
        if not file.is_file():
            raise ConfigurationError(f"there is no FCIDUMP file {file}")
        if spin is None:
            said = re.search(r"\bMS2\s*=\s*(-?\d+)", file.read_text()[:4096], re.IGNORECASE)
            spin = abs(int(said[1])) if said else read_fcidump(file).electrons % 2
        return cls(fcidump=str(file), spin=spin)

    @classmethod
    def from_xyz(cls, path: str | Path, **fields: Any) -> Molecule:
        """The atoms of an XYZ file; the other fields as ever. `Molecule(geometry="n2.xyz", …)` is the same."""
        return cls(geometry=str(path), **fields)

    @field_validator("geometry", mode="before")
    @classmethod
    def _geometry_as_text(cls, geometry: Any) -> Any:
        return as_text(geometry)

    @field_validator("avas", mode="before")
    @classmethod
    def _one_label_or_several(cls, avas: Any) -> Any:
        return (avas,) if isinstance(avas, str) else avas

    @model_validator(mode="after")
    def _sensible(self) -> Molecule:
        faults = faults_of(self)
        if faults:
            raise ConfigurationError(faults)
        return self

    def integrals(self) -> MolecularIntegrals:
        """(one_body, two_body, core_energy, norb, nelec) of the active space."""
        return deepcopy(integrals_of(self, self._stamp()))

    def hf_energy(self) -> float:
        """Energy of the reference determinant, the lowest orbitals filled: Hartree-Fock's when the orbitals are."""
        from dagster_hpc.electrons import fcidump
        from dagster_hpc.electrons.hamiltonian import diagonal_energies
        from dagster_hpc.electrons.space import DeterminantSpace

        h, eri, core, norb, nelec = integrals_of(self, self._stamp())
        alpha, beta = ((np.arange(norb) < count)[None] for count in nelec)
        return core + float(diagonal_energies(DeterminantSpace.product(alpha, beta), fcidump.integrals_of(h, eri))[0])

    def molecular_orbitals(self) -> MolecularOrbitals:
        """Coefficients, energies and occupancies of all orbitals, to choose the active ones from; not of an FCIDUMP file."""
        self._require_atoms("orbitals in terms of atomic ones")
        _, every = orbitals_of(self)
        active = active_space_of(self).active
        return deepcopy(MolecularOrbitals(every.coefficients, every.energies, every.occupancies, active))

    def dipole_integrals(self) -> DipoleIntegrals:
        """Of the active orbitals, with what nuclei and frozen electrons add; not of an FCIDUMP file."""
        self._require_atoms("dipole integrals")
        return dipole_of(self)

    def _require_atoms(self, what: str) -> None:
        if self.fcidump is not None:
            raise ConfigurationError(
                f"an FCIDUMP file has no {what}: {self.fcidump} knows neither atoms nor basis",
                advice="give the molecule by geometry and basis.",
            )

    def amplitudes(self) -> Amplitudes:
        """CCSD on the reference determinant; `converged` says whether to believe it."""
        return deepcopy(amplitudes_of(self, self._stamp()))

    def initial_occupancies(self, method: Literal["ccsd", "hf"] = "ccsd") -> tuple[Array, Array]:
        """Mean occupancy of each active orbital, alpha and beta: where configuration recovery starts.

        From the CCSD density; where CCSD does not converge, with a warning, those of the reference determinant.
        """
        integrals = integrals_of(self, self._stamp())
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
