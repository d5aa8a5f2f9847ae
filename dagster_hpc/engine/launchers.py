"""How the ranks of a job are started. A small axis of its own: any launcher, on any scheduler that has it."""

from __future__ import annotations

from dagster_hpc.engine.job import JobSpec


def launch_prefix(spec: JobSpec) -> list[str]:
    """The words before the program: `srun --ntasks=16 …`; empty where the program is started as it is."""
    ranks, per_node = str(spec.ranks), str(spec.ranks_per_node)
    match spec.launcher:
        case "single":
            prefix = []
        case "srun":
            prefix = ["srun", f"--ntasks={ranks}", f"--ntasks-per-node={per_node}"]
        case "mpirun" | "mpiexec":
            prefix = [spec.launcher, "-n", ranks]
        case "mpiexec.hydra":
            prefix = ["mpiexec.hydra", "-n", ranks, "-ppn", per_node]
        case "flux":
            prefix = ["flux", "run", f"--nodes={spec.nodes}", f"--ntasks={ranks}"]
            prefix += [f"--cores-per-task={spec.threads_per_rank}"] if spec.threads_per_rank else []
    if prefix:
        prefix += spec.launcher_options
    if spec.container:
        prefix += ["apptainer", "exec", *(["--nv"] if spec.gpus_per_node else []), spec.container]
    return prefix


def launcher_faults(spec: JobSpec) -> list[str]:
    """What does not fit between the launcher and the rest of the request."""
    faults = []
    if spec.launcher == "single" and spec.ranks > 1:
        faults.append(
            f"launcher 'single' starts one process, but {spec.ranks} ranks are asked for "
            f"(num_nodes={spec.nodes} * mpiprocs={spec.ranks_per_node}): choose srun, mpirun or mpiexec"
        )
    if spec.launcher == "single" and spec.launcher_options:
        faults.append("mpi_options are given, but launcher 'single' starts no MPI")
    return faults
