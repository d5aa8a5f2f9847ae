"""`run_sqd`: sample-based quantum diagonalization that goes on, after any crash, at the iteration where it stood.

The loop is qiskit-addon-sqd's own, `diagonalize_fermionic_hamiltonian`, called for one iteration at a time: with the
occupancies, the strings carried over and the random generator as the last iteration left them. These, and the energies,
are on disk before the next iteration begins, so that a first run and a resumed one go the same way.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard, cast
from zipfile import BadZipFile

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError, HPCError
from dagster_hpc.sqd.molecule import MolecularIntegrals, Molecule

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit_addon_sqd.fermion import SCIResult, SCIState

    from dagster_hpc.dice.solver import DiceRun, DiceSolver
    from dagster_hpc.engine.job import JobResult
    from dagster_hpc.resources.step import Context

Strings: TypeAlias = "NDArray[Any]"
Subspace: TypeAlias = "tuple[Strings, Strings]"
Occupancies: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"
SCISolver: TypeAlias = (
    "Callable[[list[Subspace], NDArray[np.float64], NDArray[np.float64], int, tuple[int, int]], list[SCIResult]]"
)

FORMAT = 1  # of the state folder; part of its name
MILLI = 1000.0


class SolverFailed(HPCError):
    """The solver came back without an answer that can be one."""


class StateUnreadable(HPCError):
    """The state folder holds something else than what was written."""


@dataclass(frozen=True)
class Settings:
    """How the loop goes; the names are those of qiskit-addon-sqd."""

    samples_per_batch: int
    num_batches: int = 1
    energy_tol: float = 1e-8
    occupancies_tol: float = 1e-5
    symmetrize_spin: bool = False
    max_dim: int | tuple[int, int] | None = None
    include_configurations: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    carryover_threshold: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Iteration:
    """What one iteration came to. Energies are of the active electrons, without the core."""

    number: int  # the first is 1
    energies: tuple[float, ...]  # of all batches
    energy: float  # the lowest of them
    occupancies: Occupancies
    carryover: Subspace
    subspaces: tuple[tuple[int, int], ...]  # alpha and beta strings of each batch
    seconds: float
    rng_state: Mapping[str, Any]  # as the next iteration finds it
    spin_square: float | None = None
    determinants: int | None = None  # of the lowest state; None where only the subspace is known
    jobs: tuple[Mapping[str, Any], ...] = ()  # what each job cost

    @property
    def largest_subspace(self) -> int:
        return max((a * b for a, b in self.subspaces), default=0)


@dataclass(frozen=True)
class SQDResult:
    """The lowest state that the loop has met, and how it got there.

    result.total_energy                    # with nuclear repulsion and frozen orbitals
    result.sci_state.amplitudes            # None where the solver keeps its state to itself
    [one.energy for one in result.iterations]
    """

    energy: float  # of the active electrons
    core_energy: float
    reference_energy: float  # of the reference determinant, core included
    occupancies: Occupancies
    sci_state: SCIState | None
    iterations: tuple[Iteration, ...]
    converged: bool
    norb: int
    nelec: tuple[int, int]
    seed: int
    resumed: int = 0  # so many iterations were there already

    @property
    def total_energy(self) -> float:
        return self.energy + self.core_energy

    @property
    def correlation_energy(self) -> float:
        """What is gained over the reference determinant: negative, unless the samples were poor."""
        return self.total_energy - self.reference_energy

    @property
    def best(self) -> Iteration:
        return _best(self.iterations)

    @property
    def spin_square(self) -> float | None:
        return self.best.spin_square

    @property
    def determinants(self) -> int:
        """In the state, or in the subspace where the state is not known."""
        best = self.best
        return best.largest_subspace if best.determinants is None else best.determinants

    @property
    def jobs(self) -> tuple[Mapping[str, Any], ...]:
        """Of all iterations, those before a crash included."""
        return tuple(job for iteration in self.iterations for job in iteration.jobs)

    @property
    def node_hours(self) -> float | None:
        """The sum over all jobs; None where one of them does not say."""
        hours = [job.get("node_hours") for job in self.jobs]
        known = [float(one) for one in hours if one is not None]
        return sum(known) if known and len(known) == len(hours) else None

    @property
    def node_hours_per_millihartree(self) -> float | None:
        """The price of the correlation energy that was gained."""
        if self.node_hours is None or self.correlation_energy >= 0:
            return None
        return self.node_hours / (-self.correlation_energy * MILLI)


def run_sqd(
    molecule: Molecule | MolecularIntegrals,
    bitstrings: NDArray[np.bool_],
    *,
    samples_per_batch: int,
    seed: int,
    num_batches: int = 1,
    sci_solver: SCISolver | DiceSolver | None = None,
    max_iterations: int = 100,
    energy_tol: float = 1e-8,
    occupancies_tol: float = 1e-5,
    symmetrize_spin: bool = False,
    max_dim: int | tuple[int, int] | None = None,
    include_configurations: Sequence[int] | tuple[Sequence[int], Sequence[int]] | None = None,
    initial_occupancies: Occupancies | Literal["ccsd", "hf"] | None = None,
    carryover_threshold: float = 1e-4,
    state_dir: str | os.PathLike[str] | None = None,
    key: str = "",
    callback: Callable[[Iteration], None] | None = None,
    context: Context | None = None,
    **how: Any,
) -> SQDResult:
    """Recover configurations, subsample, diagonalize, and again until energy and occupancies stay.

    The answer is that of `diagonalize_fermionic_hamiltonian` with the same arguments.

    Args:
        molecule: Or its integrals. With `state_dir` those of the first start are kept: orbitals of equal energy do not
            turn under the samples when the loop is resumed.
        bitstrings: One row per shot, alpha in the right half, as `sample_bitstrings` gives them.
        seed: All randomness of the loop comes from it.
        sci_solver: Diagonalizes all subspaces of an iteration: a `DiceSolver`, whose jobs a resumed loop joins where they
            still run, or a function as qiskit-addon-sqd defines it; default: its own one, in this process.
        initial_occupancies: Where recovery starts: a pair of arrays, or that of "ccsd" or "hf" of a `Molecule`; default:
            the first iteration takes only strings with the right numbers of electrons.
        max_iterations: Of all starts together; a larger number later goes on from where the loop ended.
        state_dir: Here each iteration is written, in a folder for these very inputs. None: nothing is kept.
        key: What else tells this calculation from others in `state_dir`, such as the settings of a solver function.
        callback: Called with each new iteration, once it is on disk.
        context: Of the asset or op in which the loop runs; for a `DiceSolver`.
        **how: For a `DiceSolver`, as in its `runs`: profile, overrides, reuse, …

    Example:
        result = run_sqd(molecule, bitstrings, samples_per_batch=300, seed=24, state_dir="~/sqd")
    """
    settings = Settings(
        samples_per_batch, num_batches, energy_tol, occupancies_tol, symmetrize_spin, max_dim,
        _both_spins(include_configurations), carryover_threshold, seed,
    )  # fmt: skip
    matrix = np.asarray(bitstrings)
    _refuse_nonsense(settings, matrix, max_iterations)
    if how and not _is_dice(sci_solver):
        raise ConfigurationError(f"{', '.join(how)}: only a DiceSolver takes that, or it is misspelt")
    _require_addon()
    solver = _Solver(sci_solver, context, how)
    state = None
    if state_dir is not None:
        name = _fingerprint(molecule, matrix, settings, initial_occupancies, [solver.settings, key])
        state = State(Path(os.path.expanduser(state_dir)) / name)
        solver = replace(solver, name=name)
    problem = _problem(molecule, initial_occupancies, state)
    _refuse_misfit(problem, matrix, settings)
    loop = _Loop(problem, matrix, settings, solver)
    return _run(loop, state, max_iterations, callback)


def _run(
    loop: _Loop, state: State | None, max_iterations: int, callback: Callable[[Iteration], None] | None
) -> SQDResult:
    done = state.iterations()[:max_iterations] if state else []
    # Tolerances are part of the folder's name, so that what is recorded ended as it would end now.
    resumed = len(done)
    best: tuple[int, SCIState | None] | None = None  # number of the iteration, its state
    while not _converged(done, loop.settings) and len(done) < max_iterations:
        iteration, sci_state = loop.step(done[-1] if done else None)
        done.append(iteration)
        if _best(done) is iteration:
            best = iteration.number, sci_state
        if state:
            state.write(iteration, sci_state if _best(done) is iteration else None, best=_best(done).number)
        if callback:
            callback(iteration)
    chosen = _best(done)
    if best is None or best[0] != chosen.number:  # found by an earlier start
        known, sci_state = state.sci_state(chosen.number, loop.problem) if state else (False, None)
        if not known:  # a better one came later, beyond the iterations that are wanted now
            _, sci_state = loop.step(done[chosen.number - 2] if chosen.number > 1 else None)
        best = chosen.number, sci_state
    problem = loop.problem
    return SQDResult(
        energy=chosen.energy,
        core_energy=problem.integrals.core_energy,
        reference_energy=problem.reference_energy,
        occupancies=chosen.occupancies,
        sci_state=best[1],
        iterations=tuple(done),
        converged=_converged(done, loop.settings),
        norb=problem.integrals.norb,
        nelec=problem.integrals.nelec,
        seed=loop.settings.seed,
        resumed=resumed,
    )


def _best(iterations: Sequence[Iteration]) -> Iteration:
    """The first of the lowest energy, as in qiskit-addon-sqd."""
    return min(iterations, key=lambda iteration: iteration.energy)


def _converged(done: Sequence[Iteration], settings: Settings) -> bool:
    """qiskit-addon-sqd's own criterion."""
    if len(done) < 2:
        return False
    before, now = done[-2], done[-1]
    moved = np.max(np.abs(np.ravel(before.occupancies) - np.ravel(now.occupancies)))
    return bool(abs(before.energy - now.energy) < settings.energy_tol and moved < settings.occupancies_tol)


