"""One tree of errors. Each says what happened, in whose words, where, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class HPCError(Exception):
    """Anything that goes wrong between asking for a job and having its result.

    Example:
        try:
            hpc.run(Command("too-slow"), profile="small")
        except HPCError as error:
            print(error.message, error.advice, error.work_dir)
    """

    def __init__(self, message: str, *, advice: str = "", work_dir: str | None = None) -> None:
        self.message = message
        self.advice = advice
        self.work_dir = work_dir
        parts = [message]
        if work_dir:
            parts.append(f"Work directory: {work_dir}")
        if advice:
            parts.append(f"What to do: {advice}")
        super().__init__("\n".join(parts))


class ConfigurationError(HPCError):
    """The request itself is wrong; found before anything was submitted. Lists every fault, not the first only.

    Example:
        try:
            hpc.run(Command("bitcount"), profile="small", overrides={"walltime": "soon", "memory_per_node": "much"})
        except ConfigurationError as error:
            assert len(error.faults) == 2
    """

    def __init__(self, faults: str | Sequence[str], *, advice: str = "", work_dir: str | None = None) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        text = self.faults[0] if len(self.faults) == 1 else "\n".join(f"- {fault}" for fault in self.faults)
        super().__init__(text, advice=advice, work_dir=work_dir)


class SubmitRefused(HPCError):
    """The scheduler read the request and said no. Trying again without a change gives the same answer.

    Example:
        try:
            hpc.run(Command("refused"), profile="small")
        except SubmitRefused as error:
            print(error.message)  # the scheduler's own words
    """


class SchedulerUnavailable(HPCError):
    """The scheduler could not be asked, or its answer was lost. Nothing is known to have changed.

    Example:
        try:
            handle = hpc.submit(Command("bitcount"), profile="small", key="today")
        except SchedulerUnavailable:
            handle = hpc.submit(Command("bitcount"), profile="small", key="today")  # joins it if it was taken after all
    """


class CapacityReached(SchedulerUnavailable):
    """The scheduler takes no more jobs of this user just now; later it will."""


class LedgerError(HPCError):
    """The durable table of jobs cannot be used as it stands.

    Example:
        try:
            jobs = hpc.jobs(live=True)
        except LedgerError as error:
            print(error.advice)
    """


class LedgerUnavailable(LedgerError):
    """The database did not answer just now. Nothing is known to have changed, and asking again is safe."""


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint for a mistyped name: the nearest known one, or all of them when none is near."""
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are: {', '.join(sorted(known))}" if known else "it is empty"
