"""IBM's service as far as it is used, in a folder: it outlives the processes that submit to it, and counts its jobs."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qiskit_ibm_runtime
from qiskit.primitives import StatevectorSampler

DEVICE = "ibm_miyazaki"


class Service:
    """`QiskitRuntimeService` and its jobs. Their samples are exact, their status is what the folder says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[Any] = []  # accounts and backends, as they were asked for
        self.sends_to = "crn:1"  # the instance of the device
        self.open = ["crn:1"]  # the instances that this client has looked at; the last one is active
        folder.mkdir(exist_ok=True)

    def install(self) -> Service:
        """In place of the real one, in this process."""
        qiskit_ibm_runtime.QiskitRuntimeService = self
        qiskit_ibm_runtime.Sampler = lambda mode, options: Sampler(self, options)
        return self

    def __call__(self, **account: Any) -> Service:
        self.asked.append(account)
        return self

    def backend(self, name: str) -> Any:
        self.asked.append(name)
        return _device()

    def least_busy(self, **filters: Any) -> Any:
        self.asked.append("least busy")
        return _device()

    def instances(self) -> list[dict[str, str]]:
        return [{"crn": "crn:1"}, {"crn": "crn:2"}]

    def job(self, job_id: str) -> Job:
        found = Job(self.folder / job_id)
        if not found.path.exists() or found.told["instance"] not in self.open:
            raise qiskit_ibm_runtime.exceptions.RuntimeJobNotFound(f"no job {job_id}")
        return found

    def jobs(
        self, *, limit: int | None, job_tags: Sequence[str] = (), instance: str | None = None, descending: bool = True
    ) -> list[Job]:
        if instance is not None:
            self.open = [*(one for one in self.open if one != instance), instance]
        found = [Job(path) for path in sorted(self.folder.glob("job-*"), reverse=descending)]
        mine = [one for one in found if set(job_tags) <= set(one.told["tags"]) and one.told["instance"] == self.open[-1]]
        return mine[:limit]

    def ids(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("job-*"))

    def add(self, circuits: Any, shots: int, tags: list[str], status: str = "DONE") -> Job:
        name = f"job-{time.time_ns()}-{os.getpid()}"
        outcome = StatevectorSampler(seed=1).run(circuits, shots=shots).result()
        path = self.folder / f".{name}"
        path.mkdir()
        (path / "result").write_bytes(pickle.dumps(list(outcome)))
        (path / "told").write_text(json.dumps({"tags": tags, "status": status, "instance": self.sends_to}))
        path.rename(self.folder / name)
        return Job(self.folder / name)


class Job:
    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.path / "told").read_text())
        return told

    def set(self, **told: Any) -> None:
        (self.path / "told").write_text(json.dumps({**self.told, **told}))

    def job_id(self) -> str:
        return self.path.name

    def status(self) -> str:
        return str(self.told["status"])

    def error_message(self) -> str | None:
        return self.told.get("error")

    def result(self) -> Any:
        return pickle.loads((self.path / "result").read_bytes())

    def metrics(self) -> dict[str, Any]:
        stamps = {
            "created": "2026-01-01T00:00:00Z", "running": "2026-01-01T00:01:00Z", "finished": "2026-01-01T00:01:05.5Z",
        }  # fmt: skip
        usage = {"qpu_charge_time_seconds": 3, "status": "complete"}
        return {"timestamps": stamps, "usage": self.told.get("usage", usage)}


class Sampler:
    def __init__(self, service: Service, options: dict[str, Any]) -> None:
        self.service, self.options = service, options

    def run(self, circuits: Any, shots: int) -> Job:
        return self.service.add(circuits, shots, self.options["environment"]["job_tags"])


def _device() -> Any:
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    device = FakeManilaV2()
    device.name = DEVICE
    return device
