"""`DiceSolver`: selected-CI diagonalizations as batch jobs whose answers are validated before anybody sees them.

Dice's exit code proves nothing: it exits 1 when all is well and 0 with energies that are wrong by Hartrees. What counts is
files that are complete and pass every check of `validation`.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `hpc` as a type, to accept a resource that
# is configured at launch in its place.

import os
import posixpath
import secrets
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import dagster as dg
from pydantic import ConfigDict, Field

from dagster_hpc.dice.inputs import DiceOptions
from dagster_hpc.dice.layout import DETERMINANTS, ENERGY, FCIDUMP, SPIN_RDM
from dagster_hpc.dice.output_text import DiceFailed, DiceNotConverged
from dagster_hpc.dice.validation import DiceResultInvalid
from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.engine.job import JobFailed, JobResult, JobState, Reuse, failure_of
from dagster_hpc.engine.script import STDOUT
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.step import Context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult

    from dagster_hpc.dice.hamiltonian import Integrals
    from dagster_hpc.dice.result import DiceResult

    Strings = Sequence[int] | NDArray[Any]
    Subspace = tuple[Strings, Strings]

EMBEDDED_MODULE = "dagster_hpc.dice.pyscf_solver"
START = "dice-start.sh"
OUTPUTS = {"energy": ENERGY, "determinants": DETERMINANTS, "density_matrix": SPIN_RDM}
_TRANSIENT_CODES = (0, 1, 134, 135, 139)  # with which Dice ended when two runs shared memory, or its ranks did not
_WRAPPABLE = ("single", "mpirun", "mpiexec", "mpiexec.hydra")  # these start all ranks of one node as their children

# Runs once for every rank: what every rank does alike can be done by all of them at once.
_PAYLOAD = """\
# fcidump.txt, the solver's words, and last the folder of this subspace's own inputs
link() { ln "$1" "$2" 2>/dev/null || ln -s "$1" "$2" 2>/dev/null || [ -e "$2" ]; }
inputs=${!#}
link "$1" fcidump.txt
if [ "$inputs" != . ]; then
  for file in "$inputs"/*; do link "$file" "${file##*/}"; done
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "${@:2:$#-2}"
"""

# Dice names its shared memory after the second in which it starts: two jobs on one node overwrite each other's. Each gets
# a /dev/shm of its own, seen by all of its ranks, hence around the launcher. It runs in the background: `exec` is safe.
_PRIVATE = """\
hpc_dice_private() {{
  unshare --user --map-root-user --mount sh -c 'mount -t tmpfs tmpfs /dev/shm && exec "$@"' sh "$@"
}}
if (hpc_dice_private true) >/dev/null 2>&1; then
  # Inside, the user looks like root; and the ranks have to be children of the launcher.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 HYDRA_BOOTSTRAP=fork HYDRA_LAUNCHER=fork
  {launcher}() {{
    exec unshare --user --map-root-user --mount \\
      sh -c 'mount -t tmpfs tmpfs /dev/shm && exec "$@"' sh {launcher} "$@"
  }}
else
  echo "dagster_hpc: no private /dev/shm on $HOSTNAME; Dice runs start one after the other instead"
  hpc_dice_stagger
