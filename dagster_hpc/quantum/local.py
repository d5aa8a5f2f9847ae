"""`LocalSampler`: circuits are simulated in the process that fetches their shots."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dagster_hpc.engine.filesystem import state_folder
from dagster_hpc.engine.ledger.quantum import QuantumRow
from dagster_hpc.quantum.circuits import elementary, figures
from dagster_hpc.quantum.devices import STATEVECTOR
from dagster_hpc.quantum.request import RECEIPT, Request, read_samples, request_files, write_whole
from dagster_hpc.quantum.sampler import Prepared, QuantumSampler, Tell
from dagster_hpc.quantum.values import QuantumJob, Shots, each_of
from dagster_hpc.quantum.worker import measure
from dagster_hpc.resources.env_vars import env_value
from dagster_hpc.resources.step import Context

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


class LocalSampler(QuantumSampler):
    """A simulator on this machine. Submitting writes the request down; fetching measures it, once.

    Example:
        bits = LocalSampler().sample([bell], shots=1000, seed=24).bits
        assert bits.shape == (1000, 2)
    """

    device: str = Field(default=STATEVECTOR, description="module:function that measures; default: an exact simulator.")
    options: dict[str, Any] = Field(default={}, description="Options of the device.")
    folder: str | None = Field(
        default=None, description="Where requests and samples lie; default: beside the ledger of this user."
    )

    kind: ClassVar[str] = "local"

    def settings(self) -> dict[str, Any]:
        return {"device": self.device, "options": self.options}

    def prepare(self, circuits: "Sequence[QuantumCircuit]", shots: int, seed: int, context: Context | None) -> Prepared:
        sent = elementary(circuits)
        request = Request(each_of(shots, len(sent)), seed, self.device, self.options)
        files = request_files(sent, request)
        return Prepared(self.device, [figures(one) for one in sent], lambda row: self._place(row, files))

    def collect(self, job: QuantumJob, tell: Tell, context: Context | None) -> Shots:
        folder = Path(job.reference)
        if not (folder / RECEIPT).exists():
            tell(f"{job.shots} shots are measured by {job.backend}")
            measure(folder, folder)
        return Shots(*read_samples(folder, folder))

    def _place(self, row: QuantumRow, files: Mapping[str, bytes]) -> str:
        folder = local_folder(self.folder) / row.token
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content in files.items():
            write_whole(folder / name, content)
        return str(folder)


def local_folder(given: str | None) -> Path:
    """The folder that is given, else one in `DAGSTER_HOME`, else one in the user's state directory."""
    if given:
        return Path(os.path.expandvars(env_value(given))).expanduser().absolute()
    home = os.environ.get("DAGSTER_HOME")
    return (Path(home).expanduser() / "dagster_hpc" if home else state_folder()) / "quantum"
