"""`EmbeddedSolver`: the selected CI that comes with this package, as jobs. It needs no Dice."""

# No `from __future__ import annotations` here: Dagster reads the annotations of a resource.

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_hpc.dice.foresight import foresight
from dagster_hpc.dice.job_script import payload, start_lines
from dagster_hpc.dice.selected_ci import SelectedCISolver
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.subspace.problem import Foresight, Problem, Subspace
from dagster_hpc.version import __version__

if TYPE_CHECKING:
    from dagster_hpc.dice.result import DiceResult

EMBEDDED_MODULE = "dagster_hpc.dice.pyscf_solver"


class EmbeddedSolver(SelectedCISolver):
    """Selected CI without any program but Python: it reads and writes Dice's files.

    Example:
        solver = EmbeddedSolver(hpc=hpc, profile="dice-mpi")
        result = solver.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
    """

    hpc: HPCJobRunner  # once more, or type checkers take it for what the constructor takes

    @property
    def name(self) -> str:
        return "embedded"

    def words(self, problem: Problem) -> list[str]:
        spin = [] if problem.spin_sq is None else ["--spin-sq", f"{problem.spin_sq:g}"]
        return [self.python or sys.executable, "-m", EMBEDDED_MODULE, *spin]

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "version": __version__}

    def foresee(self, subspaces: Sequence[Subspace], problem: Problem, fcidump: str) -> Foresight:
        return foresight(self.hpc, "embedded", subspaces, problem, [fcidump, EMBEDDED_MODULE])

    def start_lines(self, profile: ExecutionProfile, attempt: int = 0) -> str:
        """It shares nothing with another one on its node."""
        return start_lines("none", profile.launcher)

    def payload(self) -> str:
        return payload(embedded=True)

    def read(self, folder: Path, subspace: Subspace, problem: Problem) -> "DiceResult":
        """With a penalty on its spin, the state is the lowest of another operator than H, and no eigenstate of H."""
        return self.answer(folder, subspace, problem, is_eigenstate=problem.spin_sq is None)

    def stand_in(self) -> None:
        """Nobody: others have it as theirs."""
