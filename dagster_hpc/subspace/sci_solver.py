"""A `SubspaceSolver` as qiskit-addon-sqd calls its solvers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult

    from dagster_hpc.engine.job import JobResult
    from dagster_hpc.resources.step import Context
    from dagster_hpc.subspace.solver import SubspaceSolver
    from dagster_hpc.subspace.tasks import SolverRun


class SCISolver:
    """A `SubspaceSolver` in the shape that qiskit-addon-sqd calls. `jobs` collects those of each call."""

    def __init__(
        self,
        solver: SubspaceSolver,
        context: Context | None,
        key: str | None,
        on_runs: Callable[[list[SolverRun[Any]]], None] | None,
        how: Mapping[str, Any],
    ) -> None:
        self.solver, self.context, self.key, self.on_runs, self.how = solver, context, key, on_runs, dict(how)
        self.jobs: list[list[JobResult]] = []

    def __call__(
        self,
        ci_strings: list[tuple[NDArray[Any], NDArray[Any]]],
        one_body_tensor: NDArray[np.float64],
        two_body_tensor: NDArray[np.float64],
        norb: int,
        nelec: tuple[int, int],
    ) -> list[SCIResult]:
        runs = self.solver.runs(
            ci_strings, one_body_tensor, two_body_tensor, norb, nelec,
            context=self.context, key=self.key and f"{self.key}.{len(self.jobs)}", **self.how,
        )  # fmt: skip
        self.jobs.append([job for run in runs for job in run.jobs])
        if self.on_runs is not None:
            self.on_runs(runs)
        return [run.result.sci_result(return_sci_state=self.solver.return_sci_state) for run in runs]
