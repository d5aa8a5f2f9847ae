"""Is SBD's answer to be believed? Without a state, as far as its energy, its occupancies and its strings can tell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dagster_hpc.electrons.determinants import bits_of, integers_of, popcounts, sorted_unique
from dagster_hpc.electrons.hamiltonian import diagonal_energies
from dagster_hpc.electrons.space import DeterminantSpace
from dagster_hpc.engine.script import STDERR, STDOUT
from dagster_hpc.sbd.files import CARRYOVER, SBDText, failure_in, occupancies, parse_output, read_string_lines
from dagster_hpc.subspace import checks as check
from dagster_hpc.subspace.checks import AnswerInvalid, Check, at_most
from dagster_hpc.subspace.result import StatelessResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.electrons.determinants import Words
    from dagster_hpc.subspace.problem import Problem

ELECTRONS_LIMIT = 1e-6
PRINTED_LIMIT = 1e-7  # Hartree, between the last step of Davidson and <psi|H|psi>


class SBDResultInvalid(AnswerInvalid):
    """SBD left an answer that contradicts itself, or that its Davidson had not finished.

    Example:
        old = SBDSolver(hpc=hpc, executable="rounding-sbd")  # it rounds the integrals
        try:
            old.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        except SBDResultInvalid as error:
            print(error.names, error.advice)
    """

    summary = "SBD's answer is not to be believed"

    @property
    def default_advice(self) -> str:
        if self.inputs_at_fault:
            return (
                "use SBD 1.3.0 or newer: older ones, and forks of them, round the integrals to six digits. "
                "SBDSolver(integrals_tol=1e-3) accepts their energies."
            )
        if "davidson" in self.names:
            return "allow more restarts (max_restarts), a larger `block`, or a less tight `tolerance`."
        return "run it again, or solve this subspace with the embedded solver."

    @property
    def inputs_at_fault(self) -> bool:
        """SBD calculates with other integrals: no other start helps, and another solver would hide it."""
        return "first_determinant" in self.names

    @property
    def retryable(self) -> bool:
        return "davidson" not in self.names and not self.inputs_at_fault


def read_answer(
    folder: Path,
    problem: Problem,
    strings: Words,
    *,
    tolerance: float,
    integrals_tol: float,
    parent_energy: float | None,
) -> StatelessResult:
    """What SBD printed and wrote for these strings, after all checks."""
    said = _text(folder / STDOUT)
    text, path = parse_output(said), folder / CARRYOVER
    if text.energy is None and (failure := failure_in(said + _text(folder / STDERR), str(folder))):
        raise failure
    there = {"its energy": text.energy is not None, "its density": bool(text.density), CARRYOVER: path.is_file()}
    missing = [name for name, is_there in there.items() if not is_there]
    if text.energy is None or missing:
        raise SBDResultInvalid([check.files(missing)], str(folder))
    carried = read_string_lines(path.read_text(errors="replace"), problem.norb)
    energies = closed_shells(strings, problem)
    made = [
        check.files([]),
        *_of_energy(text, text.energy, tolerance),
        _of_first_step(text, float(energies[0]), integrals_tol),
        _of_density(text.density, problem),
        *_of_carryover(carried, strings, problem.nelec[0]),
        check.variational_bound(text.energy, float(energies.min()) + integrals_tol),
    ]
    if parent_energy is not None:
        made.append(check.parent_bound(text.energy, parent_energy))
    if carried is None or any(one.passed is False for one in made):
        raise SBDResultInvalid(made, str(folder))
    kept = integers_of(carried, problem.norb)
    return StatelessResult(
        text.energy, occupancies(text.density), (kept, kept.copy()), len(strings) ** 2, checks=tuple(made)
    )


def closed_shells(strings: Words, problem: Problem) -> NDArray[np.float64]:
    """The energies of the determinants with the same string for both spins."""
    bits = bits_of(strings, problem.norb).astype(bool)
    each = np.arange(len(strings))
    energies = diagonal_energies(DeterminantSpace(bits, bits, each, each), problem.integrals)
    return np.asarray(energies + problem.integrals.core_energy)


def _of_first_step(text: SBDText, energy: float, limit: float) -> Check:
    """SBD starts from the first determinant, and so tells with which integrals it calculates."""
    if not text.steps:
        return check.not_made("first_determinant", "its output tells no steps of Davidson")
    sentence = f"SBD's energy of the first determinant is {text.steps[0][1]:.10f}, by the integrals {energy:.10f} Hartree"
    return at_most("first_determinant", abs(text.steps[0][1] - energy), limit, sentence)


def _of_energy(text: SBDText, energy: float, tolerance: float) -> list[Check]:
    finite = Check("finite", math.isfinite(energy), f"the energy is {energy}")
    if not text.steps:
        return [finite, check.not_made("davidson", "its output tells no steps of Davidson")]
    residual, lowest = text.steps[-1]
    sentence = f"Davidson ended with a residual of {residual:.1e}; {tolerance:g} was asked for"
    said = f"<psi|H|psi> is {energy:.10f}, the last step of Davidson says {lowest:.10f} Hartree"
    return [
        finite,
        at_most("davidson", residual, tolerance, sentence),
        at_most("printed_energy", abs(energy - lowest), PRINTED_LIMIT * max(1.0, abs(energy)), said),
    ]


def _of_density(density: tuple[float, ...], problem: Problem) -> Check:
    values = np.array(density)
    electrons = sum(problem.nelec)
    if len(values) != problem.norb:
        return Check("electrons", False, f"there are occupancies of {len(values)} orbitals instead of {problem.norb}")
    outside = float(np.maximum(-values, values - 2).max())
    gap = max(abs(float(values.sum()) - electrons), outside)
    sentence = f"the occupancies sum up to {values.sum():.7f} electrons instead of {electrons}, each between 0 and 2"
    return at_most("electrons", gap if math.isfinite(gap) else math.inf, ELECTRONS_LIMIT * problem.norb, sentence)


def _of_carryover(carried: Words | None, strings: Words, electrons: int) -> list[Check]:
    if carried is None or not len(carried):
        return [Check("carryover", False, f"{CARRYOVER} holds no strings, or something else")]
    wrong = int((popcounts(carried) != electrons).sum())
    known = len(sorted_unique(np.concatenate([strings, carried]))) == len(strings)
    distinct = len(sorted_unique(carried))
    sentence = f"{len(carried)} strings to carry over, {distinct} of them different, {wrong} with other electrons"
    sentence += "" if known else "; some were not among those given"
    return [Check("carryover", not wrong and known and distinct == len(carried), sentence)]


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
