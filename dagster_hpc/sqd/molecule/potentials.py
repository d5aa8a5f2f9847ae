"""Effective core potentials: which atoms have one, and how many electrons it stands for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from dagster_hpc.sqd.molecule.geometry import CHARGE_OF, symbols_of

if TYPE_CHECKING:
    from dagster_hpc.sqd.molecule.model import Molecule

NONE = "none"
# Only these bases have potentials for elements up to neon. Of others nobody need ask PySCF, which takes a second to import.
_WITH_LIGHT_ATOMS = ("bfd", "ccecp", "crenb", "ecp", "sbkjc", "stuttgart")
_NEON = 10


class Potential(NamedTuple):
    name: str  # as PySCF knows it
    electrons: int  # that it stands for


def potentials_of(molecule: Molecule) -> dict[str, Potential]:
    """Element → its potential, for those that have one."""
    if molecule.basis is None or molecule.geometry is None:
        return {}
    return potentials(molecule.basis, molecule.ecp, symbols_of(molecule.geometry))


def forgone_by(molecule: Molecule) -> list[str]:
    """Elements whose basis was made with a potential, where all electrons were asked for."""
    if molecule.basis is None or molecule.geometry is None or (molecule.ecp or "").lower() != NONE:
        return []
    return list(potentials(molecule.basis, None, symbols_of(molecule.geometry)))


def potentials(basis: str, ecp: str | None, symbols: Iterable[str]) -> dict[str, Potential]:
    """`ecp`: the name of a potential, "none", or None for the one that the basis was made with."""
    if ecp is not None and ecp.lower() == NONE:
        return {}
    name = ecp or _own(basis)
    light = ecp is not None or basis.lower().startswith(_WITH_LIGHT_ATOMS)
    found = {}
    for symbol in dict.fromkeys(symbols):
        if light or CHARGE_OF[symbol.upper()] > _NEON:
            electrons = _electrons(name, symbol)
            if electrons is not None:
                found[symbol] = Potential(name, electrons)
    return found


def _own(basis: str) -> str:
    """The name under which PySCF keeps the potentials of a basis, where that is not the basis' own."""
    plain = basis.lower().replace("-", "").replace("_", "").replace(" ", "")
    for family in ("ccecp", "bfd"):
        if plain.startswith(family):
            return family
    if plain.startswith("aug") and plain.endswith("pp"):
        return plain.removeprefix("aug")
    return basis


def _electrons(name: str, symbol: str) -> int | None:
    from pyscf.gto.basis import load_ecp

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that another package may know more
            found = load_ecp(name, symbol)
    except (RuntimeError, LookupError, OSError, TypeError):  # how PySCF says, of various names, that there is none
        return None
    return int(found[0]) if found else None
