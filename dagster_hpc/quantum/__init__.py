"""Quantum jobs: circuits are submitted once, and their shots fetched by whoever comes next.

The names below are imported when they are first used: the worker on a node needs neither Dagster nor IBM's client.

In the examples `bell` is a circuit of two qubits, and `hpc` a runner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.lazy import lazy_names

if TYPE_CHECKING:
    from dagster_hpc.quantum.assets import build_quantum_assets
    from dagster_hpc.quantum.devices import Measured
    from dagster_hpc.quantum.files import QuantumFiles
    from dagster_hpc.quantum.ibm import IBMSampler
    from dagster_hpc.quantum.local import LocalSampler
    from dagster_hpc.quantum.metadata import quantum_metadata
    from dagster_hpc.quantum.sampler import QuantumSampler
    from dagster_hpc.quantum.slurm import SlurmSampler
    from dagster_hpc.quantum.values import QuantumJob, QuantumJobFailed, QuantumTimes, SamplesDamaged, Shots

__all__ = [
    "IBMSampler",
    "LocalSampler",
    "Measured",
    "QuantumFiles",
    "QuantumJob",
    "QuantumJobFailed",
    "QuantumSampler",
    "QuantumTimes",
    "SamplesDamaged",
    "Shots",
    "SlurmSampler",
    "build_quantum_assets",
    "quantum_metadata",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "assets": ("build_quantum_assets",),
        "devices": ("Measured",),
        "files": ("QuantumFiles",),
        "ibm": ("IBMSampler",),
        "local": ("LocalSampler",),
        "metadata": ("quantum_metadata",),
        "sampler": ("QuantumSampler",),
        "slurm": ("SlurmSampler",),
        "values": ("QuantumJob", "QuantumJobFailed", "QuantumTimes", "SamplesDamaged", "Shots"),
    },
)
