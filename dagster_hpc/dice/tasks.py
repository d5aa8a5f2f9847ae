"""The names under which Dice's runs and subspaces were known before other solvers had them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.subspace.problem import StringPair
from dagster_hpc.subspace.tasks import SolverRun

if TYPE_CHECKING:
    from typing import TypeAlias

    from dagster_hpc.dice.result import DiceResult

    DiceRun: TypeAlias = SolverRun[DiceResult]
else:
    DiceRun = SolverRun  # without DiceResult, which brings numpy

Subspace = StringPair
