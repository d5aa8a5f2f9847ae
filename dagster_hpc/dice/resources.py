"""`create_dice_resources`: all resources for Dice on one system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dagster_hpc.dice.io_manager import SCIResultIOManager
from dagster_hpc.dice.solver import DiceSolver
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.targets import target_class
from dagster_hpc.resources.targets.base import HPCTarget


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
        defs = dg.Definitions(assets=[build_dice_asset(ground_state, io_manager_key="sci_result_io")], resources=resources)
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
