"""`QuantumFiles`: the IO manager of quantum jobs and of shots."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np

from dagster_hpc.quantum.values import QuantumJob, QuantumTimes, Shots
from dagster_hpc.value_files import ValueFiles


class QuantumFiles(ValueFiles):
    """Stores quantum jobs and shots as npz with a JSON header, one file for each partition, never pickle.

    Example:
        assets = build_quantum_assets(bell_pair, shots=1000, files=QuantumFiles(base_dir="/data/shots"))
    """

    extension = ".npz"

    def contents(self, value: Any) -> bytes:
        return to_bytes(value)

    def value(self, contents: bytes, name: str) -> Any:
        return from_bytes(contents)


def to_bytes(value: Any) -> bytes:
    """The contents of a file. Of shots: those of all circuits, and their times; not the batch job."""
    arrays: dict[str, Any] = {}
    if isinstance(value, QuantumJob):
        header = value.to_json()
    elif isinstance(value, Shots):
        header = {"times": asdict(value.times), "widths": [part.shape[1] for part in value.parts]}
        arrays = {f"bits_{number}": np.packbits(part, axis=1) for number, part in enumerate(value.parts)}
    else:
        raise TypeError(f"QuantumFiles stores QuantumJob and Shots, not {type(value).__name__}")
    text = json.dumps({"kind": type(value).__name__, **header}).encode()
    file = io.BytesIO()
    np.savez(file, header=np.frombuffer(text, np.uint8), **arrays)
    return file.getvalue()


def from_bytes(data: bytes) -> Any:
    """What `to_bytes` was given."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        if header.pop("kind") == "QuantumJob":
            return QuantumJob.from_json(header)
        parts = [
            np.unpackbits(arrays[f"bits_{number}"], axis=1, count=width).astype(bool)
            for number, width in enumerate(header["widths"])
        ]
    return Shots(tuple(parts), QuantumTimes(**header["times"]))
