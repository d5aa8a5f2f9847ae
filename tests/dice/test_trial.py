"""Which Dice is it? Each wrong one is found out by the trial case, as a job; doctor does the same without one."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dagster_hpc import HPCJobRunner
from dagster_hpc.dice import DiceFailed, DiceSolver
from dagster_hpc.dice.files import DiceOptions, write_dice_inputs
from dagster_hpc.dice.output_text import DiceOtherStrings, DiceUnevenStrings, dice_failure
from dagster_hpc.dice.trial import ENERGY, NARROW, WIDE, DiceTrial, trial_case, try_dice
from tests.dice.golden import FOLDER
from tests.dice.stand_ins import ALPHA_ONLY, EMBEDDED, FIVE_BYTES, ONE_DETERMINANT, UP_TO_63
from tests.dice.test_solver import local_runner, problem, solver

if TYPE_CHECKING:
    from dagster_hpc.dice.trial import TrialCase

hpc = pytest.fixture(local_runner, name="hpc")


def test_a_dice_that_reads_determinants_is_told(hpc: HPCJobRunner) -> None:
    trial = DiceSolver(hpc=hpc).try_out()
    assert (trial.right, trial.reads_determinants, trial.most_orbitals) == (True, True, None)
    assert "64 orbitals and more" in trial.sentence


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (ONE_DETERMINANT, "ignores the determinants that it is given: 1 of the 75"),
        (ALPHA_ONLY, "not enough 1 bits 1  2"),
        (FIVE_BYTES, "not enough 1 bits 1  0"),
    ],
)
def test_a_dice_that_reads_something_else_is_found_out(
    hpc: HPCJobRunner, tmp_path: Path, script: str, words: str
) -> None:
    trial = solver(hpc, tmp_path, script).try_out()
    assert (trial.right, trial.reads_determinants) == (False, False)
    assert words in trial.sentence
    assert "16 bytes per string" in trial.advice


def test_how_many_orbitals_it_was_compiled_for(hpc: HPCJobRunner, tmp_path: Path) -> None:
    trial = solver(hpc, tmp_path, f"{UP_TO_63}\n{EMBEDDED}").try_out()
    assert (trial.right, trial.reads_determinants, trial.most_orbitals) == (True, True, 63)
    assert "up to 63 orbitals" in trial.sentence


def test_one_that_is_compiled_for_few_orbitals_and_reads_something_else_is_wrong(
    hpc: HPCJobRunner, tmp_path: Path
) -> None:
    trial = solver(hpc, tmp_path, f"{UP_TO_63}\n{FIVE_BYTES}").try_out()
    assert (trial.right, trial.reads_determinants, trial.most_orbitals) == (False, False, 63)


def test_a_dice_that_does_not_start_is_told(hpc: HPCJobRunner) -> None:
    trial = DiceSolver(hpc=hpc, executable="/apps/no/Dice", isolation="none").try_out()
    assert (trial.right, trial.reads_determinants) == (False, None)
    assert "No such file" in trial.sentence


def test_any_other_error_is_no_verdict() -> None:
    assert try_dice(lambda case: ValueError("no")) == DiceTrial("no", False, None)


# -- the case


def test_its_energy_is_that_of_a_dense_matrix() -> None:
    case = trial_case(NARROW)
    assert len(case[0][0]) * len(case[0][1]) == 75
    assert lowest(case) == pytest.approx(ENERGY, abs=1e-12)


def test_it_is_the_same_with_any_number_of_orbitals() -> None:
    (alpha, beta), one_body, two_body, norb, nelec = trial_case(WIDE)
    places = [0, 1, 2, 61, 62, 63]
    narrow = trial_case(NARROW)
    small = [0, 1, 2, 5, 6, 7]
    assert (norb, nelec) == (64, (2, 1))
    np.testing.assert_array_equal(one_body[np.ix_(places, places)], narrow[1][np.ix_(small, small)])
    np.testing.assert_array_equal(np.sort(two_body[two_body != 0]), np.sort(narrow[2][narrow[2] != 0]))
    assert max(alpha).bit_length() == 64
    assert len(beta) == 5


def lowest(case: TrialCase) -> float:
    """By operators on occupation numbers, without any of the product's code."""
    (alpha, beta), one_body, pairs, norb, _ = case

    def apply(where: int, state: int, *, create: bool) -> tuple[int, int]:
        if bool(state >> where & 1) is create:
            return 0, state
        return (-1) ** (state & ((1 << where) - 1)).bit_count(), state ^ 1 << where

    def moved(words: list[tuple[int, bool]], state: int) -> tuple[int, int]:
        sign = 1
        for where, create in words:
            factor, state = apply(where, state, create=create)
            sign *= factor
        return sign, state

    used = [p for p in range(norb) if one_body[p, p] != 10]
    states = [int(a) | int(b) << norb for a, b in product(alpha, beta)]
    place = {state: at for at, state in enumerate(states)}
    matrix = np.zeros((len(states), len(states)))

    def add(value: float, words: list[tuple[int, bool]]) -> None:
        for column, state in enumerate(states):
            sign, other = moved(words, state)
            if sign and other in place:
                matrix[place[other], column] += sign * value

    def pair(p: int, q: int) -> int:
        return max(p, q) * (max(p, q) + 1) // 2 + min(p, q)

    for p, q, s in product(used, used, (0, norb)):
        add(one_body[p, q], [(q + s, False), (p + s, True)])
    for p, q, r, t in product(used, repeat=4):
        value = pairs[pair(p, q), pair(r, t)]
        for s, z in product((0, norb), repeat=2):
            if value:
                add(value / 2, [(q + s, False), (t + z, False), (r + z, True), (p + s, True)])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    return float(np.linalg.eigvalsh(matrix)[0])


# -- in Dice's words


def test_right_strings_that_dice_finds_wrong_are_a_wrong_dice(tmp_path: Path) -> None:
    write_dice_inputs(tmp_path, [1, 2], [1, 2], norb=2, nelec=(1, 1), options=DiceOptions())
    assert isinstance(dice_failure("not enough 1 bits 1  0\n", tmp_path), DiceOtherStrings)


def test_wrong_strings_are_wrong_strings() -> None:
    folder = FOLDER / "_failures" / "wrong_popcount"
    assert type(dice_failure((folder / "dice.out").read_text(), folder)) is DiceUnevenStrings


def test_jobs_of_a_wrong_dice_are_told_to_use_another(hpc: HPCJobRunner, tmp_path: Path) -> None:
    with pytest.raises(DiceFailed) as caught:
        solver(hpc, tmp_path, FIVE_BYTES).solve(*problem("lih_sto3g"))
    assert "does not read the strings that it was given" in str(caught.value)
    assert "16 bytes per string" in caught.value.advice
