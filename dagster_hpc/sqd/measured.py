"""Circuits of SQD as quantum jobs: known by source and Hamiltonian, built only when they have to be submitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum.ibm import IBMSampler, ibm_runtime
from dagster_hpc.quantum.values import QuantumJob, Shots, shares
from dagster_hpc.sqd.circuits import circuits_of, ffsim_for, merged
from dagster_hpc.sqd.molecule import signature_of
from dagster_hpc.sqd.sources import Circuit, IBMSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.quantum.sampler import QuantumSampler
    from dagster_hpc.resources.step import Context
    from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule

_DIGITS = 4  # of the sums in a Hamiltonian's signature: two processes compute them with errors far below


@dataclass(frozen=True)
class MeasuredBits:
    """The bitstrings of a quantum job, and the job."""

    bits: NDArray[np.bool_]
    job: QuantumJob
    shots: Shots


def measured(
    source: Circuit | IBMSource,
    molecule: Molecule,
    shots: int,
    seed: int | np.random.SeedSequence,
    *,
    sampler: QuantumSampler | None = None,
    backend: Any = None,
    on_submit: Callable[[str], None] | None = None,
    reuse: Literal["succeeded", "never"] = "succeeded",
    context: Context | None = None,
) -> MeasuredBits:
    """Submit the circuit of this source, unless it was submitted before, and wait for its shots."""
    chosen, circuit = device_and_circuit(source, sampler, backend)
    job = submitted(circuit, molecule, shots, seed, chosen, reuse=reuse, context=context)
    if on_submit is not None:
        on_submit(job.reference)
    return fetched(job, chosen, molecule.integrals().norb, context=context)


def submitted(
    circuit: Circuit,
    molecule: Molecule,
    shots: int,
    seed: int | np.random.SeedSequence,
    sampler: QuantumSampler,
    *,
    reuse: Literal["succeeded", "never"],
    context: Context | None,
) -> QuantumJob:
    """The quantum job of this circuit for this molecule."""
    if circuit.depolarizing or circuit.bit_flip:
        raise ConfigurationError("what measures the circuit has noise of its own: leave out depolarizing and bit_flip")
    return sampler.submit(
        lambda: merged(circuits_of(circuit, molecule)),
        shots=shots,
        seed=int(seed.generate_state(1)[0]) if isinstance(seed, np.random.SeedSequence) else int(seed),
        content=content_of(circuit, molecule.integrals()),
        reuse=reuse,
        context=context,
    )


def fetched(job: QuantumJob, sampler: QuantumSampler, norb: int, *, context: Context | None) -> MeasuredBits:
    """The bitstrings of this job."""
    shots = sampler.fetch(job, context=context)
    return MeasuredBits(_of_orbitals(shots, norb), job, shots)


def content_of(circuit: Circuit, integrals: MolecularIntegrals) -> dict[str, Any]:
    """What the circuits are, in words that are the same in every process."""
    ffsim_for(circuit.kind)
    words = signature_of(integrals).split()
    rounded = [f"{round(float(word), _DIGITS) + 0.0:.{_DIGITS}f}" if "." in word else word for word in words]
    return {"circuit": circuit.model_dump(mode="json"), "hamiltonian": " ".join(rounded), "ffsim": version("ffsim")}


def device_and_circuit(
    source: Circuit | IBMSource, sampler: QuantumSampler | None, backend: Any = None
) -> tuple[QuantumSampler, Circuit]:
    """What measures, and what: "ibm" names both, every other circuit needs a sampler."""
    if isinstance(source, IBMSource):
        if sampler is not None:
            raise ConfigurationError(
                "the source ibm has a device of its own: give its circuit as the source, or leave out the sampler"
            )
        return _sampler_of(source) if backend is None else _sampler_of(source).on(backend), source.circuit
    if sampler is None:
        raise ConfigurationError(f"the circuit {source.kind} is not measured without a sampler")
    return sampler, source


def bits_of_job(source: IBMSource, norb: int, shots: int | None) -> NDArray[np.bool_]:
    """The bitstrings of the job that the source names, or so many of them, shared out evenly."""
    found = _sampler_of(source).outcome(str(source.job_id))
    if shots is None:
        return _of_orbitals(found, norb)
    parts = zip(found.parts, shares(shots, len(found.parts)), strict=True)
    return _of_orbitals(Shots(tuple(part[:share] for part, share in parts)), norb)


def _sampler_of(source: IBMSource) -> IBMSampler:
    ibm_runtime()
    return IBMSampler(
        backend=source.backend,
        account=source.account,
        instance=source.instance,
        optimization_level=source.optimization_level,
        options=source.options,
    )


def _of_orbitals(shots: Shots, norb: int) -> NDArray[np.bool_]:
    bits = shots.bits
    if bits.shape[1] != 2 * norb:
        raise ConfigurationError(f"the job measured {bits.shape[1]} qubits, {norb} orbitals have {2 * norb}")
    return bits
