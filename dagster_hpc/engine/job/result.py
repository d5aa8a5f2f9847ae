"""A job that has ended, and the error that it is if it ended badly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job.handle import JobHandle
from dagster_hpc.engine.job.metrics import JobMetrics
from dagster_hpc.engine.job.state import JobState

_WORDS = 20  # so many lines of stderr are in a message


@dataclass(frozen=True)
class Attempt:
    """One of the jobs that were submitted for one result: how it ended, and with what it was tried."""

    token: str
    job_id: str | None
    state: JobState
    reason: str
    exit_code: int | None
    walltime_s: int
    memory_per_node_mib: int | None
    metrics: JobMetrics
    directory: str  # of its script and its logs


@dataclass(frozen=True)
class JobResult:
    """A job that has ended, well or not.

    Example:
        def counted(result: JobResult) -> str:
            return Path(result.outputs["counts"]).read_text()

        counted(hpc.run(Command("bitcount"), profile="small", outputs={"counts": "counts.json"}))
    """

    handle: JobHandle
    state: JobState
    exit_code: int | None = None
    reason: str = ""
    missing: tuple[str, ...] = ()  # declared outputs that are not there
    metrics: JobMetrics = field(default_factory=JobMetrics)
    stdout_tail: str = ""
    stderr_tail: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)  # name → absolute path
    index: int | None = None  # its place in an array job
    script: str = ""
    queue: str = ""
    project: str = ""
    scheduler: str = ""
    attempts: tuple[Attempt, ...] = ()  # the chain that led to it, itself the last; () where there was but one

    @property
    def succeeded(self) -> bool:
        return self.state.is_success

    def raise_for_state(self) -> JobResult:
        """Return this result if the job ended well; raise the `JobFailed` that fits otherwise."""
        if not self.succeeded:
            raise failure_of(self)
        return self


class JobFailed(HPCError):
    """The job ended, and not well. `result` holds its state, metrics and logs.

    Example:
        try:
            hpc.run(Command("faulty"), profile="small")
        except JobFailed as error:
            assert error.result.exit_code == 3
    """

    default_advice = "read stderr.log in the work directory."

    def __init__(self, result: JobResult) -> None:
        self.result = result
        code = "" if result.exit_code is None else f" with exit code {result.exit_code}"
        message = f"{result.handle} ended as {result.state}{code}"
        message += f": {result.reason}." if result.reason else "."
        if result.attempts:
            before = ", ".join(str(attempt.state) for attempt in result.attempts[:-1])
            message += f"\nIt was attempt {len(result.attempts)}; before it: {before}."
        words = "\n".join(result.stderr_tail.splitlines()[-_WORDS:])
        if words:
            message += f"\nLast lines of stderr:\n{words}"
        advice = self.default_advice.replace("TOKEN", result.handle.token)
        super().__init__(message, advice=advice, work_dir=result.handle.work_dir)


class JobTimedOut(JobFailed):
    """It came to the end of its walltime.

    Example:
        try:
            hpc.run(Command("too-slow"), profile="small")
        except JobTimedOut:
            hpc.run(Command("too-slow"), profile="small", overrides={"walltime": "02:00:00"})
    """

    default_advice = "ask for a longer walltime (overrides={'walltime': …}), or make the job write checkpoints."


class JobOutOfMemory(JobFailed):
    """It used more memory than it had asked for.

    Example:
        try:
            hpc.run(Command("too-large"), profile="small")
        except JobOutOfMemory:
            hpc.run(Command("too-large"), profile="small", overrides={"memory_per_node": "64G"})
    """

    default_advice = "ask for more memory_per_node, or spread the job over more nodes."


class JobCancelled(JobFailed):
    """Somebody, or the site, has ended it.

    Example:
        try:
            hpc.run(Command("cancelled"), profile="small")
        except JobCancelled as error:
            print(error.result.reason)
    """

    default_advice = "find out who cancelled it and why; materialize again when that is settled."


class NodeFailed(JobFailed):
    """Its node died, or it had to make room for another job.

    Example:
        try:
            hpc.run(Command("unlucky"), profile="small")
        except NodeFailed:
            hpc.run(Command("unlucky"), profile="small")
    """

    default_advice = "run it again: the machine failed, not the job. Tell the site if it happens twice on one node."


class JobLost(JobFailed):
    """Neither queue nor accounting nor its own files know what became of it.

    Example:
        try:
            hpc.run(Command("lost"), profile="small")
        except JobLost as error:
            print(f"dagster-hpc release {error.result.handle.token}")
    """

    default_advice = (
        "nobody knows whether it ran: look at the scheduler's own records. It is alive again if it turns up; "
        "`dagster-hpc release TOKEN` lets the same work be submitted again."
    )


class OutputMissing(JobFailed):
    """It ended well, without the files that it was to leave.

    Example:
        try:
            hpc.run(Command("forgetful"), profile="small", outputs={"counts": "counts.json"})
        except OutputMissing as error:
            assert error.missing == ["counts (counts.json)"]
    """

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


def failure_of(result: JobResult) -> JobFailed:
    """The error that fits the way in which this job ended."""
    if result.missing:
        return OutputMissing(result, result.missing)
    return _BY_STATE.get(result.state.value, JobFailed)(result)


def advice_on(state: JobState, is_incomplete: bool = False) -> str:
    """What to do about such an end, with TOKEN for the job's own; `is_incomplete`: it left not all that it was to."""
    return OutputMissing.default_advice if is_incomplete else _BY_STATE.get(state.value, JobFailed).default_advice


def exit_words(code: int) -> str:
    """The reason of a job whose program ran to its end and said that all is not well."""
    return f"its program ended with exit code {code}"


def tail(text: str, lines: int) -> str:
    """The last lines of a text: where the error message stands."""
    return "\n".join(text.splitlines()[-lines:])
