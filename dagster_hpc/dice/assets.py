"""`build_dice_asset`: an asset whose value is a validated Dice result, with checks and metadata."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from dagster_hpc.assets.config import HPCJobConfig, given_overrides, reuse_rule
from dagster_hpc.assets.partitions import refuse_range
from dagster_hpc.assets.signature import parameters_of, show_signature
from dagster_hpc.dagster_values import failure
from dagster_hpc.dice.dagster_types import DiceResultType
from dagster_hpc.dice.io_manager import SCIResultIOManager
from dagster_hpc.dice.metadata import check_results, check_specs, dice_metadata, failed_check_results, run_metadata
from dagster_hpc.dice.solver import DiceSolver
from dagster_hpc.dice.validation import DiceResultInvalid
from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.engine.job import JobFailed
from dagster_hpc.metadata import job_metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.subspace.problem import StringPair


@dataclass(frozen=True)
class DiceProblem:
    """What is to be diagonalized: a Hamiltonian, and the strings whose products it is diagonalized among.

    `core_energy` becomes part of the energy; `hf_energy`, that of the Hartree-Fock state with it, makes known what
    correlation brings.

    Example:
        DiceProblem((strings[:4], strings), one_body, two_body, norb=10, nelec=(1, 1))
        DiceProblem.full_space(one_body, two_body, 10, (1, 1), core_energy=molecule.integrals().core_energy)
    """

    ci_strings: StringPair
    one_body_tensor: NDArray[np.float64]
    two_body_tensor: NDArray[np.float64]
    norb: int
    nelec: tuple[int, int]
    core_energy: float = 0.0
    hf_energy: float | None = None
    spin_sq: float | None = None
    parent_energy: float | None = None

    @classmethod
    def full_space(
        cls,
        one_body_tensor: NDArray[np.float64],
        two_body_tensor: NDArray[np.float64],
        norb: int,
        nelec: tuple[int, int],
        **more: Any,
    ) -> DiceProblem:
        """With all strings: the answer is that of full CI."""
        from itertools import combinations

        alpha, beta = (
            [sum(1 << orbital for orbital in chosen) for chosen in combinations(range(norb), count)] for count in nelec
        )
        return cls((alpha, beta), one_body_tensor, two_body_tensor, norb, nelec, **more)


def build_dice_asset(
    problem: Callable[..., DiceProblem],
    *,
    name: str | None = None,
    key_prefix: str | Sequence[str] | None = None,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    solver: str = "dice",
    io_manager_key: str | None = None,
    timeout: float | None = None,
    **asset_options: Any,
) -> dg.AssetsDefinition:
    """An asset whose value is the validated `DiceResult` of a problem.

    Every question of the validation is a blocking asset check; the metadata tells energies, occupancies, <S²>, the
    leading determinants, and what the jobs cost.

    Args:
        problem: Makes the `DiceProblem`, from upstream assets if it has parameters; also `context` and `config`.
        name: Of the asset; default: that of the function.
        profile: Another execution profile than the solver's; the launchpad may choose yet another.
        overrides: Fields of the profile that differ for this asset.
        solver: Resource key of the `DiceSolver`.
        io_manager_key: Of the IO manager; default: a `SCIResultIOManager` in the instance's storage folder.
        timeout: Seconds after which the wait is given up; the job lives on, and the next attempt joins it.
        **asset_options: Anything that `dagster.asset` takes (partitions_def, group_name, retry_policy, …).

    Example:
        def h2() -> DiceProblem:
            return DiceProblem.full_space(*molecule.integrals()[:2], 10, (1, 1))

        defs = dg.Definitions(assets=[build_dice_asset(h2, group_name="chemistry")], resources={"dice": dice})
    """
    parameters = parameters_of(problem)
    config_type = parameters["config"].annotation if "config" in parameters else HPCJobConfig
    if not (inspect.isclass(config_type) and issubclass(config_type, HPCJobConfig)):
        raise ConfigurationError(f"the config of {problem.__name__!r} is {config_type!r}, which is no HPCJobConfig")
    prefix = [key_prefix] if isinstance(key_prefix, str) else list(key_prefix or [])
    key = dg.AssetKey([*prefix, name or problem.__name__])

    @wraps(problem)
    def compute(context: dg.AssetExecutionContext, **arguments: Any) -> Iterator[Any]:
        dice: DiceSolver = arguments[solver]
        config: HPCJobConfig = arguments["config"]
        refuse_range(context)
        given = {"context": context, **arguments}
        asked = problem(**{parameter: given[parameter] for parameter in parameters})
        if not isinstance(asked, DiceProblem):
            raise dg.Failure(
                f"{problem.__name__!r} returned {type(asked).__name__}; it must return a DiceProblem",
                allow_retries=False,
            )
        how = {
            "profile": config.profile or profile,
            "args": config.arguments,
            "overrides": {**(overrides or {}), **given_overrides(config.overrides)},
            "timeout": timeout,
            "reuse": reuse_rule(config.reuse),
        }
        yield from _solved(context, dice, asked, key, how)

    show_signature(compute, parameters, config_type, {solver: DiceSolver})
    storage: dict[str, Any] = {"io_manager_def": SCIResultIOManager()}
    if io_manager_key:
        storage = {"io_manager_key": io_manager_key}
    options = {
        "kinds": {"hpc", "dice"},
        "description": inspect.getdoc(problem),
        "dagster_type": DiceResultType,
        **storage,
        **asset_options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # about io_manager_def, once for every asset
        definition: dg.AssetsDefinition = dg.asset(key=key, check_specs=check_specs(key), **options)(compute)
    return definition


def _solved(
    context: dg.AssetExecutionContext, dice: DiceSolver, asked: DiceProblem, key: dg.AssetKey, how: Mapping[str, Any]
) -> Iterator[Any]:
    """The checks, then the value; or the checks that failed, and the failure."""
    try:
        (run,) = dice.runs(
            [asked.ci_strings], asked.one_body_tensor, asked.two_body_tensor, asked.norb, asked.nelec,
            context=context, core_energy=asked.core_energy, spin_sq=asked.spin_sq,
            parent_energies=[asked.parent_energy], **how,
        )  # fmt: skip
    except DiceResultInvalid as error:
        yield from failed_check_results(error.checks, key)
        rejected: dict[str, dg.MetadataValue] = {
            "checks": dg.MetadataValue.json({check.name: check.passed for check in error.checks}),
            "work_dir": dg.MetadataValue.path(error.work_dir or ""),
        }
        raise failure(error, rejected) from error
    except JobFailed as error:
        raise failure(error, job_metadata(error.result)) from error
    except HPCError as error:
        raise failure(error) from error
    metadata = dice_metadata(run.result, core_energy=asked.core_energy, hf_energy=asked.hf_energy)
    yield from check_results(run.result.checks, key)
    yield dg.Output(run.result, metadata={**run_metadata(run), **metadata})
