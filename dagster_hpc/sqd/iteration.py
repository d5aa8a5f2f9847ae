"""One iteration: qiskit-addon-sqd's own loop, entered where the last iteration left it and left after one round."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.sqd.inputs import Settings, as_arrays, right_electrons
from dagster_hpc.sqd.policy import EnteredPolicy
from dagster_hpc.sqd.solver import Answer, Solver, SolverFailed
from dagster_hpc.sqd.values import Iteration, Problem, Subspace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult, SCIState, SubspacePolicy

    from dagster_hpc.engine.job import JobResult


@dataclass(frozen=True)
class Loop:
    """The loop as a function from the iterations that are done to the next."""

    problem: Problem
    bitstrings: NDArray[np.bool_]
    settings: Settings
    solver: Solver
    policy: SubspacePolicy | None = None

    def step(self, done: Sequence[Iteration]) -> tuple[Iteration, SCIState | None]:
        """The iteration that follows, and its state if the solver gives one."""
        from qiskit_addon_sqd.fermion import StandardPolicy, diagonalize_fermionic_hamiltonian

        settings, integrals = self.settings, self.problem.integrals
        before = done[-1] if done else None
        number = len(done) + 1
        rng = np.random.default_rng(settings.seed)
        if before:
            rng.bit_generator.state = before.rng_state
        occupancies = before.occupancies if before else self.problem.occupancies
        policy = EnteredPolicy(self.policy or StandardPolicy(carryover_threshold=settings.carryover_threshold), before)
        rounds: list[tuple[list[Subspace], list[Answer]]] = []

        def solver(ci_strings: list[Subspace], *_: Any) -> list[SCIResult]:
            answers = self.solver.solve(ci_strings, integrals, number, len(rounds))
            energies = [float(one.result.energy) for one in answers]
            if not 0 < len(energies) <= len(ci_strings) or not np.all(np.isfinite(energies)):
                raise SolverFailed(
                    f"iteration {number}: the solver returned the energies {energies} for {len(ci_strings)} subspaces",
                    advice="see the logs of its jobs; the loop resumes at this iteration.",
                )
            rounds.append((ci_strings, answers))
            return [one.result for one in answers]

        started = time.monotonic()
        diagonalize_fermionic_hamiltonian(
            integrals.one_body, integrals.two_body, self.bitstrings, settings.samples_per_batch,
            integrals.norb, integrals.nelec, num_batches=settings.num_batches, max_iterations=1, sci_solver=solver,
            policy=policy, symmetrize_spin=settings.symmetrize_spin, max_dim=settings.max_dim,
            include_configurations=as_arrays(settings.include_configurations, integrals),
            initial_occupancies=occupancies, seed=rng,
        )  # fmt: skip
        subspaces, answers = rounds[-1]
        reported = policy.reported()
        answer = next((one for one in answers if one.result is reported), None) or Answer.of(reported)
        everything = [one for _, found in rounds for one in found]
        solved = [subspace for asked, _ in rounds for subspace in asked]
        alpha, beta = (np.array(part, np.float64) for part in answer.result.orbital_occupancies)
        right_shots, right_samples = self._right
        return Iteration(
            number=number,
            energies=tuple(float(one.result.energy) for one in answers),
            energy=float(answer.result.energy),
            occupancies=(alpha, beta),
            carryover=policy.chosen(settings.symmetrize_spin),
            subspaces=tuple((len(strings_a), len(strings_b)) for strings_a, strings_b in subspaces),
            seconds=time.monotonic() - started,
            rng_state=dict(rng.bit_generator.state),
            spin_square=answer.spin_square,
            determinants=answer.determinants,
            jobs=tuple(job_record(job) for one in everything for job in one.jobs),
            samples=policy.samples,
            right_shots=right_shots,
            recovered=0.0 if occupancies is None else 1.0 - right_shots,
            made=policy.samples - right_samples,
            new_strings=(strings_not_met(solved, done, 0), strings_not_met(solved, done, 1)),
            rounds=len(rounds),
            in_process=sum(one.in_process for one in everything),
        ), answer.result.sci_state

    @cached_property
    def _right(self) -> tuple[float, int]:
        """Of the shots, the share with the right electrons; and how many different ones these are."""
        right = right_electrons(self.bitstrings, self.problem.integrals)
        return float(right.mean()), len(np.unique(np.packbits(self.bitstrings[right], axis=1), axis=0))


def strings_not_met(solved: Sequence[Subspace], done: Sequence[Iteration], spin: int) -> NDArray[Any]:
    """The strings of this spin that are in one of these subspaces, and were in none of earlier iterations."""
    here = np.concatenate([subspace[spin] for subspace in solved])
    return np.setdiff1d(here, np.concatenate([here[:0], *(one.new_strings[spin] for one in done)]))


def job_record(job: JobResult) -> dict[str, Any]:
    """A job in the record of its iteration."""
    metrics = asdict(job.metrics)
    del metrics["raw"]
    handle = job.handle
    return {"job_id": handle.job_id, "token": handle.token, "target": handle.target, "state": str(job.state), **metrics}
