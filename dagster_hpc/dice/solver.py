"""`DiceSolver`: selected-CI diagonalizations by Dice.

Dice's exit code proves nothing: it exits 1 when all is well and 0 with energies that are wrong by Hartrees. What counts is
files that are complete and pass every check of `validation`.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of a resource.

from typing import Any, Literal

import dagster as dg
from pydantic import Field

from dagster_hpc.dice.embedded_solver import EmbeddedSolver
from dagster_hpc.dice.h2 import DiceTrial, h2_case, judge_h2
from dagster_hpc.dice.job_script import isolation_for, start_lines
from dagster_hpc.dice.selected_ci import SelectedCISolver
from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.step import Context
from dagster_hpc.subspace.problem import Problem
from dagster_hpc.subspace.solver import SubspaceSolver

__all__ = ["DiceSolver", "h2_case", "judge_h2"]  # the H2 case: for `dagster-hpc doctor`


class DiceSolver(SelectedCISolver):
    """Diagonalizes Hamiltonians among given determinants with Dice, as jobs of an `HPCJobRunner`.

    Without `executable` it is an `EmbeddedSolver`.

    Example:
        dice = DiceSolver(hpc=hpc, profile="dice-mpi", executable="dice_solver")
        result = dice.solve((strings_a, strings_b), one_body, two_body, norb=16, nelec=(5, 5))
        result.energy, result.orbital_occupancies
    """

    hpc: HPCJobRunner  # once more, or type checkers take it for what the constructor takes
    executable: str | None = Field(
        default=None, description="Dice: a key of the target's executable_map or an absolute path; none: embedded."
    )
    python: str = Field(
        default="", description="Python of the embedded solver, as the compute nodes see it; empty: this one."
    )
    isolation: Literal["auto", "private", "staggered", "none"] = Field(
        default="auto",
        description="How two Dice on a node are kept apart: a /dev/shm of their own, or starts 1.5 s apart.",
    )

    @property
    def name(self) -> str:
        return "dice"

    def words(self, problem: Problem) -> list[str]:
        if self.executable is None:
            raise ConfigurationError("a DiceSolver without an executable starts no Dice")
        return [self.hpc.target.executable(self.executable)]

    def start_lines(self, profile: ExecutionProfile) -> str:
        way = self.isolation if self.isolation != "auto" else isolation_for(profile, self.hpc.target.scheduler.kind)
        return start_lines(way, profile.launcher)

    def acting(self) -> SubspaceSolver:
        return self if self.executable is not None else self._embedded()

    def stand_in(self) -> SubspaceSolver | None:
        return self._embedded() if self.fallback else None

    def _embedded(self) -> EmbeddedSolver:
        """With the settings of this solver."""
        theirs = set(EmbeddedSolver.model_fields)
        return EmbeddedSolver(**{name: value for name, value in self if name in theirs})

    def try_h2(self, context: Context | None = None, **how: Any) -> DiceTrial:
        """The H2 case, as a job: is this a Dice that reads the determinant files?"""
        alone = self.model_copy(update={"fallback": False, "max_retries": 0, "select_cutoff": None})
        try:
            result = alone.solve(*h2_case(), context=context, **how)
        except (HPCError, dg.Failure) as error:
            return judge_h2(error)
        return judge_h2(result)
