"""`DiceSolver`: selected-CI diagonalizations by Dice.

Dice's exit code proves nothing: it exits 1 when all is well and 0 with energies that are wrong by Hartrees. What counts is
files that are complete and pass every check of `validation`.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of a resource.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from dagster_hpc.dice.advice import advised
from dagster_hpc.dice.embedded_solver import EmbeddedSolver
from dagster_hpc.dice.foresight import foresight
from dagster_hpc.dice.job_script import Isolation, isolation_for, payload, start_lines
from dagster_hpc.dice.selected_ci import SelectedCISolver
from dagster_hpc.dice.trial import DiceTrial, try_dice
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.step import Context
from dagster_hpc.subspace.problem import Foresight, Problem, Subspace
from dagster_hpc.subspace.solver import SubspaceSolver

if TYPE_CHECKING:
    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.dice.trial import TrialCase

# Dice's Davidson ends early where its space holds all of the subspace, and then returns vectors that are neither orthogonal
# nor normalised: of 2 x 2 strings without the Hartree-Fock one 7 of 8, of 4 x 4 still 1 of 8. Below this many determinants
# all of LAPACK takes milliseconds and cannot miss a state.
SMALLEST = 10  # for each vector of its Davidson, which has four more than roots
TIGHTEST = (
    1e-9  # residual that a real Dice was seen to reach; at 1e-12 it ended with a state of norm 333 at -9196 Hartree
)


class DiceSolver(SelectedCISolver):
    """Diagonalizes Hamiltonians among given determinants with Dice, as jobs of an `HPCJobRunner`.

    Without `executable` it is an `EmbeddedSolver`.

    Example:
        dice = DiceSolver(hpc=hpc, profile="dice-mpi", executable="dice_solver")
        result = dice.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        print(result.energy, result.orbital_occupancies)
    """

    hpc: HPCJobRunner  # once more, or type checkers take it for what the constructor takes
    executable: str | None = Field(
        default=None, description="Dice: a key of the target's executable_map or an absolute path; none: embedded."
    )
    isolation: Literal["auto", "private", "staggered", "none"] = Field(
        default="auto",
        description="How two Dice on a node are kept apart: a /dev/shm of their own, or starts 1.5 s apart.",
    )

    @property
    def name(self) -> str:
        return "dice"

    def programs(self) -> list[str]:
        return [] if self.executable is None else [self.hpc.target.executable(self.executable)]

    def words(self, problem: Problem) -> list[str]:
        return self.programs()

    def faults(self, problem: Problem) -> list[str]:
        if self.davidson_tol is None or self.davidson_tol >= TIGHTEST:
            return []
        return [
            f"davidson_tol is {self.davidson_tol:g}; Dice's Davidson diverges below {TIGHTEST:g}, and 1e-7, the default, "
            "gives energies to 1e-12 Hartree"
        ]

    def foresee(self, subspaces: Sequence[Subspace], problem: Problem, fcidump: str) -> Foresight:
        return foresight(self.hpc, "dice", subspaces, problem, [fcidump, *self.programs()])

    def suits(self, subspace: Subspace, problem: Problem) -> bool:
        """A growing set is soon larger than it begins."""
        return self.select_cutoff is not None or subspace.size >= SMALLEST * (self.nroots + 4)

    def isolation_in(self, profile: ExecutionProfile) -> Isolation:
        """How two Dice on a node are kept apart in jobs of this profile."""
        return self.isolation if self.isolation != "auto" else isolation_for(profile, self.hpc.target.scheduler.kind)

    def start_lines(self, profile: ExecutionProfile, attempt: int = 0) -> str:
        return start_lines(self.isolation_in(profile), profile.launcher, attempt)

    def payload(self) -> str:
        return payload(embedded=False)

    def explained(self, errors: Sequence[HPCError], problem: Problem) -> HPCError:
        tolerance = self.options().tolerance
        return advised(errors, isolation=self.isolation_in(problem.profile), tolerance=tolerance)

    def acting(self) -> SubspaceSolver:
        return self if self.executable is not None else self._embedded()

    def stand_in(self) -> SubspaceSolver | None:
        return self._embedded() if self.fallback else None

    def _embedded(self) -> EmbeddedSolver:
        """With the settings of this solver."""
        theirs = set(EmbeddedSolver.model_fields)
        return EmbeddedSolver(**{name: value for name, value in self if name in theirs})

    def try_out(self, context: Context | None = None, **how: Any) -> DiceTrial:
        """A small case with different alpha and beta strings, as a job: is this a Dice that reads them?"""
        alone = self.model_copy(update={"fallback": False, "max_retries": 0, "select_cutoff": None, "nroots": 1})

        def ask(case: "TrialCase") -> "DiceResult | Exception":
            try:
                return alone.solve(*case, context=context, **how)
            except (HPCError, dg.Failure) as error:
                return error

        return try_dice(ask)

    def try_h2(self, context: Context | None = None, **how: Any) -> DiceTrial:
        """`try_out`, by the name that it had when the case was H2."""
        return self.try_out(context, **how)
