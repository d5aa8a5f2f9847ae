"""Who diagonalizes the subspaces of an iteration: a `DiceSolver`, a function, or qiskit-addon-sqd itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

import numpy as np

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.sqd.values import Subspace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult

    from dagster_hpc.dice.solver import DiceSolver
    from dagster_hpc.dice.tasks import DiceRun
    from dagster_hpc.resources.step import Context

SCISolver: TypeAlias = (
    "Callable[[list[Subspace], NDArray[np.float64], NDArray[np.float64], int, tuple[int, int]], list[SCIResult]]"
)


class SolverFailed(HPCError):
    """The solver came back without an answer that can be one."""


@dataclass(frozen=True)
class Solver:
    """Who diagonalizes."""

    given: SCISolver | DiceSolver | None
    context: Context | None
    how: Mapping[str, Any]
    name: str | None = None  # of the calculation: jobs of the same iteration of it are the same jobs

    def of_iteration(self, number: int, runs: list[DiceRun]) -> SCISolver:
        """A function for qiskit-addon-sqd; `runs` gets what a `DiceSolver` did."""
        if self.given is None:
            from qiskit_addon_sqd.fermion import solve_sci_batch

            return solve_sci_batch  # type: ignore[no-any-return]
        if is_dice(self.given):
            key = self.name and f"sqd-{self.name}-{number}"
            on_runs: Callable[[list[DiceRun]], None] = runs.extend
            return self.given.as_sci_solver(self.context, key=key, on_runs=on_runs, **self.how)
        return cast("SCISolver", self.given)

    @property
    def settings(self) -> Any:
        """What changes its answers."""
        if self.given is None:
            return "qiskit-addon-sqd"
        if not is_dice(self.given):
            return "function"
        return ["dice", self.given.executable, asdict(self.given.options())]


def is_dice(solver: SCISolver | DiceSolver | None) -> TypeGuard[DiceSolver]:
    return hasattr(solver, "as_sci_solver")