# ---------------------------------------------------------------------------------------------------------- one iteration


@dataclass(frozen=True)
class _Problem:
    """What is diagonalized, and where recovery starts."""

    integrals: MolecularIntegrals
    occupancies: Occupancies | None

    @property
    def reference_energy(self) -> float:
        h, eri, core, _, nelec = self.integrals
        total = core
        for count in nelec:
            i = np.arange(count)
            total += float(np.trace(h[:count, :count])) - 0.5 * float(eri[i[:, None], i, i, i[:, None]].sum())
            total += 0.5 * sum(float(eri[i[:, None], i[:, None], j, j].sum()) for j in map(np.arange, nelec))
        return total


@dataclass(frozen=True)
class _Loop:
    """The loop as a function from one iteration to the next."""

    problem: _Problem
    bitstrings: NDArray[np.bool_]
    settings: Settings
    solver: _Solver

    def step(self, before: Iteration | None) -> tuple[Iteration, SCIState | None]:
        """The iteration that follows, and its state if the solver gives one."""
        from qiskit_addon_sqd.fermion import StandardPolicy, diagonalize_fermionic_hamiltonian

        settings, integrals = self.settings, self.problem.integrals
        number = before.number + 1 if before else 1
        rng = np.random.default_rng(settings.seed)
        if before:
            rng.bit_generator.state = before.rng_state
        policy = _Entered(StandardPolicy(carryover_threshold=settings.carryover_threshold), before)
        runs: list[DiceRun] = []
        solve = self.solver.of_iteration(number, runs)
        subspaces: list[tuple[int, int]] = []
        energies: list[float] = []

        def solver(ci_strings: list[Subspace], *hamiltonian: Any) -> list[SCIResult]:
            results = solve(ci_strings, *hamiltonian)
            subspaces[:] = [(len(alpha), len(beta)) for alpha, beta in ci_strings]
            energies[:] = [float(result.energy) for result in results]
            if not 0 < len(energies) <= len(subspaces) or not np.all(np.isfinite(energies)):
                raise SolverFailed(
                    f"iteration {number}: the solver returned the energies {energies} for {len(subspaces)} subspaces",
                    advice="see the logs of its jobs; the loop resumes at this iteration.",
                )
            return results

        started = time.monotonic()
        diagonalize_fermionic_hamiltonian(
            integrals.one_body, integrals.two_body, self.bitstrings, settings.samples_per_batch,
            integrals.norb, integrals.nelec, num_batches=settings.num_batches, max_iterations=1, sci_solver=solver,
            policy=policy, symmetrize_spin=settings.symmetrize_spin, max_dim=settings.max_dim,
            include_configurations=_as_arrays(settings.include_configurations, integrals.norb),
            initial_occupancies=before.occupancies if before else self.problem.occupancies, seed=rng,
        )  # fmt: skip
        result = policy.result
        state: SCIState | None = result.sci_state
        alpha, beta = (np.array(part, np.float64) for part in result.orbital_occupancies)
        lowest = min((run.result for run in runs), key=lambda one: one.energy, default=None)
        spin_square: float | None = None
        determinants: int | None = None
        if lowest is not None:
            spin_square, determinants = float(lowest.spin_square), lowest.dimension
        elif state is not None:
            spin_square, determinants = float(state.spin_square()), int(state.amplitudes.size)
        return Iteration(
            number=number,
            energies=tuple(energies),
            energy=float(result.energy),
            occupancies=(alpha, beta),
            carryover=policy.chosen(settings.symmetrize_spin),
            subspaces=tuple(subspaces),
            seconds=time.monotonic() - started,
            rng_state=dict(rng.bit_generator.state),
            spin_square=spin_square,
            determinants=determinants,
            jobs=tuple(_cost(job) for run in runs for job in run.jobs),
        ), state


