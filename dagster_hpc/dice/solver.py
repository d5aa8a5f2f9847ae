"""`DiceSolver`: selected-CI diagonalizations as batch jobs whose answers are validated before anybody sees them.

Dice's exit code proves nothing: it exits 1 when all is well and 0 with energies that are wrong by Hartrees. What counts is
files that are complete and pass every check of `validation`.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `hpc` as a type, to accept a resource that
# is configured at launch in its place.

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field

from dagster_hpc.dice.fcidump import integrals_of
from dagster_hpc.dice.files import dice_input_files
from dagster_hpc.dice.inputs import DiceOptions
from dagster_hpc.dice.jobs import SolverJobs, place_hamiltonian
from dagster_hpc.dice.retries import Attempts
from dagster_hpc.dice.sci_solver import SCISolver
from dagster_hpc.dice.tasks import Asking, DiceRun, Subspace, Task
from dagster_hpc.dice.trial import DiceTrial, try_dice
from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.engine.job import Reuse
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.step import Context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.dice.trial import TrialCase


class DiceSolver(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Diagonalizes Hamiltonians among given determinants, as jobs of an `HPCJobRunner`.

    Without `executable` it uses the embedded solver, which needs PySCF and no Dice.

    Example:
        dice = DiceSolver(hpc=hpc, profile="dice-mpi", executable="dice_solver")
        result = dice.solve((strings_a, strings_b), one_body, two_body, norb=16, nelec=(5, 5))
        result.energy, result.orbital_occupancies
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    hpc: HPCJobRunner
    profile: str = Field(default="dice-mpi", description="Execution profile of the jobs.")
    executable: str | None = Field(
        default=None, description="Dice: a key of the target's executable_map or an absolute path; none: embedded."
    )
    python: str = Field(
        default="", description="Python of the embedded solver, as the compute nodes see it; empty: this one."
    )
    isolation: Literal["auto", "private", "staggered", "none"] = Field(
        default="auto",
        description="How two Dice on a node are kept apart: a /dev/shm of their own, or starts 1.5 s apart.",
    )
    max_retries: int = Field(default=2, ge=0, description="How often a run that failed by chance is tried again.")
    fallback: bool = Field(
        default=True, description="Solve what Dice cannot converge with the embedded solver; False: an error."
    )
    select_cutoff: float | None = Field(
        default=5e-4, description="Determinants with a larger |H c| join the given ones; null: none do."
    )
    davidson_tol: float | None = Field(
        default=None, description="Residual at the end; null: 1e-7, or 1e-5 with the reference keywords."
    )
    energy_tol: float = Field(default=1e-10, description="Iterations end when the energy changes by less.")
    max_iter: int = Field(default=10, description="Most iterations that add determinants.")
    return_sci_state: bool = Field(
        default=True, description="Give qiskit-addon-sqd a dense state; False: only the strings to carry over."
    )
    seed: int | None = Field(default=None, description="Makes runs of Dice on one rank identical bit by bit.")
    reference_keywords: bool = Field(
        default=False, description="Dice's input as qiskit-addon-dice-solver writes it: slower, exit code 1."
    )
    input_template: str | None = Field(default=None, description="Template that replaces the packaged input.dat.")
    recompute_up_to: int = Field(
        default=10_000, ge=0, description="Determinants up to which <psi|H|psi> is recomputed from the answer."
    )

    # -- solving

    def solve(
        self,
        ci_strings: "Subspace",
        one_body_tensor: "NDArray[np.float64]",
        two_body_tensor: "NDArray[np.float64]",
        norb: int,
        nelec: tuple[int, int],
        *,
        context: Context | None = None,
        parent_energy: float | None = None,
        **how: Any,
    ) -> "DiceResult":
        """The lowest state among all products of these alpha and beta strings, and of those that `select_cutoff` adds.

        Raises `DiceResultInvalid` for an answer that is not to be believed, `DiceFailed` in Dice's words where it gave
        none, `JobFailed` where the job came to harm. `parent_energy`: that of a subspace of this one, an upper bound.
        `how`: core_energy, spin_sq, profile, args, overrides, key, timeout, reuse; as in `HPCJobRunner.run`.
        """
        runs = self.runs(
            [ci_strings], one_body_tensor, two_body_tensor, norb, nelec,
            context=context, parent_energies=[parent_energy], **how,
        )  # fmt: skip
        return runs[0].result

    def solve_batch(
        self,
        ci_strings: "Sequence[Subspace]",
        one_body_tensor: "NDArray[np.float64]",
        two_body_tensor: "NDArray[np.float64]",
        norb: int,
        nelec: tuple[int, int],
        *,
        context: Context | None = None,
        **how: Any,
    ) -> "list[DiceResult]":
        """The same for several subspaces of one Hamiltonian, as one array job."""
        runs = self.runs(ci_strings, one_body_tensor, two_body_tensor, norb, nelec, context=context, **how)
        return [run.result for run in runs]

    def runs(
        self,
        ci_strings: "Sequence[Subspace]",
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
    ) -> list[DiceRun]:
        """As `solve_batch`, with the jobs behind each answer.

        `core_energy` is written into the FCIDUMP and so is part of the energies. `spin_sq` is what <S²> should come out
        as: Dice cannot be told, so a state that has another one is reported with a warning. `args`: appended to the
        solver's own. `key`: outside of Dagster, calls with the same key mean the same jobs.
        """
        norb, nelec = int(norb), (int(nelec[0]), int(nelec[1]))
        options, template = self.options(spin_sq), self.input_template
        parents = parent_energies or [None] * len(ci_strings)
        tasks = []
        for (alpha, beta), parent in zip(ci_strings, parents, strict=True):
            files = dice_input_files(alpha, beta, norb=norb, nelec=nelec, options=options, template=template)
            tasks.append(Task((alpha, beta), files, parent))
        if not tasks:
            return []
        integrals = integrals_of(one_body_tensor, two_body_tensor, core_energy)
        if integrals.norb != norb:
            raise ConfigurationError(f"the integrals are of {integrals.norb} orbitals, norb is {norb}")
        fcidump = place_hamiltonian(self.hpc, integrals, nelec)
        asking = Asking(
            norb, nelec, integrals, fcidump, context, profile or self.profile, tuple(args), dict(overrides or {}), key,
            timeout, reuse,
        )  # fmt: skip
        jobs = SolverJobs(self.hpc, self.executable, self.python, self.isolation)
        Attempts(self.max_retries, self.fallback, self.recompute_up_to).solve(tasks, asking, jobs)
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
        on_runs: "Callable[[list[DiceRun]], None] | None" = None,
        **how: Any,
    ) -> SCISolver:
        """What `qiskit_addon_sqd.fermion.diagonalize_fermionic_hamiltonian(sci_solver=…)` takes.

        All subspaces of an iteration become one array job. Its own solver adds no determinants: for the same answers,
        set `select_cutoff` to None. `on_runs` is called with the runs of each iteration.
        """
        return SCISolver(self, context, key, on_runs, how)

    def options(self, spin_sq: float | None = None) -> DiceOptions:
        """What goes into input.dat."""
        return DiceOptions(
            select_cutoff=self.select_cutoff,
            davidson_tol=self.davidson_tol,
            energy_tol=self.energy_tol,
            max_iter=self.max_iter,
            return_sci_state=self.return_sci_state,
            seed=self.seed,
            spin=spin_sq,
            reference_keywords=self.reference_keywords,
        )

    def try_out(self, context: Context | None = None, **how: Any) -> DiceTrial:
        """A small case with different alpha and beta strings, as a job: is this a Dice that reads them?"""
        alone = self.model_copy(update={"fallback": False, "max_retries": 0, "select_cutoff": None})

        def ask(case: "TrialCase") -> "DiceResult | Exception":
            try:
                return alone.solve(*case, context=context, **how)
            except (HPCError, dg.Failure) as error:
                return error

        return try_dice(ask)

    def try_h2(self, context: Context | None = None, **how: Any) -> DiceTrial:
        """`try_out`, by the name that it had when the case was H2."""
        return self.try_out(context, **how)


def _compare_spin(found: float, wanted: float, context: Context | None) -> None:
    if abs(found - wanted) < 1e-2:
        return
    message = f"<S²> of the lowest state is {found:.4f}, not {wanted:g}: the solver takes no wish for a spin"
    if context is not None:
        context.log.warning(message)
    else:
        warnings.warn(message, stacklevel=4)
