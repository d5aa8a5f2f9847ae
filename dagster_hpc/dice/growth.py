"""A selected-CI energy for smaller and smaller cutoffs, what perturbation adds to each, and where they lead."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster_hpc.electrons.fcidump import integrals_of
from dagster_hpc.electrons.perturbation import Extrapolation, epstein_nesbet, extrapolate
from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from dagster_hpc.dice.assets import DiceProblem
    from dagster_hpc.dice.run import DiceRun
    from dagster_hpc.dice.solver import DiceSolver

CUTOFFS = (2e-3, 1e-3, 5e-4, 2e-4)


@dataclass(frozen=True)
class GrowthStep:
    """What one cutoff came to. Energies contain the core energy of the problem."""

    cutoff: float
    energy: float
    correction: float  # of second order
    determinants: int
    outside: int  # determinants that the correction is summed over
    run: DiceRun

    @property
    def corrected_energy(self) -> float:
        return self.energy + self.correction


@dataclass(frozen=True)
class GrowthStudy:
    """All cutoffs, and the energy that their line leads to.

    Example:
        study = growth_study(dice, DiceProblem.full_space(one_body, two_body, 10, (1, 1)), cutoffs=(1e-2, 1e-3))
        assert isinstance(study, GrowthStudy)
        print([(step.cutoff, step.energy, step.correction) for step in study.steps], study.extrapolation.energy)
    """

    steps: tuple[GrowthStep, ...]
    extrapolation: Extrapolation


def growth_study(
    solver: DiceSolver,
    problem: DiceProblem,
    *,
    cutoffs: Sequence[float] = CUTOFFS,
    correction_cutoff: float = 1e-8,
    on_step: Callable[[GrowthStep], None] | None = None,
    **how: Any,
) -> GrowthStudy:
    """The problem solved once for each `select_cutoff`, the largest first, with its correction.

    Args:
        correction_cutoff: Contributions to the correction that are smaller are left out.
        on_step: Called with each step.
        **how: As in the solver's `runs`: context, profile, overrides, reuse, …

    Example:
        problem = DiceProblem.full_space(one_body, two_body, 10, (1, 1))
        study = growth_study(dice, problem, cutoffs=(1e-2, 1e-3))
        print(study.extrapolation.energy, study.extrapolation.error)
    """
    faults = [f"the cutoff {one} is not a positive number" for one in cutoffs if not one > 0]
    if len(set(cutoffs)) < 2:
        faults.append(f"the cutoffs are {list(cutoffs)}; a line needs at least two different ones")
    if faults:
        raise ConfigurationError(faults)
    integrals = integrals_of(problem.one_body_tensor, problem.two_body_tensor, problem.core_energy)
    steps: list[GrowthStep] = []
    for cutoff in sorted(set(cutoffs), reverse=True):
        (run,) = solver.model_copy(update={"select_cutoff": cutoff}).runs(
            [problem.ci_strings], problem.one_body_tensor, problem.two_body_tensor, problem.norb, problem.nelec,
            core_energy=problem.core_energy, spin_sq=problem.spin_sq, parent_energies=[problem.parent_energy], **how,
        )  # fmt: skip
        energy = run.result.energy
        added = epstein_nesbet(run.result.state, energy, integrals, cutoff=correction_cutoff)
        steps.append(GrowthStep(cutoff, energy, added.energy, run.result.dimension, added.determinants, run))
        if on_step:
            on_step(steps[-1])
    return GrowthStudy(tuple(steps), _line(steps))


def _line(steps: Sequence[GrowthStep]) -> Extrapolation:
    if len({one.correction for one in steps}) > 1:
        return extrapolate([one.energy for one in steps], [one.correction for one in steps])
    last = steps[-1]  # nothing more was found with a smaller cutoff: often there is nothing more
    return Extrapolation(last.corrected_energy, abs(last.correction) / 5, math.nan)