@dataclass(frozen=True)
class _Solver:
    """Who diagonalizes."""

    given: SCISolver | DiceSolver | None
    context: Context | None
    how: Mapping[str, Any]
    name: str | None = None  # of the calculation: jobs of the same iteration of it are the same jobs

    def of_iteration(self, number: int, runs: list[DiceRun]) -> SCISolver:
        """A function for qiskit-addon-sqd; `runs` gets what a `DiceSolver` did."""
        if self.given is None:
            from qiskit_addon_sqd.fermion import solve_sci_batch

            return solve_sci_batch  # type: ignore[no-any-return]
        if _is_dice(self.given):
            key = self.name and f"sqd-{self.name}-{number}"
            on_runs: Callable[[list[DiceRun]], None] = runs.extend
            return self.given.as_sci_solver(self.context, key=key, on_runs=on_runs, **self.how)
        return cast("SCISolver", self.given)

    @property
    def settings(self) -> Any:
        """What changes its answers."""
        if self.given is None:
            return "qiskit-addon-sqd"
        if not _is_dice(self.given):
            return "function"
        return ["dice", self.given.executable, asdict(self.given.options())]


def _is_dice(solver: SCISolver | DiceSolver | None) -> TypeGuard[DiceSolver]:
    return hasattr(solver, "as_sci_solver")


