"""A molecule and what SQD needs of it: integrals, amplitudes and occupancies in the orbitals of its active space."""

from dagster_hpc.sqd.molecule.model import Amplitudes, MolecularIntegrals, Molecule, NotConverged
from dagster_hpc.sqd.molecule.signature import require_same, same_hamiltonian, signature_of

__all__ = [
    "Amplitudes",
    "MolecularIntegrals",
    "Molecule",
    "NotConverged",
    "require_same",
    "same_hamiltonian",
    "signature_of",
]
