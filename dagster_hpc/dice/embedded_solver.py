"""`EmbeddedSolver`: the selected CI that comes with this package, as jobs. It needs PySCF and no Dice."""

# No `from __future__ import annotations` here: Dagster reads the annotations of a resource.

import sys

from pydantic import Field

from dagster_hpc.dice.job_script import start_lines
from dagster_hpc.dice.selected_ci import SelectedCISolver
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.subspace.problem import Problem

EMBEDDED_MODULE = "dagster_hpc.dice.pyscf_solver"


class EmbeddedSolver(SelectedCISolver):
    """Selected CI without any program but Python: it reads and writes Dice's files.

    Example:
        solver = EmbeddedSolver(hpc=hpc, profile="one-node")
        result = solver.solve((strings_a, strings_b), one_body, two_body, norb=16, nelec=(5, 5))
    """

    hpc: HPCJobRunner  # once more, or type checkers take it for what the constructor takes
    python: str = Field(default="", description="Its Python, as the compute nodes see it; empty: this one.")

    @property
    def name(self) -> str:
        return "embedded"

    def words(self, problem: Problem) -> list[str]:
        return [self.python or sys.executable, "-m", EMBEDDED_MODULE]

    def start_lines(self, profile: ExecutionProfile) -> str:
        """It shares nothing with another one on its node."""
        return start_lines("none", profile.launcher)

    def stand_in(self) -> None:
        """Nobody: others have it as theirs."""