def _cost(job: JobResult) -> dict[str, Any]:
    """A job in the record of its iteration."""
    metrics = asdict(job.metrics)
    del metrics["raw"]
    handle = job.handle
    return {"job_id": handle.job_id, "token": handle.token, "target": handle.target, "state": str(job.state), **metrics}


class _Entered:
    """qiskit-addon-sqd's schedule of an iteration, entered with the strings that the last one carried over."""

    def __init__(self, policy: Any, before: Iteration | None) -> None:
        self._policy, self._before = policy, before
        self.result: Any = None
        self._carryover: Subspace | None = None

    def prepare_subspaces(self, request: Any) -> Any:
        if self._before:
            alpha, beta = self._before.carryover
            entered = {"carryover_strings_a": alpha, "carryover_strings_b": beta, "iteration": self._before.number}
            request = replace(request, **entered)
        return self._policy.prepare_subspaces(request)

    def refine(self, results: list[SCIResult], round_index: int) -> Any:
        return self._policy.refine(results, round_index)

    def select_result(self, results: list[SCIResult]) -> Any:
        self.result = self._policy.select_result(results)
        return self.result

    def select_carryover(self, result: SCIResult, *, symmetrize_spin: bool = False) -> Subspace:
        chosen: Subspace = self._policy.select_carryover(result, symmetrize_spin=symmetrize_spin)
        self._carryover = chosen
        return chosen

    def chosen(self, symmetrize_spin: bool) -> Subspace:
        """The strings for the next iteration, the most important first."""
        if self._carryover is None:
            raise AssertionError("qiskit-addon-sqd ended its iteration without choosing what to carry over")
        alpha, beta = self._carryover
        if symmetrize_spin:  # what a solver has chosen by itself is not merged yet
            both = np.concatenate((alpha, beta))
            alpha = beta = both[np.sort(np.unique(both, return_index=True)[1])]
        return alpha, beta


