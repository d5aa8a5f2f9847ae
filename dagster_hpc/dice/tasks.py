"""One call of the solver: what all its jobs have in common, each subspace on its way, and the answer in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dagster_hpc.dice.output_text import DiceFailed
from dagster_hpc.dice.validation import DiceResultInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dagster_hpc.dice.hamiltonian import Integrals
    from dagster_hpc.dice.result import DiceResult
    from dagster_hpc.engine.errors import HPCError
    from dagster_hpc.engine.job import JobResult, Reuse
    from dagster_hpc.resources.step import Context

Strings: TypeAlias = "Sequence[int] | NDArray[Any]"
Subspace: TypeAlias = "tuple[Strings, Strings]"


@dataclass(frozen=True)
class DiceRun:
    """An answer, and what it took: all jobs in their order, the last of which gave it."""

    result: DiceResult
    jobs: tuple[JobResult, ...]
    solver: Literal["dice", "embedded"]
    problems: tuple[str, ...] = ()  # why earlier answers were not believed


@dataclass
class Task:
    """One subspace on its way."""

    strings: Subspace
    files: dict[str, bytes]
    parent_energy: float | None
    jobs: list[JobResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    run: DiceRun | None = None
    error: HPCError | None = None
    is_lost: bool = False  # Dice died without a word, as it does when its ranks miss each other's shared memory

    @property
    def failed_by_chance(self) -> bool:
        """Whether the same run may well go right when it is started again."""
        error = self.error
        return error is not None and (
            self.is_lost or (isinstance(error, (DiceResultInvalid, DiceFailed)) and error.retryable)
        )


@dataclass(frozen=True)
class Asking:
    """What is common to all jobs of one call."""

    norb: int
    nelec: tuple[int, int]
    integrals: Integrals
    fcidump: str
    context: Context | None
    profile: str
    args: Sequence[str]
    overrides: Mapping[str, Any]
    key: str | None
    timeout: float | None
    reuse: Reuse | None
