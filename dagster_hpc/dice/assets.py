"""Dice for Dagster's graph: assets with checks and metadata, the resources they need, and the types of their values."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import numpy as np

from dagster_hpc.assets import HPCJobConfig, _given, _parameters, _refuse_range, _reuse
from dagster_hpc.dice.io_manager import SCIResultIOManager
from dagster_hpc.dice.metadata import check_results, check_specs, dice_metadata, failed_check_results, run_metadata
from dagster_hpc.dice.result import DiceResult
from dagster_hpc.dice.solver import DiceSolver
from dagster_hpc.dice.validation import NORM_LIMIT, DiceResultInvalid
from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.engine.job import JobFailed
from dagster_hpc.metadata import job_metadata
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.targets import target_class
from dagster_hpc.resources.targets.base import HPCTarget

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.dice.solver import Subspace

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD  # the only kind in which Dagster sees an upstream asset


@dataclass(frozen=True)
class DiceProblem:
    """What is to be diagonalized: a Hamiltonian, and the strings whose products it is diagonalized among.

    `core_energy` becomes part of the energy; `hf_energy`, that of the Hartree-Fock state with it, makes known what
    correlation brings.
    """

    ci_strings: Subspace
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
        def n2_ground_state(n2_integrals: MolecularIntegrals) -> DiceProblem: ...
        asset = build_dice_asset(n2_ground_state, partitions_def=bond_lengths)
    """
    parameters = _parameters(problem)
    config_type = parameters["config"].annotation if "config" in parameters else HPCJobConfig
    if not (inspect.isclass(config_type) and issubclass(config_type, HPCJobConfig)):
        raise ConfigurationError(f"the config of {problem.__name__!r} is {config_type!r}, which is no HPCJobConfig")
    prefix = [key_prefix] if isinstance(key_prefix, str) else list(key_prefix or [])
    key = dg.AssetKey([*prefix, name or problem.__name__])

    @wraps(problem)
    def compute(context: dg.AssetExecutionContext, **arguments: Any) -> Iterator[Any]:
        dice: DiceSolver = arguments[solver]
        config: HPCJobConfig = arguments["config"]
        _refuse_range(context)
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
            "overrides": {**(overrides or {}), **_given(config.overrides)},
            "timeout": timeout,
            "reuse": _reuse(config.reuse),
        }
        yield from _solved(context, dice, asked, key, how)

    _sign(compute, parameters, config_type, solver)
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
        raise dg.Failure(str(error), metadata=rejected) from error
    except JobFailed as error:
        raise dg.Failure(str(error), metadata=job_metadata(error.result)) from error
    except ConfigurationError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except HPCError as error:
        where = {"work_dir": dg.MetadataValue.path(error.work_dir)} if error.work_dir else {}
        raise dg.Failure(str(error), metadata=where) from error
    metadata = dice_metadata(run.result, core_energy=asked.core_energy, hf_energy=asked.hf_energy)
    yield from check_results(run.result.checks, key)
    yield dg.Output(run.result, metadata={**run_metadata(run), **metadata})


def _sign(
    compute: Callable[..., Any], parameters: Mapping[str, inspect.Parameter], config_type: type, solver: str
) -> None:
    """Show Dagster what the asset needs: the function's own upstream assets and resources, plus config and solver."""
    wanted = {
        "context": inspect.Parameter("context", _POSITIONAL, annotation=dg.AssetExecutionContext),
        "config": inspect.Parameter("config", _POSITIONAL, annotation=config_type),
        solver: inspect.Parameter(solver, _POSITIONAL, annotation=DiceSolver),
        **{name: each for name, each in parameters.items() if name not in ("context", "config", solver)},
    }
    compute.__signature__ = inspect.Signature(list(wanted.values()))  # type: ignore[attr-defined]
    compute.__annotations__ = {
        name: each.annotation for name, each in wanted.items() if each.annotation is not inspect.Parameter.empty
    }


