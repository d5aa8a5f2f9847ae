"""A process that samples, and may be killed at each named point of a submission.

The processes are forks of one that has imported everything: Qiskit takes seconds to import, and most of these live for less.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from qiskit import QuantumCircuit, transpiler  # noqa: F401 - transpiler: imported once for all
from qiskit_ibm_runtime import fake_provider  # noqa: F401

from dagster_hpc.engine import ledger  # noqa: F401
from dagster_hpc.engine.clock import Clock
from dagster_hpc.quantum import IBMSampler
from tests.quantum.service import Service

FORKS = multiprocessing.get_context("forkserver")


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


class Client:
    """One such process. `at`: what happens at a point: "kill", or the path of a file that has to be there first."""

    def __init__(self, service: Service, ledger_url: str, at: Mapping[str, str]) -> None:
        FORKS.set_forkserver_preload(["tests.quantum.client"])
        self.seen = service.folder.parent
        self.answers, theirs = FORKS.Pipe(duplex=False)
        asked = (str(service.folder), ledger_url, dict(at), str(self.seen), theirs)
        self.process = FORKS.Process(target=_sample, args=asked)
        self.process.start()
        theirs.close()

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = self.answers.recv()
        assert "error" not in found, found["error"]
        self.process.join()
        return found

    def is_killed(self) -> bool:
        self.process.join()
        return self.process.exitcode == -signal.SIGKILL

    def comes_to(self, point: str) -> None:
        """Wait until it has come to this point."""
        note = self.seen / f"{self.process.pid} {point}"
        while not note.exists():
            assert self.process.is_alive()
            time.sleep(0.02)


@contextmanager
def clients(service: Service, ledger_url: str, *wishes: Mapping[str, str]) -> Iterator[list[Client]]:
    """Processes that are gone when the block ends."""
    made: list[Client] = []
    try:
        made += [Client(service, ledger_url, at) for at in wishes]
        yield made
    finally:
        for one in made:
            one.process.kill()
            one.process.join()


def _sample(folder: str, ledger_url: str, at: dict[str, str], seen: str, answers: Connection) -> None:
    Service(Path(folder)).install()

    def point(self: Clock, name: str) -> None:
        Path(seen, f"{os.getpid()} {name}").touch()
        if at.get(name) == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while name in at and not Path(at[name]).exists():
            time.sleep(0.01)

    Clock.point = point  # type: ignore[method-assign]
    try:
        sampler = IBMSampler(search=0.0, poll_interval=0.05, ledger_url=ledger_url)
        job = sampler.submit([bell()], shots=50, seed=1)
        shots = sampler.fetch(job)
        answers.send({"reference": job.reference, "joined": job.joined, "shots": len(shots.bits)})
    except BaseException as error:
        answers.send({"error": repr(error)})
        raise
