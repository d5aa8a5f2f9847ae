"""The files between who asks for shots and who measures them: circuits and request one way, samples and receipt back.

Both ways a check sum says that a file is whole, and the receipt says which request it answers.
"""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from dagster_hpc.quantum.values import QuantumTimes, SamplesDamaged

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit

REQUEST = "request.json"
SAMPLES, RECEIPT = "samples.npz", "samples.json"


@dataclass(frozen=True)
class Request:
    """What is to be measured, and by what: `device` names a function, as in `my_site.qpu:run`."""

    shots: int  # of each circuit
    seed: int
    device: str
    options: Mapping[str, Any]
    circuits_sha256: str = ""

    @property
    def circuits(self) -> str:
        """The file of the circuits. Its name is its content: a request never points at those of another attempt."""
        return f"circuits-{self.circuits_sha256[:16]}.qpy"


def request_files(circuits: Sequence[QuantumCircuit], request: Request) -> dict[str, bytes]:
    """The files of a request. Circuits in QPY: the reader's Qiskit may be newer than the writer's, not older."""
    from qiskit import qpy

    file = io.BytesIO()
    qpy.dump(list(circuits), file)
    named = replace(request, circuits_sha256=sha256(file.getvalue()).hexdigest())
    text = json.dumps(asdict(named), sort_keys=True)
    return {named.circuits: file.getvalue(), REQUEST: text.encode()}


def read_request(folder: Path) -> tuple[Request, list[QuantumCircuit]]:
    """The request that lies in this folder, and its circuits."""
    from qiskit import qpy

    request = Request(**json.loads((folder / REQUEST).read_bytes()))
    circuits = (folder / request.circuits).read_bytes()
    if sha256(circuits).hexdigest() != request.circuits_sha256:
        raise SamplesDamaged(f"the circuits in {folder / request.circuits} are not those that were written there")
    return request, list(qpy.load(io.BytesIO(circuits)))


def write_samples(folder: Path, answers: Path, parts: Sequence[NDArray[np.bool_]], times: QuantumTimes) -> None:
    """Samples and receipt, each of them whole or not at all, the receipt last. `answers`: the request's folder."""
    file = io.BytesIO()
    arrays = {f"bits_{number}": np.packbits(part, axis=1) for number, part in enumerate(parts)}
    np.savez(file, widths=np.array([part.shape[1] for part in parts]), **arrays)  # type: ignore[arg-type]
    receipt = {
        "sha256": sha256(file.getvalue()).hexdigest(),
        "request_sha256": sha256((answers / REQUEST).read_bytes()).hexdigest(),
        "times": asdict(times),
    }
    write_whole(folder / SAMPLES, file.getvalue())
    write_whole(folder / RECEIPT, json.dumps(receipt).encode())


def read_samples(folder: Path, answers: Path) -> tuple[tuple[NDArray[np.bool_], ...], QuantumTimes]:
    """What `write_samples` was given; `SamplesDamaged` if a single bit of it has changed, or it answers something else."""
    try:
        receipt = json.loads((folder / RECEIPT).read_bytes())
        data = (folder / SAMPLES).read_bytes()
        asked = sha256((answers / REQUEST).read_bytes()).hexdigest()
        if sha256(data).hexdigest() != receipt["sha256"]:
            raise _damaged(folder / SAMPLES, f"its check sum is not the one in {RECEIPT}")
        if asked != receipt["request_sha256"]:
            raise _damaged(folder / SAMPLES, f"it answers another request than {answers / REQUEST}")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            widths = arrays["widths"].tolist()
            parts = [np.unpackbits(arrays[f"bits_{k}"], axis=1, count=width) for k, width in enumerate(widths)]
        times = QuantumTimes(**receipt["times"])
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise _damaged(folder / SAMPLES, str(error)) from error
    return tuple(part.astype(bool) for part in parts), times


def write_whole(path: Path, data: bytes) -> None:
    """The whole file or none, on the disk when this returns."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _damaged(path: Path, why: str) -> SamplesDamaged:
    return SamplesDamaged(f"the samples in {path} cannot be used: {why}", advice="ask again: they are measured anew.")
