"""What is wrong with a molecule as it was asked for: all of it, a sentence each, before anything is computed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.molecule.geometry import CHARGE_OF, entries_of, is_number, symbols_of, words_of
from dagster_hpc.sqd.molecule.potentials import NONE, Potential, potentials

if TYPE_CHECKING:
    from dagster_hpc.sqd.molecule.model import Molecule

_OF_ATOMS = (
    "basis", "charge", "symmetry", "ecp", "relativity", "reference", "orbitals",
    "frozen_core", "active_space", "active_orbitals", "avas",
)  # fmt: skip
_SPACES = ("active_space", "active_orbitals", "avas")


def faults_of(molecule: Molecule) -> list[str]:
    if (molecule.geometry is None) == (molecule.fcidump is None):
        return ["give either a geometry, as in 'N 0 0 0; N 0 0 1.1', or an FCIDUMP file; there is no default molecule"]
    if molecule.geometry is None:
        given = [name for name in _OF_ATOMS if getattr(molecule, name) != type(molecule).model_fields[name].default]
        return (
            [f"an FCIDUMP file has its orbitals and electrons already: leave out {', '.join(given)}"] if given else []
        )
    faults = [] if molecule.basis else ["a geometry needs a basis, as in 6-31g"]
    try:
        symbols = symbols_of(molecule.geometry)
    except ConfigurationError as error:
        return [*faults, *error.faults]
    if not symbols:
        return [*faults, "the geometry has no atoms"]
    for entry in entries_of(molecule.geometry):
        faults += [
            f"{word!r} is no number in the atom {entry!r}" for word in words_of(entry)[1:] if not is_number(word)
        ]
    known = potentials(molecule.basis, molecule.ecp, symbols) if molecule.basis else {}
    return [
        *faults,
        *_of_potentials(molecule, symbols, known),
        *_of_reference(molecule),
        *_of_spaces(molecule, symbols),
        *_of_electrons(molecule, symbols, known),
    ]


def _of_potentials(molecule: Molecule, symbols: list[str], known: dict[str, Potential]) -> list[str]:
    atoms = ", ".join(dict.fromkeys(symbols))
    faults = []
    if molecule.ecp is not None and molecule.ecp.lower() != NONE and not known:
        faults.append(f"PySCF has no effective core potential {molecule.ecp} for {atoms}; 'none' means all electrons")
    if molecule.relativity == "x2c" and any(one.electrons for one in known.values()):
        faults.append(
            f"x2c is for all electrons, but {', '.join(known)} would have the effective core potential "
            f"{next(iter(known.values())).name}: leave out x2c (the potential is relativistic already), or take ecp='none' "
            "with an all-electron basis"
        )
    return faults


def _of_reference(molecule: Molecule) -> list[str]:
    faults = []
    if molecule.reference == "rhf" and molecule.spin:
        faults.append(f"rhf pairs all electrons, and {molecule.spin} are unpaired: take rohf or uhf")
    if molecule.orbitals == "mp2" and molecule.spin and molecule.reference != "uhf":
        faults.append("orbitals 'mp2' of an open shell need reference='uhf'; or take 'ccsd'")
    if molecule.orbitals == "casscf" and not any(getattr(molecule, name) for name in _SPACES):
        faults.append("orbitals 'casscf' are optimised for an active space: give active_space, active_orbitals or avas")
    return faults


def _of_spaces(molecule: Molecule, symbols: list[str]) -> list[str]:
    faults = []
    given = [name for name in ("frozen_core", *_SPACES) if getattr(molecule, name)]
    if len(given) > 1:
        faults.append(
            f"{', '.join(given[:-1])} and {given[-1]} exclude each other: each alone says which orbitals are frozen, "
            "and which active"
        )
    for label in molecule.avas or ():
        letters = re.match(r"\s*(?:\d+\s+)?([A-Za-z]+)", label)
        if letters is None or letters[1].upper() not in CHARGE_OF:
            faults.append(f"avas {label!r} begins with no element; wanted is one and its shell, as in 'N 2p'")
        elif letters[1].capitalize() not in symbols:
            faults.append(f"avas {label!r}: the molecule has no {letters[1].capitalize()}")
    numbers = molecule.active_orbitals
    if numbers is not None and (not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers)):
        faults.append(f"active_orbitals {list(numbers)} must be different numbers, the first orbital being 0")
    if molecule.avas == ():
        faults.append("avas names no orbitals; wanted are some as 'N 2p'")
    return faults


def _of_electrons(molecule: Molecule, symbols: list[str], known: dict[str, Potential]) -> list[str]:
    protons = sum(CHARGE_OF[symbol.upper()] for symbol in symbols)
    hidden = sum(known[symbol].electrons for symbol in symbols if symbol in known)
    electrons = protons - hidden - molecule.charge
    beside = f" ({hidden} are in effective core potentials)" if hidden else ""
    if electrons < 1:
        return [f"a charge of {molecule.charge} leaves {electrons} electrons of {protons}{beside}"]
    if molecule.spin > electrons or (electrons - molecule.spin) % 2:
        kind = "an even" if electrons % 2 == 0 else "an odd"
        return [
            f"spin {molecule.spin} (unpaired electrons) is impossible with {electrons} electrons at charge "
            f"{molecule.charge}{beside}: it must be {kind} number, {electrons} at most"
        ]
    faults = []
    paired = (electrons - molecule.spin) // 2
    if molecule.frozen_core > paired:
        faults.append(f"frozen_core {molecule.frozen_core} is more than the {paired} doubly occupied orbitals{beside}")
    if molecule.active_space:
        active, orbitals = molecule.active_space
        if active < max(1, molecule.spin) or active > electrons or (active - molecule.spin) % 2:
            faults.append(
                f"an active space of {active} electrons does not fit {electrons} electrons{beside}, "
                f"{molecule.spin} of them unpaired"
            )
        elif (active + molecule.spin) // 2 > orbitals:
            faults.append(f"{active} electrons of spin {molecule.spin} need more than {orbitals} active orbitals")
    if molecule.active_orbitals:
        missing = sorted(set(range(paired, paired + molecule.spin)) - set(molecule.active_orbitals))
        if missing:
            faults.append(
                f"active_orbitals leaves out {', '.join(map(str, missing))}: unpaired electrons must be active, and "
                f"they are in the orbitals {', '.join(map(str, range(paired, paired + molecule.spin)))} (the first is 0)"
            )
        elif min(molecule.active_orbitals) >= paired + molecule.spin:
            faults.append(
                f"active_orbitals has no electrons: occupied are the orbitals 0 to {paired + molecule.spin - 1}{beside}"
            )
    return faults
