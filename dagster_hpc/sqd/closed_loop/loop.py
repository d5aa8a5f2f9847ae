"""`optimize_circuit`: parameters of a circuit for the lowest SQD energy, resumed after any crash where it stood.

A generation of differential evolution is a batch of trials: each is a set of parameters whose circuit is sampled, and
whose samples go through a few iterations of SQD. All subspaces of an iteration are solved by one call, with a `DiceSolver`
one array job. The strings that matter in the best trial so far are part of every subspace of the next generation.

Random numbers of a trial come from the seed, its generation and its place, whoever computes it and however often.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.closed_loop.circuit import LUCJCircuit, Sampler
from dagster_hpc.sqd.closed_loop.evolution import SMALLEST, Evolution, select
from dagster_hpc.sqd.closed_loop.state import ClosedLoopState, Inputs, fingerprint
from dagster_hpc.sqd.closed_loop.subspace import Shape
from dagster_hpc.sqd.closed_loop.trials import Running, Start, TrialRunner
from dagster_hpc.sqd.closed_loop.values import ClosedLoopResult, Generation
from dagster_hpc.sqd.inputs import require_addon
from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule
from dagster_hpc.sqd.solver import IN_PROCESS_BELOW, Answer, Solver, SolverFailed, is_subspace_solver
from dagster_hpc.sqd.sources import LUCJSource
from dagster_hpc.sqd.values import Occupancies, Problem, Subspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.resources.step import Context
    from dagster_hpc.sqd.solver import SCISolver
    from dagster_hpc.subspace import SubspaceSolver

_EVOLUTION = 2  # stream of random numbers of a generation, beside those of its trials


def optimize_circuit(
    molecule: Molecule | MolecularIntegrals,
    *,
    seed: int,
    generations: int,
    population: int = 8,
    shots: int = 1000,
    samples_per_batch: int = 100,
    sqd_iterations: int = 2,
    source: LUCJSource | None = None,
    sampler: Sampler | None = None,
    start: NDArray[np.float64] | None = None,
    evolution: Evolution | None = None,
    max_dim: int | None = None,
    symmetrize_spin: bool = False,
    carryover_threshold: float = 1e-3,
    initial_occupancies: Occupancies | Literal["ccsd", "hf"] | None = None,
    spin_sq: float | None = None,
    solver: SCISolver | SubspaceSolver | None = None,
    in_process_below: int = IN_PROCESS_BELOW,
    state_dir: str | os.PathLike[str] | None = None,
    key: str = "",
    callback: Callable[[Generation], None] | None = None,
    context: Context | None = None,
    **how: Any,
) -> ClosedLoopResult:
    """The circuit parameters with the lowest energy that SQD finds in so many generations.

    Args:
        molecule: Or its integrals. With `state_dir` those of the first start are kept.
        seed: All randomness comes from it: that of the circuits, of recovery and of evolution.
        generations: Of all starts together, the starting population being the first. A larger number goes on later.
        population: Trials in each generation.
        shots: Of each trial's circuit.
        samples_per_batch, sqd_iterations: Of the SQD of each trial.
        source: Which LUCJ circuit.
        sampler: Called with (parameters, shots, seed) in place of simulating the circuit here; of a function that
            samples something else than `source`, say in `key` what it is.
        start: Parameters that the first trial has and the others scatter about; default: those of CCSD.
        evolution: How the population moves.
        max_dim, symmetrize_spin, carryover_threshold: Of the subspaces, as in `run_sqd`.
        initial_occupancies: Where recovery starts, as in `run_sqd`; default: only strings with the right electrons count
            in the first iteration of the first generation. Later generations start from those of the best trial.
        spin_sq: The <S²> that is wanted, as in `run_sqd`.
        solver: A `DiceSolver` or another `SubspaceSolver`, a function, or None for qiskit-addon-sqd's own solver in this
            process.
        in_process_below: Subspaces with fewer determinants are solved in this process instead of jobs; 0: none are.
        state_dir: Here each generation is written, in a folder for these very inputs. None: nothing is kept.
        key: What else tells this calculation from others in `state_dir`.
        callback: Called with each new generation, once it is on disk.
        **how: For a `SubspaceSolver`, as in its `runs`. `reuse` is "succeeded": a generation that is begun again takes the
            jobs that have ended, and joins those that still run.

    Example:
        result = optimize_circuit(
            molecule, seed=24, generations=2, population=4, shots=50, samples_per_batch=10, state_dir="loop"
        )
        print(result.total_energy, result.parameters)
    """
    source, evolution = source or LUCJSource(), evolution or Evolution()
    settings = _Settings(
        population, shots, samples_per_batch, sqd_iterations, max_dim, symmetrize_spin, carryover_threshold, seed
    )
    _refuse_nonsense(settings, evolution, generations, molecule, start, initial_occupancies, how, solver)
    require_addon()
    given = Solver(solver, context, how, seed, spin_sq, in_process_below)
    folder, name = None, None
    if state_dir is not None:
        sampled_by = source.model_dump(mode="json") if sampler is None else "function"
        described = [asdict(settings), asdict(evolution), sampled_by, spin_sq, given.settings, key]
        name = fingerprint(molecule, start, initial_occupancies, described)
        folder = ClosedLoopState(Path(os.path.expanduser(state_dir)) / name)
    inputs = _inputs(molecule, source, start, initial_occupancies, folder)
    integrals = inputs.problem.integrals

    def diagonalize(subspaces: list[Subspace], part: str, iteration: int) -> list[Answer]:
        jobs = replace(given, name=f"{name}-{part}", how={"reuse": "succeeded", **how}) if name else given
        answers = jobs.solve(subspaces, integrals, iteration, 0)
        if len(answers) != len(subspaces):
            raise SolverFailed(f"the solver returned {len(answers)} answers for {len(subspaces)} subspaces")
        return answers

    trials = TrialRunner(
        integrals, sampler or LUCJCircuit(source, integrals.norb, integrals.nelec), diagonalize,
        Shape(samples_per_batch, max_dim, symmetrize_spin), shots, sqd_iterations, carryover_threshold, seed,
    )  # fmt: skip
    loop = _ClosedLoop(inputs, trials, evolution, population, seed)
    done = folder.generations()[:generations] if folder else []
    resumed = len(done)
    while len(done) < generations:
        done.append(loop.step(done))
        if folder:
            folder.write(done[-1])
        if callback:
            callback(done[-1])
    last = done[-1]
    return ClosedLoopResult(
        energy=last.energy,
        core_energy=integrals.core_energy,
        reference_energy=inputs.problem.reference_energy,
        parameters=last.population[last.best],
        carryover=last.carryover,
        occupancies=last.occupancies,
        generations=tuple(done),
        norb=integrals.norb,
        nelec=integrals.nelec,
        seed=seed,
        resumed=resumed,
    )


@dataclass(frozen=True)
class _Settings:
    population: int
    shots: int
    samples_per_batch: int
    sqd_iterations: int
    max_dim: int | None
    symmetrize_spin: bool
    carryover_threshold: float
    seed: int


@dataclass(frozen=True)
class _ClosedLoop:
    """The loop as a function from the generations that are done to the next."""

    inputs: Inputs
    trials: TrialRunner
    evolution: Evolution
    size: int
    seed: int

    def step(self, done: Sequence[Generation]) -> Generation:
        """The generation that follows."""
        number = len(done) + 1
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number, 0, _EVOLUTION)))
        began = time.monotonic()
        start = self.inputs.start
        if done:
            before = done[-1]
            population, energies = before.population, before.energies
            parameters = self.evolution.next_generation(population, energies, rng, start=start)
            given = Start(before.carryover, before.occupancies)
        else:
            population = parameters = self.evolution.first(start, self.size, rng)
            energies = np.full(self.size, np.inf)
            nothing = np.empty(0, object if self.inputs.problem.integrals.norb > 63 else np.int64)
            given = Start((nothing, nothing), self.inputs.problem.occupancies)
        running = self.trials.run(number, parameters, given)
        found = np.array([np.inf if one.energy is None else one.energy for one in running])
        if not np.isfinite(found).any():
            raise SolverFailed(
                f"none of the {len(running)} trials of generation {number} has an energy. The first one: "
                f"{running[0].problem}",
                advice="put that right; the loop resumes at this generation.",
            )
        lowest = float(energies.min())
        population, energies, accepted = select(population, energies, parameters, found)
        best = _best(running, lowest) or given
        assert best.occupancies is not None  # a first generation has a trial that gave some
        return Generation(
            number=number,
            trials=tuple(
                replace(one.ended(self.inputs.problem.integrals), accepted=bool(won))
                for one, won in zip(running, accepted, strict=True)
            ),
            parameters=parameters,
            population=population,
            energies=energies,
            carryover=best.carryover,
            occupancies=best.occupancies,
            seconds=time.monotonic() - began,
        )


def _best(running: Sequence[Running], lowest: float) -> Start | None:
    """What the best trial leaves to the next generation, if it is better than all before."""
    best = min(running, key=lambda one: np.inf if one.energy is None else one.energy)
    return best.best if best.energy is not None and best.energy < lowest else None


def _inputs(
    molecule: Molecule | MolecularIntegrals,
    source: LUCJSource,
    start: NDArray[np.float64] | None,
    initial: Occupancies | Literal["ccsd", "hf"] | None,
    folder: ClosedLoopState | None,
) -> Inputs:
    kept = folder.inputs() if folder else None
    if kept:
        return kept
    if isinstance(molecule, Molecule):
        integrals = molecule.integrals()
        occupancies = molecule.initial_occupancies(initial) if isinstance(initial, str) else initial
        if start is None:
            start = LUCJCircuit(source, integrals.norb, integrals.nelec).start(molecule)
    else:
        assert start is not None  # checked before
        assert not isinstance(initial, str)
        integrals, occupancies = molecule, initial
    made = Inputs(Problem(integrals, occupancies), np.asarray(start, np.float64))
    if folder:
        folder.write_inputs(made)
    return made


def _refuse_nonsense(
    settings: _Settings,
    evolution: Evolution,
    generations: int,
    molecule: Molecule | MolecularIntegrals,
    start: NDArray[np.float64] | None,
    initial: Occupancies | str | None,
    how: dict[str, Any],
    solver: Any,
) -> None:
    least = {
        "generations": (generations, 1), "population": (settings.population, SMALLEST), "shots": (settings.shots, 1),
        "samples_per_batch": (settings.samples_per_batch, 1), "sqd_iterations": (settings.sqd_iterations, 1),
        "max_dim": (1 if settings.max_dim is None else settings.max_dim, 1),
    }  # fmt: skip
    faults = [f"{name} is {value}; it must be at least {low}" for name, (value, low) in least.items() if value < low]
    if isinstance(settings.seed, bool) or not isinstance(settings.seed, int) or settings.seed < 0:
        faults.append(f"seed is {settings.seed!r}; it must be a whole number, from which all randomness comes")
    if not settings.carryover_threshold >= 0:
        faults.append(f"carryover_threshold is {settings.carryover_threshold}; it must not be negative")
    for name in ("weight", "spread", "reach"):
        if not getattr(evolution, name) > 0:
            faults.append(f"{name} of the evolution is {getattr(evolution, name)}; it must be positive")
    if not 0 <= evolution.crossover <= 1:
        faults.append(f"crossover of the evolution is {evolution.crossover}; it is a share, from 0 to 1")
    if evolution.strategy not in ("best1bin", "rand1bin"):
        faults.append(f"strategy of the evolution is {evolution.strategy!r}; it is best1bin or rand1bin")
    if not isinstance(molecule, Molecule):
        if start is None:
            faults.append("without a Molecule there is no CCSD: give the parameters to start from")
        if isinstance(initial, str):
            faults.append(f"initial_occupancies {initial!r} needs a Molecule, not its integrals only")
    if start is not None and (np.ndim(start) != 1 or not np.size(start) or not np.isfinite(start).all()):
        faults.append("start must be one list of finite numbers")
    if how and not is_subspace_solver(solver):
        faults.append(f"{', '.join(how)}: only a SubspaceSolver such as DiceSolver takes that, or it is misspelt")
    if faults:
        raise ConfigurationError(faults)
