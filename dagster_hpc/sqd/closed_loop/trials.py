"""One generation: the samples of all its trials, and SQD of them side by side, one call of the solver an iteration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError, HPCError, LedgerError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobCancelled, WaitTimeout
from dagster_hpc.sqd.closed_loop.subspace import Shape, pool_of, recovered, subspace_of
from dagster_hpc.sqd.closed_loop.values import Trial
from dagster_hpc.sqd.inputs import right_electrons
from dagster_hpc.sqd.iteration import job_record
from dagster_hpc.sqd.values import Subspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.sqd.closed_loop.circuit import Sampler
    from dagster_hpc.sqd.molecule import MolecularIntegrals
    from dagster_hpc.sqd.solver import Answer
    from dagster_hpc.sqd.values import Occupancies

    # Subspaces, the name of these jobs, the iteration → an answer each
    Diagonalize: TypeAlias = Callable[[list[Subspace], str, int], list[Answer]]

# These say nothing about a trial: the generation is begun again when the loop is resumed.
_NOT_THE_TRIALS = (ConfigurationError, SubmitRefused, SchedulerUnavailable, LedgerError, WaitTimeout, JobCancelled)
_SAMPLING, _SQD = range(2)  # streams of random numbers of a trial


@dataclass(frozen=True)
class Start:
    """What all trials of a generation begin with."""

    carryover: Subspace
    occupancies: Occupancies | None


@dataclass
class Running:
    """A trial on its way."""

    number: int
    rng: np.random.Generator
    bits: NDArray[np.bool_]
    carryover: Subspace
    occupancies: Occupancies | None
    problem: str = ""
    energies: list[float] = field(default_factory=list)
    subspace: tuple[int, int] = (0, 0)
    spin_square: float | None = None
    jobs: list[Mapping[str, Any]] = field(default_factory=list)
    best: Start | None = None  # of the iteration with the lowest energy

    @property
    def energy(self) -> float | None:
        return min(self.energies, default=None)

    def ended(self, integrals: MolecularIntegrals) -> Trial:
        return Trial(
            number=self.number, energy=self.energy, accepted=False, problem=self.problem, energies=tuple(self.energies),
            distinct=len(np.unique(self.bits, axis=0)),
            right_electrons=float(right_electrons(self.bits, integrals).mean()) if len(self.bits) else 0.0,
            subspace=self.subspace, spin_square=self.spin_square, jobs=tuple(self.jobs),
        )  # fmt: skip


@dataclass(frozen=True)
class TrialRunner:
    """How each trial is made: its samples, and so many iterations of SQD."""

    integrals: MolecularIntegrals
    sampler: Sampler
    diagonalize: Diagonalize
    shape: Shape
    shots: int
    sqd_iterations: int
    carryover_threshold: float
    seed: int

    def run(self, generation: int, parameters: NDArray[np.float64], start: Start) -> list[Running]:
        """All trials of a generation, with their energies or their problems."""
        trials = [self._sampled(generation, number, one, start) for number, one in enumerate(parameters)]
        for iteration in range(1, self.sqd_iterations + 1):
            asked: list[tuple[Running, Subspace]] = []
            for trial in trials:
                if trial.problem:
                    continue
                pool = recovered(pool_of(trial.bits), trial.occupancies, self.integrals, trial.rng)
                subspace = subspace_of(pool, trial.carryover, self.shape, self.integrals, trial.rng)
                if len(subspace[0]) and len(subspace[1]):
                    trial.subspace = len(subspace[0]), len(subspace[1])
                    asked.append((trial, subspace))
                else:
                    trial.problem = f"none of its {len(trial.bits)} bitstrings has the right numbers of electrons"
            if asked:
                self._solve(asked, str(generation), iteration)
        return trials

    def _sampled(self, generation: int, number: int, parameters: NDArray[np.float64], start: Start) -> Running:
        def seeds(use: int) -> np.random.SeedSequence:
            return np.random.SeedSequence(self.seed, spawn_key=(generation, number, use))

        nothing = np.empty((0, 2 * self.integrals.norb), bool)
        trial = Running(number, np.random.default_rng(seeds(_SQD)), nothing, start.carryover, start.occupancies)
        try:
            bits = np.asarray(
                self.sampler(parameters, self.shots, int(seeds(_SAMPLING).generate_state(1, np.uint64)[0]))
            )
        except HPCError as error:
            if isinstance(error, _NOT_THE_TRIALS):
                raise
            trial.problem = error.message
            return trial
        if bits.dtype != bool or bits.ndim != 2 or bits.shape[1] != nothing.shape[1]:
            raise ConfigurationError(
                f"the sampler returned {bits.dtype} of shape {bits.shape}; wanted is a matrix of booleans with a row for "
                f"each shot and {nothing.shape[1]} columns, beta to the left of alpha"
            )
        if not len(bits):
            trial.problem = "its sampler returned no bitstring"
        trial.bits = bits
        return trial

    def _solve(self, asked: list[tuple[Running, Subspace]], name: str, iteration: int) -> None:
        """All at once. Where that fails, one by one, so that one bad subspace does not spoil the others."""
        try:
            answers = self.diagonalize([subspace for _, subspace in asked], name, iteration)
        except HPCError as error:
            if isinstance(error, _NOT_THE_TRIALS):
                raise
            if len(asked) == 1:
                asked[0][0].problem = error.message
                return
            for trial, subspace in asked:
                self._solve([(trial, subspace)], f"{name}-trial-{trial.number}", iteration)
            return
        for (trial, _), answer in zip(asked, answers, strict=True):
            self._take(trial, answer)

    def _take(self, trial: Running, answer: Answer) -> None:
        from qiskit_addon_sqd.fermion import StandardPolicy

        trial.jobs += [job_record(job) for job in answer.jobs]
        energy = float(answer.result.energy)
        if not np.isfinite(energy):
            trial.problem = f"the solver returned the energy {energy}"
            return
        alpha, beta = (np.array(part, np.float64) for part in answer.result.orbital_occupancies)
        policy = StandardPolicy(carryover_threshold=self.carryover_threshold)
        carried = policy.select_carryover(answer.result, symmetrize_spin=self.shape.symmetrize_spin)
        trial.carryover, trial.occupancies = carried, (alpha, beta)
        if not trial.energies or energy < min(trial.energies):
            trial.best, trial.spin_square = Start(carried, (alpha, beta)), answer.spin_square
        trial.energies.append(energy)
