"""Is this answer to be believed? One small function per question; Dice may end with exit code 0 and be wrong by Hartrees.

A check that fails is a failed job. One that could not be made (no output text given, too many determinants to recompute the
energy) has `passed=None` and says why.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.electrons.determinants import popcounts
from dagster_hpc.subspace.checks import (
    ENERGY_LIMIT,
    AnswerInvalid,
    Check,
    at_most,
    files,
    not_made,
    parent_bound,
    variational_bound,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dagster_hpc.dice.output_text import DiceText
    from dagster_hpc.electrons.determinants import Words

__all__ = ["Check", "DiceResultInvalid", "files", "not_made", "parent_bound", "variational_bound"]

NORM_LIMIT = 1e-9
OVERLAP_LIMIT = 1e-6  # of two roots; real ones of Dice had at most 1e-12
RDM_LIMIT = 2e-6  # Dice leaves out entries below 1e-6 and writes eight digits
PRINTED_LIMIT = 2e-9  # ten decimals are printed
LOOSE_LIMIT = 1e-4  # between the last iteration and the tighter diagonalization after it
SAMPLED_LIMIT = 0.01  # of a residual that a few random rows tell of
DAVIDSON_CAP = 800  # per root; then Dice takes whatever it has
ORDER_LIMIT = 1e-12
_HUGE = 1e100  # no coefficient, no energy: the bytes of something else
_BROKEN = {"electrons", "duplicates", "determinants", "rdm_trace", "rdm_diagonal", "header", "characters", "finite"}

NAMES = {
    "files": "energy, determinants and density matrix are there",
    "energy_size": "shci.e has eight bytes per root",
    "determinants_size": "dets.bin is exactly as long as its header says",
    "header": "dets.bin is of the right number of orbitals",
    "input_strings": "the strings that Dice was given are there, with the right numbers of electrons",
    "input_duplicates": "no string was given to Dice twice",
    "input_fcidump": "fcidump.txt is of this many orbitals and electrons",
    "finite": "coefficients and energies are numbers",
    "characters": "dets.bin holds nothing but occupations",
    "norm": "the state is normalised; where there are several, they are orthogonal to each other",
    "order": "the coefficients fall in size",
    "electrons": "every determinant has the right numbers of electrons",
    "duplicates": "every determinant occurs once",
    "determinants": "the determinants are those asked for, or contain them where the run may add some",
    "rdm_format": "the density matrix file is complete",
    "rdm_trace": "the density matrix holds all electrons",
    "rdm_diagonal": "density matrix and coefficients give the same occupancies",
    "rdm_elements": "density matrix and coefficients agree in every element",
    "davidson": "Dice's eigenvalue solver stayed below its cap",
    "printed_count": "output and file have as many determinants",
    "printed_energy": "output and file have the same energy",
    "iteration_energy": "the energy is that of the last iteration, a little better",
    "printed_determinants": "output and file have the same leading determinants",
    "expectation": "the energy is <psi|H|psi>, recomputed",
    "residual": "the state is an eigenstate of H among its determinants",
    "local_energy": "the eigenvalue equation holds at the leading determinants",
    "sampled_residual": "the eigenvalue equation holds at random determinants, where there are too many for all of them",
    "variational_bound": "the energy is not above that of any single determinant; of several roots none was missed",
    "parent_bound": "the energy is not above that of a subspace",
}


class DiceResultInvalid(AnswerInvalid):
    """Dice left an answer that contradicts itself or its inputs. `failed` says which checks, by how much, and where.

    Example:
        (run,) = dice.runs([(strings, strings)], one_body, two_body, norb=10, nelec=(1, 1))
        folder = Path(run.jobs[-1].handle.work_dir)
        (folder / "dets.bin").write_bytes((folder / "dets.bin").read_bytes()[:-5])
        try:
            read_dice_outputs(folder, norb=10, nelec=(1, 1))
        except DiceResultInvalid as error:
            print(error.names, error.message)
    """

    summary = "Dice's answer is not to be believed"

    @property
    def default_advice(self) -> str:
        if self.inputs_at_fault:
            return "write the input files with write_dice_inputs, which checks strings and removes duplicates."
        if self.not_converged:
            return (
                "solve this subspace with the embedded solver, or add determinants: sparse ones defeat Dice's Davidson."
            )
        return "run it again, with nobody else's Dice on the node, or solve this subspace with the embedded solver."

    @property
    def not_converged(self) -> bool:
        """Dice could not solve this subspace: trying again will not help."""
        if self.names == ("variational_bound",):  # an eigenstate, but not the one that was asked for
            return True
        return "davidson" in self.names or ("residual" in self.names and not _BROKEN & set(self.names))

    @property
    def retryable(self) -> bool:
        return not (self.not_converged or self.inputs_at_fault)


def energy_size(size: int, nroots: int) -> Check:
    return _exactly("energy_size", size, 8 * nroots, "shci.e has {} bytes")


def determinants_size(size: int, expected: int) -> Check:
    return _exactly("determinants_size", size, expected, "dets.bin has {} bytes")


def _exactly(name: str, value: int, right: int, sentence: str) -> Check:
    said = sentence.format(value) + ("" if value == right else f" instead of {right}")
    return Check(name, value == right, said, value, right)


def header(count: int, norb: int, expected_norb: int) -> Check:
    right = norb == expected_norb and count > 0
    sentence = f"dets.bin announces {count} determinants of {norb} orbitals"
    sentence += "" if right else f"; expected were {expected_norb} orbitals"
    return Check("header", right, sentence, norb, expected_norb)


def input_strings(given: dict[str, tuple[int | None, Words | None, int]]) -> Check:
    """The strings that Dice was given: file name → its size, its strings if it holds some, electrons of each."""
    faults, wrong = [], 0
    for name, (size, words, count) in given.items():
        if size is None or words is None:
            wrong += 1
            faults.append(f"{name} is missing" if size is None else f"{name} of {size} bytes holds no such strings")
        elif uneven := int((popcounts(words) != count).sum()):
            wrong += uneven
            faults.append(f"{name}: {uneven} of {len(words)} strings do not have {count} electrons")
    return Check("input_strings", not faults, "; ".join(faults) or "all strings have the right electrons", wrong, 0)


def input_duplicates(totals: dict[str, tuple[int, int]]) -> Check:
    """File name → strings, different strings."""
    again = sum(total - distinct for total, distinct in totals.values())
    faults = [
        f"{name}: {total - distinct} of {total} again" for name, (total, distinct) in totals.items() if total > distinct
    ]
    sentence = (
        f"Dice counts strings given twice as two: {'; '.join(faults)}" if faults else "every string is given once"
    )
    return Check("input_duplicates", not again, sentence, again, 0)


def fcidump_header(name: str, found: Sequence[int | None], expected: Sequence[int]) -> Check:
    """NORB and NELEC."""
    norb, electrons = ("an unknown number of" if each is None else str(each) for each in found)
    sentence = f"{name} is of {norb} orbitals and {electrons} electrons"
    right = list(found) == list(expected)
    return Check("input_fcidump", right, sentence if right else f"{sentence}; {expected[0]} and {expected[1]} are right")


def finite(coefficients: NDArray[np.float64], energies: NDArray[np.float64]) -> Check:
    wrong = int(np.count_nonzero(~(np.abs(coefficients) < _HUGE)) + np.count_nonzero(~(np.abs(energies) < _HUGE)))
    return Check("finite", wrong == 0, f"{wrong} coefficients or energies are no finite numbers", wrong, 0)


def characters(stray: int) -> Check:
    where = "every orbital is" if stray < 0 else f"determinant {stray} has an orbital that is not"
    sentence = f"{where} 0, a, b or 2"
    return Check("characters", stray < 0, sentence)


def norm(coefficients: NDArray[np.float64]) -> Check:
    square = float(np.square(coefficients).sum())
    return at_most(
        "norm", abs(square - 1), NORM_LIMIT, f"the squared coefficients sum up to {square:.10g}; 1 is right"
    )


def orthogonal(vectors: NDArray[np.float64]) -> Check:
    """Several states, one in each row, are different ones."""
    overlaps = np.abs(vectors @ vectors.T)
    np.fill_diagonal(overlaps, 0.0)
    first, second = np.unravel_index(int(np.argmax(overlaps)), overlaps.shape)
    largest = float(overlaps[first, second])
    return at_most("norm", largest, OVERLAP_LIMIT, f"the overlap of root {first} and root {second} is {largest:.1e}")


def order(coefficients: NDArray[np.float64]) -> Check:
    sizes = np.abs(coefficients)
    rise = float(np.max(sizes[1:] - sizes[:-1], initial=0.0))
    return at_most("order", rise, ORDER_LIMIT, f"the coefficients fall in size; the largest rise is {rise:.1e}")


def electrons(alpha: Words, beta: Words, nelec: tuple[int, int]) -> Check:
    wrong = [int((popcounts(words) != count).sum()) for words, count in zip((alpha, beta), nelec, strict=True)]
    sentence = f"{wrong[0]} alpha and {wrong[1]} beta strings do not have {nelec[0]} and {nelec[1]} electrons"
    return Check("electrons", not any(wrong), sentence, sum(wrong), 0)


def duplicates(count: int, distinct: int) -> Check:
    return Check(
        "duplicates", count == distinct, f"{count} determinants, {distinct} of them different", count - distinct, 0
    )


def determinant_set(count: int, asked: int, present: int, *, growing: bool | None) -> Check:
    """All that were asked for, and, unless the run may add some, no others."""
    sentence = f"{present} of the {asked} determinants asked for are among the {count} of the answer"
    others = count - present
    if asked == 0:
        return not_made("determinants", "the input strings are not known")
    right = present == asked and (growing is not False or others == 0)
    if growing is False and others:
        sentence += f"; {others} others are, which nobody asked for"
    return Check("determinants", right, sentence, asked - present + (others if growing is False else 0), 0)


def other_determinants(count: int) -> Check:
    return Check("determinants", False, f"the {count} roots are not of the same determinants")


def rdm_readable(problem: str | None) -> Check:
    return Check("rdm_format", problem is None, problem or "spin1RDM.0.0.txt is complete")


def rdm_trace(rdm: NDArray[np.float64], nelec: tuple[int, int]) -> Check:
    found = float(np.trace(rdm[0::2, 0::2])), float(np.trace(rdm[1::2, 1::2]))
    worst = max(abs(found[0] - nelec[0]), abs(found[1] - nelec[1]))
    sentence = f"the density matrix holds {found[0]:.7f} + {found[1]:.7f} electrons instead of {nelec[0]} + {nelec[1]}"
    return at_most(
        "rdm_trace", worst if math.isfinite(worst) else math.inf, RDM_LIMIT * max(1, len(rdm) / 2), sentence
    )


def rdm_diagonal(rdm: NDArray[np.float64], occupancies: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Check:
    gaps = np.abs(np.concatenate([rdm.diagonal()[0::2] - occupancies[0], rdm.diagonal()[1::2] - occupancies[1]]))
    where = int(np.argmax(gaps))
    spin, orbital = ("alpha" if where < len(gaps) // 2 else "beta"), where % (len(gaps) // 2)
    sentence = (
        f"{spin} occupancy of orbital {orbital} differs by {gaps[where]:.1e} between density matrix and coefficients"
    )
    return at_most("rdm_diagonal", float(gaps[where]), RDM_LIMIT, sentence)


def rdm_elements(rdm: NDArray[np.float64], expected: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Check:
    both = np.zeros_like(rdm)
    both[0::2, 0::2], both[1::2, 1::2] = expected
    gaps = np.abs(rdm - both)
    row, column = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
    gap = float(gaps[row, column])
    sentence = f"element ({row}, {column}) of the density matrix differs by {gap:.1e} from what the coefficients give"
    return at_most("rdm_elements", gap, RDM_LIMIT, sentence)


def davidson(text: DiceText, nroots: int) -> Check:
    if not text.iterations:
        return Check("davidson", False, "the output of Dice that was given has no table of iterations")
    worst = max(text.iterations, key=lambda row: row.davidson)
    limit = DAVIDSON_CAP * nroots
    sentence = f"Davidson took {worst.davidson} iterations in iteration {worst.number}"
    sentence += f": it stopped unconverged at its cap of {limit}" if worst.davidson > limit else f", its cap is {limit}"
    return at_most("davidson", worst.davidson, limit, sentence)


def printed_count(text: DiceText, count: int) -> Check:
    last = text.last()
    if last is None:
        return not_made("printed_count", "the output has no table of iterations")
    sentence = f"dets.bin has {count} determinants, the output speaks of {last.determinants}"
    return Check("printed_count", last.determinants == count, sentence, count, last.determinants)


def printed_energy(text: DiceText, energy: float, root: int = 0) -> Check:
    """shci.e against the final table."""
    if root not in text.energies:
        return not_made("printed_energy", "the output has no table of final energies")
    gap = abs(text.energies[root] - energy)
    sentence = f"shci.e says {energy:.10f}, the output {text.energies[root]:.10f} Hartree"
    return at_most("printed_energy", gap, PRINTED_LIMIT, sentence)


def iteration_energy(text: DiceText, energy: float, root: int = 0) -> Check:
    """shci.e against the last iteration, which is followed by one tighter diagonalization of the same matrix."""
    last = text.last(root)
    if last is None:
        return not_made("iteration_energy", "the output has no table of iterations")
    sentence = f"the energy is {energy:.10f}, that of the last iteration was {last.energy:.10f} Hartree"
    return at_most("iteration_energy", abs(last.energy - energy), LOOSE_LIMIT, sentence)


def printed_determinants(printed: Sequence[tuple[float, str]], found: dict[str, float]) -> Check:
    """The largest coefficients that Dice prints, up to a common sign."""
    if not printed:
        return not_made("printed_determinants", "the output lists no determinants")
    unknown = next((orbitals for _, orbitals in printed if orbitals not in found), None)
    if unknown is not None:
        return Check(
            "printed_determinants", False, f"determinant {unknown} of the output is not that large in dets.bin"
        )
    pairs = np.array([(value, found[orbitals]) for value, orbitals in printed])
    gap = float(min(np.abs(pairs[:, 0] - sign * pairs[:, 1]).max() for sign in (1, -1)))
    sentence = f"printed coefficients differ by {gap:.1e} from those of dets.bin"
    return at_most("printed_determinants", gap, PRINTED_LIMIT, sentence)


def root_bounds(energies: Sequence[float], bounds: Sequence[float]) -> Check:
    """No root is above the same root among some of the determinants, or a lower state was missed."""
    above, root = max((energy - bound, root) for root, (energy, bound) in enumerate(zip(energies, bounds, strict=False)))
    sentence = f"root {root} lies {above:.1e} Hartree above the same root among the lowest determinants alone"
    return at_most("variational_bound", above, ENERGY_LIMIT * max(1.0, abs(energies[root])), sentence)


def expectation(energy: float, recomputed: float) -> Check:
    gap = abs(energy - recomputed)
    sentence = f"<psi|H|psi> of the determinants is {recomputed:.10f}, the energy says {energy:.10f} Hartree"
    return at_most("expectation", gap, ENERGY_LIMIT * max(1.0, abs(energy)), sentence)


def residual(size: float, tolerance: float) -> Check:
    limit = max(1e-4, 20 * tolerance)
    sentence = f"the residual |H psi - E psi| is {size:.1e}; an eigenstate has at most {limit:g}"
    return at_most("residual", size, limit, sentence)


def local_energy(energy: float, rows: Sequence[tuple[float, float]], tolerance: float) -> Check:
    """A residual that is small as a whole is small in each row. `rows`: coefficients, the largest, and rows of H c."""
    limit = max(1e-4, 20 * tolerance)
    worst, seen = max(
        ((abs(image - energy * c), image / c if c else math.nan) for c, image in rows), key=_size
    )
    sentence = f"a leading determinant sees an energy of {seen:.8f} Hartree, shci.e says {energy:.8f}"
    return at_most("local_energy", worst, limit, sentence)


def sampled_residual(energy: float, rows: Sequence[tuple[float, float]], count: int) -> Check:
    """The residual as random rows of all `count` let it be estimated. `rows`: coefficients, and rows of H c.

    The limit is far above the residual of an eigenstate, which may lie in a few rows: a small one says nothing against it.
    """
    square = sum((image - energy * coefficient) ** 2 for coefficient, image in rows) / len(rows)
    size = math.sqrt(square * count)
    sentence = f"|H psi - E psi| is about {size:.1e} by {len(rows)} random rows; a diverged state has far more than 0.01"
    return at_most("sampled_residual", size, SAMPLED_LIMIT, sentence)


def _size(row: tuple[float, float]) -> float:
    """What is no number is the worst."""
    return row[0] if math.isfinite(row[0]) else math.inf
