"""What finds a job again, and the error of a wait that ended before the job."""

from __future__ import annotations

from dataclasses import dataclass

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job.state import JobState


@dataclass(frozen=True)
class JobHandle:
    """What is needed to find a job again, from any process that sees the same ledger.

    Example:
        handle: JobHandle = hpc.submit(Command("bitcount"), profile="small")
        print(handle.job_id, handle.work_dir)
        result = hpc.wait(handle)
    """

    token: str
    job_id: str | None
    work_dir: str
    target: str
    name: str = ""
    joined: bool = False  # a job that was already there has been taken over instead of submitting another

    def __str__(self) -> str:
        return f"{self.name} (job {self.job_id or 'not yet known'} on {self.target}, token {self.token})"


class WaitTimeout(HPCError):
    """The caller's patience ended, not the job: it lives on and `handle` finds it again.

    Example:
        try:
            hpc.run(Command("endless"), profile="small", timeout=60)
        except WaitTimeout as error:
            hpc.cancel(error.handle)
    """

    def __init__(self, handle: JobHandle, state: JobState, seconds: float) -> None:
        self.handle = handle
        self.state = state
        super().__init__(
            f"{handle} is still {state} after {seconds:g} s; the wait was given up, the job was not.",
            advice=f"wait again with the handle in this error, or see `dagster-hpc show {handle.token}`.",
            work_dir=handle.work_dir,
        )
