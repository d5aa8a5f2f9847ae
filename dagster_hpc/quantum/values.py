"""A quantum job that was submitted, the shots that come of it, and what they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.engine.job import JobResult


class QuantumJobFailed(HPCError):
    """The quantum job ended without samples. Asked for again, its circuits are submitted anew.

    Example:
        sampler = IBMSampler(backend="ibm_kawasaki")
        job = sampler.submit([bell], shots=1000, seed=24)
        try:
            shots = sampler.fetch(job)
        except QuantumJobFailed as error:
            print(error.message)  # the service's own words
    """


class SamplesDamaged(HPCError):
    """The samples are not those that were asked for, or not as they were written.

    Example:
        sampler = LocalSampler()
        job = sampler.submit([bell], shots=1000, seed=24)
        sampler.fetch(job)
        (Path(job.reference) / "samples.npz").write_bytes(b"")
        try:
            sampler.fetch(job)
        except SamplesDamaged as error:
            print(error.message)
    """


@dataclass(frozen=True)
class QuantumJob:
    """What finds the shots of submitted circuits, in any process that sees the same ledger.

    Example:
        job = LocalSampler().submit([bell], shots=1000, seed=24)
        later = QuantumJob.from_json(job.to_json())  # in another process
        assert LocalSampler().fetch(later).bits.shape == (1000, 2)
    """

    key: str  # of the content: circuits, shots, seed, sampler and its options
    token: str  # of the row in the ledger
    sampler: str
    backend: str
    reference: str  # what the service calls it
    shots: int
    circuits: tuple[Mapping[str, Any], ...]  # qubits, depth and two_qubit_gates of each, as submitted
    content: Mapping[str, Any]  # what was asked for, in words
    joined: bool = False  # it was there already and was not submitted again

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> QuantumJob:
        return cls(**{**values, "circuits": tuple(values["circuits"])})


@dataclass(frozen=True)
class QuantumTimes:
    """When it was, in seconds since 1970, and how long it took; None where nobody says.

    Example:
        times = LocalSampler().sample([bell], shots=1000, seed=24).times
        assert isinstance(times, QuantumTimes)
        print(times.queue_wait_s, times.execution_s, times.quantum_s)
    """

    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    quantum_s: float | None = None  # of the quantum computer, as it is charged

    @property
    def queue_wait_s(self) -> float | None:
        return _between(self.submitted_at, self.started_at)

    @property
    def execution_s(self) -> float | None:
        return _between(self.started_at, self.ended_at)


@dataclass(frozen=True)
class Shots:
    """What was measured: for each circuit one row of booleans a shot, the last column being the first bit (qubit 0).

    Example:
        shots = LocalSampler().sample([bell, bell], shots=1000, seed=24)
        assert isinstance(shots, Shots)
        assert [part.shape for part in shots.parts] == [(500, 2), (500, 2)] and shots.bits.shape == (1000, 2)
    """

    parts: tuple[NDArray[np.bool_], ...]
    times: QuantumTimes = field(default_factory=QuantumTimes)
    result: JobResult | None = None  # of the batch job, where there was one

    @property
    def bits(self) -> NDArray[np.bool_]:
        """The shots of all circuits, in their order."""
        return np.vstack(self.parts)


def shares(shots: int, parts: int) -> list[int]:
    """How many of the shots are whose: evenly, the first ones have one more."""
    return [shots // parts + (part < shots % parts) for part in range(parts)]


def each_of(shots: int, parts: int) -> int:
    """So many of each, where all must have as many: those too many are left out again."""
    return -(-shots // parts)


def rows_of(outcome: Any) -> NDArray[np.bool_]:
    """Qiskit's BitArray as a matrix with one row for each shot, the first bit last."""
    packed = outcome.array.reshape(-1, outcome.array.shape[-1])
    return np.unpackbits(packed, axis=-1)[:, -outcome.num_bits :].astype(bool)


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(0.0, end - start)
