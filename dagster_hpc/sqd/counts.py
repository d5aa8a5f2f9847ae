"""Files of counts: {bitstring: count} as Qiskit's get_counts gives it, alone or with the Hamiltonian that it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.molecule import require_same
from dagster_hpc.sqd.seeds import SAMPLING, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule import MolecularIntegrals
    from dagster_hpc.sqd.values import Samples

_WITH_HAMILTONIAN = {"hamiltonian", "counts"}  # the keys of a file that says what it belongs to


class Counts(NamedTuple):
    """What stands in a file."""

    rows: NDArray[np.bool_]
    counts: list[int]
    hamiltonian: str  # signature; empty where the file says none


def counts_of(bitstrings: NDArray[np.bool_]) -> dict[str, int]:
    """{bitstring: count}, as Qiskit writes it and CountsSource reads it; most frequent first."""
    rows, counts = np.unique(bitstrings, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {"".join("01"[bit] for bit in rows[k].astype(int)): int(counts[k]) for k in order}


def write_counts(path: str | Path, samples: Samples) -> None:
    """A file that CountsSource reads, and that is refused with another Hamiltonian.

    Example:
        write_counts("counts.json", samples)
        bits = sample_bitstrings(CountsSource(path="counts.json"), molecule, seed=24)
    """
    held = {"hamiltonian": samples.hamiltonian, "counts": counts_of(samples.bitstrings)}
    Path(path).write_text(json.dumps(held, indent=1) + "\n")


def bits_of_counts(
    path: str,
    norb: int,
    shots: int | None,
    seed: int | np.random.SeedSequence,
    integrals: MolecularIntegrals | None,
) -> NDArray[np.bool_]:
    """The shots of a file, or a random part of them; refused where they belong to another Hamiltonian."""
    held = read_counts(path, norb)
    if integrals is not None:
        require_same(held.hamiltonian, integrals, f"the counts in {path}")
    counts, total = held.counts, sum(held.counts)
    if total == 0 or (shots or 0) > total:
        raise ConfigurationError(f"{path} holds {total} shots, {shots or 'at least 1'} are asked for")
    if shots is not None:
        rng = stream(seed, SAMPLING)
        counts = rng.multivariate_hypergeometric(counts, shots, method="marginals").tolist()
    return np.repeat(held.rows, counts, axis=0)


def read_counts(path: str, norb: int) -> Counts:
    """The bitstrings of `norb` orbitals in this file, and how often each was measured."""
    data = _read(Path(path))
    hamiltonian = ""
    if isinstance(data, dict) and data.keys() == _WITH_HAMILTONIAN:
        hamiltonian, data = data["hamiltonian"], data["counts"]
    if not isinstance(data, dict) or not data or not isinstance(hamiltonian, str):
        raise ConfigurationError(
            f'{path} must hold one object {{bitstring: count}} with at least one entry, or {{"hamiltonian": signature, '
            '"counts": {bitstring: count}}'
        )
    faults: list[str] = []
    rows, counts = [], []
    for text, count in data.items():
        row = text.replace(" ", "")
        if len(row) != 2 * norb or set(row) - {"0", "1"}:
            faults.append(f"{text!r} is not a string of {2 * norb} bits (beta, then alpha, of {norb} orbitals each)")
        elif not isinstance(count, int) or isinstance(count, bool) or count < 0:
            faults.append(f"{text!r} has the count {count!r}, which is no whole number")
        else:
            rows.append(np.frombuffer(row.encode(), dtype=np.uint8) == ord("1"))
            counts.append(count)
    if faults:
        more = [f"and {len(faults) - 5} more"] if len(faults) > 5 else []
        raise ConfigurationError([f"{path}: {fault}" for fault in faults[:5]] + more)
    return Counts(np.array(rows), counts, hamiltonian)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"cannot read the counts in {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from None
