"""What a test lets become of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.job import JobMetrics, JobState
from dagster_hpc.python_calls.outcome import left_by
from dagster_hpc.resources.command import InputFile
from dagster_hpc.testing.submitted import Submitted

if TYPE_CHECKING:
    from dagster_pipes import PipesContext

PlayedState = Literal[
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OOM", "NODE_FAIL", "PREEMPTED", "LOST", "PENDING", "HELD", "RUNNING",
    "SUSPENDED",
]  # fmt: skip
_PLAYED = (
    JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.TIMEOUT, JobState.OOM, JobState.NODE_FAIL,
    JobState.PREEMPTED, JobState.LOST, JobState.PENDING, JobState.HELD, JobState.RUNNING, JobState.SUSPENDED,
)  # fmt: skip
NO_CALL = object()  # the value of a play that is no call: None is one that a function may return


@dataclass(frozen=True, kw_only=True)
class Play:
    """What becomes of a job: the files that it leaves, what it prints, how it ends. By default it ends well at once.

    `outputs`: the files that it leaves, by their name among the asset's `outputs` or by relative path → text, bytes or a
    path. A declared output that is not played is missing, as in production.
    `stdout`, `stderr`: what it prints.
    `exit_code`: of its program; another one than 0 is a failure.
    `state`: how it ends, where that is done to it: TIMEOUT, OOM, NODE_FAIL, PREEMPTED, CANCELLED, LOST. A job that is
    PENDING, HELD, RUNNING or SUSPENDED stays so until `PlayedRunner.end` ends it.
    `reason`: the scheduler's words beside the state.
    `metrics`: what the job cost, as far as the test cares.
    `refused`: the words with which the scheduler refuses the job.
    `returns`, `raises`: what comes of the function, where the job is a call or an `hpc_python_asset`.
    `pipes`: what its program does with Dagster Pipes, where `PipesHPCClient` runs it.

    Example:
        Play(outputs={"counts.json": '{"01": 3}'}, stdout="read 3 lines")
        Play(state="TIMEOUT", stderr="step 17 of 20", metrics=JobMetrics(elapsed_s=3600))
        Play(returns=[1, 4, 9])
        Play(pipes=lambda pipes: pipes.report_asset_materialization(metadata={"energy": -1.1}))
    """

    outputs: Mapping[str, InputFile] = field(default_factory=dict)
    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    state: PlayedState | JobState | None = None
    reason: str = ""
    metrics: JobMetrics = field(default_factory=JobMetrics)
    refused: str = ""
    returns: Any = NO_CALL
    raises: Exception | None = None
    pipes: Callable[[PipesContext], object] | None = None

    def __post_init__(self) -> None:
        if self.state is not None and self.state not in _PLAYED:
            hint = did_you_mean(str(self.state), [str(state) for state in _PLAYED])
            raise ConfigurationError(f"a job cannot be played as {str(self.state)!r}: {hint}")

    @property
    def end(self) -> JobState:
        """The state that the job comes to."""
        if self.state is not None:
            return JobState(self.state)
        return JobState.FAILED if self.exit_code or self.raises else JobState.COMPLETED

    @property
    def files(self) -> Mapping[str, InputFile]:
        """All files that it leaves, those of a call among them."""
        if self.raises is not None:
            return {**self.outputs, **left_by(error=self.raises)}
        return self.outputs if self.returns is NO_CALL else {**self.outputs, **left_by(value=self.returns)}


Player = Play | Callable[[Submitted], Play]
