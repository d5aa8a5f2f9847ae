"""The circuit whose parameters are optimised: what samples it, and LUCJ simulated here as the one that is always there."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.circuits import interaction_pairs, lucj_operator
from dagster_hpc.sqd.simulated import MOST_AMPLITUDES, drawn, noisy
from dagster_hpc.sqd.sources import LUCJSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.molecule import Molecule


class Sampler(Protocol):
    """Shots of a circuit with these parameters: a row of booleans each, alpha in the right half.

    It is a function, such as one that sends the circuit to a quantum computer. All its randomness comes from `seed`.
    """

    def __call__(self, parameters: NDArray[np.float64], shots: int, seed: int) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class LUCJCircuit:
    """The local unitary cluster Jastrow circuit of `source`, its parameters free.

    Example:
        circuit = LUCJCircuit(LUCJSource(), norb=10, nelec=(1, 1))
        bits = circuit(circuit.start(molecule), shots=1000, seed=24)
    """

    source: LUCJSource
    norb: int
    nelec: tuple[int, int]

    def start(self, molecule: Molecule) -> NDArray[np.float64]:
        """The parameters of CCSD."""
        operator = lucj_operator(self.source, molecule)
        return np.asarray(operator.to_parameters(interaction_pairs=self._pairs), np.float64)

    def operator(self, parameters: NDArray[np.float64]) -> Any:
        """ffsim's operator, from which `ffsim.qiskit` makes a gate for a quantum computer."""
        import ffsim

        kind = ffsim.UCJOpSpinBalanced if self._is_balanced else ffsim.UCJOpSpinUnbalanced
        return kind.from_parameters(
            parameters, norb=self.norb, n_reps=self.source.layers, interaction_pairs=self._pairs,
            with_final_orbital_rotation=True,
        )  # fmt: skip

    def __call__(self, parameters: NDArray[np.float64], shots: int, seed: int) -> NDArray[np.bool_]:
        import ffsim

        size = comb(self.norb, self.nelec[0]) * comb(self.norb, self.nelec[1])
        if size > MOST_AMPLITUDES:
            raise ConfigurationError(
                f"{self.norb} orbitals with {self.nelec[0]} + {self.nelec[1]} electrons are {size:.1e} amplitudes, too "
                f"many to simulate here ({MOST_AMPLITUDES:.1e} at most)",
                advice="give a sampler that runs the circuit on a quantum computer.",
            )
        sampling, noise = (np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(2))
        reference = ffsim.hartree_fock_state(self.norb, self.nelec)
        state = ffsim.apply_unitary(reference, self.operator(parameters), norb=self.norb, nelec=self.nelec)
        return noisy(drawn(ffsim, state, self.norb, self.nelec, shots, sampling), self.source, noise)

    @property
    def _is_balanced(self) -> bool:
        return self.nelec[0] == self.nelec[1]

    @property
    def _pairs(self) -> Any:
        chain, rungs = interaction_pairs(self.source.connectivity, self.norb)
        return (chain, rungs) if self._is_balanced else (chain, rungs, chain)
