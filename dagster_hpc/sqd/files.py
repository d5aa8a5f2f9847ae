"""`SQDFiles`: the IO manager of Hamiltonians, samples and results; and the format of its files."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.sqd.closed_loop.records import result_of as closed_loop_of
from dagster_hpc.sqd.closed_loop.records import result_record as closed_loop_record
from dagster_hpc.sqd.closed_loop.values import ClosedLoopResult
from dagster_hpc.sqd.molecule import Molecule
from dagster_hpc.sqd.npz import StateUnreadable, packed, plain_json, unpacked
from dagster_hpc.sqd.records import iteration_of, iteration_record, state_arrays, state_of
from dagster_hpc.sqd.values import Hamiltonian, Samples, SQDResult
from dagster_hpc.value_files import ValueFiles

if TYPE_CHECKING:
    from numpy.typing import NDArray


_STORED = "Hamiltonian, Samples, SQDResult and ClosedLoopResult"


class SQDFiles(ValueFiles):
    """Stores the values of these assets as npz with a JSON header: exact, one file per partition, never pickle.

    Example:
        assets = build_sqd_assets(molecule, name="h2", files=SQDFiles(base_dir="/data/sqd"))
    """

    extension = ".npz"

    def contents(self, value: Any) -> bytes:
        return to_bytes(value)

    def value(self, contents: bytes, name: str) -> Any:
        return from_bytes(contents, name)


def to_bytes(value: Any) -> bytes:
    """The contents of a file."""
    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    if isinstance(value, Hamiltonian):
        header = {
            "molecule": value.molecule.model_dump(mode="json"), "fcidump": value.fcidump, "spin": value.spin,
            "reference_energy": value.reference_energy, "ccsd_energy": value.ccsd_energy,
        }  # fmt: skip
        arrays = {"alpha": value.occupancies[0], "beta": value.occupancies[1]}
    elif isinstance(value, Samples):
        header = {
            "norb": value.norb, "nelec": value.nelec, "seed": value.seed, "source": dict(value.source),
            "hamiltonian": value.hamiltonian,
        }  # fmt: skip
        arrays = {"bits": np.packbits(value.bitstrings, axis=1)}
    elif isinstance(value, SQDResult):
        header, arrays = _result_parts(value)
    elif isinstance(value, ClosedLoopResult):
        header, arrays = closed_loop_record(value)
    else:
        raise TypeError(f"SQDFiles stores {_STORED}, not {type(value).__name__}")
    text = json.dumps({"kind": type(value).__name__, **header}, default=plain_json).encode()
    return packed({"header": np.frombuffer(text, np.uint8), **arrays})


def from_bytes(data: bytes, name: str = "this file") -> Any:
    """What `to_bytes` was given."""
    arrays = unpacked(data, Path(name))
    if "header" not in arrays:
        raise StateUnreadable(f"{name} was not written by SQDFiles")
    header = json.loads(arrays["header"].tobytes())
    kind = header.pop("kind")
    if kind == "Hamiltonian":
        molecule = Molecule.model_validate(header.pop("molecule"))
        return Hamiltonian(molecule=molecule, occupancies=(arrays["alpha"], arrays["beta"]), **header)
    if kind == "ClosedLoopResult":
        return closed_loop_of(header, arrays)
    nelec = (int(header["nelec"][0]), int(header["nelec"][1]))
    if kind == "Samples":
        bits = np.unpackbits(arrays["bits"], axis=1, count=2 * header["norb"]).astype(bool)
        return Samples(**{**header, "nelec": nelec, "bitstrings": bits})
    return _result_of({**header, "nelec": nelec}, arrays)


def _result_parts(result: SQDResult) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
    arrays = {"alpha": result.occupancies[0], "beta": result.occupancies[1], **state_arrays(result.sci_state)}
    rows = []
    for one in result.iterations:
        row, parts = iteration_record(one)
        rows.append(row)
        arrays |= {f"{one.number}.{name}": part for name, part in parts.items()}
    bare = asdict(replace(result, occupancies=(), sci_state=None, iterations=()))  # type: ignore[arg-type]
    del bare["occupancies"], bare["sci_state"]
    return {**bare, "iterations": rows}, arrays


def _result_of(header: dict[str, Any], arrays: "Mapping[str, NDArray[Any]]") -> SQDResult:
    iterations = []
    for row in header.pop("iterations"):
        own = f"{row['number']}."
        parts = {name.removeprefix(own): part for name, part in arrays.items() if name.startswith(own)}
        iterations.append(iteration_of(row, parts))
    state = state_of(arrays, header["norb"], header["nelec"])
    occupancies = arrays["alpha"], arrays["beta"]
    return SQDResult(**header, occupancies=occupancies, sci_state=state, iterations=tuple(iterations))
