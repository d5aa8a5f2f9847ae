"""One tree of errors. Each says what happened, in whose words, where, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster_hpc.engine.job import JobHandle, JobResult, JobState

_WORDS = 20  # so many lines of stderr are in a message


class HPCError(Exception):
    """Anything that goes wrong between asking for a job and having its result."""

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
    """The request itself is wrong; found before anything was submitted. Lists every fault, not the first only."""

    def __init__(self, faults: str | Sequence[str], *, advice: str = "", work_dir: str | None = None) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        text = self.faults[0] if len(self.faults) == 1 else "\n".join(f"- {fault}" for fault in self.faults)
        super().__init__(text, advice=advice, work_dir=work_dir)


class SubmitRefused(HPCError):
    """The scheduler read the request and said no. Trying again without a change gives the same answer."""


class SchedulerUnavailable(HPCError):
    """The scheduler could not be asked, or its answer was lost. Nothing is known to have changed."""


class CapacityReached(SchedulerUnavailable):
    """The scheduler takes no more jobs of this user just now; later it will."""


class LedgerError(HPCError):
    """The durable table of jobs cannot be used as it stands."""


class WaitTimeout(HPCError):
    """The caller's patience ended, not the job: it lives on and `handle` finds it again."""

    def __init__(self, handle: JobHandle, state: JobState, seconds: float) -> None:
        self.handle = handle
        self.state = state
        super().__init__(
            f"{handle} is still {state} after {seconds:g} s; the wait was given up, the job was not.",
            advice=f"wait again with the handle in this error, or see `dagster-hpc show {handle.token}`.",
            work_dir=handle.work_dir,
        )


class JobFailed(HPCError):
    """The job ended, and not well. `result` holds its state, metrics and logs."""

    default_advice = "read stderr.log in the work directory."

    def __init__(self, result: JobResult) -> None:
        self.result = result
        code = "" if result.exit_code is None else f" with exit code {result.exit_code}"
        message = f"{result.handle} ended as {result.state}{code}"
        message += f": {result.reason}." if result.reason else "."
        words = "\n".join(result.stderr_tail.splitlines()[-_WORDS:])
        if words:
            message += f"\nLast lines of stderr:\n{words}"
        super().__init__(message, advice=self.default_advice, work_dir=result.handle.work_dir)


class JobTimedOut(JobFailed):
    default_advice = "ask for a longer walltime (overrides={'walltime': …}), or make the job write checkpoints."


class JobOutOfMemory(JobFailed):
    default_advice = "ask for more memory_per_node, or spread the job over more nodes."


class JobCancelled(JobFailed):
    default_advice = "find out who cancelled it and why; materialize again when that is settled."


class NodeFailed(JobFailed):
    default_advice = "run it again: the machine failed, not the job. Tell the site if it happens twice on one node."


class JobLost(JobFailed):
    default_advice = "look at the scheduler's own records for this job before running it again."


class OutputMissing(JobFailed):
    default_advice = "check that the command writes these files below its working directory under these names."

    def __init__(self, result: JobResult, missing: Sequence[str]) -> None:
        self.missing = list(missing)
        super().__init__(result)


_BY_STATE: dict[str, type[JobFailed]] = {
    "TIMEOUT": JobTimedOut,
    "OOM": JobOutOfMemory,
    "CANCELLED": JobCancelled,
    "NODE_FAIL": NodeFailed,
    "PREEMPTED": NodeFailed,
    "LOST": JobLost,
}

OUTPUT_MISSING_REASON = "declared output missing: "


def failure_of(result: JobResult) -> JobFailed:
    """The error that fits the way in which this job ended."""
    if result.reason.startswith(OUTPUT_MISSING_REASON):
        return OutputMissing(result, result.reason.removeprefix(OUTPUT_MISSING_REASON).split(", "))
    return _BY_STATE.get(result.state.value, JobFailed)(result)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint for a mistyped name: the nearest known one, or all of them when none is near."""
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are: {', '.join(sorted(known))}" if known else "it is empty"
