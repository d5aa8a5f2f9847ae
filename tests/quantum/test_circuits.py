"""Circuits as content: the same ones have one fingerprint in every process, others another one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("qiskit")

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import UnitaryGate

from dagster_hpc.quantum.circuits import elementary, figures, fingerprint, summed
from tests.systems.needs import REPOSITORY


def rotated(angle: float = 0.5, *, name: str | None = None) -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(2, name or "q"), ClassicalRegister(2, name or "c"), name=name)
    circuit.rx(angle, 0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def hidden(angle: float) -> QuantumCircuit:
    """A gate of the user's own: Qiskit sees its name only, the angle is inside."""
    inside = QuantumCircuit(2, name="mine")
    inside.rzz(angle, 0, 1)
    circuit = QuantumCircuit(2, 2)
    circuit.append(inside.to_gate(), [0, 1])
    circuit.measure([0, 1], [0, 1])
    return circuit


def matrix(phase: complex) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.append(UnitaryGate(np.diag([1, phase])), [0])
    circuit.measure(0, 0)
    return circuit


def branched(gate: str) -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(1, "q"), ClassicalRegister(1, "c"))
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        getattr(circuit, gate)(0)
    return circuit


def turned() -> QuantumCircuit:
    circuit = rotated()
    circuit.data = [circuit.data[0], circuit.data[1], circuit.data[3], circuit.data[2]]
    return circuit


def test_names_do_not_matter() -> None:
    assert fingerprint([rotated()]) == fingerprint([rotated(name="another")])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: rotated(0.5), lambda: rotated(0.5 + 1e-9)),
        (lambda: hidden(0.5), lambda: hidden(0.6)),
        (lambda: matrix(1j), lambda: matrix(-1j)),
        (lambda: branched("x"), lambda: branched("y")),
        (rotated, turned),
    ],
)
def test_every_difference_is_seen(one: Callable[[], QuantumCircuit], other: Callable[[], QuantumCircuit]) -> None:
    assert fingerprint([one()]) == fingerprint([one()])
    assert fingerprint([one()]) != fingerprint([other()])
    assert fingerprint([one(), other()]) != fingerprint([other(), one()])


def test_another_process_finds_the_same() -> None:
    code = (
        "from tests.quantum.test_circuits import *\n"
        "print(fingerprint([rotated(), hidden(0.3), matrix(1j), branched('x')]))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    mine = fingerprint([rotated(), hidden(0.3), matrix(1j), branched("x")])
    assert said.stdout.strip() == mine, said.stderr


def test_the_size_of_circuits() -> None:
    sizes = [figures(circuit) for circuit in elementary([rotated(), hidden(0.5)])]

    assert sizes == [{"qubits": 2, "depth": 3, "two_qubit_gates": 1}, {"qubits": 2, "depth": 2, "two_qubit_gates": 1}]
    assert summed(sizes) == {"qubits": 2, "depth": 3, "two_qubit_gates": 2}
    assert summed([]) == {"qubits": None, "depth": None, "two_qubit_gates": None}