# ------------------------------------------------------------------------------------------------------------ on the disk


class State:
    """The folder of one calculation. An iteration is there when its JSON file is, which is written last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def inputs(self) -> _Problem | None:
        data = _read(self.folder / "inputs.npz")
        if data is None:
            return None
        arrays = _unpacked(data, self.folder / "inputs.npz")
        norb, *nelec = (int(one) for one in arrays["size"])
        integrals = MolecularIntegrals(
            arrays["one_body"], arrays["two_body"], float(arrays["core_energy"]), norb, (nelec[0], nelec[1])
        )
        occupancies = (arrays["alpha"], arrays["beta"]) if "alpha" in arrays else None
        return _Problem(integrals, occupancies)

    def write_inputs(self, problem: _Problem) -> None:
        h, eri, core, norb, nelec = problem.integrals
        arrays = {
            "one_body": h, "two_body": eri, "core_energy": np.array(core), "size": np.array([norb, *nelec]),
        }  # fmt: skip
        if problem.occupancies is not None:
            arrays["alpha"], arrays["beta"] = problem.occupancies
        _write(self.folder / "inputs.npz", _packed(arrays))

    def iterations(self) -> list[Iteration]:
        """Those that are whole, up to the first that is not."""
        done: list[Iteration] = []
        while (iteration := self._iteration(len(done) + 1)) is not None:
            done.append(iteration)
        return done

    def write(self, iteration: Iteration, sci_state: SCIState | None, *, best: int) -> None:
        """Durable before it returns. The state is kept of the best iteration only."""
        number = iteration.number
        if best == number:
            arrays = {"known": np.array(sci_state is not None)}
            if sci_state is not None:
                strings_a, strings_b = _words(sci_state.ci_strs_a), _words(sci_state.ci_strs_b)
                arrays |= {"amplitudes": sci_state.amplitudes, "strings_a": strings_a, "strings_b": strings_b}
            _write(self._state_file(number), _packed(arrays))
        alpha, beta = iteration.occupancies
        carried = {"carryover_a": _words(iteration.carryover[0]), "carryover_b": _words(iteration.carryover[1])}
        data = _packed({"alpha": alpha, "beta": beta, **carried})
        _write(self._file(number, "npz"), data)
        arrays_apart = replace(iteration, occupancies=(), carryover=())  # type: ignore[arg-type]
        record = {**asdict(arrays_apart), "arrays_sha256": hashlib.sha256(data).hexdigest()}
        del record["occupancies"], record["carryover"]
        _write(self._file(number, "json"), json.dumps(record, indent=1, default=_plain).encode())
        for old in range(1, number + 1):
            if old != best:
                self._state_file(old).unlink(missing_ok=True)

    def sci_state(self, number: int, problem: _Problem) -> tuple[bool, SCIState | None]:
        """Whether it is on record, and the state if the solver gave one."""
        path = self._state_file(number)
        data = _read(path)
        if data is None:
            return False, None
        arrays = _unpacked(data, path)
        if not bool(arrays["known"]):
            return True, None
        from qiskit_addon_sqd.fermion import SCIState

        strings = _strings(arrays["strings_a"]), _strings(arrays["strings_b"])
        integrals = problem.integrals
        return True, SCIState(arrays["amplitudes"], *strings, norb=integrals.norb, nelec=integrals.nelec)

    def _iteration(self, number: int) -> Iteration | None:
        text, data = _read(self._file(number, "json")), _read(self._file(number, "npz"))
        if text is None:
            return None
        record = json.loads(text)
        if data is None or hashlib.sha256(data).hexdigest() != record.pop("arrays_sha256"):
            warnings.warn(f"{self.folder}: iteration {number} is damaged and will be done again", stacklevel=2)
            return None
        arrays = _unpacked(data, self._file(number, "npz"))
        return Iteration(
            **{
                **record,
                "energies": tuple(record["energies"]),
                "subspaces": tuple((a, b) for a, b in record["subspaces"]),
                "jobs": tuple(record["jobs"]),
                "occupancies": (arrays["alpha"], arrays["beta"]),
                "carryover": (_strings(arrays["carryover_a"]), _strings(arrays["carryover_b"])),
            }
        )

    def _file(self, number: int, kind: str) -> Path:
        return self.folder / f"iteration-{number:04d}.{kind}"

    def _state_file(self, number: int) -> Path:
        return self.folder / f"state-{number:04d}.npz"


def _write(path: Path, data: bytes) -> None:
    """The whole file or none, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _unpacked(data: bytes, path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, KeyError, BadZipFile) as error:
        raise StateUnreadable(f"{path} cannot be read: {error}", advice="remove its folder to start anew.") from error


