"""What measures circuits where the worker runs: a function that a request names. The packaged one simulates.

A site writes its own: it gets circuits, shots of each, a seed and the options of the request, and returns `Measured`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum.values import rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit

STATEVECTOR = "dagster_hpc.quantum.devices:statevector"
MOST_QUBITS = 26  # of a simulated state: 1 GiB, and as much again while a gate is applied


@dataclass(frozen=True)
class Measured:
    """What a device has measured: for each circuit one row of booleans a shot, qubit 0 last.

    `quantum_s`: the time of the quantum computer that is charged, where there is one.

    Example:
        def run(circuits, shots, seed, options) -> Measured:  # a device of one's own
            return Measured([np.zeros((shots, circuit.num_clbits), bool) for circuit in circuits], quantum_s=0.5)
    """

    parts: Sequence[NDArray[np.bool_]]
    quantum_s: float | None = None


Device = Callable[[Sequence["QuantumCircuit"], int, int, Mapping[str, Any]], Measured]


def device(name: str) -> Device:
    """The function behind `module:function`."""
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"there is no device {name!r}: {error}",
            advice="name a function that the job's Python can import, as in my_site.qpu:run.",
        ) from error
    if not callable(found):
        raise ConfigurationError(f"the device {name!r} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def statevector(circuits: Sequence[QuantumCircuit], shots: int, seed: int, options: Mapping[str, Any]) -> Measured:
    """Exact simulation without noise, by Qiskit. The seed decides every shot."""
    from qiskit.primitives import StatevectorSampler

    if options:
        raise ConfigurationError(f"the simulator has no options, given are {', '.join(sorted(options))}")
    qubits = max((circuit.num_qubits for circuit in circuits), default=0)
    if qubits > MOST_QUBITS:
        raise ConfigurationError(
            f"{qubits} qubits are too many to simulate exactly ({MOST_QUBITS} at most)",
            advice="choose a smaller active space, or another device.",
        )
    outcomes = StatevectorSampler(seed=np.random.default_rng(seed)).run(list(circuits), shots=shots).result()
    return Measured([rows_of(outcome.join_data()) for outcome in outcomes])
