"""A stand-in for Dice that needs PySCF only: the same input files, the same output files, the same words.

    python -m dagster_hpc.dice.pyscf_solver [input.dat]

is started in a directory that holds Dice's input files and leaves shci.e, spin1RDM.0.0.txt and dets.bin there. It serves
what selected CI of sampled determinants needs: the lowest states of a product of strings, and Dice's growing of that set
by the schedule. What else Dice can do (perturbation theory, restarts, spin-orbit coupling, ...) is refused by name.

Up to 128 orbitals and any number of alpha or beta electrons, none included. PySCF does the products of strings that are too
large for a stored matrix; it has 63 orbitals at most and needs electrons of both spins, so beyond that memory is the limit.

Exit codes are those of Dice under mpirun: 0 with `sampleN`; 1 without it although all is well ("Error here"); 1 for a
refused input, 134 and 139 where Dice aborts or crashes. Unlike Dice it counts a string that is given twice once, always ends
in the lowest state of its space or says that it could not, and under an MPI launcher lets rank 0 do all the work.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.dice.davidson import DENSE, EigenError, States, lowest_states, lowest_states_of_matrix
from dagster_hpc.dice.determinants import MAX_ORBITALS, STRING_BYTES, bits_of, decode, width_of
from dagster_hpc.dice.dets_file import write_determinants
from dagster_hpc.dice.fcidump import read_fcidump
from dagster_hpc.dice.files import ALPHA, BETA, DETERMINANTS, ENERGY, RDM_CUTOFF
from dagster_hpc.dice.hamiltonian import DeterminantSpace, diagonal_energies, grown, hamiltonian_matrix
from dagster_hpc.dice.state import SparseState
from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from dagster_hpc.dice.davidson import Vector
    from dagster_hpc.dice.determinants import Words
    from dagster_hpc.dice.hamiltonian import Integrals, Occupations

REFUSED, ABORTED, CRASHED = 1, 134, 139  # of mpirun, when Dice says no, aborts, or dies of a segmentation fault
TIGHTEST = 1e-7  # residual: the energy is then good to 1e-12 or so, and occupancies to 1e-7, whatever davidsonTol says
STORED_PAIRS = 3e7  # matrix elements up to which a product of strings is stored rather than left to PySCF
_RULE = "*" * 62
_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")


class Stop(Exception):
    """The run ends here, in Dice's words and with its exit code."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code


# ---------------------------------------------------------------------------------------------------------------- input


@dataclass(frozen=True)
class Schedule:
    """input.dat, as far as it is served."""

    electrons: int
    cutoffs: tuple[float, ...]  # one per iteration
    integral_file: str = "FCIDUMP"
    roots: int = 1
    energy_tolerance: float = 1e-8
    davidson_tolerance: float = 5e-5
    write_determinants: int = 0
    print_determinants: int = 0
    one_rdm: bool = False
    spin_one_rdm: bool = False
    two_rdm: bool = False
    ends_well: bool = False  # `sampleN` given: Dice then returns without error
    seed: int = 0
    prefix: str = "."


# Keyword -> does it take a value. Names are compared without case, as Dice does.
_SERVED = {
    "nocc": True, "schedule": False, "orbitals": True, "nroots": True, "spin": True, "maxiter": True, "de": True,
    "davidsontol": True, "davidsontolloose": True, "writebestdeterminants": True, "printbestdeterminants": True,
    "nptiter": True, "samplen": True, "doonerdm": False, "dospinonerdm": False, "dordm": False,
    "dospinrdm": False, "seed": True, "prefix": True, "noio": False, "io": False, "outputlevel": True,
    "num_thrds": True, "diskdavidson": False, "directdavidson": False, "epsilon2": True, "epsilon2large": True,
    "targeterror": True, "nblocks": True, "pointgroup": True, "irrep": True, "excitation": True, "nvirt": True,
    "relaxedrdm": False, "algorithm": True, "treversal": True,
}  # fmt: skip
_NOT_SERVED = {
    "nact", "ncore", "dolcc", "extrapolate", "dosoc", "doresponse", "maxseniority", "maxexcitation", "senioandexc",
    "dogtensor", "dosocqdpt", "socmultiplier", "onlyperturbative", "printalldeterminants", "transitionrdm", "quasiq",
    "restrict", "restrictv", "applyb", "cdfcitol", "restart", "deterministic", "fullrestart", "eps",
    "searchforlowestenergydet", "dothreerdm", "dofourrdm", "cdfciiter", "cdfcion", "reportinterval", "z_threshold",
    "cdfcisample",
}  # fmt: skip


