"""A molecule and what SQD needs of it: integrals, amplitudes and occupancies in the orbitals of its active space."""

from dagster_hpc.sqd.molecule.amplitudes import Amplitudes
from dagster_hpc.sqd.molecule.integrals import DipoleIntegrals, MolecularIntegrals
from dagster_hpc.sqd.molecule.mean_field import NotConverged
from dagster_hpc.sqd.molecule.model import MolecularOrbitals, Molecule
from dagster_hpc.sqd.molecule.signature import require_same, same_hamiltonian, signature_of

__all__ = [
    "Amplitudes",
    "DipoleIntegrals",
    "MolecularIntegrals",
    "MolecularOrbitals",
    "Molecule",
    "NotConverged",
    "require_same",
    "same_hamiltonian",
    "signature_of",
]
