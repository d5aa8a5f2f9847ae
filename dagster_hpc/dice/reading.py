"""The files of a finished run, read and judged in one go."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.dice import validation as check
from dagster_hpc.dice.dets_file import HEADER_BYTES, Determinants, read_determinants, read_header, size_of, spread
from dagster_hpc.dice.inputs import Asked, read_input
from dagster_hpc.dice.layout import ALPHA, BETA, ENERGY, INPUT, OUTPUT, determinants_of, spin_rdm_of
from dagster_hpc.dice.output_text import DiceText, dice_failure, parse_text, read_text
from dagster_hpc.dice.recomputed import ALL, against_hamiltonian
from dagster_hpc.dice.result import DiceResult
from dagster_hpc.dice.roots import together
from dagster_hpc.dice.validation import Check, DiceResultInvalid
from dagster_hpc.electrons.determinants import STRING_BYTES, StringTable, bits_of, decode, sorted_unique
from dagster_hpc.electrons.fcidump import read_fcidump
from dagster_hpc.electrons.state import SparseState
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.subspace.payload import FCIDUMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dagster_hpc.electrons.determinants import Words
    from dagster_hpc.electrons.integrals import Integrals

_TEXTS = (OUTPUT, "stdout.log")  # where the output is looked for when it is not given
_LARGEST_FCIDUMP = 1 << 27
_HEADER = 1 << 14  # bytes of fcidump.txt in which NORB and NELEC stand
_CANDIDATES = 10_000  # determinants among which those that Dice printed are looked for
_ALL_PAIRS = 1 << 26  # products of strings that are marked one by one


@dataclass(frozen=True)
class Asking:
    """What the caller knows of the run."""

    norb: int
    nelec: tuple[int, int]
    integrals: Integrals | None = None
    parent_energy: float | None = None
    recompute_up_to: int = 10_000
    is_eigenstate: bool = True


def read_run(folder: Path, asking: Asking, text: str | bytes | os.PathLike[str] | None) -> DiceResult:
    """The lowest state with all others that were asked for, or the error that says why there is no answer."""
    asked, said = _asked(folder), _text(folder, text)
    lowest = Reading(folder, asking, asked, said)
    results = [lowest.result()]
    if asked.nroots == 1:
        return results[0]
    asking = replace(asking, integrals=lowest.integrals)
    results += [Reading(folder, asking, asked, said, root).result() for root in range(1, asked.nroots)]
    result = together(results, lowest.integrals if asking.is_eigenstate else None)
    if any(one.passed is False for one in result.checks):
        raise DiceResultInvalid(result.checks, str(folder))
    return result


class Reading:
    """One state of a work directory. Collects the checks; what cannot be read any further raises with those made so far."""

    def __init__(self, folder: Path, asking: Asking, asked: Asked, text: DiceText | None, root: int = 0) -> None:
        self.folder, self.asking, self.asked, self.text, self.root = folder, asking, asked, text, root
        self.determinants_file, self.rdm_file = determinants_of(root), spin_rdm_of(root)
        self.checks: list[Check] = []
        self.integrals = asking.integrals

    def result(self) -> DiceResult:
        """The state, or the error that says why there is none."""
        self._require_files()
        raw = self._determinants()
        energies = np.fromfile(self.folder / ENERGY, "<f8")
        self.checks += [check.finite(raw.coefficients, energies), check.characters(raw.stray)]
        self._stop_if_failed()
        state = self._state(raw)
        del raw
        energy = float(energies[self.root])
        self.checks += [
            check.norm(state.coefficients),
            check.order(state.coefficients),
            check.electrons(state.alpha, state.beta, self.asking.nelec),
        ]
        rdm = self._rdm(state)
        self._against_text(state, energy)
        self._against_hamiltonian(state, energy, rdm)
        self._stop_if_failed()
        return DiceResult(
            energy, tuple(energies.tolist()), state, self.asking.norb, self.asking.nelec, tuple(self.checks), self.text,
            self.root,
        )  # fmt: skip

    def _stop_if_failed(self) -> None:
        if any(one.passed is False for one in self.checks):
            where = f"root {self.root}: " if self.root else ""
            checks = [replace(one, sentence=where + one.sentence) for one in self.checks]
            raise DiceResultInvalid(checks, str(self.folder))

    def _size(self, name: str) -> int | None:
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    def _require_files(self) -> None:
        """All are there, and as long as they must be. Where one is not, Dice's own words come first."""
        needed = [ENERGY, self.determinants_file, *([self.rdm_file] if self.asked.spin_rdm else [])]
        sizes = {name: self._size(name) for name in needed}
        failure = dice_failure(self.text.text, self.folder) if self.text else None
        if failure is not None:
            raise failure
        self.checks.append(check.files([name for name, size in sizes.items() if size is None]))
        self._stop_if_failed()
        self.checks.append(check.energy_size(sizes[ENERGY] or 0, self.asked.nroots))

    def _determinants(self) -> Determinants:
        with (self.folder / self.determinants_file).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < HEADER_BYTES:
                self.checks.append(check.determinants_size(size, HEADER_BYTES))
                self._stop_if_failed()
            count, norb = read_header(file)
            self.checks.append(check.header(count, norb, self.asking.norb))
            if count > 0 and norb > 0:
                self.checks.append(check.determinants_size(size, size_of(count, norb)))
            self._stop_if_failed()
            return read_determinants(file, count, norb)

    def _inputs(self) -> list[Words]:
        """The distinct strings of both input files, ascending."""
        given = {}
        for name, electrons in zip((ALPHA, BETA), self.asking.nelec, strict=True):
            size, words = self._size(name), None
            if size and size % STRING_BYTES == 0:
                with suppress(ConfigurationError):  # a bit outside of the orbitals
                    words = decode((self.folder / name).read_bytes(), self.asking.norb)
            given[name] = size, words, electrons
        self.checks.append(check.input_strings(given))
        known = {name: words for name, (_, words, _) in given.items() if words is not None}
        if len(known) < len(given):
            raise DiceResultInvalid(self.checks, str(self.folder))
        distinct = {name: sorted_unique(words) for name, words in known.items()}
        self.checks.append(check.input_duplicates({name: (len(known[name]), len(distinct[name])) for name in known}))
        return list(distinct.values())

    def _state(self, raw: Determinants) -> SparseState:
        """The determinants as pairs of indices, compared with what was asked for."""
        inputs = self._inputs()
        (alpha, index_a), (beta, index_b) = (
            _located(keys, known) for keys, known in zip((raw.alpha, raw.beta), inputs, strict=True)
        )
        asked = len(inputs[0]) * len(inputs[1])
        distinct, present = _coverage(index_a, index_b, (alpha, beta), inputs)
        self.checks += [
            check.duplicates(len(index_a), distinct),
            check.determinant_set(distinct, asked, present, growing=self._growing()),
        ]
        return SparseState(alpha, beta, index_a, index_b, raw.coefficients, self.asking.norb)

    def _growing(self) -> bool | None:
        if self.asked.growing is None and self.text and self.text.iterations:
            return any(row.cutoff < 1e9 for row in self.text.iterations)
        return self.asked.growing

    def _rdm(self, state: SparseState) -> NDArray[np.float64] | None:
        if self._size(self.rdm_file) is None:
            self.checks.append(check.not_made("rdm_trace", "input.dat asked for no density matrix"))
            return None
        rdm, problem = read_spin_rdm(self.folder / self.rdm_file, self.asking.norb)
        self.checks.append(check.rdm_readable(problem))
        if rdm is None:
            return None
        self.checks += [check.rdm_trace(rdm, self.asking.nelec), check.rdm_diagonal(rdm, state.occupancies())]
        return rdm

    def _against_text(self, state: SparseState, energy: float) -> None:
        if self.text is None:
            self.checks.append(check.not_made("davidson", "no output of Dice was given"))
            return
        printed = self.text.leading_of(self.root)
        smallest = min((abs(value) for value, _ in printed), default=np.inf)
        candidates = np.flatnonzero(np.abs(state.coefficients) >= smallest - check.PRINTED_LIMIT)
        self.checks += [
            check.davidson(self.text, self.asked.nroots),
            check.printed_count(self.text, len(state)),
            check.printed_energy(self.text, energy, self.root),
            check.iteration_energy(self.text, energy, self.root),
            check.printed_determinants(printed, _orbitals(state, candidates[:_CANDIDATES])),
        ]

    def _against_hamiltonian(self, state: SparseState, energy: float, rdm: NDArray[np.float64] | None) -> None:
        """What needs the integrals, or work that grows faster than the file."""
        limit = self.asking.recompute_up_to
        if self.asking.parent_energy is not None and self.root == 0:
            self.checks.append(check.parent_bound(energy, self.asking.parent_energy))
        affordable = len(state) <= limit
        if affordable and rdm is not None:
            self.checks.append(check.rdm_elements(rdm, state.one_rdm()))
        self._check_fcidump()
        integrals = self.integrals = self.integrals or (self._integrals() if affordable else None)
        if integrals is None:
            why = (
                "no fcidump.txt of moderate size"
                if affordable
                else f"more than {limit} determinants, and no integrals given"
            )
            self.checks += [check.not_made(name, why) for name in ALL]
        elif any(one.name in ("duplicates", "input_fcidump") and one.passed is False for one in self.checks):
            self.checks += [
                check.not_made(name, "there is no set of determinants with these integrals") for name in ALL
            ]
        else:
            self.checks += against_hamiltonian(
                state, energy, integrals, tolerance=self.asked.tolerance, up_to=limit,
                is_eigenstate=self.asking.is_eigenstate, is_lowest=self.root == 0,
            )  # fmt: skip

    def _check_fcidump(self) -> None:
        """Its header is read whatever its size, and whether or not the integrals are known already."""
        path = self.folder / self.asked.fcidump
        try:
            with path.open("rb") as file:
                head = file.read(_HEADER).decode("ascii", "replace")
        except FileNotFoundError:
            self.checks.append(check.not_made("input_fcidump", f"there is no {path.name} in the work directory"))
            return
        found = [re.search(rf"\b{word}\s*=\s*(\d+)", head, re.IGNORECASE) for word in ("NORB", "NELEC")]
        self.checks.append(
            check.fcidump_header(
                path.name, [int(each[1]) if each else None for each in found],
                [self.asking.norb, sum(self.asking.nelec)],
            )
        )  # fmt: skip

    def _integrals(self) -> Integrals | None:
        path = self.folder / self.asked.fcidump
        if not path.is_file() or path.stat().st_size > _LARGEST_FCIDUMP:
            return None
        fcidump = read_fcidump(path)
        return fcidump.integrals if fcidump.norb == self.asking.norb else None


