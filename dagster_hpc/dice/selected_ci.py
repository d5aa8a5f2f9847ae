"""What Dice and the embedded solver have in common: the files that they read and write, and the keywords of a run."""

# No `from __future__ import annotations` here: Dagster reads the annotations of a resource.

from abc import ABC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dagster_hpc.dice.files import dice_input_files, read_dice_outputs
from dagster_hpc.dice.inputs import DiceOptions
from dagster_hpc.dice.layout import DETERMINANTS, ENERGY, OUTPUT, SPIN_RDM
from dagster_hpc.dice.result import SAME_SPIN
from dagster_hpc.engine.script import STDOUT
from dagster_hpc.subspace.problem import Problem, Subspace
from dagster_hpc.subspace.solver import SubspaceSolver

if TYPE_CHECKING:
    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.dice.run import DiceRun


class SelectedCISolver(SubspaceSolver, ABC):
    """A program that reads and writes Dice's files."""

    profile: str = Field(default="dice-mpi", description="Execution profile of the jobs.")
    select_cutoff: float | None = Field(
        default=None, description="Determinants with a larger |H c| join the given ones; null: none do."
    )
    davidson_tol: float | None = Field(
        default=None, description="Residual at the end; null: 1e-7, or 1e-5 with the reference keywords."
    )
    energy_tol: float = Field(default=1e-10, description="Iterations end when the energy changes by less.")
    max_iter: int = Field(default=10, description="Most iterations that add determinants.")
    seed: int | None = Field(default=None, description="Makes runs of Dice on one rank identical bit by bit.")
    nroots: int = Field(
        default=1, ge=1, description="How many states are sought; with `spin_sq` the lowest that has it is the answer."
    )
    reference_keywords: bool = Field(
        default=False, description="Dice's input as qiskit-addon-dice-solver writes it: slower, exit code 1."
    )
    input_template: str | None = Field(default=None, description="Template that replaces the packaged input.dat.")
    recompute_up_to: int = Field(
        default=10_000, ge=0, description="Determinants up to which <psi|H|psi> is recomputed from the answer."
    )

    if TYPE_CHECKING:  # the same methods; what they give is known better

        def solve(self, *asked: Any, **how: Any) -> DiceResult: ...

        def solve_batch(self, *asked: Any, **how: Any) -> list[DiceResult]: ...

        def runs(self, *asked: Any, **how: Any) -> list[DiceRun]: ...

    def options(self, spin_sq: float | None = None, nroots: int | None = None) -> DiceOptions:
        """What goes into input.dat."""
        return DiceOptions(
            select_cutoff=self.select_cutoff,
            davidson_tol=self.davidson_tol,
            energy_tol=self.energy_tol,
            max_iter=self.max_iter,
            return_sci_state=self.return_sci_state,
            seed=self.seed,
            nroots=nroots or self.nroots,
            spin=spin_sq,
            reference_keywords=self.reference_keywords,
        )

    def input_files(self, subspace: Subspace, problem: Problem) -> dict[str, bytes]:
        return dice_input_files(
            subspace.alpha, subspace.beta, norb=problem.norb, nelec=problem.nelec,
            options=self.options(problem.spin_sq, self._roots_of(subspace)), template=self.input_template,
        )  # fmt: skip

    def _roots_of(self, subspace: Subspace) -> int:
        """No more than there are determinants, where none will be added."""
        if self.nroots == 1 or self.select_cutoff is not None:
            return self.nroots
        return max(1, min(self.nroots, len(set(map(int, subspace.alpha))) * len(set(map(int, subspace.beta)))))

    def outputs(self) -> dict[str, str]:
        """Those of further roots are looked for when they are read: a small subspace has fewer of them."""
        return {"energy": ENERGY, "determinants": DETERMINANTS, "density_matrix": SPIN_RDM}

    def settings(self) -> dict[str, Any]:
        """A template is what stands in it."""
        text = Path(self.input_template).read_text(errors="replace") if self.input_template else None
        return {**super().settings(), "input_template": text}

    def read(self, folder: Path, subspace: Subspace, problem: Problem) -> "DiceResult":
        return self.answer(folder, subspace, problem)

    def answer(
        self, folder: Path, subspace: Subspace, problem: Problem, *, is_eigenstate: bool = True
    ) -> "DiceResult":
        """What the files say, after all checks that a state of this kind can be asked for.

        Of several roots the first that has the wanted spin; the lowest one where none has it.
        """
        said = folder / OUTPUT  # where the solver came to start; else the job's own output may say why not
        result = read_dice_outputs(
            folder,
            norb=problem.norb,
            nelec=problem.nelec,
            stdout=said if said.is_file() else folder / STDOUT,
            integrals=problem.integrals,
            parent_energy=subspace.parent_energy,
            recompute_up_to=self.recompute_up_to,
            is_eigenstate=is_eigenstate,
        )
        return result if problem.spin_sq is None else result.of_spin(problem.spin_sq)

    def other_spin(self, run: "DiceRun", wanted: float) -> str:
        roots = run.result.roots
        if any(abs(one.spin_square - wanted) <= SAME_SPIN for one in roots):
            return "" if len(roots) > 1 else super().other_spin(run, wanted)
        more = "; with nroots > 1 it is looked for among more states" if run.solver == "dice" else ""
        if len(roots) == 1:
            return super().other_spin(run, wanted) + more
        squares = ", ".join(f"{one.spin_square:.4f}" for one in roots)
        return f"none of the {len(roots)} lowest states has an <S²> of {wanted:g}, they have {squares}: this is the lowest"
