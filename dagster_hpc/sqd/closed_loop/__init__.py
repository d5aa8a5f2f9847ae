"""Closed loop: the parameters of a circuit optimised over the energies that SQD finds in its samples.

The names below are imported when they are first used.

In the examples `molecule` is hydrogen in ten orbitals, with `one_body`, `two_body`, the `strings` of one electron,
`samples` of it, and a solver `dice`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.lazy import lazy_names

if TYPE_CHECKING:
    from dagster_hpc.sqd.closed_loop.assets import build_closed_loop_asset
    from dagster_hpc.sqd.closed_loop.circuit import LUCJCircuit
    from dagster_hpc.sqd.closed_loop.config import ClosedLoopConfig
    from dagster_hpc.sqd.closed_loop.evolution import Evolution
    from dagster_hpc.sqd.closed_loop.loop import optimize_circuit
    from dagster_hpc.sqd.closed_loop.metadata import closed_loop_metadata
    from dagster_hpc.sqd.closed_loop.values import ClosedLoopResult, Generation, Trial

__all__ = [
    "ClosedLoopConfig",
    "ClosedLoopResult",
    "Evolution",
    "Generation",
    "LUCJCircuit",
    "Trial",
    "build_closed_loop_asset",
    "closed_loop_metadata",
    "optimize_circuit",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "assets": ("build_closed_loop_asset",),
        "circuit": ("LUCJCircuit",),
        "config": ("ClosedLoopConfig",),
        "evolution": ("Evolution",),
        "loop": ("optimize_circuit",),
        "metadata": ("closed_loop_metadata",),
        "values": ("ClosedLoopResult", "Generation", "Trial"),
    },
)
