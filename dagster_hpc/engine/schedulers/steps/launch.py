"""A request as a step of an allocation: by which launcher it finds its cores there. Pure.

Where a system's launcher takes a part of a job and waits until it is free, that launcher starts every step, a single
process too. Elsewhere a step is started on the first node, and a count of cores is all that keeps them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dagster_hpc.engine.job import JobSpec

# The batch system → its launcher that waits for room. Such an allocation may have several nodes.
WAITS_FOR_ROOM = {"slurm": "srun", "flux": "flux"}
ONE_MACHINE = ("local",)  # whose nodes are cores of one machine


def as_step(spec: JobSpec, system: str, *, allocation_gpus: int = 0) -> JobSpec:
    """This request as what a holder inside this system can start."""
    if system == "slurm" and spec.launcher in ("single", "srun"):
        return replace(spec, launcher="srun", launcher_options=(*spec.launcher_options, *_srun(spec, allocation_gpus)))
    if system == "flux" and spec.launcher == "single":
        return replace(spec, launcher="flux")
    return spec


def step_faults(spec: JobSpec, system: str) -> list[str]:
    """What of this request, as it became a step, no holder inside this system can start."""
    launcher = WAITS_FOR_ROOM.get(system)
    if launcher and spec.launcher != launcher:
        return [
            f"launcher {spec.launcher!r} would take the whole allocation, whatever else runs in it: choose {launcher!r}"
        ]
    if not launcher and spec.launcher in WAITS_FOR_ROOM.values():
        return [f"launcher {spec.launcher!r} finds no room inside {system}: choose mpirun or mpiexec"]
    if launcher == "flux" and spec.gpus_per_node:
        return ["gpus_per_node is not translated for steps of Flux: say it in mpi_options, as in --gpus-per-task=1"]
    return []


def allocation_faults(spec: JobSpec, system: str) -> list[str]:
    """What is wrong with the job that is to hold the allocation."""
    if spec.nodes > 1 and system not in (*WAITS_FOR_ROOM, *ONE_MACHINE):
        return [
            f"an allocation of {spec.nodes} nodes under {system} would need a launcher that finds room among them: take "
            f"num_nodes=1, or start Flux or HyperQueue in a job of {spec.nodes} nodes and let a target point at it"
        ]
    return []


def _srun(spec: JobSpec, allocation_gpus: int) -> list[str]:
    """So much of the allocation and no more; without a word on memory, the first step would take all of it."""
    words = ["--exact", f"--nodes={spec.nodes}", f"--cpus-per-task={spec.threads_per_rank or 1}"]
    words.append(f"--mem={spec.memory_per_node_mib}M" if spec.memory_per_node_mib else "--mem=0")
    if spec.gpus_per_node:
        words.append(f"--gpus-per-node={spec.gpus_per_node}")
    elif allocation_gpus:
        words.append("--gres=none")
    return [word for word in words if not _is_said(word, spec.launcher_options)]


def _is_said(word: str, options: Sequence[str]) -> bool:
    return any(option.partition("=")[0] == word.partition("=")[0] for option in options)
