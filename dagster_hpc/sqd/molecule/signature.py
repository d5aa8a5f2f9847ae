"""The signature of a Hamiltonian: a short text by which samples know the integrals that they were drawn for.

A bit of a string is an orbital, so samples are worth something only with the very orbitals they were made in. The digits of
integrals differ a little between two computers, and a hash of them would differ altogether. The signature therefore holds a
few sums over all integrals, which are compared with a tolerance: the same Hamiltonian, computed twice, differs by 1e-8;
orbitals that are turned, or atoms that moved, differ by a thousandth and more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule.integrals import MolecularIntegrals

TOLERANCE = 1e-5  # of each sum, in Hartree: what it lets pass changes no energy that is reported
_KIND = "h1"  # another way to sum must have another name
_SUMS = 4
_LINE = re.compile(rf"{_KIND}(?P<size>( \d+){{3}})(?P<sums>( -?\d+\.\d+){{{2 * _SUMS + 1}}})")
_SIZE = "{} orbitals with {} alpha and {} beta electrons"


def signature_of(integrals: MolecularIntegrals) -> str:
    """A line of text, for JSON and npz: orbitals, electrons, core energy, weighted sums over the integrals.

    The weights are unit vectors that favour no orbital, no two alike: wherever two orbitals are mixed, the sums change.
    """
    h, eri, core, norb, nelec = integrals
    sums = [float(core)]
    for number in range(_SUMS):
        p, q, r, s = (_weights(norb, 4 * number + place) for place in range(4))
        sums += [float(p @ h @ q), float((eri @ s @ r) @ q @ p)]
    return " ".join([_KIND, *map(str, (norb, *nelec)), *(f"{one:.9f}" for one in sums)])


def same_hamiltonian(one: str, other: str) -> bool:
    """Whether two signatures are of the same Hamiltonian. An empty one is of nobody knows which, and fits every other."""
    if not one or not other:
        return True
    return _difference(one, other) is None


def require_same(samples_signature: str, integrals: MolecularIntegrals, what: str = "these samples") -> None:
    """Refuses samples that were drawn for another Hamiltonian. Without a signature (stored before there was one): nothing.

    Example:
        require_same(samples.hamiltonian, molecule.integrals(), "the samples of n2.json")
    """
    if not samples_signature:
        return
    difference = _difference(samples_signature, signature_of(integrals))
    if difference:
        raise ConfigurationError(
            f"{what} belong to another Hamiltonian: {difference}",
            advice="draw new samples for this molecule, or use the Hamiltonian that they were drawn for (its FCIDUMP file).",
        )


def _difference(one: str, other: str) -> str | None:
    """What tells two Hamiltonians apart, in words; None if nothing does."""
    if one == other:
        return None
    first, second = _LINE.fullmatch(one), _LINE.fullmatch(other)
    if first is None or second is None:
        return f"{one[:40]!r} and {other[:40]!r} are not both signatures that this version can compare"
    if first["size"] != second["size"]:
        there, here = (_SIZE.format(*size["size"].split()) for size in (first, second))
        return f"{there} there, {here} here"
    apart = np.abs(np.array(first["sums"].split(), float) - np.array(second["sums"].split(), float))
    if apart.max() <= TOLERANCE:
        return None
    if apart[0] > TOLERANCE:
        return (
            f"its atoms or its frozen electrons are not the same (the core's energies are {apart[0]:.6f} Hartree apart)"
        )
    return f"its orbitals are turned or in another order (sums over the integrals differ by {apart.max():.6f} Hartree)"


def _weights(norb: int, number: int) -> NDArray[np.float64]:
    # Plain arithmetic, so that no version of a random number generator changes it.
    angles = (np.arange(norb) + 1) * np.sqrt(number + 2.0) + number * np.e
    vector = np.cos(angles) + 0.5 * np.cos(angles**2 % (2 * np.pi))
    return np.asarray(vector / np.linalg.norm(vector))
