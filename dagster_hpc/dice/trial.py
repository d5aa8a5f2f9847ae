"""The trial of a Dice: a run of a second that tells one that reads the files it is given from all those that do not.

Two alpha electrons and one beta electron in six orbitals, 15 alpha and 5 beta strings. A Dice that starts from one
determinant of its own, that takes the alpha strings for both spins, or that reads strings of another length cannot come out
right.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from dagster_hpc.dice.output_text import DiceOtherStrings, DiceTooManyOrbitals
from dagster_hpc.dice.validation import DiceResultInvalid
from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.subspace.problem import StringPair

    TrialCase: TypeAlias = tuple[StringPair, NDArray[np.float64], NDArray[np.float64], int, tuple[int, int]]


NARROW, WIDE = 8, 64  # orbitals: any Dice takes 63, one that was compiled for more takes 64
ENERGY = -4.4757058441038  # of all 75 determinants, with any number of orbitals
_WRONG_DICE = (
    "use a Dice that reads AlphaDets.bin and BetaDets.bin, each with 16 bytes per string, as qiskit-addon-dice-solver "
    "needs it. The stock Dice starts from the occupied orbitals of input.dat alone; others read strings of 5 bytes, or "
    "the alpha strings only."
)


class DiceTrial(NamedTuple):
    """What became of the trial. `reads_determinants` is None where no answer came to tell.

    Example:
        trial = DiceSolver(hpc=hpc, executable="dice_solver").try_out()
        assert isinstance(trial, DiceTrial) and trial.right
        print(trial.sentence, trial.most_orbitals)
    """

    sentence: str
    right: bool
    reads_determinants: bool | None
    advice: str = ""
    most_orbitals: int | None = None  # that this Dice takes; None: no limit was met


def trial_case(norb: int = WIDE) -> TrialCase:
    """What `DiceSolver.solve` takes. The six orbitals are the first and the last three; the others are out of reach."""
    import numpy as np

    places = (*range(3), *range(norb - 3, norb))
    one_body = np.diag(np.full(norb, 10.0))
    pairs = norb * (norb + 1) // 2
    two_body = np.zeros((pairs, pairs))
    for i, p in enumerate(places):
        for j, q in enumerate(places):
            one_body[p, q] = 0.4 * i - 2 if i == j else -0.3 / (1 + abs(i - j))
            two_body[_pair(p, p), _pair(q, q)] = 1 / (1.5 + abs(i - j))
            if i != j:
                two_body[_pair(p, q), _pair(p, q)] = 0.05 / abs(i - j)
    alpha = [1 << p | 1 << q for p, q in combinations(places, 2)]
    beta = [1 << p for p in places[:5]]
    return (alpha, beta), one_body, two_body, norb, (2, 1)


def _pair(p: int, q: int) -> int:
    high, low = max(p, q), min(p, q)
    return high * (high + 1) // 2 + low


def try_dice(ask: Callable[[TrialCase], DiceResult | Exception]) -> DiceTrial:
    """What the answers, or the errors in their place, say of the solver behind `ask`."""
    wide = ask(trial_case(WIDE))
    if not isinstance(wide, DiceTooManyOrbitals):
        return _judged(wide, None)
    return _judged(ask(trial_case(NARROW)), WIDE - 1)


def _judged(answer: DiceResult | Exception, most_orbitals: int | None) -> DiceTrial:
    if isinstance(answer, DiceOtherStrings):
        sentence = (
            f"it does not read the strings that it is given, which have the right electrons: it says {answer.words!r}"
        )
        return DiceTrial(sentence, False, False, _WRONG_DICE, most_orbitals)
    if isinstance(answer, DiceResultInvalid) and "determinants" in answer.names:
        found = next(check.sentence for check in answer.failed if check.name == "determinants")
        sentence = f"it ignores the determinants that it is given: {found}"
        return DiceTrial(sentence, False, False, _WRONG_DICE, most_orbitals)
    if isinstance(answer, HPCError):
        return DiceTrial(answer.message.replace("\n", " "), False, None, answer.advice, most_orbitals)
    if isinstance(answer, Exception):
        return DiceTrial(str(answer).replace("\n", " "), False, None, "", most_orbitals)
    gap = abs(answer.energy - ENERGY)
    if gap > 1e-7:
        sentence = f"its energy of the trial case is off by {gap:.1e} Hartree"
        return DiceTrial(sentence, False, True, "compile Dice again.", most_orbitals)
    reach = f"{WIDE} orbitals and more" if most_orbitals is None else f"up to {most_orbitals} orbitals"
    return DiceTrial(
        f"it reads determinant files and solves the trial case rightly; it takes {reach}",
        True,
        True,
        most_orbitals=most_orbitals,
    )
