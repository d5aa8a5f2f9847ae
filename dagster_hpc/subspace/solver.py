"""`SubspaceSolver`: diagonalizations in subspaces as batch jobs whose answers are validated before anybody sees them.

A solver says which files it reads, what starts it, and what its answer is. How that runs is written here, once: the
Hamiltonian placed once for all, one array job for a batch, tries, another solver for what this one cannot do.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `hpc` as a type, to accept a resource that
# is configured at launch in its place.

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import ConfigDict, Field

from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.engine.job import Reuse
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.step import Context
from dagster_hpc.subspace.attempts import Attempts
from dagster_hpc.subspace.payload import PAYLOAD
from dagster_hpc.subspace.problem import Foresight, Problem, StringPair, Subspace
from dagster_hpc.subspace.program import program_stamps
from dagster_hpc.subspace.sci_solver import SCISolver
from dagster_hpc.subspace.tasks import Asking, SolverRun
from dagster_hpc.subspace.telling import tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dagster_hpc.subspace.result import SubspaceResult

NO_NUMBERS = {
    "hpc", "profile", "executable", "gpu_executable", "python", "isolation", "max_retries", "fallback", "recompute_up_to",
}  # fmt: skip
SPIN_LIMIT = 1e-2  # between the <S²> that is found and the one that is wanted


class SubspaceSolver(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Finds the lowest state of a Hamiltonian among the products of given strings, as jobs of an `HPCJobRunner`.

    A subclass gives `name`, `input_files`, `words`, `outputs` and `read`; docs/solvers.md writes one in forty lines.

    Example:
        def energies(solver: SubspaceSolver) -> list[float]:  # of any solver
            batch = [(strings[:5], strings), (strings, strings)]
            return [one.energy for one in solver.solve_batch(batch, one_body, two_body, norb=10, nelec=(1, 1))]

        fewer, all_of_them = energies(dice)
        assert all_of_them <= fewer
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    hpc: HPCJobRunner
    profile: str = Field(description="Execution profile of the jobs.")
    max_retries: int = Field(default=2, ge=0, description="How often a run that failed by chance is tried again.")
    fallback: bool = Field(
        default=True, description="Solve what this solver cannot do with the embedded solver; False: an error."
    )
    python: str = Field(
        default="", description="Python of the embedded solver, as the compute nodes see it; empty: this one."
    )
    spin_sq: float | None = Field(
        default=None, description="The <S²> that is wanted: 0 of a singlet, 0.75, 2 of a triplet; null: any."
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

    # -- what a solver may say besides

    def programs(self) -> list[str]:
        """The files on the target that decide its numbers: absolute paths of executables."""
        return []

    def settings(self) -> dict[str, Any]:
        """What else decides them: every field but those that say only where, how often, or how closely looked at."""
        return {name: value for name, value in self if name not in NO_NUMBERS}

    def faults(self, problem: Problem) -> list[str]:
        """What keeps it from any problem of this kind, in this profile; found before anything is submitted."""
        return []

    def suits(self, subspace: Subspace, problem: Problem) -> bool:
        """Whether it is worth starting for this subspace; False: its stand-in solves it, if it has one."""
        return True

    def foresee(self, subspaces: Sequence[Subspace], problem: Problem, fcidump: str) -> Foresight:
        """What the jobs of these subspaces should ask for beyond their profile, and what is doubtful about it."""
        return Foresight()

    def payload(self) -> str:
        """What each rank runs: a script that gets the FCIDUMP's path, the words, and last the folder of the inputs."""
        return PAYLOAD

    def start_lines(self, profile: ExecutionProfile, attempt: int = 0) -> str:
        """Shell lines of the job before the launcher. `attempt` counts from 0."""
        return ""

    def explained(self, errors: Sequence[HPCError], problem: Problem) -> HPCError:
        """The error of a subspace without an answer, after these of its attempts, with the advice that fits them."""
        return errors[-1]

    def other_spin(self, run: SolverRun[Any], wanted: float) -> str:
        """A sentence where the state that was found has not the wanted spin, or does not tell its own."""
        found = run.result.spin_square
        if found is None:
            return f"the solver {run.solver!r} does not tell <S²> of the lowest state; {wanted:g} is wanted"
        if abs(found - wanted) < SPIN_LIMIT:
            return ""
        cannot = "" if run.solver == "embedded" else f": the solver {run.solver!r} takes no wish for a spin"
        return f"<S²> of the lowest state is {found:.4f}, not {wanted:g}{cannot}"

    def acting(self) -> "SubspaceSolver":
        """Who solves: this solver."""
        return self

    def stand_in(self) -> "SubspaceSolver | None":
        """Who takes over what this solver cannot do: the embedded one."""
        from dagster_hpc.dice.embedded_solver import EmbeddedSolver

        return EmbeddedSolver(hpc=self.hpc, profile=self.profile, python=self.python) if self.fallback else None

    def identity(self) -> dict[str, Any]:
        """What decides its numbers: settings, and the very programs. Another program under the same key is another one."""
        solver = self.acting()
        return {"solver": solver.name, **solver.settings(), "programs": program_stamps(solver)}

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

        `core_energy` is written into the FCIDUMP and so is part of the energies. `spin_sq`: another <S²> than the field
        says; a state that has not the wanted one is reported with a warning. `args`: appended to the solver's own. `key`:
        outside of Dagster, calls with the same key mean the same jobs. Where a subspace of several has no answer in the
        end, `SubspacesUnanswered` carries those of the others.
        """
        from dagster_hpc.electrons.fcidump import integrals_of

        if not ci_strings:
            return []
        integrals = integrals_of(one_body_tensor, two_body_tensor, core_energy)
        if integrals.norb != int(norb):
            raise ConfigurationError(f"the integrals are of {integrals.norb} orbitals, norb is {norb}")
        chosen = self.hpc.profile(profile or self.profile, overrides)
        wanted = self.spin_sq if spin_sq is None else spin_sq
        problem = Problem(int(norb), (int(nelec[0]), int(nelec[1])), integrals, chosen, wanted)
        solver = self.acting()
        if faults := solver.faults(problem):
            raise ConfigurationError(faults)
        parents = parent_energies or [None] * len(ci_strings)
        subspaces = [Subspace(*pair, parent) for pair, parent in zip(ci_strings, parents, strict=True)]
        asking = Asking(
            problem, context, profile or self.profile, tuple(args), dict(overrides or {}), key, timeout, reuse
        )
        runs = Attempts(solver, solver.stand_in(), asking).solve(subspaces)
        if wanted is not None:
            for run in runs:
                if sentence := self.other_spin(run, wanted):
                    tell(context, sentence)
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