def _text(folder: Path, given: str | bytes | os.PathLike[str] | None) -> DiceText | None:
    if given is not None:
        return parse_text(read_text(given, folder))
    for name in _TEXTS:
        if (folder / name).is_file():
            text = parse_text(read_text(Path(name), folder))
            if text.iterations or dice_failure(text.text, folder):
                return text
    return None


def _asked(folder: Path) -> Asked:
    path = folder / INPUT
    asked = read_input(path.read_text(errors="replace")) if path.is_file() else Asked()
    # Dice's own name for the integrals is FCIDUMP; ours is used where input.dat names none.
    return asked if (folder / asked.fcidump).is_file() else replace(asked, fcidump=FCIDUMP)


def _located(keys: Words, known: Words) -> tuple[Words, NDArray[np.int32]]:
    """All different strings, ascending, and the place of each key among them. Most keys are known strings."""
    places = StringTable(spread(known)).find(keys)
    missed = np.flatnonzero(places < 0)
    if not len(missed):
        return known, places
    new = sorted_unique(keys[missed])
    places[missed] = len(known) + StringTable(new).find(keys[missed])
    together = np.concatenate([known, spread(new)])
    ascending = np.lexsort(together.T)
    rank = np.empty(len(together), np.int32)
    rank[ascending] = np.arange(len(together), dtype=np.int32)
    return together[ascending], rank[places]


