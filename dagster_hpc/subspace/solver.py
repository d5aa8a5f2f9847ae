"""`SubspaceSolver`: diagonalizations in subspaces as batch jobs whose answers are validated before anybody sees them.

A solver says which files it reads, what starts it, and what its answer is. How that runs is written here, once: the
Hamiltonian placed once for all, one array job for a batch, tries, another solver for what this one cannot do.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `hpc` as a type, to accept a resource that
# is configured at launch in its place.

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import ConfigDict, Field

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import Reuse
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.step import Context
from dagster_hpc.subspace.attempts import Attempts
from dagster_hpc.subspace.jobs import place_hamiltonian
from dagster_hpc.subspace.problem import Problem, StringPair, Subspace
from dagster_hpc.subspace.sci_solver import SCISolver
from dagster_hpc.subspace.tasks import Asking, SolverRun, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dagster_hpc.subspace.result import SubspaceResult


class SubspaceSolver(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Finds the lowest state of a Hamiltonian among the products of given strings, as jobs of an `HPCJobRunner`.

    A subclass gives `name`, `input_files`, `words`, `outputs` and `read`; docs/solvers.md writes one in forty lines.

    Example:
        result = solver.solve((strings_a, strings_b), one_body, two_body, norb=16, nelec=(5, 5))
        result.energy, result.orbital_occupancies
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    hpc: HPCJobRunner
    profile: str = Field(description="Execution profile of the jobs.")
    max_retries: int = Field(default=2, ge=0, description="How often a run that failed by chance is tried again.")
    fallback: bool = Field(
        default=True, description="Solve what this solver cannot do with the embedded solver; False: an error."
    )
    return_sci_state: bool = Field(
        default=True, description="Give qiskit-addon-sqd a dense state; False: only the strings to carry over."
    )

    # -- what a solver is

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in runs, in the metadata and in the queue."""

    @abstractmethod
    def input_files(self, subspace: Subspace, problem: Problem) -> dict[str, bytes]:
        """File name → contents, for the directory that it is started in. The Hamiltonian is there as fcidump.txt.

        Raises `ConfigurationError` where the strings are not those of a subspace that it can be asked for.
        """

    @abstractmethod
    def words(self, problem: Problem) -> list[str]:
        """The command: a program with its arguments. `problem.profile` is that of the job."""

    @abstractmethod
    def outputs(self) -> dict[str, str]:
        """The files that it must leave: name → path in its directory."""

    @abstractmethod
    def read(self, folder: Path, subspace: Subspace, problem: Problem) -> "SubspaceResult":
        """The validated answer. Raises `AnswerInvalid` for one that is not to be believed, `NoAnswer` where it gave none."""

    def start_lines(self, profile: ExecutionProfile) -> str:
        """Shell lines of the job before the launcher."""
        return ""

    def acting(self) -> "SubspaceSolver":
        """Who solves: this solver."""
        return self

    def stand_in(self) -> "SubspaceSolver | None":
        """Who takes over what this solver cannot do: the embedded one."""
        from dagster_hpc.dice.embedded_solver import EmbeddedSolver

        return EmbeddedSolver(hpc=self.hpc, profile=self.profile) if self.fallback else None

    # -- solving

    def solve(
        self,
        ci_strings: StringPair,
        one_body_tensor: "NDArray[np.float64]",
        two_body_tensor: "NDArray[np.float64]",
        norb: int,
        nelec: tuple[int, int],
        *,
        context: Context | None = None,
        parent_energy: float | None = None,
        **how: Any,
    ) -> "SubspaceResult":
        """The lowest state among all products of these alpha and beta strings.

        Raises `AnswerInvalid` for an answer that is not to be believed, `NoAnswer` in the solver's words where it gave
        none, `JobFailed` where the job came to harm. `parent_energy`: that of a subspace of this one, an upper bound.
        `how`: core_energy, spin_sq, profile, args, overrides, key, timeout, reuse; as in `HPCJobRunner.run`.
        """
        (run,) = self.runs(
            [ci_strings], one_body_tensor, two_body_tensor, norb, nelec,
            context=context, parent_energies=[parent_energy], **how,
        )  # fmt: skip
        result: SubspaceResult = run.result
        return result

    def solve_batch(
        self,
        ci_strings: Sequence[StringPair],
        one_body_tensor: "NDArray[np.float64]",
        two_body_tensor: "NDArray[np.float64]",
        norb: int,
        nelec: tuple[int, int],
        *,
        context: Context | None = None,
        **how: Any,
    ) -> "Sequence[SubspaceResult]":
        """The same for several subspaces of one Hamiltonian, as one array job."""
        runs = self.runs(ci_strings, one_body_tensor, two_body_tensor, norb, nelec, context=context, **how)
        return [run.result for run in runs]

    def runs(
        self,
        ci_strings: Sequence[StringPair],
        one_body_tensor: "NDArray[np.float64]",
        two_body_tensor: "NDArray[np.float64]",
        norb: int,
        nelec: tuple[int, int],
        *,
        context: Context | None = None,
        core_energy: float = 0.0,
        spin_sq: float | None = None,
        parent_energies: Sequence[float | None] | None = None,
        profile: str | None = None,
        args: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        key: str | None = None,
        timeout: float | None = None,
        reuse: Reuse | None = None,
    ) -> "list[SolverRun[Any]]":
        """As `solve_batch`, with the jobs behind each answer.

        `core_energy` is written into the FCIDUMP and so is part of the energies. `spin_sq` is what <S²> should come out
        as: a state that has another one is reported with a warning. `args`: appended to the solver's own. `key`: outside
        of Dagster, calls with the same key mean the same jobs.
        """
        from dagster_hpc.dice.fcidump import integrals_of

        if not ci_strings:
            return []
        integrals = integrals_of(one_body_tensor, two_body_tensor, core_energy)
        if integrals.norb != int(norb):
            raise ConfigurationError(f"the integrals are of {integrals.norb} orbitals, norb is {norb}")
        chosen = self.hpc.profile(profile or self.profile, overrides)
        problem = Problem(int(norb), (int(nelec[0]), int(nelec[1])), integrals, chosen, spin_sq)
        solver = self.acting()
        parents = parent_energies or [None] * len(ci_strings)
        tasks = []
        for (alpha, beta), parent in zip(ci_strings, parents, strict=True):
            subspace = Subspace(alpha, beta, parent)
            tasks.append(Task(subspace, solver.input_files(subspace, problem)))
        asking = Asking(
            problem, place_hamiltonian(self.hpc, integrals, problem.nelec), context, profile or self.profile,
            tuple(args), dict(overrides or {}), key, timeout, reuse,
        )  # fmt: skip
        Attempts(solver, solver.stand_in(), asking).solve(tasks)
        runs = [task.run for task in tasks if task.run is not None]
        if spin_sq is not None:
            for run in runs:
                _compare_spin(run.result.spin_square, spin_sq, context)
        return runs

    def as_sci_solver(
        self,
        context: Context | None = None,
        *,
        key: str | None = None,
        on_runs: "Callable[[list[SolverRun[Any]]], None] | None" = None,
        **how: Any,
    ) -> SCISolver:
        """What `qiskit_addon_sqd.fermion.diagonalize_fermionic_hamiltonian(sci_solver=…)` takes.

        All subspaces of an iteration become one array job. `on_runs` is called with the runs of each iteration.
        """
        return SCISolver(self, context, key, on_runs, how)


def _compare_spin(found: float | None, wanted: float, context: Context | None) -> None:
    if found is not None and abs(found - wanted) < 1e-2:
        return
    message = f"<S²> of the lowest state is {found:.4f}, not {wanted:g}: the solver takes no wish for a spin"
    if context is not None:
        context.log.warning(message)
    else:
        warnings.warn(message, stacklevel=4)
