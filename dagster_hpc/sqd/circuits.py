"""The circuits of SQD, with the parameters of a molecule: as ffsim's operators, and as Qiskit circuits to be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.sources import LUCJSource

if TYPE_CHECKING:
    from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule
    from dagster_hpc.sqd.sources import Circuit


def circuits_of(source: Circuit, molecule: Molecule) -> list[Any]:
    """The Qiskit circuits, measured into a register `meas`: qubit p is alpha orbital p, qubit norb + p is beta orbital p."""
    from qiskit import QuantumCircuit

    ffsim = ffsim_for(source.kind)
    integrals = molecule.integrals()
    norb, nelec = integrals.norb, integrals.nelec
    reference = ffsim.qiskit.PrepareHartreeFockJW(norb, nelec)
    qubits = range(2 * norb)
    gates: list[Any] = []
    if isinstance(source, LUCJSource):
        operator = lucj_operator(source, molecule)
        balanced = isinstance(operator, ffsim.UCJOpSpinBalanced)
        gates = [(ffsim.qiskit.UCJOpSpinBalancedJW if balanced else ffsim.qiskit.UCJOpSpinUnbalancedJW)(operator)]
    else:
        hamiltonian = factorized(ffsim, integrals)
        gates = [None] + [
            ffsim.qiskit.SimulateTrotterDoubleFactorizedJW(
                hamiltonian, step * source.time_step, n_steps=step * source.trotter_steps, order=source.order
            )
            for step in range(1, source.dimension)
        ]
    circuits = []
    for gate in gates:
        circuit = QuantumCircuit(2 * norb)
        circuit.append(reference, qubits)
        if gate is not None:
            circuit.append(gate, qubits)
        circuit.measure_all()
        circuits.append(circuit)
    return circuits


def merged(circuits: list[Any]) -> list[Any]:
    """The same circuits with fewer gates: rotations of orbitals that follow each other become one."""
    return [ffsim_for("ibm").qiskit.PRE_INIT.run(circuit) for circuit in circuits]


def lucj_operator(source: LUCJSource, molecule: Molecule) -> Any:
    """The circuit as ffsim's operator, with as many repetitions as asked for and CCSD's amplitudes in them."""
    ffsim = ffsim_for(source.kind)
    norb, amplitudes = molecule.integrals().norb, molecule.amplitudes()
    if not all(np.all(np.isfinite(array)) for array in (*_arrays(amplitudes.t1), *_arrays(amplitudes.t2))):
        raise ConfigurationError("CCSD diverges for this molecule, so that there are no parameters for an LUCJ circuit")
    chain, rungs = interaction_pairs(source.connectivity, norb)
    if isinstance(amplitudes.t1, tuple):
        return ffsim.UCJOpSpinUnbalanced.from_t_amplitudes(
            amplitudes.t2, t1=amplitudes.t1, n_reps=source.layers, interaction_pairs=(chain, rungs, chain)
        )
    return ffsim.UCJOpSpinBalanced.from_t_amplitudes(
        amplitudes.t2, t1=amplitudes.t1, n_reps=source.layers, interaction_pairs=(chain, rungs)
    )


def factorized(ffsim: Any, integrals: MolecularIntegrals) -> Any:
    """The Hamiltonian as a sum of squares, whose parts are evolved one after the other."""
    hamiltonian = ffsim.MolecularHamiltonian(integrals.one_body, integrals.two_body, integrals.core_energy)
    return ffsim.DoubleFactorizedHamiltonian.from_molecular_hamiltonian(hamiltonian)


def ffsim_for(kind: str) -> Any:
    """ffsim, which this kind of source needs."""
    try:
        import ffsim
    except ImportError:
        raise ConfigurationError(
            f"the source {kind} needs ffsim, which is not installed", advice='pip install "dagster-hpc[sqd]"'
        ) from None
    return ffsim


def _arrays(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def interaction_pairs(
    connectivity: str, norb: int
) -> tuple[list[tuple[int, int]] | None, list[tuple[int, int]] | None]:
    """Orbitals that interact within a spin, and across spins."""
    if connectivity == "all-to-all":
        return None, None
    step = 4 if connectivity == "heavy-hex" else 1
    return [(p, p + 1) for p in range(norb - 1)], [(p, p) for p in range(0, norb, step)]