def _coverage(
    index_a: NDArray[np.int32],
    index_b: NDArray[np.int32],
    strings: tuple[Words, Words],
    inputs: Sequence[Words],
) -> tuple[int, int]:
    """How many different determinants there are, and how many of the products of the input strings are among them."""
    shape = len(strings[0]), len(strings[1])
    flat = index_a * np.int64(shape[1]) + index_b
    known_a, known_b = (
        StringTable(given).find(found) >= 0 if len(found) != len(given) else np.ones(len(found), bool)
        for found, given in zip(strings, inputs, strict=True)
    )
    if shape[0] * shape[1] <= max(16 * len(flat), _ALL_PAIRS):
        seen = np.zeros(shape, bool)
        seen.ravel()[flat] = True
        distinct = int(np.count_nonzero(seen))
        if known_a.all() and known_b.all():
            return distinct, distinct
        return distinct, int(np.count_nonzero(seen[known_a][:, known_b]))
    flat.sort()
    unique = flat[np.append(True, flat[1:] != flat[:-1])]
    return len(unique), int(np.count_nonzero(known_a[unique // shape[1]] & known_b[unique % shape[1]]))


def _orbitals(state: SparseState, which: NDArray[np.intp]) -> dict[str, float]:
    """Some determinants as Dice writes them, with their coefficients."""
    alpha, beta = (
        bits_of(words[index[which]], state.norb)
        for words, index in ((state.alpha, state.index_a), (state.beta, state.index_b))
    )
    rows = np.frombuffer(b"0ab2", np.uint8)[alpha + 2 * beta]
    return {row.tobytes().decode(): float(c) for row, c in zip(rows, state.coefficients[which], strict=True)}


def read_spin_rdm(path: Path, norb: int) -> tuple[NDArray[np.float64] | None, str | None]:
    """spin1RDM.0.0.txt as a matrix over 2·orbital + spin, or what is wrong with the file."""
    name, text = path.name, path.read_text(errors="replace")
    first, _, rest = text.partition("\n")
    if first.strip() != str(2 * norb):
        return None, f"{name} begins with {first.strip()[:20]!r} instead of {2 * norb}, twice the number of orbitals"
    if not text.endswith("\n"):
        return None, f"{name} ends within a line"
    try:
        numbers = np.array(rest.split(), np.float64)
    except ValueError:
        return None, f"{name} holds something that is no number"
    if len(numbers) != 3 * rest.count("\n"):
        return None, f"{name} has {len(numbers)} numbers in {rest.count(chr(10))} lines; three in each are right"
    rows, columns, values = numbers[0::3], numbers[1::3], numbers[2::3]
    where = np.stack([rows, columns])
    inside = (where == where.round()) & (where >= 0) & (where < 2 * norb)
    if not (np.isfinite(numbers).all() and inside.all()):
        return None, f"{name} has an entry outside of the matrix, or one that is no finite number"
    matrix = np.zeros((2 * norb, 2 * norb))
    matrix[rows.astype(int), columns.astype(int)] = values
    return matrix, None
