"""FCIDUMP: the Hamiltonian as a text file. Real integrals with eightfold symmetry, as Dice reads them."""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.electrons.integrals import Integrals
from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEGLIGIBLE = 1e-15  # smaller integrals are not written
_LINES = 1 << 14  # formatted at a time
_SYMMETRIC = 1e-8
_HEADER_END = re.compile(r"(&END|/|\$END)[^\S\n]*\n", re.IGNORECASE)


@dataclass(frozen=True)
class Fcidump:
    """What a file says."""

    integrals: Integrals
    electrons: int

    @property
    def norb(self) -> int:
        return self.integrals.norb


def integrals_of(one_body: NDArray[np.float64], two_body: NDArray[np.float64], core_energy: float = 0.0) -> Integrals:
    """From h[p,q] and (pq|rs): with four indices, over pairs p ≥ q (two indices), or over pairs of pairs (one index)."""
    h, v = np.asarray(one_body), np.asarray(two_body)
    faults = [f"the {name} integrals are complex" for name, array in (("one", h), ("two", v)) if np.iscomplexobj(array)]
    norb = len(h)
    if h.shape != (norb, norb):
        raise ConfigurationError(f"the one-body integrals must be a square matrix, not of shape {h.shape}")
    rows, columns = np.tril_indices(norb)
    pairs = len(rows)
    if not np.allclose(h, h.T, rtol=0, atol=_SYMMETRIC):
        faults.append("the one-body integrals are not symmetric")
    if v.shape == (norb,) * 4:
        others = [v.transpose(1, 0, 2, 3), v.transpose(2, 3, 0, 1)]
        if not all(np.allclose(v, other, rtol=0, atol=_SYMMETRIC) for other in others):
            faults.append("the two-body integrals are not those of real orbitals in chemists' order (pq|rs)")
        packed = v[rows, columns][:, rows, columns]
    elif v.shape == (pairs, pairs):
        if not np.allclose(v, v.T, rtol=0, atol=_SYMMETRIC):
            faults.append("the two-body integrals are not symmetric: (pq|rs) must equal (rs|pq)")
        packed = v
    elif v.shape == (pairs * (pairs + 1) // 2,):
        packed = np.empty((pairs, pairs), v.dtype)
        lower = np.tril_indices(pairs)
        packed[lower] = packed.T[lower] = v
    else:
        raise ConfigurationError(f"the two-body integrals of {norb} orbitals cannot have the shape {v.shape}")
    if not (np.isfinite(h).all() and np.isfinite(packed).all() and np.isfinite(core_energy)):
        faults.append("the integrals are not all finite numbers")
    if faults:
        raise ConfigurationError(faults)
    return Integrals(float(core_energy), np.ascontiguousarray(h, np.float64), np.ascontiguousarray(packed, np.float64))


def hamiltonian_hash(integrals: Integrals, nelec: tuple[int, int]) -> str:
    """Names the contents of the FCIDUMP file: the same for the same Hamiltonian, computed without writing it."""
    digest = hashlib.sha256(f"{integrals.norb} {nelec[0]} {nelec[1]} {integrals.core_energy!r}\n".encode())
    digest.update(_bytes(integrals.one_body))
    for row, values in enumerate(integrals.pair_integrals):
        digest.update(_bytes(values[: row + 1]))
    return digest.hexdigest()


def _bytes(values: NDArray[np.float64]) -> bytes:
    return np.asarray(values + 0.0, "<f8").tobytes()  # -0.0 and 0.0 are one number


def fcidump_bytes(integrals: Integrals, nelec: tuple[int, int]) -> bytes:
    """The file, with all digits that a number has."""
    norb = integrals.norb
    rows, columns = (index + 1 for index in np.tril_indices(norb))
    text = [
        f"&FCI NORB={norb},NELEC={sum(nelec)},MS2={nelec[0] - nelec[1]},\n",
        f" ORBSYM={'1,' * norb}\n ISYM=1,\n&END\n",
    ]
    for pair in range(len(rows)):
        values = integrals.pair_integrals[pair, : pair + 1]
        kept = np.flatnonzero(np.abs(values) > NEGLIGIBLE)
        if len(kept):
            line = f"%.17g {rows[pair]} {columns[pair]} %d %d\n"
            fields = np.empty((len(kept), 3), object)
            fields[:, 0], fields[:, 1], fields[:, 2] = values[kept], rows[kept], columns[kept]
            text.append(line * len(kept) % tuple(fields.ravel()))
    one_body = integrals.one_body[rows - 1, columns - 1]
    for k in np.flatnonzero(np.abs(one_body) > NEGLIGIBLE):
        text.append(f"{one_body[k]:.17g} {rows[k]} {columns[k]} 0 0\n")
    text.append(f"{integrals.core_energy:.17g} 0 0 0 0\n")
    return "".join(text).encode()


def read_fcidump(source: str | Path | bytes) -> Fcidump:
    """A file, or its contents. Of a Hamiltonian with several spin blocks or complex integrals: an error."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    name = "FCIDUMP" if isinstance(source, bytes) else str(source)
    text = data.decode("ascii", "replace")
    end = _HEADER_END.search(text)
    if end is None:
        raise ConfigurationError(f"{name} has no header that ends with &END or /")
    header = text[: end.start()]
    norb, electrons = (_header_number(header, key, name) for key in ("NORB", "NELEC"))
    body = text[end.end() :].replace("D", "e").replace("d", "e")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            numbers = np.fromstring(body, sep=" ") if body.strip() else np.empty(0)
    except (DeprecationWarning, ValueError):
        raise ConfigurationError(f"{name} holds something that is no number after its header") from None
    if len(numbers) % 5:
        raise ConfigurationError(f"{name} has {len(numbers)} numbers after its header: not five in each line")
    values, indices = numbers[0::5], numbers.reshape(-1, 5)[:, 1:].astype(np.int64)
    if len(indices) and (indices.min() < 0 or indices.max() > norb):
        raise ConfigurationError(f"{name} has integrals of orbitals outside of 1 to {norb}")
    return Fcidump(_assembled(norb, values, indices, name), electrons)


def _header_number(header: str, key: str, name: str) -> int:
    found = re.search(rf"\b{key}\s*=\s*(\d+)", header, re.IGNORECASE)
    if found is None:
        raise ConfigurationError(f"the header of {name} does not say {key}")
    return int(found.group(1))


def _assembled(norb: int, values: NDArray[np.float64], indices: NDArray[np.int64], name: str) -> Integrals:
    first, second = indices[:, :2], indices[:, 2:]
    is_two, is_one = (indices > 0).all(axis=1), (first > 0).all(axis=1) & (second == 0).all(axis=1)
    is_core = (indices == 0).all(axis=1)
    is_orbital_energy = (first[:, 0] > 0) & (indices[:, 1:] == 0).all(axis=1)
    if not (is_two | is_one | is_core | is_orbital_energy).all():
        raise ConfigurationError(f"{name} has a line whose four indices make no integral")
    one_body = np.zeros((norb, norb))
    p, q = first[is_one].T - 1
    one_body[p, q] = one_body[q, p] = values[is_one]
    pq, rs = _pair(first[is_two]), _pair(second[is_two])
    pairs = norb * (norb + 1) // 2
    two_body = np.zeros((pairs, pairs))
    two_body[pq, rs] = two_body[rs, pq] = values[is_two]
    core = values[is_core]
    return Integrals(float(core[-1]) if len(core) else 0.0, one_body, two_body)


def _pair(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    high, low = indices.max(axis=1, initial=1) - 1, indices.min(axis=1, initial=1 << 30) - 1
    return np.asarray(high * (high + 1) // 2 + low)


def restricted(integrals: Integrals, orbitals: Sequence[int] | NDArray[np.intp]) -> Integrals:
    """Among some orbitals only: all that counts when no determinant has an electron in the others."""
    chosen = np.asarray(orbitals, np.intp)
    rows, columns = np.tril_indices(len(chosen))
    pairs = integrals.pair[chosen[rows], chosen[columns]]
    return Integrals(
        integrals.core_energy,
        integrals.one_body[np.ix_(chosen, chosen)],
        integrals.pair_integrals[np.ix_(pairs, pairs)],
    )
