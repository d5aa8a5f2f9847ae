"""Sample-based quantum diagonalization: molecule → bitstrings → the recovery loop → typed assets.

The names below are imported when they are first used: nobody waits for PySCF, Qiskit or Dagster who does not use them.

In the examples `molecule` is hydrogen in ten orbitals, with `one_body`, `two_body`, the `strings` of one electron,
`samples` of it, and a solver `dice`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.lazy import lazy_names

if TYPE_CHECKING:
    from dagster_hpc.sqd.assets import build_sqd_assets
    from dagster_hpc.sqd.config import SQDConfig
    from dagster_hpc.sqd.cost import CostModel, Observation, Recommendation, fit_cost, observations, recommend
    from dagster_hpc.sqd.counts import write_counts
    from dagster_hpc.sqd.extended import extend
    from dagster_hpc.sqd.files import SQDFiles
    from dagster_hpc.sqd.loop import run_sqd
    from dagster_hpc.sqd.metadata import sqd_metadata
    from dagster_hpc.sqd.molecule import Amplitudes, MolecularIntegrals, Molecule
    from dagster_hpc.sqd.properties import dipole
    from dagster_hpc.sqd.samples import sample_bitstrings
    from dagster_hpc.sqd.sources import CountsSource, IBMSource, KrylovSource, LUCJSource, UniformSource
    from dagster_hpc.sqd.values import Hamiltonian, Iteration, Samples, SQDResult

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
    "dipole",
    "extend",
    "fit_cost",
    "observations",
    "recommend",
    "run_sqd",
    "sample_bitstrings",
    "sqd_metadata",
    "write_counts",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "assets": ("build_sqd_assets",),
        "config": ("SQDConfig",),
        "cost": ("CostModel", "Observation", "Recommendation", "fit_cost", "observations", "recommend"),
        "counts": ("write_counts",),
        "extended": ("extend",),
        "files": ("SQDFiles",),
        "loop": ("run_sqd",),
        "metadata": ("sqd_metadata",),
        "molecule": ("Amplitudes", "MolecularIntegrals", "Molecule"),
        "properties": ("dipole",),
        "samples": ("sample_bitstrings",),
        "sources": ("CountsSource", "IBMSource", "KrylovSource", "LUCJSource", "UniformSource"),
        "values": ("Hamiltonian", "Iteration", "SQDResult", "Samples"),
    },
)
