"""Questions that an answer is asked, and those that every solver's answer can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dagster_hpc.engine.errors import HPCError

ENERGY_LIMIT = 1e-9  # of the larger of the energy and one Hartree


@dataclass(frozen=True)
class Check:
    """One question about an answer. `passed` is None where it could not be asked.

    Example:
        result = dice.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        assert all(isinstance(check, Check) and check.passed is not False for check in result.checks)
        print([(check.name, check.value, check.limit) for check in result.checks])
    """

    name: str
    passed: bool | None
    sentence: str
    value: float | None = None
    limit: float | None = None


class AnswerInvalid(HPCError):
    """A solver left an answer that contradicts itself or its inputs. `failed` says which checks, by how much, and where.

    Example:
        check = Check("electrons", passed=False, sentence="the occupancies sum up to 1.9; there are 2 electrons")
        try:
            raise AnswerInvalid([check], "/scratch/me/job")  # in `read` of a solver
        except AnswerInvalid as error:
            assert error.names == ("electrons",)
    """

    summary = "the solver's answer is not to be believed"

    def __init__(self, checks: Sequence[Check], work_dir: str, *, advice: str = "") -> None:
        self.checks = tuple(checks)
        self.failed = tuple(check for check in checks if check.passed is False)
        self.names = tuple(check.name for check in self.failed)
        lines = "\n".join(f"- {check.name}: {check.sentence}" for check in self.failed)
        super().__init__(f"{self.summary}:\n{lines}", advice=advice or self.default_advice, work_dir=work_dir)

    @property
    def default_advice(self) -> str:
        """What to do, as far as the checks alone can tell."""
        return "read the files in the work directory."

    @property
    def inputs_at_fault(self) -> bool:
        """The input files themselves are wrong: no solver will do better with them."""
        return any(name.startswith("input_") for name in self.names)

    @property
    def retryable(self) -> bool:
        """The same run may well go right when it is started again."""
        return not self.inputs_at_fault


class NoAnswer(HPCError):
    """A solver ended without an answer, and says why.

    Example:
        solver = DiceSolver(hpc=hpc, executable="narrow-dice", fallback=False)
        try:
            solver.solve((strings, strings), one_body, two_body, norb=10, nelec=(1, 1))
        except NoAnswer as error:
            print(error.message, error.advice, error.work_dir)
    """

    retryable = False  # the same input may well work when tried again
    inputs_at_fault = False  # no solver will do better with these inputs, or in this set-up


def at_most(name: str, value: float, limit: float, sentence: str) -> Check:
    """Passes below the limit; a value that is no number never does."""
    return Check(name, bool(value <= limit), sentence, float(value), float(limit))


def not_made(name: str, why: str) -> Check:
    return Check(name, None, why)


def files(missing: Sequence[str]) -> Check:
    sentence = f"missing: {', '.join(missing)}" if missing else "all files are there"
    return Check("files", not missing, sentence, len(missing), 0)


def variational_bound(energy: float, lowest: float) -> Check:
    sentence = f"the energy {energy:.10f} lies {energy - lowest:.1e} Hartree above the lowest single determinant"
    return at_most("variational_bound", energy - lowest, ENERGY_LIMIT * max(1.0, abs(energy)), sentence)


def parent_bound(energy: float, parent: float) -> Check:
    sentence = f"the energy {energy:.10f} lies {energy - parent:.1e} Hartree above that of a subspace of this one"
    return at_most("parent_bound", energy - parent, ENERGY_LIMIT * max(1.0, abs(energy)), sentence)
