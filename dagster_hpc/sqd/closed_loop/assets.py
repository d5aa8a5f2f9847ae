"""`build_closed_loop_asset`: circuit parameters optimised over SQD energies, as one resumable asset."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the asset, one of which is made below.

import warnings
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import dagster as dg

from dagster_hpc.assets.config import given_overrides
from dagster_hpc.dagster_values import errors_as_failures
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.closed_loop.circuit import Sampler
from dagster_hpc.sqd.closed_loop.config import ClosedLoopConfig
from dagster_hpc.sqd.closed_loop.evolution import Evolution
from dagster_hpc.sqd.closed_loop.loop import optimize_circuit
from dagster_hpc.sqd.closed_loop.metadata import closed_loop_metadata
from dagster_hpc.sqd.closed_loop.values import ClosedLoopResult, Generation
from dagster_hpc.sqd.config import with_defaults
from dagster_hpc.sqd.files import SQDFiles
from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule
from dagster_hpc.sqd.sources import LUCJSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _check(_: Any, value: Any) -> dg.TypeCheck:
    if not isinstance(value, ClosedLoopResult):
        return dg.TypeCheck(False, f"a {type(value).__name__} is no ClosedLoopResult")
    if not isfinite(value.energy) or not value.generations:
        return dg.TypeCheck(False, "a ClosedLoopResult needs a finite energy and at least one generation")
    return dg.TypeCheck(True)


ClosedLoopResultType = dg.DagsterType(_check, name="ClosedLoopResult", typing_type=ClosedLoopResult)


def build_closed_loop_asset(
    molecule: Molecule | MolecularIntegrals,
    *,
    name: str = "closed_loop",
    source: LUCJSource | None = None,
    sampler: Sampler | None = None,
    start: "NDArray[np.float64] | None" = None,
    solver: str | None = "dice",
    state_dir: str | None = None,
    files: SQDFiles | None = None,
    group_name: str = "chemistry",
    owners: Sequence[str] | None = None,
    **loop: Any,
) -> dg.AssetsDefinition:
    """An asset whose value is a `ClosedLoopResult`: the best parameters, and every trial on the way there.

    Args:
        source, sampler, start: The circuit, as in `optimize_circuit`.
        solver: Resource key of the `DiceSolver`; None: qiskit-addon-sqd's own solver, in the process of the step.
        state_dir: Where unfinished loops are kept; default: in the storage folder of the Dagster instance.
        files: IO manager of the value.
        **loop: Defaults of `ClosedLoopConfig`, which the launchpad can change.

    Example:
        n2 = Molecule(geometry="N 0 0 0; N 0 0 1.1", basis="6-31g", active_space=(6, 6))
        asset = build_closed_loop_asset(n2, name="n2_circuit", generations=20, population=16, shots=2000)
    """
    config_type = with_defaults(ClosedLoopConfig, f"ClosedLoopConfig_{name}", loop)

    def compute(context: dg.AssetExecutionContext, config: ClosedLoopConfig) -> Any:
        """Circuit parameters with the lowest energy that SQD finds in the samples."""
        folder = (
            Path(state_dir).expanduser() if state_dir else Path(context.instance.storage_directory(), "closed-loop")
        )
        with errors_as_failures():
            if config.reuse not in ("succeeded", "never"):
                raise ConfigurationError(f"reuse is {config.reuse!r}; it is 'succeeded' or 'never'")
            if config.initial_occupancies not in ("ccsd", "hf", None):
                raise ConfigurationError(
                    f"initial_occupancies is {config.initial_occupancies!r}; it is ccsd, hf or null"
                )
            # A run that is to start anew still resumes itself when it is retried.
            key = context.run.root_run_id or context.run.run_id if config.reuse == "never" else ""
            how: dict[str, Any] = {}
            if solver:
                how = {"profile": config.profile, "overrides": given_overrides(config.overrides)}

            def told(generation: Generation) -> None:
                failed = sum(trial.energy is None for trial in generation.trials)
                context.log.info(
                    f"generation {generation.number}: {generation.energy:.8f} Hartree without core, "
                    f"{sum(trial.accepted for trial in generation.trials)} trials accepted, {failed} without an energy, "
                    f"{generation.seconds:.1f} s"
                )

            result = optimize_circuit(
                molecule, seed=config.seed, generations=config.generations, population=config.population,
                shots=config.shots, samples_per_batch=config.samples_per_batch, sqd_iterations=config.sqd_iterations,
                source=source, sampler=sampler, start=start, evolution=_evolution(config), max_dim=config.max_dim,
                spin_sq=config.spin_sq, in_process_below=config.in_process_below,
                symmetrize_spin=config.symmetrize_spin, carryover_threshold=config.carryover_threshold,
                initial_occupancies=cast('Literal["ccsd", "hf"] | None', config.initial_occupancies),
                solver=getattr(context.resources, solver) if solver else None, state_dir=folder, key=key, callback=told,
                context=context if solver else None, **how,
            )  # fmt: skip
        return dg.MaterializeResult(value=result, metadata=closed_loop_metadata(result))

    compute.__annotations__["config"] = config_type  # with the defaults that are given here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # io_manager_def
        asset: dg.AssetsDefinition = dg.asset(
            name=name, group_name=group_name, owners=owners, kinds={"python", "hpc"} if solver else {"python"},
            required_resource_keys={solver} if solver else set(), dagster_type=ClosedLoopResultType,
            io_manager_def=files or SQDFiles(),
        )(compute)  # fmt: skip
    return asset


def _evolution(config: ClosedLoopConfig) -> Evolution:
    strategy = cast('Literal["best1bin", "rand1bin"]', config.strategy)
    return Evolution(strategy, config.weight, config.crossover, config.spread, config.reach)
