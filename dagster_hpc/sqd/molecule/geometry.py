"""Atoms as they are written: PySCF's text, (symbol, place) one by one, or an XYZ file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagster_hpc.engine.errors import ConfigurationError

_ELEMENTS = (  # noqa: SIM905 - a hundred quoted symbols are harder to read
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc "
    "Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi "
    "Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()
CHARGE_OF = {symbol.upper(): number for number, symbol in enumerate(_ELEMENTS, 1)}


def as_text(geometry: Any) -> Any:
    """'N 0 0 0; N 0 0 1.1' of whatever was given; what cannot be that is handed back for others to refuse."""
    if isinstance(geometry, Path):
        geometry = str(geometry)
    if isinstance(geometry, str):
        if _names_a_file(geometry):
            return _from_file(Path(geometry))
        lines = geometry.strip().splitlines()
        return _from_xyz(lines, "the geometry") if lines and re.fullmatch(r"\s*\d+\s*", lines[0]) else geometry
    if isinstance(geometry, Sequence):
        return "; ".join(f"{symbol} {x!r} {y!r} {z!r}" for symbol, (x, y, z) in geometry)
    return geometry


def entries_of(geometry: str) -> list[str]:
    """One text for each atom."""
    return [part.strip() for part in re.split(r"[;\n]", geometry) if part.strip() and not part.strip().startswith("#")]


def words_of(entry: str) -> list[str]:
    return re.split(r"[\s,]+", entry)


def is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", word) is not None


def symbols_of(geometry: str) -> list[str]:
    """The element of each atom; of an entry that begins with none, a sentence."""
    symbols = []
    for entry in entries_of(geometry):
        letters = re.match(r"[A-Za-z]+", entry)
        if letters is None or letters[0].upper() not in CHARGE_OF:
            raise ConfigurationError(f"no element begins the atom {entry!r}")
        symbols.append(letters[0].capitalize())
    return symbols


def _names_a_file(text: str) -> bool:
    return text.lower().endswith(".xyz") and "\n" not in text and ";" not in text


def _from_file(path: Path) -> str:
    try:
        lines = path.expanduser().read_text().strip("\n").splitlines()
    except OSError as error:
        raise ConfigurationError(f"cannot read the XYZ file {path.absolute()}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.absolute()} is no text, as an XYZ file is") from None
    return _from_xyz(lines, str(path))


def _from_xyz(lines: Sequence[str], name: str) -> str:
    """The number of atoms, a comment, a line for each atom; more columns, and more frames, are left alone."""
    if not lines or not re.fullmatch(r"\s*\d+\s*", lines[0]):
        raise ConfigurationError(f"{name}: the first line of an XYZ file is the number of atoms")
    wanted = int(lines[0])
    atoms = [line.split() for line in lines[2 : 2 + wanted]]
    wrong = next((number for number, atom in enumerate(atoms, 3) if not _is_atom(atom)), None)
    if wrong is not None:
        raise ConfigurationError(
            f"{name}, line {wrong}: {lines[wrong - 1].strip()!r} is no atom, as in 'N 0.0 0.0 1.1'"
        )
    if len(atoms) < wanted:
        raise ConfigurationError(f"{name} promises {wanted} atoms in its first line and has {len(atoms)}")
    if any(len(line.split()) >= 4 and _is_atom(line.split()) for line in lines[2 + wanted : 3 + wanted]):
        raise ConfigurationError(f"{name} promises {wanted} atoms in its first line and has more")
    return "; ".join(" ".join([_symbol(atom[0]), *atom[1:4]]) for atom in atoms)


def _is_atom(words: Sequence[str]) -> bool:
    return len(words) >= 4 and all(map(is_number, words[1:4]))


def _symbol(word: str) -> str:
    """Some programs write the atomic number."""
    return _ELEMENTS[int(word) - 1] if word.isdecimal() and 0 < int(word) <= len(_ELEMENTS) else word