def _words(strings: Strings) -> NDArray[Any]:
    """Integers of any size without pickle: from 64 orbitals on as two words of 64 bits."""
    if strings.dtype != object:
        return np.ascontiguousarray(strings, np.int64)
    return np.array([[int(one) & (2**64 - 1), int(one) >> 64] for one in strings], np.uint64).reshape(-1, 2)


def _strings(words: NDArray[Any]) -> Strings:
    if words.ndim == 1:
        return words
    strings = np.empty(len(words), object)
    strings[:] = [int(low) | int(high) << 64 for low, high in words]
    return strings


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} cannot be written as JSON")


# ----------------------------------------------------------------------------------------------------------------- inputs


def _both_spins(
    given: Sequence[int] | tuple[Sequence[int], Sequence[int]] | None,
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if given is None:
        return None
    pair: Any = given if isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) == 1 else (given, given)
    return tuple(int(one) for one in pair[0]), tuple(int(one) for one in pair[1])


def _as_arrays(pair: tuple[tuple[int, ...], tuple[int, ...]] | None, norb: int) -> Any:
    return None if pair is None else tuple(np.array(one, object if norb > 63 else np.int64) for one in pair)


def _refuse_nonsense(settings: Settings, bitstrings: NDArray[Any], max_iterations: int) -> None:
    whole = {
        "samples_per_batch": settings.samples_per_batch,
        "num_batches": settings.num_batches,
        "max_iterations": max_iterations,
    }
    faults = [f"{name} is {value}; it must be at least 1" for name, value in whole.items() if value < 1]
    if isinstance(settings.seed, bool) or not isinstance(settings.seed, int) or settings.seed < 0:
        faults.append(f"seed is {settings.seed!r}; it must be a whole number, from which all randomness comes")
    for name in ("energy_tol", "occupancies_tol", "carryover_threshold"):
        if not getattr(settings, name) >= 0:
            faults.append(f"{name} is {getattr(settings, name)}; it must not be negative")
    if bitstrings.ndim != 2 or bitstrings.dtype != bool or not bitstrings.size:
        faults.append(
            f"the bitstrings are {bitstrings.dtype} of shape {bitstrings.shape}; wanted is a matrix of booleans with a "
            "row for each shot, as sample_bitstrings gives it"
        )
    if faults:
        raise ConfigurationError(faults)