fi
"""

# A lock of the node, held by a sleep that goes on while Dice starts: the next start is at least that much later. (A batch
# system that ends the sleep with a shorter job does no harm: that job's Dice is over.)
_STAGGER = """\
hpc_dice_stagger() {
  local lock=/dev/shm/dagster_hpc-dice.lock place
  command -v flock >/dev/null || { echo "dagster_hpc: no flock on $HOSTNAME; starts are not staggered"; return 0; }
  (umask 0; : >>"$lock") 2>/dev/null
  exec {place}<"$lock" || return 0
  flock "$place"
  sleep 1.5 </dev/null >/dev/null 2>&1 &
  exec {place}<&-
}
"""
_FRESH = f"rm -f {ENERGY} {DETERMINANTS} {SPIN_RDM}  # of an attempt that the scheduler started again\n"


class DiceTrial(NamedTuple):
    """What became of the H2 case. `reads_determinants` is None where no answer came to tell."""

    sentence: str
    right: bool
    reads_determinants: bool | None
    advice: str = ""


@dataclass(frozen=True)
class DiceRun:
    """An answer, and what it took: all jobs in their order, the last of which gave it."""

    result: "DiceResult"
    jobs: tuple[JobResult, ...]
    solver: Literal["dice", "embedded"]
    problems: tuple[str, ...] = ()  # why earlier answers were not believed


@dataclass
class _Task:
    """One subspace on its way."""

    strings: "Subspace"
    files: dict[str, bytes]
    parent_energy: float | None
    jobs: list[JobResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    run: DiceRun | None = None
    error: HPCError | None = None
    is_lost: bool = False  # Dice died without a word, as it does when its ranks miss each other's shared memory

    @property
    def failed_by_chance(self) -> bool:
        """Whether the same run may well go right when it is started again."""
        error = self.error
        return error is not None and (
            self.is_lost or (isinstance(error, (DiceResultInvalid, DiceFailed)) and error.retryable)
        )


@dataclass(frozen=True)
class _Asking:
    """What is common to all jobs of one call."""

    norb: int
    nelec: tuple[int, int]
    integrals: "Integrals"
    fcidump: str
    context: Context | None
    profile: str
    args: Sequence[str]
    overrides: Mapping[str, Any]
    key: str | None
    timeout: float | None
    reuse: Reuse | None


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
        from dagster_hpc.dice.fcidump import integrals_of
        from dagster_hpc.dice.files import dice_input_files

        norb, nelec = int(norb), (int(nelec[0]), int(nelec[1]))
        options, template = self.options(spin_sq), self.input_template
        parents = parent_energies or [None] * len(ci_strings)
        tasks = []
        for (alpha, beta), parent in zip(ci_strings, parents, strict=True):
            files = dice_input_files(alpha, beta, norb=norb, nelec=nelec, options=options, template=template)
            tasks.append(_Task((alpha, beta), files, parent))
        if not tasks:
            return []
        integrals = integrals_of(one_body_tensor, two_body_tensor, core_energy)
        if integrals.norb != norb:
            raise ConfigurationError(f"the integrals are of {integrals.norb} orbitals, norb is {norb}")
        asking = _Asking(
            norb, nelec, integrals, self._placed_once(integrals, nelec), context, profile or self.profile, tuple(args),
            dict(overrides or {}), key, timeout, reuse,
        )  # fmt: skip
        self._solve(tasks, asking)
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
    ) -> "SCISolver":
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

    def try_h2(self, context: Context | None = None, **how: Any) -> DiceTrial:
        """The H2 case, as a job: is this a Dice that reads the determinant files?"""
        alone = self.model_copy(update={"fallback": False, "max_retries": 0, "select_cutoff": None})
        try:
            result = alone.solve(*h2_case(), context=context, **how)
        except (HPCError, dg.Failure) as error:
            return judge_h2(error)
        return judge_h2(result)

    # -- attempts

    def _solve(self, tasks: list[_Task], asking: _Asking) -> None:
        """Every task gets its run, or the first error is raised."""
        waiting = tasks
        for attempt in range(self.max_retries + 1):
            self._attempt(waiting, asking, attempt, embedded=self.executable is None)
            waiting = [task for task in tasks if task.failed_by_chance]
            if not waiting:
                break
            if attempt < self.max_retries:
                self._tell(asking.context, waiting, "it is tried again")
        if self.fallback and self.executable is not None:
            hard = [task for task in tasks if task.error is not None and _is_not_converged(task.error)]
            if hard:
                self._tell(asking.context, hard, "the embedded solver takes over")
                self._attempt(hard, asking, self.max_retries + 1, embedded=True)
        for task in tasks:
            if task.error is not None:
                raise task.error

    def _attempt(self, tasks: list[_Task], asking: _Asking, attempt: int, *, embedded: bool) -> None:
        results = self._launch(tasks, asking, attempt, embedded=embedded)
        for task, job in zip(tasks, results, strict=True):
            task.jobs.append(job)
            task.is_lost = False
            answer = self._answer(task, job, asking)
            if isinstance(answer, HPCError):
                task.error = answer
                task.problems.append(answer.message)
            else:
                task.error = None
                solver: Literal["dice", "embedded"] = "embedded" if embedded else "dice"
                task.run = DiceRun(answer, tuple(task.jobs), solver, tuple(task.problems))

    def _answer(self, task: _Task, job: JobResult, asking: _Asking) -> "DiceResult | HPCError":
        """What the files say. A job that was stopped, or never came to start the solver, has none to look at."""
        from dagster_hpc.dice.files import read_dice_outputs

        if job.state not in (JobState.COMPLETED, JobState.FAILED) or job.exit_code not in _TRANSIENT_CODES:
            return failure_of(job)
        try:
            return read_dice_outputs(
                job.handle.work_dir,
                norb=asking.norb,
                nelec=asking.nelec,
                stdout=Path(job.handle.work_dir, STDOUT),
                integrals=asking.integrals,
                parent_energy=task.parent_energy,
                recompute_up_to=self.recompute_up_to,
            )
        except DiceResultInvalid as error:
            if error.names == ("files",) and not job.succeeded:
                task.is_lost = True
                return failure_of(job)
            return error
        except DiceFailed as error:
            return error

    def _tell(self, context: Context | None, tasks: list[_Task], what_now: str) -> None:
        for task in tasks:
            message = f"{what_now}: {task.problems[-1]}"
            if context is not None:
                context.log.warning(message)
            else:
                warnings.warn(message, stacklevel=4)

    # -- jobs

    def _launch(self, tasks: list[_Task], asking: _Asking, attempt: int, *, embedded: bool) -> list[JobResult]:
        """One job, or one array job, however its elements end."""
        alone = len(tasks) == 1
        overrides = {**asking.overrides, **(_SERIAL if embedded and self.executable is not None else {})}
        profile = self.hpc._profile(asking.profile, overrides)
        above = "." if alone else ".."
        overrides["pre_commands"] = [*profile.pre_commands, f". {above}/{START}"]
        words = self._words(embedded)
        command = Command.shell(_PAYLOAD, args=[asking.fcidump, *words, *asking.args], name=_name(asking.context))
        start = self._start(profile, embedded=embedded)
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

    def _words(self, embedded: bool) -> list[str]:
        if embedded or self.executable is None:
            return [self.python or sys.executable, "-m", EMBEDDED_MODULE]
        return [self.hpc.target.executable(self.executable)]

    def _start(self, profile: ExecutionProfile, *, embedded: bool) -> str:
        """The shell lines before the launcher."""
        isolation = "none" if embedded else self._isolation(profile)
        launcher = "bash" if profile.launcher == "single" else profile.launcher
        private = _PRIVATE.format(launcher=launcher) if isolation == "private" else ""
        match isolation:
            case "private":
                return _FRESH + _STAGGER + private + "true\n"
            case "staggered":
                return _FRESH + _STAGGER + "hpc_dice_stagger\ntrue\n"
            case _:
                return _FRESH

    def _isolation(self, profile: ExecutionProfile) -> Literal["private", "staggered", "none"]:
        kind = self.hpc.target.scheduler.kind
        if self.isolation != "auto":
            return self.isolation
        if profile.exclusive and kind != "local":
            return "none"  # nobody else is there
        # Ranks that another machine or a daemon of the scheduler starts are not inside of what is put around the launcher.
        contained = profile.num_nodes == 1 and profile.launcher in _WRAPPABLE and not profile.container
        return "private" if contained and kind != "pjm" else "staggered"

    def _placed_once(self, integrals: "Integrals", nelec: tuple[int, int]) -> str:
        """The path of the FCIDUMP file of this Hamiltonian, which is written when it is not there yet."""
        from dagster_hpc.dice.fcidump import fcidump_bytes, hamiltonian_hash
        from dagster_hpc.engine.submit import place

        folder = posixpath.join(self.hpc._work_root, "hamiltonians", hamiltonian_hash(integrals, nelec)[:24])
        path, target = posixpath.join(folder, FCIDUMP), self.hpc.target.engine_target()
        if target.host.size(path) is None:
            unfinished = f"{FCIDUMP}.{secrets.token_hex(4)}"
            place(folder, {unfinished: fcidump_bytes(integrals, nelec)}, target)
            os.replace(os.path.join(folder, unfinished), path)  # two that write it at once do not meet half of it
        return path


class SCISolver:
    """A `DiceSolver` in the shape that qiskit-addon-sqd calls. `jobs` collects those of each call."""

    def __init__(
        self,
        solver: DiceSolver,
        context: Context | None,
        key: str | None,
        on_runs: Callable[[list[DiceRun]], None] | None,
        how: Mapping[str, Any],
    ) -> None:
        self.solver, self.context, self.key, self.on_runs, self.how = solver, context, key, on_runs, dict(how)
        self.jobs: list[list[JobResult]] = []

    def __call__(
        self,
        ci_strings: "list[tuple[NDArray[Any], NDArray[Any]]]",
        one_body_tensor: "NDArray[np.float64]",
        two_body_tensor: "NDArray[np.float64]",
        norb: int,
        nelec: tuple[int, int],
    ) -> "list[SCIResult]":
        runs = self.solver.runs(
            ci_strings, one_body_tensor, two_body_tensor, norb, nelec,
            context=self.context, key=self.key and f"{self.key}.{len(self.jobs)}", **self.how,
        )  # fmt: skip
        self.jobs.append([job for run in runs for job in run.jobs])
        if self.on_runs is not None:
            self.on_runs(runs)
        return [run.result.sci_result(return_sci_state=self.solver.return_sci_state) for run in runs]


_SERIAL = {"num_nodes": 1, "mpiprocs": 1, "launcher": "single", "mpi_options": [], "container": ""}


class _FailedJob:
    """Catches a job that ended badly, inside Dagster and outside, and keeps its result."""

    result: JobResult

    def __enter__(self) -> "_FailedJob":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        cause = error.__cause__ if isinstance(error, dg.Failure) else error
        if not isinstance(cause, JobFailed):
            return False
        self.result = cause.result
        return True


def _is_not_converged(error: HPCError) -> bool:
    return isinstance(error, DiceNotConverged) or (isinstance(error, DiceResultInvalid) and error.not_converged)


def _compare_spin(found: float, wanted: float, context: Context | None) -> None:
    if abs(found - wanted) < 1e-2:
        return
    message = f"<S²> of the lowest state is {found:.4f}, not {wanted:g}: the solver takes no wish for a spin"
    if context is not None:
        context.log.warning(message)
    else:
        warnings.warn(message, stacklevel=4)


def _name(context: Context | None) -> str | None:
    """Outside of an asset a job is called after the solver; inside, the runner names it after the asset."""
    return None if context is not None and context.has_assets_def else "dice"


# -- the H2 case

_H2_ENERGY = -1.8523881735696  # all four determinants; -1.8319 is that of the lowest one alone
_STOCK = (
    "use a Dice that reads AlphaDets.bin and BetaDets.bin in 16 bytes per string, as qiskit-addon-dice-solver needs it: "
    "the stock Dice starts from the occupied orbitals of input.dat alone."
)


def h2_case() -> "tuple[Subspace, NDArray[np.float64], NDArray[np.float64], int, tuple[int, int]]":
    """H2 in STO-3G at 0.74 Angstrom: what `DiceSolver.solve` takes."""
    import numpy as np

    one_body = np.diag([-1.253309786645977, -0.4750688487721779])
    two_body = np.zeros((2, 2, 2, 2))
    two_body[0, 0, 0, 0], two_body[1, 1, 1, 1] = 0.6747559268144483, 0.6976515044904622
    two_body[0, 0, 1, 1] = two_body[1, 1, 0, 0] = 0.6637114013508136
    for place in ((0, 1, 0, 1), (0, 1, 1, 0), (1, 0, 0, 1), (1, 0, 1, 0)):
        two_body[place] = 0.181210462015197
    return ([1, 2], [1, 2]), one_body, two_body, 2, (1, 1)


def judge_h2(answer: "DiceResult | Exception") -> DiceTrial:
    """What the answer to the H2 case, or the error in its place, says of the solver."""
    if isinstance(answer, DiceResultInvalid) and "determinants" in answer.names:
        return DiceTrial("it ignores the determinants that it is given", False, False, _STOCK)
    if isinstance(answer, HPCError):
        return DiceTrial(answer.message.replace("\n", " "), False, None, answer.advice)
    if isinstance(answer, Exception):
        return DiceTrial(str(answer).replace("\n", " "), False, None)
    gap = abs(answer.energy - _H2_ENERGY)
    if gap > 1e-7:
        return DiceTrial(f"its energy of H2 is off by {gap:.1e} Hartree", False, True, "compile Dice again.")
    return DiceTrial("it reads determinant files and solves H2 rightly", True, True)
