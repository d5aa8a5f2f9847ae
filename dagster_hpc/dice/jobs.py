"""Subspaces as jobs of a runner: one job for one, an array job for several, one FCIDUMP file for all."""

from __future__ import annotations

import posixpath
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from dagster_hpc.dice.job_script import START, Isolation, isolation_for, payload, start_lines
from dagster_hpc.dice.layout import DETERMINANTS, ENERGY, FCIDUMP, SPIN_RDM
from dagster_hpc.dice.tasks import Asking, Task
from dagster_hpc.engine.job import JobFailed, JobResult
from dagster_hpc.resources.command import Command

if TYPE_CHECKING:
    from dagster_hpc.dice.hamiltonian import Integrals
    from dagster_hpc.resources.job_runner import HPCJobRunner
    from dagster_hpc.resources.profile import ExecutionProfile
    from dagster_hpc.resources.step import Context

EMBEDDED_MODULE = "dagster_hpc.dice.pyscf_solver"
OUTPUTS = {"energy": ENERGY, "determinants": DETERMINANTS, "density_matrix": SPIN_RDM}
_SERIAL = {"num_nodes": 1, "mpiprocs": 1, "launcher": "single", "mpi_options": [], "container": ""}


@dataclass(frozen=True)
class SolverJobs:
    """A runner, and the program that its jobs start: Dice, or the embedded solver where `executable` is None."""

    hpc: HPCJobRunner
    executable: str | None
    python: str
    isolation: Literal["auto"] | Isolation

    def launch(self, tasks: list[Task], asking: Asking, attempt: int, *, embedded: bool) -> list[JobResult]:
        """One job, or one array job, however its elements end."""
        alone = len(tasks) == 1
        overrides = {**asking.overrides, **(_SERIAL if embedded and self.executable is not None else {})}
        profile = self.hpc.profile(asking.profile, overrides)
        overrides |= self._memory(tasks, asking, profile, attempt, embedded=embedded or self.executable is None)
        above = "." if alone else ".."
        overrides["pre_commands"] = [*profile.pre_commands, f". {above}/{START}"]
        words = self._words(embedded)
        script = payload(embedded=embedded or self.executable is None)
        command = Command.shell(script, args=[asking.fcidump, *words, *asking.args], name=_name(asking.context))
        start = self.start(profile, embedded=embedded, attempt=attempt)
        again = f".retry{attempt}" if attempt else ""
        how: dict[str, Any] = {
            "profile": asking.profile,
            "context": asking.context,
            "overrides": overrides,
            "outputs": OUTPUTS,
            "key": asking.key and asking.key + again,
            "timeout": asking.timeout,
            "reuse": asking.reuse,
        }
        if alone:
            with _FailedJob() as failed:
                return [self.hpc.run(command, args=["."], inputs={START: start, **tasks[0].files}, **how)]
            return [failed.result]
        inputs: dict[str, str | bytes | Path] = {START: start}
        for index, task in enumerate(tasks):
            inputs |= {f"subspaces/{index}/{name}": content for name, content in task.files.items()}
        folders = [[f"../subspaces/{index}"] for index in range(len(tasks))]
        return self.hpc.map(command, folders, inputs=inputs, **how)

    def _memory(
        self, tasks: list[Task], asking: Asking, profile: ExecutionProfile, attempt: int, *, embedded: bool
    ) -> dict[str, Any]:
        """Overrides for what the largest subspace takes. Where the profile asks for too little, that is told."""
        from dagster_hpc.dice import estimate as sizes

        program: Literal["dice", "embedded"] = "embedded" if embedded else "dice"
        nodes, ranks = (1, profile.ompthreads or 1) if embedded else (profile.num_nodes, profile.mpiprocs)
        load = max((sizes.workload_of(task.strings, asking.norb) for task in tasks), key=lambda one: one.connections)
        expected = sizes.estimate(program, load, nodes=nodes, ranks=ranks)
        if attempt == 0 and load.connections > sizes.WORTH_A_LOOK:
            words = [asking.fcidump, self._words(embedded)[-1]]
            earlier = sizes.earlier_jobs(self.hpc.jobs(limit=50), asking.norb, words)
            likely = sizes.estimate(program, load, nodes=nodes, ranks=ranks, earlier=earlier)
            for doubt in sizes.doubts(likely, profile):
                tell(asking.context, f"a subspace of {load.determinants} determinants: {doubt}")
        # The local machine gives its memory to whoever comes; a request that is larger than it could never start.
        return sizes.memory_to_ask(expected, profile) if self.hpc.target.scheduler.kind != "local" else {}

    def _words(self, embedded: bool) -> list[str]:
        if embedded or self.executable is None:
            return [self.python or sys.executable, "-m", EMBEDDED_MODULE]
        return [self.hpc.target.executable(self.executable)]

    def start(self, profile: ExecutionProfile, *, embedded: bool, attempt: int = 0) -> str:
        """The shell lines before the launcher. The embedded solver shares nothing with another one on its node."""
        way = self.isolation if self.isolation != "auto" else isolation_for(profile, self.hpc.target.scheduler.kind)
        return start_lines("none", profile.launcher) if embedded else start_lines(way, profile.launcher, attempt)


def place_hamiltonian(hpc: HPCJobRunner, integrals: Integrals, nelec: tuple[int, int]) -> str:
    """The path of the FCIDUMP file of this Hamiltonian, which is written when it is not there yet."""
    from dagster_hpc.dice.fcidump import fcidump_bytes, hamiltonian_hash
    from dagster_hpc.engine.submit.claim import place

    folder = posixpath.join(hpc.folder, "hamiltonians", hamiltonian_hash(integrals, nelec)[:24])
    path, target = posixpath.join(folder, FCIDUMP), hpc.target.engine_target()
    if target.host.size(path) is None:
        place(folder, {}, target)
        target.host.create(path, fcidump_bytes(integrals, nelec))  # whole at once: two may want it at the same moment
    return path


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


def tell(context: Context | None, message: str) -> None:
    """In Dagster's event log; as a warning in a plain script."""
    if context is not None:
        context.log.warning(message)
    else:
        warnings.warn(message, stacklevel=5)


def _name(context: Context | None) -> str | None:
    """Outside of an asset a job is called after the solver; inside, the runner names it after the asset."""
    return None if context is not None and context.has_assets_def else "dice"