def read_input(text: str) -> Schedule:
    """input.dat by Dice's rules: words apart by blanks, commas or tabs, any case, # for comments."""
    given: dict[str, str] = {}
    sweep: list[tuple[int, float]] = []
    lines = iter(text.splitlines())
    for line in lines:
        words = _split(line)
        if not words or words[0].startswith("#"):
            continue
        keyword = words[0].lower()
        if keyword in _NOT_SERVED:
            raise Stop(f"{words[0]} is not served by the embedded solver: run this input with Dice")
        if keyword not in _SERVED:
            raise Stop(f"cannot read option {words[0]}")
        if keyword == "schedule":
            for row in _block(lines, "schedule"):
                if len(row) < 2:
                    raise Stop(f"cannot read the schedule line {' '.join(row)}")
                sweep.append((int(_number(row[0], "schedule")), _number(row[1], "schedule")))
            continue
        if _SERVED[keyword] and len(words) < 2:
            raise Stop(f"option {words[0]} has no value")
        given[keyword] = words[1] if len(words) > 1 else ""
        if keyword == "nocc":
            count = int(_number(given["nocc"], "nocc"))
            for row in _block(lines, "nocc"):
                if len(row) != count:
                    raise Stop(f"nocc: {count} neq {len(row)}\n{'  '.join(row)}")
    return _schedule(given, sweep)


def _split(line: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", line) if word]


def _block(lines: Iterator[str], name: str) -> Iterator[list[str]]:
    for line in lines:
        words = _split(line)
        if words and words[0].lower() == "end":
            return
        if words and not words[0].startswith("#"):
            yield words
    raise Stop(f"the {name} block has no end")


def _number(word: str, name: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise Stop(f"option {name}: {word} is not a number") from None


def _schedule(given: Mapping[str, str], sweep: Sequence[tuple[int, float]]) -> Schedule:
    def number(name: str, default: float) -> float:
        return _number(given[name], name) if name in given else default

    iterations = int(number("maxiter", -1))
    if not sweep or iterations < sweep[-1][0]:
        raise Stop("maxiter should be greater than last entry of sweep_iter")
    if "nocc" not in given:
        raise Stop("nocc keyword has to be included.")
    if iterations < 1:
        raise Stop("maxiter 0: there is nothing to do, and Dice aborts", ABORTED)
    if "samplen" in given and number("nptiter", 1) != 0:
        raise Stop(
            "perturbation theory is not served by the embedded solver: set nPTiter 0, or run this input with Dice"
        )
    if number("treversal", 0) != 0:
        raise Stop("Treversal is not served by the embedded solver: run this input with Dice")
    cutoffs: list[float] = []
    for (start, cutoff), (end, _) in zip(sweep, [*sweep[1:], (iterations, 0.0)], strict=True):
        cutoffs += [cutoff] * (end - start)
    return Schedule(
        electrons=int(number("nocc", 0)),
        cutoffs=tuple(cutoffs),
        integral_file=given.get("orbitals", "FCIDUMP"),
        roots=max(1, int(number("nroots", 1))),
        energy_tolerance=number("de", 1e-8),
        davidson_tolerance=number("davidsontol", 5e-5),
        write_determinants=int(number("writebestdeterminants", 0)),
        print_determinants=int(number("printbestdeterminants", 0)),
        one_rdm="doonerdm" in given,
        spin_one_rdm="dospinonerdm" in given,
        two_rdm="dordm" in given or "dospinrdm" in given,
        ends_well="samplen" in given,
        seed=int(number("seed", 0)),
        prefix=given.get("prefix", "."),
    )


def read_strings(path: Path, spin: str, norb: int) -> Occupations:
    """The strings of AlphaDets.bin or BetaDets.bin, or what Dice says or does when they are wrong."""
    data = path.read_bytes() if path.is_file() else b""
    if not data:
        raise Stop(f"{path.name} is missing or empty (Dice dies of a segmentation fault here)", CRASHED)
    if len(data) % STRING_BYTES:
        raise Stop(f"{path.name} has {len(data)} bytes, which is not a multiple of {STRING_BYTES}")
    filled = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, STRING_BYTES), axis=1).sum(axis=1)
    if np.any(filled != filled[0]):
        raise Stop(f"not enough 1 bits ({spin}) {filled[0]}  {filled[filled != filled[0]][0]}")
    try:
        return bits_of(decode(data, norb), norb).astype(bool)
    except ConfigurationError as error:
        raise Stop(f"{path.name}: {error} (Dice aborts here)", ABORTED) from None


