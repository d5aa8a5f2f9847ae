"""`QuantumFiles`: the IO manager of quantum jobs and of shots."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
from pydantic import Field

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum.values import QuantumJob, QuantumTimes, Shots

if TYPE_CHECKING:
    from upath import UPath


class QuantumFiles(dg.ConfigurableIOManagerFactory):  # type: ignore[type-arg]
    """Stores quantum jobs and shots as npz with a JSON header, one file for each partition, never pickle."""

    base_dir: str | None = Field(
        default=None, description="Folder of the files; default: the storage folder of the Dagster instance."
    )

    def create_io_manager(self, context: dg.InitResourceContext) -> "_Files":
        from upath import UPath

        if self.base_dir is None and context.instance is None:
            raise ConfigurationError("QuantumFiles has no base_dir, and there is no Dagster instance with one")
        return _Files(UPath(self.base_dir or context.instance.storage_directory()))  # type: ignore[union-attr]


class _Files(dg.UPathIOManager):
    extension = ".npz"

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: "UPath") -> None:
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.write_bytes(to_bytes(obj))
        unfinished.rename(path)  # a reader meets the old file or the new one

    def load_from_path(self, context: dg.InputContext, path: "UPath") -> Any:
        return from_bytes(path.read_bytes())


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
