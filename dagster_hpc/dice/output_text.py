"""What Dice says while it runs: its table of iterations, its final energies, its largest determinants, its last words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_hpc.dice.layout import ALPHA, BETA
from dagster_hpc.electrons.determinants import STRING_BYTES
from dagster_hpc.subspace.checks import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBER = r"([-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|nan|inf))"
_ROW = re.compile(rf"^\s*(\d+)\s+(\d+)\s+{_NUMBER}\s+(\d+)\s+{_NUMBER}\s+(\d+)\s+{_NUMBER}\s*$")
_FINAL = re.compile(rf"^\s*(\d+)\s+{_NUMBER}\s+{_NUMBER}\s*$")
_LEADING = re.compile(rf"^\s*(\d+)\s+{_NUMBER}\s+((?:[02ab]\s*)+)$")
_LONGEST = 1 << 24  # of a file: what matters is in the last part


@dataclass(frozen=True)
class Iteration:
    """One row of Dice's table."""

    number: int
    root: int
    cutoff: float
    determinants: int
    energy: float
    davidson: int  # iterations of the eigenvalue solver; more than 800 of them: it gave up
    seconds: float


@dataclass(frozen=True)
class DiceText:
    """Dice's standard output, as far as it can be compared with its files."""

    text: str
    iterations: tuple[Iteration, ...] = ()
    energies: dict[int, float] = field(default_factory=dict)  # of the final table, by root
    leading: tuple[tuple[float, str], ...] = ()  # root 0: coefficient, orbitals
    leading_above: dict[int, tuple[tuple[float, str], ...]] = field(default_factory=dict)  # the same of further roots

    def last(self, root: int = 0) -> Iteration | None:
        """The last row of a root."""
        return next((row for row in reversed(self.iterations) if row.root == root), None)

    def leading_of(self, root: int) -> tuple[tuple[float, str], ...]:
        """The largest coefficients of a root."""
        return self.leading if root == 0 else self.leading_above.get(root, ())


def parse_text(text: str) -> DiceText:
    """Tolerant of other lines in between, such as those of a launcher or of modules."""
    iterations: list[Iteration] = []
    energies: dict[int, float] = {}
    leading: dict[int, list[tuple[float, str]]] = {}
    part, root = "", 0
    for line in text.splitlines():
        if "Variational calculation result" in line:
            part, energies = "final", {}
        elif "Printing most important determinants" in line:
            part, leading = "leading", {}
        elif line.startswith("State :"):
            root = int(re.sub(r"\D", "", line) or 0)
        elif row := _ROW.match(line):
            iterations.append(
                Iteration(
                    int(row[1]), int(row[2]), _float(row[3]), int(row[4]), _float(row[5]), int(row[6]), _float(row[7])
                )
            )
        elif part == "final" and (row := _FINAL.match(line)):
            energies[int(row[1])] = _float(row[2])
        elif part == "leading" and (row := _LEADING.match(line)):
            leading.setdefault(root, []).append((_float(row[2]), re.sub(r"\s", "", row[3])))
    of_roots = {root: tuple(rows) for root, rows in leading.items()}
    return DiceText(text, tuple(iterations), energies, of_roots.pop(0, ()), of_roots)


def _float(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def read_text(source: str | bytes | os.PathLike[str], folder: Path) -> str:
    """Output given as text or as a file, which may be named relative to the work directory."""
    if isinstance(source, bytes):
        return source.decode("utf-8", "replace")
    if isinstance(source, str) and (not source or "\n" in source):
        return source
    for path in (Path(source), folder / source):
        if path.is_file():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _LONGEST))
                return file.read().decode("utf-8", "replace")
    if isinstance(source, str):
        return source
    raise DiceInputMissing(f"there is no output of Dice at {os.fspath(source)}", work_dir=str(folder))


READS_OTHER_STRINGS = (
    "use a Dice that reads AlphaDets.bin and BetaDets.bin in 16 bytes per string, as qiskit-addon-dice-solver needs it: the "
    "stock Dice ignores them, and forks read strings of another width. `dagster-hpc doctor` tells them apart."
)


class DiceFailed(NoAnswer):
    """Dice ended without an answer. `words` is what it said.

    Example:
        solver = DiceSolver(hpc=hpc, executable="narrow-dice", fallback=False)
        try:
            solver.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        except DiceFailed as error:
            print(error.words)  # change DetLen in global.h to 3 and recompile
    """

    summary = "Dice ended without an answer"
    default_advice = "read its output in the work directory."

    def __init__(self, words: str, *, advice: str = "", work_dir: str | None = None) -> None:
        self.words = words
        message = f"{self.summary}: {words}" if words else f"{self.summary}."
        super().__init__(message, advice=advice or self.default_advice, work_dir=work_dir)


