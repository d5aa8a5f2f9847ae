"""`SBDSolver`: selected-basis diagonalization by SBD, whose state is spread over the ranks of many nodes."""

# No `from __future__ import annotations` here: Dagster reads the annotations of a resource.

from math import isqrt
from pathlib import Path
from typing import Any

from pydantic import Field

from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.sbd.files import CARRYOVER, STRINGS, string_lines, strings_for
from dagster_hpc.sbd.reading import read_answer
from dagster_hpc.subspace.payload import FCIDUMP
from dagster_hpc.subspace.problem import Problem, Subspace
from dagster_hpc.subspace.result import StatelessResult
from dagster_hpc.subspace.solver import SubspaceSolver

# SBD adds up weights until all but this much is kept, and reads beyond its list where rounding never lets it get there.
SMALLEST_THRESHOLD = 1e-10


class SBDSolver(SubspaceSolver):
    """Diagonalizes among all products of one list of strings for both spins, with SBD's `diag`.

    The ranks of the profile are task_comm_size x adet_comm_size x bdet_comm_size. SBD gives no state: results have an
    energy, occupancies and the strings to carry over, and no <S²>.

    Example:
        sbd = SBDSolver(hpc=hpc, profile="sbd-mpi", executable="sbd")
        result = run_sqd(
            molecule, samples, seed=24, samples_per_batch=50, max_iterations=1, symmetrize_spin=True, sci_solver=sbd,
            in_process_below=0,
        )
    """

    hpc: HPCJobRunner  # once more, or type checkers take it for what the constructor takes
    profile: str = Field(default="sbd-mpi", description="Execution profile of the jobs.")
    executable: str = Field(
        default="sbd", description="SBD's diag: a key of the target's executable_map or an absolute path."
    )
    gpu_executable: str | None = Field(
        default=None, description="The same, built for GPUs: for profiles of the resource class gpu."
    )
    task_comm_size: int = Field(default=1, ge=1, description="Ranks among which the work on each block is divided.")
    adet_comm_size: int = Field(default=1, ge=1, description="Parts into which the alpha strings are divided.")
    bdet_comm_size: int = Field(default=1, ge=1, description="Parts into which the beta strings are divided.")
    store_matrix: bool = Field(default=False, description="Keep the matrix elements in memory (method 1): faster.")
    tolerance: float = Field(default=1e-5, gt=0, description="Residual at which its Davidson ends.")
    block: int = Field(default=10, ge=2, description="Most vectors of its Davidson.")
    max_restarts: int = Field(default=50, ge=1, description="Most restarts of its Davidson.")
    carryover_threshold: float = Field(
        default=1e-4, ge=SMALLEST_THRESHOLD, lt=1, description="Weight that the strings to carry over may leave out."
    )
    integrals_tol: float = Field(
        default=1e-7, gt=0, description="Hartree by which SBD's energy of one determinant may differ from ours."
    )
    merge_spins: bool = Field(
        default=False, description="Put different alpha and beta strings into one list, in place of an error."
    )

    @property
    def name(self) -> str:
        return "sbd"

    def faults(self, problem: Problem) -> list[str]:
        faults = []
        if problem.nelec[0] != problem.nelec[1]:
            alpha, beta = problem.nelec
            faults.append(f"there are {alpha} alpha and {beta} beta electrons; SBD has one list of strings for both spins")
        if problem.profile.resource_class == "gpu" and self.gpu_executable is None:
            faults.append("the profile is of the resource class gpu, and SBDSolver has no gpu_executable")
        ranks, sizes = ranks_of(problem.profile), (self.task_comm_size, self.adet_comm_size, self.bdet_comm_size)
        needed = sizes[0] * sizes[1] * sizes[2]
        if ranks != needed:
            faults.append(
                f"the profile has {ranks} ranks; task_comm_size x adet_comm_size x bdet_comm_size is "
                f"{sizes[0]} x {sizes[1]} x {sizes[2]} = {needed}: set {suggested(ranks, sizes)}"
            )
        return faults

    def suits(self, subspace: Subspace, problem: Problem) -> bool:
        """Every part of the list must have a string."""
        return min(len(subspace.alpha), len(subspace.beta)) >= max(self.adet_comm_size, self.bdet_comm_size)

    def programs(self) -> list[str]:
        keys = [self.executable, *([self.gpu_executable] if self.gpu_executable else [])]
        return [self.hpc.target.executable(key) for key in keys]

    def input_files(self, subspace: Subspace, problem: Problem) -> dict[str, bytes]:
        strings = strings_for(subspace, problem.norb, problem.nelec[0], merge=self.merge_spins)
        return {STRINGS: string_lines(strings, problem.norb)}

    def words(self, problem: Problem) -> list[str]:
        options: dict[str, Any] = {
            "fcidump": FCIDUMP,
            "adetfile": STRINGS,
            "task_comm_size": self.task_comm_size,
            "adet_comm_size": self.adet_comm_size,
            "bdet_comm_size": self.bdet_comm_size,
            "method": int(self.store_matrix),
            "iteration": self.max_restarts,
            "block": self.block,
            "tolerance": f"{self.tolerance:g}",
            "carryover_ratio": 0,
            "carryover_threshold": f"{self.carryover_threshold:g}",
            "carryoverfile": CARRYOVER,
            "shuffle": 0,
            "rdm": 0,
        }
        program = self.programs()[-1 if problem.profile.resource_class == "gpu" else 0]
        return [program, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]

    def outputs(self) -> dict[str, str]:
        return {"carryover": CARRYOVER}

    def start_lines(self, profile: ExecutionProfile, attempt: int = 0) -> str:
        return f"rm -f {CARRYOVER}  # of an attempt that the scheduler started again\n"

    def read(self, folder: Path, subspace: Subspace, problem: Problem) -> StatelessResult:
        strings = strings_for(subspace, problem.norb, problem.nelec[0], merge=self.merge_spins)
        return read_answer(
            folder, problem, strings,
            tolerance=self.tolerance, integrals_tol=self.integrals_tol, parent_energy=subspace.parent_energy,
        )  # fmt: skip


def ranks_of(profile: ExecutionProfile) -> int:
    """All MPI ranks that a job of this profile starts."""
    return 1 if profile.launcher == "single" else profile.num_nodes * profile.mpiprocs


def suggested(ranks: int, sizes: tuple[int, int, int]) -> str:
    """Sizes whose product is the number of ranks: the given parts of the strings if they fit, else parts of like size."""
    _, alpha, beta = sizes
    if ranks % (alpha * beta) == 0:
        return f"task_comm_size={ranks // (alpha * beta)}"
    alpha = next(part for part in range(isqrt(ranks), 0, -1) if ranks % part == 0)
    return f"task_comm_size=1, adet_comm_size={alpha}, bdet_comm_size={ranks // alpha}"
