"""Circuits as content: what they are, whatever they are called and whichever process built them; and how large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def fingerprint(circuits: Iterable[QuantumCircuit]) -> str:
    """Equal for circuits of the same instructions on the same qubits and bits; names and metadata do not matter."""
    digest = sha256()
    for circuit in circuits:
        digest.update(repr(_described(circuit)).encode())
    return digest.hexdigest()


def figures(circuit: QuantumCircuit) -> dict[str, int]:
    """What a circuit costs: its qubits, its depth, its gates on two qubits."""
    qubits = {bit for one in circuit.data for bit in one.qubits if one.operation.name != "barrier"}
    return {
        "qubits": len(qubits),
        "depth": int(circuit.depth()),
        "two_qubit_gates": int(circuit.num_nonlocal_gates()),
    }


def elementary(circuits: Sequence[QuantumCircuit]) -> list[QuantumCircuit]:
    """The same circuits in Qiskit's own gates on one and two qubits, which every program that reads them knows."""
    from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
    from qiskit.transpiler import generate_preset_pass_manager

    names = [name for name, gate in get_standard_gate_name_mapping().items() if gate.num_qubits <= 2]
    manager = generate_preset_pass_manager(optimization_level=0, basis_gates=names)
    return [manager.run(circuit) for circuit in circuits]


def _described(circuit: QuantumCircuit) -> tuple[Any, ...]:
    bits = {bit: place for place, bit in enumerate(circuit.qubits)} | {
        bit: place for place, bit in enumerate(circuit.clbits)
    }
    instructions = []
    for one in circuit.data:
        where = tuple(bits[bit] for bit in one.qubits), tuple(bits[bit] for bit in one.clbits)
        instructions.append((_gate(one.operation), where))
    registers = tuple(register.size for register in circuit.cregs)
    return (circuit.num_qubits, registers, _number(circuit.global_phase), tuple(instructions))


def _gate(gate: Any) -> tuple[Any, ...]:
    """A standard gate is known by its name and angles, a matrix by its numbers, any other by what it consists of."""
    params = tuple(_number(value) for value in gate.params)
    if gate.name not in _standard_names() and not any(isinstance(value, np.ndarray) for value in gate.params):
        inside = gate.definition  # a gate may have numbers of its own that Qiskit does not see
        if inside is not None:
            return (gate.num_qubits, _described(inside))
    return (gate.name, params, getattr(gate, "ctrl_state", None), repr(getattr(gate, "_condition", None)))


@cache
def _standard_names() -> frozenset[str]:
    from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping

    return frozenset(get_standard_gate_name_mapping())


def _number(value: Any) -> Any:
    if hasattr(value, "data") and hasattr(value, "num_qubits"):  # a branch or the body of a loop
        return _described(value)
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, sha256(np.ascontiguousarray(value).tobytes()).hexdigest())
    if isinstance(value, complex | np.complexfloating):
        return (float(value.real), float(value.imag))
    return float(value) if isinstance(value, int | float | np.number) else str(value)


def summed(circuits: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """Of all circuits of a job: the most qubits, the greatest depth, all two-qubit gates."""

    def values(name: str) -> list[int]:
        return [int(one[name]) for one in circuits if name in one]

    return {
        "qubits": max(values("qubits"), default=None),
        "depth": max(values("depth"), default=None),
        "two_qubit_gates": sum(values("two_qubit_gates")) if circuits else None,
    }
