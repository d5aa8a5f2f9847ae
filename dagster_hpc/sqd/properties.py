"""Properties of a molecule from the density matrix of its electrons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

DEBYE = 2.541746473  # in one e·bohr


class HasDensity(Protocol):
    """A `DiceResult` or an `SQDResult`."""

    @property
    def rdm1(self) -> Array: ...


class HasDipoleIntegrals(Protocol):
    """A `Molecule` of atoms: an FCIDUMP file does not say where the orbitals are."""

    def dipole_integrals(self) -> tuple[Array, Array]:
        """<p|r|q> of the active orbitals, of shape (3, norb, norb); the moment of the nuclei and the frozen electrons."""
        ...


def dipole(result: HasDensity, molecule: HasDipoleIntegrals) -> Array:
    """The dipole moment (x, y, z) in e·bohr; times `DEBYE` in Debye. Of an ion, with respect to the origin."""
    integrals, constant = molecule.dipole_integrals()
    return np.asarray(constant - np.einsum("kpq,pq->k", integrals, result.rdm1))
