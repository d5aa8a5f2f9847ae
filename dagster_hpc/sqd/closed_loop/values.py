"""What the closed loop hands on: trials, generations of them, and the best circuit with its energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.sqd.values import Occupancies, Subspace, node_hours_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Trial:
    """One set of parameters, and what SQD made of the samples of its circuit.

    Example:
        result = optimize_circuit(molecule, seed=24, generations=2, population=4, shots=50, samples_per_batch=10)
        best = min((trial for trial in result.trials if trial.energy is not None), key=lambda trial: trial.energy)
        assert isinstance(best, Trial) and best.energy == result.energy
    """

    number: int  # in its generation, from 0: the place in the population that it competes for
    energy: float | None  # of the active electrons, the lowest of its iterations; None: it has none
    accepted: bool  # it took its place in the population
    problem: str = ""  # why it has no energy, or fewer iterations than were asked for
    energies: tuple[float, ...] = ()  # of each iteration
    distinct: int = 0  # different bitstrings that its circuit gave
    right_electrons: float = 0.0  # share of the shots with the right numbers of electrons
    subspace: tuple[int, int] = (0, 0)  # alpha and beta strings of the last iteration
    spin_square: float | None = None
    jobs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Generation:
    """All trials of a generation, the population after it, and what the next one starts from.

    Example:
        def told(generation: Generation) -> None:
            print(generation.number, generation.energy, generation.mean_energy)

        optimize_circuit(molecule, seed=24, generations=2, population=4, shots=50, samples_per_batch=10, callback=told)
    """

    number: int  # the first is 1: the starting population
    trials: tuple[Trial, ...]
    parameters: NDArray[np.float64]  # of the trials, one row each
    population: NDArray[np.float64]  # one row each
    energies: NDArray[np.float64]  # of the population; infinite where a place has none yet
    carryover: Subspace  # the important strings of the best trial so far
    occupancies: Occupancies  # of it
    seconds: float

    @property
    def best(self) -> int:
        """The place of the best in the population."""
        return int(np.argmin(self.energies))

    @property
    def energy(self) -> float:
        """The lowest so far."""
        return float(self.energies[self.best])

    @property
    def mean_energy(self) -> float:
        """Of the places that have an energy."""
        return float(self.energies[np.isfinite(self.energies)].mean())


@dataclass(frozen=True)
class ClosedLoopResult:
    """The parameters with the lowest energy, and every trial on the way there.

    Example:
        result = optimize_circuit(molecule, seed=24, generations=2, population=4, shots=50, samples_per_batch=10)
        assert isinstance(result, ClosedLoopResult)
        result.total_energy                     # with nuclear repulsion and frozen orbitals
        result.parameters                       # of the circuit, as its sampler takes them
        result.carryover                        # the important alpha and beta strings
    """

    energy: float  # of the active electrons
    core_energy: float
    reference_energy: float  # of the reference determinant, core included
    parameters: NDArray[np.float64]
    carryover: Subspace
    occupancies: Occupancies
    generations: tuple[Generation, ...]
    norb: int
    nelec: tuple[int, int]
    seed: int
    resumed: int = 0  # so many generations were there already

    @property
    def total_energy(self) -> float:
        return self.energy + self.core_energy

    @property
    def correlation_energy(self) -> float:
        return self.total_energy - self.reference_energy

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(trial for one in self.generations for trial in one.trials)

    @property
    def jobs(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(job for trial in self.trials for job in trial.jobs)

    @property
    def node_hours(self) -> float | None:
        """The sum over all jobs; None where one of them does not say."""
        return node_hours_of(self.jobs)
