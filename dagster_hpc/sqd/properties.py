"""Properties of a molecule from the density matrix of its electrons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule import Molecule

    Array: TypeAlias = NDArray[np.float64]

DEBYE = 2.541746473  # in one e·bohr


class HasDensity(Protocol):
    """A `DiceResult` or an `SQDResult`."""

    @property
    def rdm1(self) -> Array: ...


def dipole(result: HasDensity, molecule: Molecule) -> Array:
    """The dipole moment (x, y, z) in e·bohr; times `DEBYE` in Debye. Of an ion, about the origin of its coordinates.

    The molecule is one of atoms: an FCIDUMP file does not say where the orbitals are.

    Example:
        result = run_sqd(molecule, samples, seed=24, samples_per_batch=50, max_iterations=1, include_configurations="hf")
        x, y, z = dipole(result, molecule)
    """
    one_body, core = molecule.dipole_integrals()
    return np.asarray(core + np.einsum("kpq,pq->k", one_body, result.rdm1))