def _refuse_misfit(problem: _Problem, bitstrings: NDArray[np.bool_], settings: Settings) -> None:
    norb, nelec = problem.integrals.norb, problem.integrals.nelec
    if bitstrings.shape[1] != 2 * norb:
        raise ConfigurationError(
            f"the bitstrings have {bitstrings.shape[1]} bits; {norb} orbitals need {2 * norb}, beta to the left of alpha"
        )
    limits = settings.max_dim if isinstance(settings.max_dim, tuple) else (settings.max_dim,) * 2
    if settings.symmetrize_spin and (nelec[0] != nelec[1] or limits[0] != limits[1]):
        raise ConfigurationError(
            f"symmetrize_spin needs as many alpha as beta electrons, here {nelec[0]} and {nelec[1]}, and one max_dim"
        )
    occupancies = problem.occupancies
    if occupancies is not None and any(np.shape(part) != (norb,) for part in occupancies):
        raise ConfigurationError(f"initial_occupancies must be two arrays of {norb} numbers, alpha and beta")
    right = (bitstrings[:, norb:].sum(axis=1) == nelec[0]) & (bitstrings[:, :norb].sum(axis=1) == nelec[1])
    if occupancies is None and not right.any():
        raise ConfigurationError(
            f"none of the {len(bitstrings)} bitstrings has {nelec[0]} alpha and {nelec[1]} beta electrons",
            advice="give initial_occupancies (such as 'ccsd'), from which configurations are recovered.",
        )


def _require_addon() -> None:
    try:
        from qiskit_addon_sqd.fermion import StandardPolicy  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"run_sqd needs qiskit-addon-sqd 0.14 or later: {error}",
            advice='pip install "dagster-hpc[sqd]" "qiskit-addon-sqd>=0.14"',
        ) from error


def _problem(
    molecule: Molecule | MolecularIntegrals,
    initial: Occupancies | Literal["ccsd", "hf"] | None,
    state: State | None,
) -> _Problem:
    kept = state.inputs() if state else None
    if kept:
        return kept
    if isinstance(molecule, Molecule):
        integrals = molecule.integrals()
        start = molecule.initial_occupancies(initial) if isinstance(initial, str) else initial
    else:
        integrals = molecule
        if isinstance(initial, str):
            raise ConfigurationError(f"initial_occupancies {initial!r} needs a Molecule, not its integrals only")
        start = initial
    problem = _Problem(integrals, start)
    if state:
        state.write_inputs(problem)
    return problem


def _fingerprint(
    molecule: Molecule | MolecularIntegrals,
    bitstrings: NDArray[np.bool_],
    settings: Settings,
    initial: Occupancies | str | None,
    solver: Any,
) -> str:
    """The same for the same calculation: samples in any order, and a molecule before its orbitals are computed."""
    rows, counts = np.unique(np.packbits(bitstrings, axis=1), axis=0, return_counts=True)
    arrays: list[NDArray[Any]] = [rows, counts, np.array(bitstrings.shape)]
    text: dict[str, Any] = {
        "format": FORMAT,
        "qiskit-addon-sqd": version("qiskit-addon-sqd"),
        "settings": asdict(settings),
        "solver": solver,
    }
    if isinstance(molecule, Molecule):
        text["molecule"] = molecule.model_dump(exclude={"fcidump"})
        if molecule.fcidump is not None:
            text["fcidump"] = hashlib.sha256(Path(molecule.fcidump).read_bytes()).hexdigest()
    else:
        arrays += [molecule.one_body, molecule.two_body]
        text["integrals"] = [float(molecule.core_energy), molecule.norb, list(molecule.nelec)]
    if isinstance(initial, str) or initial is None:
        text["initial"] = initial
    else:
        arrays += [np.asarray(part, np.float64) for part in initial]
    digest = hashlib.sha256(json.dumps(text, sort_keys=True, default=_plain).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
