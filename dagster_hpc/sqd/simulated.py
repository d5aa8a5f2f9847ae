"""Circuits simulated here: exactly, in the space of the right electrons, with errors put on the outcome."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum.values import shares
from dagster_hpc.sqd.circuits import factorized, ffsim_for, lucj_operator
from dagster_hpc.sqd.seeds import NOISE, SAMPLING, stream
from dagster_hpc.sqd.sources import LUCJSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule import Molecule
    from dagster_hpc.sqd.sources import Circuit

MOST_AMPLITUDES = 2**27  # of a simulated state: 2 GiB, and as much again while a gate is applied


def simulated(
    source: Circuit, molecule: Molecule, shots: int, seed: int | np.random.SeedSequence
) -> NDArray[np.bool_]:
    """Shots of the circuit; those of a Krylov space are shared out evenly among its vectors."""
    ffsim = ffsim_for(source.kind)
    integrals = molecule.integrals()
    norb, nelec = integrals.norb, integrals.nelec
    dimension = comb(norb, nelec[0]) * comb(norb, nelec[1])
    if dimension > MOST_AMPLITUDES:
        raise ConfigurationError(
            f"{norb} orbitals with {nelec[0]} + {nelec[1]} electrons are {dimension:.1e} amplitudes, "
            f"too many to simulate here ({MOST_AMPLITUDES:.1e} at most)",
            advice="choose a smaller active space, or run the circuit on a quantum computer.",
        )
    reference = ffsim.hartree_fock_state(norb, nelec)
    rng = stream(seed, SAMPLING)
    if isinstance(source, LUCJSource):
        state = ffsim.apply_unitary(reference, lucj_operator(source, molecule), norb=norb, nelec=nelec)
        exact = drawn(ffsim, state, norb, nelec, shots, rng)
    else:
        hamiltonian = factorized(ffsim, integrals)
        parts, state = [], reference
        for step, share in enumerate(shares(shots, source.dimension)):
            if step:
                state = ffsim.simulate_trotter_double_factorized(
                    state, hamiltonian, source.time_step,
                    norb=norb, nelec=nelec, n_steps=source.trotter_steps, order=source.order,
                )  # fmt: skip
            parts.append(drawn(ffsim, state, norb, nelec, share, rng))
        exact = np.vstack(parts)
    return noisy(exact, source, stream(seed, NOISE))


def drawn(
    ffsim: Any, state: Any, norb: int, nelec: tuple[int, int], shots: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Shots of a state of given electrons, drawn from its probabilities."""
    if not shots:
        return np.empty((0, 2 * norb), dtype=bool)
    probabilities = np.abs(np.asarray(state)) ** 2
    cumulated = np.cumsum(probabilities)
    addresses = np.searchsorted(cumulated, rng.random(shots) * cumulated[-1], side="right")
    alpha, beta = ffsim.addresses_to_strings(
        addresses.tolist(), norb, nelec, concatenate=False, bitstring_type=ffsim.BitstringType.BIT_ARRAY
    )
    return np.hstack([np.asarray(beta, dtype=bool), np.asarray(alpha, dtype=bool)])


def noisy(exact: NDArray[np.bool_], source: Circuit, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The same shots with the errors of the source."""
    lost = rng.random(len(exact)) < source.depolarizing
    noise = rng.integers(2, size=exact.shape, dtype=bool)
    flipped = rng.random(exact.shape) < source.bit_flip
    return np.asarray(np.where(lost[:, None], noise, exact) ^ flipped)
