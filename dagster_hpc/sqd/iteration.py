"""One iteration: qiskit-addon-sqd's own loop, entered where the last iteration left it and left after one round."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.sqd.inputs import Settings, as_arrays
from dagster_hpc.sqd.solver import Solver, SolverFailed
from dagster_hpc.sqd.values import Iteration, Problem, Subspace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult, SCIState

    from dagster_hpc.dice.tasks import DiceRun
    from dagster_hpc.engine.job import JobResult


@dataclass(frozen=True)
class Loop:
    """The loop as a function from one iteration to the next."""

    problem: Problem
    bitstrings: NDArray[np.bool_]
    settings: Settings
    solver: Solver

    def step(self, before: Iteration | None) -> tuple[Iteration, SCIState | None]:
        """The iteration that follows, and its state if the solver gives one."""
        from qiskit_addon_sqd.fermion import StandardPolicy, diagonalize_fermionic_hamiltonian

        settings, integrals = self.settings, self.problem.integrals
        number = before.number + 1 if before else 1
        rng = np.random.default_rng(settings.seed)
        if before:
            rng.bit_generator.state = before.rng_state
        policy = EnteredPolicy(StandardPolicy(carryover_threshold=settings.carryover_threshold), before)
        runs: list[DiceRun] = []
        solve = self.solver.of_iteration(number, runs)
        subspaces: list[tuple[int, int]] = []
        energies: list[float] = []

        def solver(ci_strings: list[Subspace], *hamiltonian: Any) -> list[SCIResult]:
            results = solve(ci_strings, *hamiltonian)
            subspaces[:] = [(len(alpha), len(beta)) for alpha, beta in ci_strings]
            energies[:] = [float(result.energy) for result in results]
            if not 0 < len(energies) <= len(subspaces) or not np.all(np.isfinite(energies)):
                raise SolverFailed(
                    f"iteration {number}: the solver returned the energies {energies} for {len(subspaces)} subspaces",
                    advice="see the logs of its jobs; the loop resumes at this iteration.",
                )
            return results

        started = time.monotonic()
        diagonalize_fermionic_hamiltonian(
            integrals.one_body, integrals.two_body, self.bitstrings, settings.samples_per_batch,
            integrals.norb, integrals.nelec, num_batches=settings.num_batches, max_iterations=1, sci_solver=solver,
            policy=policy, symmetrize_spin=settings.symmetrize_spin, max_dim=settings.max_dim,
            include_configurations=as_arrays(settings.include_configurations, integrals.norb),
            initial_occupancies=before.occupancies if before else self.problem.occupancies, seed=rng,
        )  # fmt: skip
        result = policy.result
        state: SCIState | None = result.sci_state
        alpha, beta = (np.array(part, np.float64) for part in result.orbital_occupancies)
        lowest = min((run.result for run in runs), key=lambda one: one.energy, default=None)
        spin_square: float | None = None
        determinants: int | None = None
        if lowest is not None:
            spin_square, determinants = float(lowest.spin_square), lowest.dimension
        elif state is not None:
            spin_square, determinants = float(state.spin_square()), int(state.amplitudes.size)
        return Iteration(
            number=number,
            energies=tuple(energies),
            energy=float(result.energy),
            occupancies=(alpha, beta),
            carryover=policy.chosen(settings.symmetrize_spin),
            subspaces=tuple(subspaces),
            seconds=time.monotonic() - started,
            rng_state=dict(rng.bit_generator.state),
            spin_square=spin_square,
            determinants=determinants,
            jobs=tuple(job_record(job) for run in runs for job in run.jobs),
        ), state


def job_record(job: JobResult) -> dict[str, Any]:
    """A job in the record of its iteration."""
    metrics = asdict(job.metrics)
    del metrics["raw"]
    handle = job.handle
    return {"job_id": handle.job_id, "token": handle.token, "target": handle.target, "state": str(job.state), **metrics}


class EnteredPolicy:
    """qiskit-addon-sqd's schedule of an iteration, entered with the strings that the last one carried over."""

    def __init__(self, policy: Any, before: Iteration | None) -> None:
        self._policy, self._before = policy, before
        self.result: Any = None
        self._carryover: Subspace | None = None

    def prepare_subspaces(self, request: Any) -> Any:
        if self._before:
            alpha, beta = self._before.carryover
            entered = {"carryover_strings_a": alpha, "carryover_strings_b": beta, "iteration": self._before.number}
            request = replace(request, **entered)
        return self._policy.prepare_subspaces(request)

    def refine(self, results: list[SCIResult], round_index: int) -> Any:
        return self._policy.refine(results, round_index)

    def select_result(self, results: list[SCIResult]) -> Any:
        self.result = self._policy.select_result(results)
        return self.result

    def select_carryover(self, result: SCIResult, *, symmetrize_spin: bool = False) -> Subspace:
        chosen: Subspace = self._policy.select_carryover(result, symmetrize_spin=symmetrize_spin)
        self._carryover = chosen
        return chosen

    def chosen(self, symmetrize_spin: bool) -> Subspace:
        """The strings for the next iteration, the most important first."""
        if self._carryover is None:
            raise AssertionError("qiskit-addon-sqd ended its iteration without choosing what to carry over")
        alpha, beta = self._carryover
        if symmetrize_spin:  # what a solver has chosen by itself is not merged yet
            both = np.concatenate((alpha, beta))
            alpha = beta = both[np.sort(np.unique(both, return_index=True)[1])]
        return alpha, beta