# ------------------------------------------------------------------------------------------------------------- solution


@dataclass(frozen=True)
class Solution:
    """The variational states at the end of the schedule; energies include the core."""

    space: DeterminantSpace
    energies: Vector
    vectors: Vector

    def state(self, root: int) -> SparseState:
        space = self.space
        index_a, index_b = space.index_a.astype(np.int32), space.index_b.astype(np.int32)
        return SparseState(_words(space.alpha), _words(space.beta), index_a, index_b, self.vectors[:, root], space.norb)


def _words(strings: Occupations) -> Words:
    """The same strings as words of 64 orbitals."""
    packed = np.zeros((len(strings), 8 * width_of(strings.shape[1])), np.uint8)
    bits = np.packbits(strings, axis=1, bitorder="little")
    packed[:, : bits.shape[1]] = bits
    return packed.view("<u8").astype(np.uint64)


@dataclass(frozen=True)
class _Problem:
    """One Hamiltonian, solved in one space after another."""

    integrals: Integrals
    roots: int
    tolerance: float
    seed: int

    def solve(self, space: DeterminantSpace, guesses: Sequence[Vector]) -> States:
        if self._is_for_pyscf(space):
            operator = ProductOperator(space, self.integrals)
            return lowest_states(operator, self.roots, tolerance=self.tolerance, seed=self.seed, guesses=guesses)
        matrix = hamiltonian_matrix(space, self.integrals, most_bytes=0.8 * _memory_available())
        return lowest_states_of_matrix(matrix, self.roots, tolerance=self.tolerance, seed=self.seed, guesses=guesses)

    def _is_for_pyscf(self, space: DeterminantSpace) -> bool:
        if not (len(space) > DENSE and space.is_product and space.norb <= 63 and min(space.nelec) > 0):
            return False
        connected = [_connections(strings) for strings in (space.alpha, space.beta)]
        (single_a, any_a), (single_b, any_b) = connected
        elements = len(space.beta) * any_a + len(space.alpha) * any_b + single_a * single_b
        return elements > STORED_PAIRS


