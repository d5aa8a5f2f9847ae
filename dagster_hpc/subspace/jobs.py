"""Subspaces as jobs of a runner: one job for one, an array job for several, one FCIDUMP file for all."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_hpc.engine.job import JobFailed, JobResult
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.step import asset_key_of
from dagster_hpc.subspace.payload import FCIDUMP
from dagster_hpc.subspace.program import program_line
from dagster_hpc.subspace.tasks import Asking, Task
from dagster_hpc.subspace.telling import tell

START = "solver-start.sh"

if TYPE_CHECKING:
    from dagster_hpc.electrons.integrals import Integrals
    from dagster_hpc.resources.job_runner import HPCJobRunner
    from dagster_hpc.resources.profile import ExecutionProfile
    from dagster_hpc.resources.step import Context
    from dagster_hpc.subspace.solver import SubspaceSolver


def launch(
    solver: SubspaceSolver, tasks: list[Task], asking: Asking, attempt: int, *, serial: bool = False
) -> list[JobResult]:
    """One job, or one array job, however its elements end. `serial`: on one node, without its ranks."""
    hpc, alone = solver.hpc, len(tasks) == 1
    overrides = dict(asking.overrides)
    if serial:
        overrides |= _on_one_node(hpc.profile(asking.profile, overrides))
    profile = hpc.profile(asking.profile, overrides)
    fcidump = place_hamiltonian(hpc, asking.problem.integrals, asking.problem.nelec)
    problem = replace(asking.problem, profile=profile)
    foresight = solver.foresee([task.subspace for task in tasks], problem, fcidump)
    overrides |= foresight.overrides
    for doubt in foresight.doubts if attempt == 0 else ():
        tell(asking.context, doubt)
    overrides["pre_commands"] = [*profile.pre_commands, f". {'.' if alone else '..'}/{START}"]
    words = solver.words(problem)
    command = Command.shell(solver.payload(), args=[fcidump, *words, *asking.args], name=_name(solver, asking.context))
    inputs: dict[str, str | bytes | Path] = {START: f"# {program_line(solver)}\n{solver.start_lines(profile, attempt)}"}
    again = f".retry{attempt}" if attempt else ""
    how: dict[str, Any] = {
        "profile": asking.profile,
        "context": asking.context,
        "overrides": overrides,
        "outputs": solver.outputs(),
        "key": asking.key and asking.key + again,
        "timeout": asking.timeout,
        "reuse": asking.reuse,
    }
    if alone:
        with _FailedJob() as failed:
            return [hpc.run(command, args=["."], inputs={**inputs, **tasks[0].files}, **how)]
        return [failed.result]
    for index, task in enumerate(tasks):
        inputs |= {f"subspaces/{index}/{name}": content for name, content in task.files.items()}
    folders = [[f"../subspaces/{index}"] for index in range(len(tasks))]
    return hpc.map(command, folders, inputs=inputs, **how)


def place_hamiltonian(hpc: HPCJobRunner, integrals: Integrals, nelec: tuple[int, int]) -> str:
    """The path of the FCIDUMP file of this Hamiltonian, which is written when it is not there yet."""
    from dagster_hpc.electrons.fcidump import fcidump_bytes, hamiltonian_hash
    from dagster_hpc.engine.submit.claim import place

    folder = posixpath.join(hpc.folder, "hamiltonians", hamiltonian_hash(integrals, nelec)[:24])
    path, target = posixpath.join(folder, FCIDUMP), hpc.target.engine_target()
    if target.host.size(path) is None:
        place(folder, {}, target)
        target.host.create(path, fcidump_bytes(integrals, nelec))  # whole at once: two may want it at the same moment
    return path


def _on_one_node(profile: ExecutionProfile) -> dict[str, Any]:
    """What turns a profile of MPI ranks into one of threads, with as many cores on its one node."""
    cores = profile.mpiprocs * (profile.ompthreads or 1)
    return {
        "num_nodes": 1,
        "mpiprocs": 1,
        "ompthreads": cores,
        "launcher": "single",
        "mpi_options": [],
        "container": "",
    }


class _FailedJob:
    """Catches a job that ended badly, inside Dagster and outside, and keeps its result."""

    result: JobResult

    def __enter__(self) -> _FailedJob:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        cause = error.__cause__ if isinstance(error, dg.Failure) else error
        if not isinstance(cause, JobFailed):
            return False
        self.result = cause.result
        return True


def _name(solver: SubspaceSolver, context: Context | None) -> str | None:
    """Outside of an asset a job is called after the solver; inside, the runner names it after the asset."""
    return None if asset_key_of(context) else solver.name
