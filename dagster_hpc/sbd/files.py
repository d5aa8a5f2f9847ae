"""SBD's files: one list of strings for both spins, what it prints, the strings that it would carry over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.electrons.determinants import bits_of, require_electrons, sorted_unique, words_of
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.subspace.checks import NoAnswer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.electrons.determinants import Words
    from dagster_hpc.subspace.problem import Subspace

STRINGS, CARRYOVER = "AlphaDets.txt", "carryover.txt"

_NUMBER = r"([-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|nan|inf))"
_STEP = re.compile(rf"^ *Davidson iteration (\d+)\.(\d+) .*?\(tol={_NUMBER}\): *{_NUMBER}", re.MULTILINE)
_ENERGY = re.compile(rf"^ *Sample-based diagonalization: Energy = {_NUMBER} *$", re.MULTILINE)
_DENSITY = re.compile(r"^ *Sample-based diagonalization: density = \[([^\]\n]*)\]? *$", re.MULTILINE)
_WORDS = re.compile(r"what\(\): *(.+)$", re.MULTILINE)


class SBDFailed(NoAnswer):
    """SBD ended without an answer. `words` is what it said.

    Example:
        solver = SBDSolver(hpc=hpc, executable="broken-sbd")
        try:
            solver.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        except SBDFailed as error:
            print(error.words)  # Failed to open alpha det file.
    """

    def __init__(self, words: str, *, work_dir: str | None = None) -> None:
        self.words = words
        # Both are said of its ranks and of its files: another start meets them again, and another solver would hide them.
        self.inputs_at_fault = "MPI Size" in words or "Failed to open" in words
        super().__init__(
            f"SBD ended without an answer: {words}",
            advice="read its output in the work directory.",
            work_dir=work_dir,
        )


@dataclass(frozen=True)
class SBDText:
    """SBD's standard output, as far as it is an answer."""

    energy: float | None = None
    density: tuple[float, ...] = ()  # electrons of both spins in each orbital
    steps: tuple[tuple[float, float], ...] = ()  # of its Davidson: residual, lowest energy


def strings_for(subspace: Subspace, norb: int, electrons: int, *, merge: bool) -> Words:
    """The strings that both spins get, ascending, the Hartree-Fock one always among them.

    SBD starts from the first string after sorting, which is the Hartree-Fock one where it is there.
    """
    alpha, beta = (
        sorted_unique(_checked(strings, norb, electrons, f"{spin} string"))
        for spin, strings in (("alpha", subspace.alpha), ("beta", subspace.beta))
    )
    if not merge and not np.array_equal(alpha, beta):
        raise ConfigurationError(
            f"the {len(alpha)} alpha strings and the {len(beta)} beta strings differ; SBD has one list for both spins",
            advice="sample with symmetrize_spin=True, or let SBDSolver(merge_spins=True) put both into one list.",
        )
    first = words_of([(1 << electrons) - 1], norb)
    return sorted_unique(np.concatenate([alpha, beta, first]))


def _checked(strings: object, norb: int, electrons: int, label: str) -> Words:
    words = words_of(strings, norb, label)  # type: ignore[arg-type]
    require_electrons(words, electrons, label)
    return words


def string_lines(words: Words, norb: int) -> bytes:
    """One string in each line, the lowest orbital last."""
    characters = bits_of(words, norb)[:, ::-1] + np.uint8(ord("0"))
    ends = np.full((len(words), 1), ord("\n"), np.uint8)
    return np.hstack([characters, ends]).tobytes()


def read_string_lines(text: str, norb: int) -> Words | None:
    """The strings of such a file in their order; None where it holds something else."""
    lines = text.split()
    if not all(len(line) == norb and set(line) <= {"0", "1"} for line in lines):
        return None
    return words_of([int(line, 2) for line in lines], norb)


def parse_output(text: str) -> SBDText:
    """Tolerant of other lines in between, such as those of a launcher."""
    energies, densities = _ENERGY.findall(text), _DENSITY.findall(text)
    density = _numbers(densities[-1]) if densities else ()
    steps = tuple((float(step[2]), float(step[3])) for step in _STEP.findall(text))
    return SBDText(float(energies[-1]) if energies else None, density, steps)


def failure_in(text: str, work_dir: str) -> SBDFailed | None:
    """What an exception of SBD says, if it died of one."""
    found = _WORDS.search(text)
    return SBDFailed(found[1].strip(), work_dir=work_dir) if found else None


def occupancies(density: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each spin half: with one list of strings for both, a state and its mirror image are the same but for a sign."""
    half = np.array(density) / 2
    return half, half.copy()


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        return ()
