"""The H2 case: a run of a second that tells a Dice that reads determinant files from the stock one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dagster_hpc.dice.validation import DiceResultInvalid
from dagster_hpc.engine.errors import HPCError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.dice.tasks import Subspace


_ENERGY = -1.8523881735696  # all four determinants; -1.8319 is that of the lowest one alone
_STOCK = (
    "use a Dice that reads AlphaDets.bin and BetaDets.bin in 16 bytes per string, as qiskit-addon-dice-solver needs it: "
    "the stock Dice starts from the occupied orbitals of input.dat alone."
)


class DiceTrial(NamedTuple):
    """What became of the H2 case. `reads_determinants` is None where no answer came to tell."""

    sentence: str
    right: bool
    reads_determinants: bool | None
    advice: str = ""


def h2_case() -> tuple[Subspace, NDArray[np.float64], NDArray[np.float64], int, tuple[int, int]]:
    """H2 in STO-3G at 0.74 Angstrom: what `DiceSolver.solve` takes."""
    import numpy as np

    one_body = np.diag([-1.253309786645977, -0.4750688487721779])
    two_body = np.zeros((2, 2, 2, 2))
    two_body[0, 0, 0, 0], two_body[1, 1, 1, 1] = 0.6747559268144483, 0.6976515044904622
    two_body[0, 0, 1, 1] = two_body[1, 1, 0, 0] = 0.6637114013508136
    for place in ((0, 1, 0, 1), (0, 1, 1, 0), (1, 0, 0, 1), (1, 0, 1, 0)):
        two_body[place] = 0.181210462015197
    return ([1, 2], [1, 2]), one_body, two_body, 2, (1, 1)


def judge_h2(answer: DiceResult | Exception) -> DiceTrial:
    """What the answer to the H2 case, or the error in its place, says of the solver."""
    if isinstance(answer, DiceResultInvalid) and "determinants" in answer.names:
        return DiceTrial("it ignores the determinants that it is given", False, False, _STOCK)
    if isinstance(answer, HPCError):
        return DiceTrial(answer.message.replace("\n", " "), False, None, answer.advice)
    if isinstance(answer, Exception):
        return DiceTrial(str(answer).replace("\n", " "), False, None)
    gap = abs(answer.energy - _ENERGY)
    if gap > 1e-7:
        return DiceTrial(f"its energy of H2 is off by {gap:.1e} Hartree", False, True, "compile Dice again.")
    return DiceTrial("it reads determinant files and solves H2 rightly", True, True)
