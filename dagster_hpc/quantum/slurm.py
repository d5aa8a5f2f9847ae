"""`SlurmSampler`: circuits are measured by a batch job, on the node that a quantum computer belongs to."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `hpc` as a type.

import posixpath
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg
from pydantic import Field

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobFailed
from dagster_hpc.engine.ledger.quantum import QuantumRow
from dagster_hpc.quantum.circuits import elementary, figures
from dagster_hpc.quantum.devices import STATEVECTOR
from dagster_hpc.quantum.request import RECEIPT, SAMPLES, Request, read_samples, request_files
from dagster_hpc.quantum.sampler import Prepared, QuantumSampler, Tell
from dagster_hpc.quantum.values import QuantumJob, Shots, each_of
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.step import Context

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

WORKER = "dagster_hpc.quantum.worker"


class SlurmSampler(QuantumSampler):
    """A quantum computer as a resource of Slurm: `SlurmTarget(qpu=…)` asks for it, a worker on its node uses it.

    Every other target does as well: what measures is the `device`, which the worker imports. Its ledger is the runner's.

    Example:
        hpc = HPCJobRunner(
            target=SlurmTarget(queue_cpu="quantum", qpu="ibm_kawasaki"),
            profiles={"qpu": ExecutionProfile(walltime="00:30:00")},
            work_root="/scratch/me/dagster",
        )
        sampler = SlurmSampler(hpc=hpc, profile="qpu", device="my_site.qpu:run")
    """

    hpc: HPCJobRunner
    profile: str = Field(description="Execution profile of the jobs, one of the runner's.")
    device: str = Field(default=STATEVECTOR, description="module:function that measures, as the node can import it.")
    options: dict[str, Any] = Field(default={}, description="Options of the device.")
    python: str = Field(default="", description="Python of the worker, as the node sees it; empty: this one.")

    kind: ClassVar[str] = "slurm"

    def settings(self) -> dict[str, Any]:
        return {"backend": self._backend(), "device": self.device, "options": self.options}

    def prepare(self, circuits: "Sequence[QuantumCircuit]", shots: int, seed: int, context: Context | None) -> Prepared:
        if self.ledger_url is not None:
            raise ConfigurationError("a SlurmSampler uses its runner's ledger: give ledger_url to the HPCJobRunner")
        self.hpc.profile(self.profile)  # an unknown one is said before anything is written
        sent = elementary(circuits)
        files = request_files(sent, Request(each_of(shots, len(sent)), seed, self.device, self.options))
        return Prepared(self._backend(), [figures(one) for one in sent], lambda row: self._send(row, files, context))

    def command(self, token: str) -> Command:
        """What the job runs: the worker, on the request that lies below the runner's folder."""
        return Command(self.python or sys.executable, args=["-m", WORKER, self._folder(token)], name="quantum")

    def collect(self, job: QuantumJob, tell: Tell, context: Context | None) -> Shots:
        try:
            result = self.hpc.wait(self.ledger.job(job.reference).handle(), context=context)
        except dg.Failure as failure:
            if isinstance(failure.__cause__, JobFailed):
                raise failure.__cause__ from None  # it is made a failure again by the caller
            raise
        parts, times = read_samples(Path(result.handle.work_dir), Path(self._folder(job.token)))
        return Shots(parts, replace(times, submitted_at=result.metrics.submitted_at), result)

    def place_of_ledger(self) -> str | None:
        return self.hpc.ledger_url

    def _send(self, row: QuantumRow, files: Mapping[str, bytes], context: Context | None) -> str:
        """Repeated after a crash, this finds the same request and joins the same job: neither is made twice."""
        from dagster_hpc.engine.submit.claim import place

        target, folder = self.hpc.target.engine_target(), self._folder(row.token)
        place(folder, {}, target)
        for name, content in files.items():
            path = posixpath.join(folder, name)
            if target.host.size(path) is None:
                target.host.create(path, content)
        handle = self.hpc.submit(
            self.command(row.token),
            profile=self.profile,
            context=context,
            key=f"quantum-{row.token}",
            reuse="succeeded",
            outputs={"samples": SAMPLES, "receipt": RECEIPT},
        )
        return handle.token

    def _folder(self, token: str) -> str:
        return posixpath.join(self.hpc.folder, "quantum-requests", token)

    def _backend(self) -> str:
        """The quantum resource, where the target names one; else the target."""
        target = self.hpc.target
        return str(target.options().get("qpu") or target.name or target.default_name)