def _connections(strings: Occupations) -> tuple[float, float]:
    """How many ordered pairs of strings differ by one electron, and by one or two; estimated from a part of a long list."""
    part = strings[:: max(1, len(strings) // 1000)].astype(np.float32)
    common = part @ strings.astype(np.float32).T
    filled, scale = float(strings[0].sum()), len(strings) / len(part)
    single = float(np.count_nonzero(common == filled - 1)) * scale
    return single, single + float(np.count_nonzero(common == filled - 2)) * scale


class ProductOperator:
    """The Hamiltonian among all products of given strings, by PySCF's selected CI; nothing of its size is stored."""

    def __init__(self, space: DeterminantSpace, integrals: Integrals) -> None:
        from pyscf import ao2mo
        from pyscf.fci import direct_spin1, selected_ci

        norb, nelec = space.norb, space.nelec
        bit = 1 << np.arange(norb, dtype=np.int64)
        self._strings = tuple((strings * bit).sum(axis=1) for strings in (space.alpha, space.beta))
        self._shape = len(space.alpha), len(space.beta)
        packed = integrals.pair_integrals
        self._two_body = ao2mo.restore(1, direct_spin1.absorb_h1e(integrals.one_body, packed, norb, nelec, 0.5), norb)
        self._links = selected_ci._all_linkstr_index(self._strings, norb, nelec)
        self._norb, self._nelec = norb, nelec
        self._contract, self._vector = selected_ci.contract_2e, selected_ci._as_SCIvector
        self._diagonal = diagonal_energies(space, integrals)

    @property
    def diagonal(self) -> Vector:
        return self._diagonal

    def apply(self, vectors: Vector) -> Vector:
        columns = [
            np.asarray(
                self._contract(
                    self._two_body,
                    self._vector(np.ascontiguousarray(column).reshape(self._shape), self._strings),
                    self._norb,
                    self._nelec,
                    self._links,
                )
            ).ravel()
            for column in vectors.T
        ]
        return np.column_stack(columns)


def _memory_available() -> float:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if found:
            return float(found[1]) * 1024
    except OSError:
        pass
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def solve(schedule: Schedule, integrals: Integrals, alpha: Occupations, beta: Occupations) -> Solution:
    """The variational iterations, with Dice's table as they go."""
    started = time.monotonic()
    space = DeterminantSpace.product(alpha, beta)
    problem = _Problem(integrals, schedule.roots, min(schedule.davidson_tolerance, TIGHTEST), schedule.seed)
    _say(
        f"{'Iter':>4} {'Root':>4}  {'Eps1 ':>10}  {'#Var. Det.':>10}   {'Energy':>18}   {'#Davidson':>9}  {'Time(s)':>10}"
    )

    # Dice selects for the first time without having solved: the lowest determinant weighs as much as there are
    # determinants, each other one weighs 1.
    weight = np.ones(len(space))
    weight[np.argmin(diagonal_energies(space, integrals))] = len(space)
    weight /= np.linalg.norm(weight)
    states: States | None = None
    before = -10.0
    for iteration, cutoff in enumerate(schedule.cutoffs):
        larger = grown(space, weight, cutoff, integrals)
        if states is None or len(larger) > len(space):
            guesses = [] if states is None else [_padded(vector, len(larger)) for vector in states.vectors.T]
            space = larger
            states = problem.solve(space, guesses)
        for root, energy in enumerate(states.energies + integrals.core_energy):
            _say(
                f"{iteration:4d} {root:4d}  {cutoff:10.2e}  {len(space):10d}   {energy:18.10f}  "
                f"{states.iterations:9d}  {time.monotonic() - started:10.2f}"
            )
        if abs(states.energies[0] - before) < schedule.energy_tolerance:
            break
        before = states.energies[0]
        weight = np.linalg.norm(states.vectors, axis=1)
    assert states is not None  # a schedule has an iteration or is refused
    _say(f"Residual norm at the end: {states.residual:.1e} (asked for: {schedule.davidson_tolerance:g})")
    _say("Exiting variational iterations")
    energies = states.energies + integrals.core_energy
    _say(f"\nVariational calculation result\n{'Root':>4} {'Energy':>18}  {'Time(s)':>10}")
    for root, energy in enumerate(energies):
        _say(f"{root:4d}  {energy:18.10f}  {time.monotonic() - started:10.2f}")
    return Solution(space, energies, states.vectors)


def _padded(vector: Vector, size: int) -> Vector:
    return np.concatenate([vector, np.zeros(size - len(vector))])


# --------------------------------------------------------------------------------------------------------------- output


def write_outputs(directory: Path, schedule: Schedule, solution: Solution) -> None:
    """Dice's files in Dice's order, each whole or not there."""
    prefix = directory / schedule.prefix
    if schedule.one_rdm:
        for root in range(len(solution.energies)):
            alpha, beta = solution.state(root).one_rdm()
            _put(prefix / f"spatial1RDM.{root}.{root}.txt", _rdm_text(alpha + beta, 1e-15, "16.12g"))
            if schedule.spin_one_rdm:
                spin = np.zeros((2 * len(alpha), 2 * len(alpha)))
                spin[::2, ::2], spin[1::2, 1::2] = alpha, beta
                _put(prefix / f"spin1RDM.{root}.{root}.txt", _rdm_text(spin, RDM_CUTOFF, "10.8g"))
    _put(prefix / ENERGY, solution.energies.astype("<f8").tobytes())
    if schedule.write_determinants > 0:
        for root in range(len(solution.energies)):
            state = solution.state(root)
            best = np.argsort(-np.abs(state.coefficients), kind="stable")[: schedule.write_determinants]
            strings = state.alpha[state.index_a[best]], state.beta[state.index_b[best]]
            with _whole(directory / (DETERMINANTS if root == 0 else f"dets_{root}.bin")) as path:
                write_determinants(path, *strings, state.coefficients[best], state.norb)


def _rdm_text(matrix: Vector, smallest: float, layout: str) -> bytes:
    rows, columns = np.nonzero(np.abs(matrix) > smallest)
    lines = (f"{i:3d}   {j:3d}   {matrix[i, j]:{layout}}\n" for i, j in zip(rows, columns, strict=True))
    return (f"{len(matrix)}\n" + "".join(lines)).encode()


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    unfinished = path.with_name(path.name + ".unfinished")
    yield unfinished
    unfinished.replace(path)


def _put(path: Path, data: bytes) -> None:
    with _whole(path) as unfinished:
        unfinished.write_bytes(data)


def _show_determinants(schedule: Schedule, solution: Solution) -> None:
    _say("\nPrinting most important determinants")
    _say(f"{'Det':>4} {'weight':>10}  Determinant string")
    space = solution.space
    for root, vector in enumerate(solution.vectors.T):
        _say(f"State : {root:3d}")
        best = np.argsort(-np.abs(vector), kind="stable")[: max(6, schedule.print_determinants)]
        for place, at in enumerate(best):
            kinds = space.alpha[space.index_a[at]] + 2 * space.beta[space.index_b[at]]
            row = "".join("0ab2"[kind] for kind in kinds)
            groups = ("".join(f"{letter} " for letter in row[k : k + 5]) for k in range(0, len(row), 5))
            _say(f"{place:4d} {vector[at]:18.10f}  " + "  ".join(groups))


# ------------------------------------------------------------------------------------------------------------------ run


def run(directory: Path, input_name: str = "input.dat") -> int:
    """Solve what stands in `directory`; returns Dice's exit code."""
    try:
        return _run(directory, input_name)
    except Stop as stop:
        _say(str(stop))
        return stop.code
    except EigenError as error:
        _say(f"Eigenvalue solver unsuccessful.\n{error}")
        return ABORTED
    except MemoryError as error:
        _say(f"Not enough memory: {error}")
        return ABORTED


def _run(directory: Path, input_name: str) -> int:
    try:
        schedule = read_input((directory / input_name).read_text())
    except OSError as error:
        raise Stop(f"cannot read {input_name}: {error.strerror}") from None
    integrals, electrons = _read_hamiltonian(directory, schedule.integral_file)
    if electrons != schedule.electrons:
        raise Stop(
            "The number of electrons given in the FCIDUMP should be equal to the nocc given in the shci input file."
        )
    if integrals.norb > MAX_ORBITALS:
        raise Stop(f"NORB={integrals.norb}: strings of {STRING_BYTES} bytes serve up to {MAX_ORBITALS} orbitals")
    alpha = read_strings(directory / ALPHA, "alpha", integrals.norb)
    beta = read_strings(directory / BETA, "beta", integrals.norb)
    filled = int(alpha[0].sum()), int(beta[0].sum())
    if sum(filled) != electrons:
        raise Stop(
            f"the strings hold {filled[0]} + {filled[1]} electrons, NELEC={electrons} (Dice aborts here)", ABORTED
        )

    _say(f"\n\n{_RULE}\nVARIATIONAL STEP  \n{_RULE}")
    _say(f"{len(alpha)}\n{len(beta)}")
    solution = solve(schedule, integrals, alpha, beta)
    write_outputs(directory, schedule, solution)
    _show_determinants(schedule, solution)
    if schedule.one_rdm:
        _say(f"\n\n{_RULE}\nCALCULATING RDMs\n{_RULE}")
    if schedule.two_rdm:
        _say("The embedded solver writes no two-particle density matrix.")
    if not schedule.ends_well:
        _say("Error here")  # what Dice says, and returns, without sampleN: all files are there and right
        return REFUSED
    _say(f"\n\n{_RULE}\nReturning without error\n{_RULE}\n\n")
    return 0


def _read_hamiltonian(directory: Path, name: str) -> tuple[Integrals, int]:
    if not (directory / name).is_file():
        raise Stop(f"Integral file {name} does not exist!")
    try:
        dump = read_fcidump(directory / name)
    except ConfigurationError as error:
        raise Stop(str(error)) from None
    return dump.integrals, dump.electrons


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    rank = next((os.environ[name] for name in _RANK_VARIABLES if name in os.environ), "0")
    if rank not in ("", "0"):
        _say(f"Rank {rank}: rank 0 does all the work.")
        return 0
    return run(Path.cwd(), arguments[0] if arguments else "input.dat")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
