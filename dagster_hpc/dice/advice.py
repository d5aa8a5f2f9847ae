"""What to do about a subspace that Dice gave no answer for: decided where all attempts and the isolation are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dagster_hpc.dice.output_text import READS_OTHER_STRINGS, DiceCrashed
from dagster_hpc.dice.validation import DiceResultInvalid

if TYPE_CHECKING:
    from dagster_hpc.dice.job_script import Isolation
    from dagster_hpc.engine.errors import HPCError

COLLISION = (
    "keep Dice runs on a node apart: two that start in the same second overwrite each other's memory. isolation='private' "
    "gives each a /dev/shm of its own, and so do exclusive nodes."
)
_CAREFUL = 1e-7  # residual that Dice reaches without effort


def advised(errors: Sequence[HPCError], *, isolation: Isolation, tolerance: float) -> HPCError:
    """The last error of these attempts, with the advice that fits all of them."""
    last = errors[-1]
    if isinstance(last, DiceResultInvalid) and last.retryable:
        return DiceResultInvalid(last.checks, last.work_dir or "", advice=_about(errors, isolation, tolerance))
    if isinstance(last, DiceCrashed):
        advice = COLLISION if isolation != "private" else f"{_times(errors)}: try it on one rank, or another build of Dice."
        return DiceCrashed(last.words, advice=advice, work_dir=last.work_dir)
    return last


def _about(errors: Sequence[HPCError], isolation: Isolation, tolerance: float) -> str:
    """Of an answer that contradicts itself."""
    rejected = [error for error in errors if isinstance(error, DiceResultInvalid)]
    sentences = [_sentence(error, "determinants") for error in rejected]
    if sentences[-1] and (isolation == "private" or (len(sentences) > 1 and len(set(sentences)) == 1)):
        return READS_OTHER_STRINGS  # by chance it would not lose the same determinants each time
    if isolation != "private":
        return COLLISION
    if "norm" in rejected[-1].names and tolerance < _CAREFUL:
        return f"leave davidson_tol at its default: Dice's Davidson may diverge on the way to {tolerance:g}."
    return (
        f"{_times(errors)}: Dice does not solve this subspace, as happens to few or hardly connected determinants. Let the "
        "embedded solver do it (fallback=True, or EmbeddedSolver), or add determinants."
    )


def _sentence(error: DiceResultInvalid, name: str) -> str:
    return next((check.sentence for check in error.failed if check.name == name), "")


def _times(errors: Sequence[HPCError]) -> str:
    return "it was tried once" if len(errors) == 1 else f"it went wrong {len(errors)} times, with nobody else in its memory"
