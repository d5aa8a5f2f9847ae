"""Sample-based quantum diagonalization: molecule → bitstrings → the recovery loop → typed assets.

The names below are imported when they are first used: nobody waits for PySCF, Qiskit or Dagster who does not use them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_hpc.sqd.assets import Hamiltonian, Samples, SQDConfig, SQDFiles, build_sqd_assets, sqd_metadata
    from dagster_hpc.sqd.cost import CostModel, Observation, Recommendation, fit_cost, observations, recommend
    from dagster_hpc.sqd.molecule import Amplitudes, MolecularIntegrals, Molecule
    from dagster_hpc.sqd.run import Iteration, SQDResult, run_sqd
    from dagster_hpc.sqd.samples import (
        CountsSource,
        IBMSource,
        KrylovSource,
        LUCJSource,
        UniformSource,
        sample_bitstrings,
    )

_HOME = {
    "assets": ("Hamiltonian", "SQDConfig", "SQDFiles", "Samples", "build_sqd_assets", "sqd_metadata"),
    "cost": ("CostModel", "Observation", "Recommendation", "fit_cost", "observations", "recommend"),
    "molecule": ("Amplitudes", "MolecularIntegrals", "Molecule"),
    "run": ("Iteration", "SQDResult", "run_sqd"),
    "samples": ("CountsSource", "IBMSource", "KrylovSource", "LUCJSource", "UniformSource", "sample_bitstrings"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Amplitudes",
    "CostModel",
    "CountsSource",
    "Hamiltonian",
    "IBMSource",
    "Iteration",
    "KrylovSource",
    "LUCJSource",
    "MolecularIntegrals",
    "Molecule",
    "Observation",
    "Recommendation",
    "SQDConfig",
    "SQDFiles",
    "SQDResult",
    "Samples",
    "UniformSource",
    "build_sqd_assets",
    "fit_cost",
    "observations",
    "recommend",
    "run_sqd",
    "sample_bitstrings",
    "sqd_metadata",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dagster_hpc.sqd' has no attribute {name!r}")
    value = getattr(import_module(f"dagster_hpc.sqd.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
