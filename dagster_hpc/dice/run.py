"""What a run of Dice is called: an answer of Dice's kind with the jobs behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_hpc.subspace.tasks import SolverRun

if TYPE_CHECKING:
    from typing import TypeAlias

    from dagster_hpc.dice.result import DiceResult

    DiceRun: TypeAlias = SolverRun[DiceResult]
else:
    DiceRun = SolverRun  # without DiceResult, which brings numpy