def create_dice_resources(
    *,
    hpc_target: HPCTarget | str,
    root_dir: str,
    project: str = "",
    queue: str = "",
    dice_executable: str | None = None,
    executable_key: str = "dice_solver",
    profile_name: str = "dice-mpi",
    launcher: Literal["single", "srun", "mpirun", "mpiexec", "mpiexec.hydra", "flux"] | None = None,
    num_nodes: int = 1,
    mpiprocs: int | None = None,
    ompthreads: int | None = None,
    walltime: str = "01:00:00",
    resource_class: Literal["cpu", "gpu"] = "cpu",
    memory_per_node: str | None = None,
    exclusive: bool = False,
    modules: Sequence[str] = (),
    mpi_options: Sequence[str] = (),
    pre_commands: Sequence[str] = (),
    environments: Mapping[str, str] | None = None,
    results_dir: str | None = None,
    ledger_url: str | None = None,
    target_options: Mapping[str, Any] | None = None,
    **solver_options: Any,
) -> dict[str, Any]:
    """All resources for Dice on one system, under the keys that assets ask for: `hpc`, `dice` and `sci_result_io`.

    Args:
        hpc_target: A target, or its kind: miyabi, fugaku, slurm, pbs, torque, pjm, lsf, sge, flux, local.
        root_dir: Folder for the jobs' directories, visible on the compute nodes.
        project: Group or account that is charged. (Not for a target that is given as such; nor is `queue`.)
        dice_executable: Path of Dice on that system; without it, the embedded solver.
        launcher: Default: mpiexec on Fugaku and PJM, srun on Slurm, flux on Flux, mpirun elsewhere; single for one rank.
        mpiprocs: Ranks per node; default: 4 of Dice, 1 of the embedded solver, which has no use for more.
        results_dir: Folder of the results; default: the storage folder of the Dagster instance.
        target_options: Further fields of the target, as in {"gfscache": "/vol0004"}.
        **solver_options: Fields of `DiceSolver`, as in select_cutoff=5e-4, davidson_tol=1e-5, max_iter=10.

    Example:
        resources = create_dice_resources(
            hpc_target="miyabi", project="gz00", root_dir="/scratch/me/dice", dice_executable="/apps/Dice", mpiprocs=16
        )
        defs = dg.Definitions(assets=[...], resources=resources)
    """
    programs = {executable_key: dice_executable} if dice_executable else {}
    target = _target(hpc_target, resource_class, project, queue, programs, target_options or {})
    ranks = mpiprocs or (4 if dice_executable else 1)
    if launcher is None:
        launcher = "single" if num_nodes * ranks == 1 else _LAUNCHER.get(target.scheduler.kind, "mpirun")
    profile = ExecutionProfile(
        resource_class=resource_class,
        num_nodes=num_nodes,
        mpiprocs=ranks,
        ompthreads=ompthreads,
        walltime=walltime,
        launcher=launcher,
        memory_per_node=memory_per_node,
        exclusive=exclusive,
        modules=list(modules),
        mpi_options=list(mpi_options),
        pre_commands=list(pre_commands),
        environments=dict(environments or {}),
    )
    hpc = HPCJobRunner(target=target, profiles={profile_name: profile}, work_root=root_dir, ledger_url=ledger_url)
    executable = executable_key if dice_executable else None
    return {
        "hpc": hpc,
        "dice": DiceSolver(hpc=hpc, profile=profile_name, executable=executable, **solver_options),
        "sci_result_io": SCIResultIOManager(base_dir=results_dir),
    }


_LAUNCHER: dict[str, Literal["srun", "mpirun", "mpiexec", "flux"]] = {"slurm": "srun", "pjm": "mpiexec", "flux": "flux"}


def _target(
    target: HPCTarget | str,
    resource_class: str,
    project: str,
    queue: str,
    programs: dict[str, str],
    options: Mapping[str, Any],
) -> HPCTarget:
    if isinstance(target, str):
        where = {f"project_{resource_class}": project, f"queue_{resource_class}": queue}
        fields: dict[str, Any] = {name: value for name, value in where.items() if value}
        return target_class(target)(**fields, executable_map=programs, **options)
    if project or queue or options:
        raise ConfigurationError("project, queue and target_options belong into the target, which is given as such")
    return target.model_copy(update={"executable_map": {**target.executable_map, **programs}}) if programs else target


# -- types


def _check_dice_result(context: object, value: object) -> dg.TypeCheck:
    if not isinstance(value, DiceResult):
        return dg.TypeCheck(False, f"a DiceResult was expected, not {type(value).__name__}")
    faults = [f"the check {check.name} failed: {check.sentence}" for check in value.checks if check.passed is False]
    faults += _number_faults(value.energy, value.coefficients, value.orbital_occupancies, value.norb, value.nelec)
    return _type_check(faults)


def _check_sci_result(context: object, value: object) -> dg.TypeCheck:
    fermion = sys.modules.get("qiskit_addon_sqd.fermion")  # whoever has such a value has imported it
    if fermion is None or not isinstance(value, fermion.SCIResult):
        return dg.TypeCheck(False, f"a qiskit-addon-sqd SCIResult was expected, not {type(value).__name__}")
    state = value.sci_state
    if state is None:
        faults = [] if getattr(value, "carryover", None) is not None else ["it has neither a state nor a carryover"]
        faults += [] if np.isfinite(value.energy) else [f"the energy is {value.energy}"]
        return _type_check(faults)
    nelec = (int(state.nelec[0]), int(state.nelec[1]))
    return _type_check(
        _number_faults(value.energy, np.ravel(state.amplitudes), value.orbital_occupancies, int(state.norb), nelec)
    )


def _number_faults(energy: float, coefficients: Any, occupancies: Any, norb: int, nelec: tuple[int, int]) -> list[str]:
    faults = [] if np.isfinite(energy) else [f"the energy is {energy}"]
    norm = float(np.vdot(coefficients, coefficients).real)
    if not abs(norm - 1) <= max(NORM_LIMIT, 1e-6):
        faults.append(f"the squared coefficients sum up to {norm:.8g} instead of 1")
    for spin, given, electrons in zip(("alpha", "beta"), occupancies, nelec, strict=True):
        if np.shape(given) != (norb,):
            faults.append(f"the {spin} occupancies are of shape {np.shape(given)} instead of ({norb},)")
        elif not abs(float(np.sum(given)) - electrons) <= 1e-5:
            faults.append(f"the {spin} occupancies sum up to {float(np.sum(given)):.6f} instead of {electrons}")
    return faults


def _type_check(faults: list[str]) -> dg.TypeCheck:
    return dg.TypeCheck(not faults, "; ".join(faults) or None)


DiceResultType = dg.DagsterType(
    name="DiceResult",
    type_check_fn=_check_dice_result,
    typing_type=DiceResult,
    description="A selected-CI state with its energy, normalised, with the right electrons, all checks passed.",
)
SCIResultType = dg.DagsterType(
    name="SCIResult",
    type_check_fn=_check_sci_result,
    description="qiskit-addon-sqd's result of a selected-CI calculation, normalised, with the right electrons.",
)