class DiceInputMissing(DiceFailed):
    summary = "Dice did not find an input file"
    default_advice = "write all of fcidump.txt, input.dat, AlphaDets.bin and BetaDets.bin into its directory."
    inputs_at_fault = True


class DiceElectronMismatch(DiceFailed):
    summary = "Dice was given contradicting numbers of electrons"
    default_advice = "make `nocc` of input.dat, NELEC of fcidump.txt and the strings agree."
    inputs_at_fault = True


class DiceUnevenStrings(DiceFailed):
    summary = "Dice was given strings with different numbers of electrons"
    default_advice = "keep only strings with the right number of electrons; write_dice_inputs checks that."
    inputs_at_fault = True


class DiceOtherStrings(DiceFailed):
    summary = "this Dice does not read the strings that it was given, which have the right electrons"
    default_advice = READS_OTHER_STRINGS
    inputs_at_fault = True


class DiceKeywordUnknown(DiceFailed):
    summary = "Dice does not know a keyword of input.dat"
    default_advice = "correct the template of input.dat, or use the Dice that it was written for."
    inputs_at_fault = True


class DiceTooManyOrbitals(DiceFailed):
    summary = "this Dice was compiled for fewer orbitals"
    default_advice = (
        "compile Dice with the DetLen that it asks for, or the next even number, or choose a smaller active space."
    )
    inputs_at_fault = True


class DiceNotConverged(DiceFailed):
    summary = "Dice's eigenvalue solver failed"
    default_advice = "sparse subspaces do this: solve this one with the embedded solver, or add determinants to it."


class DiceCrashed(DiceFailed):
    summary = "Dice crashed"
    default_advice = (
        "try it again: where jobs have no /dev/shm of their own, two that start on one node in the same second share their "
        "memory by mistake."
    )
    retryable = True


_WORDS: tuple[tuple[str, type[DiceFailed]], ...] = (
    (r"Integral file .* does not exist!?", DiceInputMissing),
    (r".*(?:AlphaDets|BetaDets)\.bin is missing or empty.*", DiceInputMissing),
    (r"cannot read input\.dat.*", DiceInputMissing),
    (r"The number of electrons given in the FCIDUMP.*", DiceElectronMismatch),
    (r"the strings hold .* electrons.*", DiceElectronMismatch),
    (r"not enough 1 bits .*", DiceUnevenStrings),
    (r"cannot read option .*", DiceKeywordUnknown),
    (r"change DetLen in global\.h.*", DiceTooManyOrbitals),
    (r"Eigenvalue solver unsuccessful.*", DiceNotConverged),
    (r"Davidson calculation did not converge.*", DiceNotConverged),
    (r"maxiter should be greater.*|nocc keyword has to be included.*", DiceKeywordUnknown),
    (r"Not enough memory.*|.*std::bad_alloc.*", DiceFailed),
    (r"Signal: .*|.*exited on signal \d+.*|.*Segmentation fault.*|.*Bus error.*", DiceCrashed),
)
_INPUTS = ("input.dat", "fcidump.txt", "AlphaDets.bin", "BetaDets.bin")


def dice_failure(text: str, work_dir: str | Path | None = None, *, files: Sequence[str] = _INPUTS) -> DiceFailed | None:
    """The error that Dice's output tells of, in Dice's words; None where it tells of none.

    Dice says nothing of a missing string file, it dies of a segmentation fault; hence the look into the work directory.
    """
    folder = str(work_dir) if work_dir is not None else None
    for pattern, kind in _WORDS:
        found = re.search(rf"^[ \t]*({pattern})[ \t]*$", text, re.MULTILINE)
        if found is None:
            continue
        words = found[1].strip()
        missing = [name for name in files if folder and not _has_content(Path(folder) / name)]
        if kind is DiceUnevenStrings and folder and all(_is_even(Path(folder, name)) for name in (ALPHA, BETA)):
            return DiceOtherStrings(words, work_dir=folder)
        if kind is DiceCrashed and missing:
            return DiceInputMissing(f"{', '.join(missing)} missing or empty. {words}", work_dir=folder)
        return kind(words, work_dir=folder)
    return None


def _is_even(path: Path) -> bool:
    """Whether all strings of this file have as many electrons, when they are read as they were written."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    strings = (data[at : at + STRING_BYTES] for at in range(0, len(data), STRING_BYTES))
    return len({int.from_bytes(string, "big").bit_count() for string in strings}) == 1


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
