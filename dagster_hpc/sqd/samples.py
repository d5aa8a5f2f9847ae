"""Where bitstrings come from: drawn at random, read from a file, a circuit simulated here, or a quantum computer.

Every source gives the same thing, a matrix of booleans with one row per shot and the columns

    b[N-1] … b[0] a[N-1] … a[0]

so that alpha is the right half and the last column is orbital 0. That is how qiskit-addon-sqd reads its matrices, and how
Qiskit writes a bitstring (qubit 0 last; qubits 0 to N-1 are alpha, N to 2N-1 are beta). Each half, read as a binary number,
is the integer of Dice's string files: bit p is orbital p.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.counts import bits_of_counts
from dagster_hpc.sqd.seeds import SAMPLING, stream
from dagster_hpc.sqd.simulated import simulated
from dagster_hpc.sqd.sources import CountsSource, IBMSource, Source, UniformSource, source_of
from dagster_hpc.sqd.uniform import uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.quantum import QuantumSampler
    from dagster_hpc.sqd.molecule import Molecule


def sample_bitstrings(
    source: Source | str | Mapping[str, Any],
    molecule: Molecule | None = None,
    *,
    seed: int | np.random.SeedSequence,
    shots: int | None = None,
    norb: int | None = None,
    nelec: tuple[int, int] | None = None,
    sampler: QuantumSampler | None = None,
    backend: Any = None,
    on_submit: Callable[[str], None] | None = None,
    reuse: Literal["succeeded", "never"] = "succeeded",
) -> NDArray[np.bool_]:
    """Bitstrings of the active space, (shots, 2·norb), alpha in the right half.

    Args:
        source: One of `sqd.sources`, its fields with `kind`, or a kind alone, as in "uniform".
        molecule: Gives norb, nelec and, to circuits, integrals and amplitudes. Without it name `norb` and `nelec`.
        seed: All randomness comes from it. The same seed, source and molecule give the same bitstrings.
        shots: How many. A file of counts is taken as it is, unless this asks for a random part of it.
        sampler: Measures the circuit of "lucj" or "krylov" in place of the simulation here.
        backend: For "ibm": a Qiskit backend in place of the one named by the source, such as a local fake one.
        on_submit: For a sampler and "ibm": called with the reference of the quantum job as soon as it has one.
        reuse: For a sampler and "ibm": never: a new job, also where there is one of the same circuit, shots and seed.

    Example:
        bits = sample_bitstrings("uniform", molecule, shots=10_000, seed=24)
        assert bits.shape == (10_000, 20)
    """
    chosen = source_of(source)
    if isinstance(shots, bool) or (shots is not None and shots < 1):
        raise ConfigurationError(f"shots is {shots}: at least one is needed")
    norb, nelec = _size(molecule, norb, nelec)
    if isinstance(chosen, CountsSource | UniformSource) and sampler is not None:
        raise ConfigurationError(f"the source {chosen.kind} is no circuit: leave out the sampler")
    if isinstance(chosen, CountsSource):
        return bits_of_counts(chosen.path, norb, shots, seed, molecule.integrals() if molecule is not None else None)
    if isinstance(chosen, IBMSource) and chosen.job_id is not None:
        from dagster_hpc.sqd.measured import bits_of_job

        return bits_of_job(chosen, norb, shots)
    if shots is None:
        raise ConfigurationError(f"the source {chosen.kind} needs a number of shots")
    if isinstance(chosen, UniformSource):
        return uniform(chosen, norb, nelec, shots, stream(seed, SAMPLING))
    if molecule is None:
        raise ConfigurationError(f"the source {chosen.kind} needs a molecule, not its size only")
    if isinstance(chosen, IBMSource) or sampler is not None:
        from dagster_hpc.sqd.measured import measured

        return measured(
            chosen, molecule, shots, seed, sampler=sampler, backend=backend, on_submit=on_submit, reuse=reuse
        ).bits
    return simulated(chosen, molecule, shots, seed)


def _size(molecule: Molecule | None, norb: int | None, nelec: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    if molecule is not None:
        integrals = molecule.integrals()
        if (norb, nelec) not in ((None, None), (integrals.norb, integrals.nelec)):
            raise ConfigurationError(
                f"norb {norb} and nelec {nelec} are not those of the molecule, {integrals.norb} and {integrals.nelec}: "
                "leave them out"
            )
        return integrals.norb, integrals.nelec
    if norb is None or nelec is None:
        raise ConfigurationError("give a molecule, or norb and nelec")
    if norb < 1 or not all(0 <= count <= norb for count in nelec):
        raise ConfigurationError(f"{nelec[0]} alpha and {nelec[1]} beta electrons do not fit into {norb} orbitals")
    return norb, (int(nelec[0]), int(nelec[1]))
