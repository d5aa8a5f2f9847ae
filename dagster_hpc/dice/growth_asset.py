"""`build_dice_growth_asset`: a growth study as an asset, with its table and its line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import dagster as dg
import numpy as np

from dagster_hpc.assets.config import HPCJobConfig, given_overrides, reuse_rule
from dagster_hpc.assets.partitions import refuse_range
from dagster_hpc.assets.signature import parameters_of, show_signature
from dagster_hpc.dagster_values import BLUE, GREY, errors_as_failures, number, picture, table
from dagster_hpc.dice.assets import DiceProblem
from dagster_hpc.dice.growth import CUTOFFS, GrowthStep, GrowthStudy, growth_study
from dagster_hpc.dice.metadata import jobs_metadata
from dagster_hpc.dice.solver import DiceSolver


def build_dice_growth_asset(
    problem: Callable[..., DiceProblem],
    *,
    cutoffs: Sequence[float] = CUTOFFS,
    correction_cutoff: float = 1e-8,
    name: str | None = None,
    solver: str = "dice",
    overrides: Mapping[str, Any] | None = None,
    **asset_options: Any,
) -> dg.AssetsDefinition:
    """An asset whose metadata tells the energy of each cutoff, its correction, and the energy that they lead to.

    Args:
        problem: As for `build_dice_asset`.
        cutoffs: Values of `select_cutoff`.
        solver: Resource key of the `DiceSolver`.
        **asset_options: Anything that `dagster.asset` takes (partitions_def, group_name, retry_policy, …).

    Example:
        def h2_growth() -> DiceProblem:
            return DiceProblem.full_space(*molecule.integrals()[:2], 10, (1, 1))

        asset = build_dice_growth_asset(h2_growth, cutoffs=(1e-2, 1e-3))
        assert dg.materialize([asset], resources={"dice": dice}).success
    """
    parameters = parameters_of(problem)

    @wraps(problem)
    def compute(context: dg.AssetExecutionContext, **arguments: Any) -> dg.MaterializeResult[None]:
        config: HPCJobConfig = arguments["config"]
        refuse_range(context)
        given = {"context": context, **arguments}

        def told(step: GrowthStep) -> None:
            context.log.info(
                f"cutoff {step.cutoff:g}: {step.energy:.8f} Hartree, {step.correction:+.8f} of second order"
            )

        with errors_as_failures():
            asked = problem(**{parameter: given[parameter] for parameter in parameters})
            study = growth_study(
                arguments[solver], asked, cutoffs=cutoffs, correction_cutoff=correction_cutoff, on_step=told,
                context=context, profile=config.profile, args=config.arguments,
                overrides={**(overrides or {}), **given_overrides(config.overrides)}, reuse=reuse_rule(config.reuse),
            )  # fmt: skip
        return dg.MaterializeResult(metadata=growth_metadata(study))

    show_signature(compute, parameters, HPCJobConfig, {solver: DiceSolver})
    options = {"kinds": {"hpc", "dice"}, "description": inspect.getdoc(problem), **asset_options}
    definition: dg.AssetsDefinition = dg.asset(name=name or problem.__name__, **options)(compute)
    return definition


def growth_metadata(study: GrowthStudy) -> dict[str, dg.MetadataValue]:
    """The extrapolated energy, each step, and what all jobs cost."""
    rows = [
        {
            "cutoff": step.cutoff, "determinants": step.determinants, "energy": step.energy,
            "correction": step.correction, "corrected_energy": step.corrected_energy, "outside": step.outside,
            "spin_square": step.run.result.spin_square,
        }
        for step in study.steps
    ]  # fmt: skip
    last, line = study.steps[-1], study.extrapolation
    return {
        **jobs_metadata([job for step in study.steps for job in step.run.jobs]),
        "energy": number(last.energy),
        "corrected_energy": number(last.corrected_energy),
        "extrapolated_energy": number(line.energy),
        "extrapolation_error": number(line.error),
        "determinants": number(last.determinants),
        "growth": table(rows),
        "picture": _picture(study),
    }


def _picture(study: GrowthStudy) -> dg.MetadataValue:
    def draw(figure: Any) -> None:
        axes, line = figure.subplots(), study.extrapolation
        x = np.array([step.correction for step in study.steps])
        axes.plot(x, [step.energy for step in study.steps], "o", color=BLUE, label="variational")
        axes.plot(x, [step.corrected_energy for step in study.steps], "s", color=GREY, label="with correction")
        if np.isfinite(line.slope):
            ends = np.array([x.min(), 0.0])
            axes.plot(ends, line.energy + line.slope * ends, "--", color=BLUE)
        axes.errorbar([0.0], [line.energy], [line.error], fmt="*", color=BLUE, label="extrapolated")
        axes.set_xlabel("correction of second order in Hartree")
        axes.set_ylabel("energy in Hartree")
        axes.ticklabel_format(useOffset=False)
        axes.legend(frameon=False)

    return picture(draw, "Energy of each cutoff over its correction")
