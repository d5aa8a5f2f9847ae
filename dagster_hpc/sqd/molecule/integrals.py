"""Integrals of the active space: from atoms, or from an FCIDUMP file; and those of the dipole moment."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.molecule.active_space import active_space_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule.model import Molecule

    Array = NDArray[np.float64]


class MolecularIntegrals(NamedTuple):
    """The Hamiltonian of the active space, (pq|rs) in chemists' order, energies in Hartree.

    `core_energy` is all that no active electron takes part in: nuclear repulsion and frozen orbitals.

    Example:
        one_body, two_body, core_energy, norb, nelec = molecule.integrals()
        shifted = MolecularIntegrals(one_body, two_body, core_energy + 1.0, norb, nelec)
        result = run_sqd(shifted, samples.bitstrings, seed=24, samples_per_batch=20, max_iterations=1)
    """

    one_body: Array
    two_body: Array
    core_energy: float
    norb: int
    nelec: tuple[int, int]


class DipoleIntegrals(NamedTuple):
    """The dipole moment in atomic units (1 is 2.5417 Debye), about the origin of the coordinates, as they were given.

    `core` is that of nuclei and frozen electrons, `one_body[x, p, q]` that of active electrons, with their negative charge:

        moment = dipole.core + np.einsum("xpq,pq->x", dipole.one_body, rdm1)  # rdm1 of both spins

    The moment of an ion depends on the origin. With X2C the change of picture is neglected.
    """

    one_body: Array  # (3, norb, norb)
    core: Array  # (3,)


@lru_cache(maxsize=4)
def integrals_of(molecule: Molecule, stamp: tuple[int, int] | None) -> MolecularIntegrals:
    """`stamp` tells one content of an FCIDUMP file from another."""
    return _from_file(molecule) if stamp else _from_atoms(molecule)


def dipole_of(molecule: Molecule) -> DipoleIntegrals:
    space = active_space_of(molecule)
    mol = space.mean.mol
    with mol.with_common_orig((0, 0, 0)):
        places = -mol.intor_symmetric("int1e_r", comp=3)
    nuclei = mol.atom_charges() @ mol.atom_coords()
    frozen = np.einsum("xpq,pi,qi->x", places, space.core, space.core)
    return DipoleIntegrals(
        np.einsum("xpq,pi,qj->xij", places, space.active, space.active, optimize=True), nuclei + 2 * frozen
    )


def _from_file(molecule: Molecule) -> MolecularIntegrals:
    from pyscf import ao2mo

    from dagster_hpc.electrons.fcidump import read_fcidump

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
    from pyscf import ao2mo

    space = active_space_of(molecule)
    mean, core, active = space.mean, space.core, space.active
    norb = active.shape[1]
    density, mean_field = 2 * core @ core.T, np.zeros_like(mean.hcore)
    if core.size:
        coulomb, exchange = mean.field.get_jk(mean.mol, density)
        mean_field = coulomb - 0.5 * exchange
    core_energy = mean.mol.energy_nuc() + float(np.sum(density * (mean.hcore + 0.5 * mean_field)))
    one_body = active.T @ (mean.hcore + mean_field) @ active
    two_body = ao2mo.restore(1, ao2mo.kernel(mean.mol, active), norb)
    return MolecularIntegrals(one_body, two_body, float(core_energy), norb, space.nelec)
