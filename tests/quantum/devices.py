"""Quantum computers of these tests, for workers to import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dagster_hpc.quantum.devices import Measured


def counted(circuits: Any, shots: int, seed: int, options: dict[str, Any]) -> Measured:
    """It charges its time, and leaves a trace for each time it runs."""
    with Path(options["trace"]).open("a") as trace:
        trace.write("ran\n")
    return Measured([np.ones((shots, circuit.num_clbits), bool) for circuit in circuits], quantum_s=1.5)


def too_few(circuits: Any, shots: int, seed: int, options: dict[str, Any]) -> Measured:
    """It gives one shot less than was asked for."""
    return Measured([np.zeros((shots - 1, 3), bool)])
