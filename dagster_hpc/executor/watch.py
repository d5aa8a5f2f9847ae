"""The jobs of one run's steps, as the run worker watches them: one look at the ledger and the scheduler for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from dagster_hpc.engine.clock import SYSTEM_CLOCK
from dagster_hpc.engine.errors import HPCError, LedgerUnavailable
from dagster_hpc.engine.job import JobResult, JobState, Request, WaitTimeout, failure_of
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.runner import Runner
from dagster_hpc.resources.job_runner import HPCJobRunner

_ONE_LOOK_S = 0.5  # Dagster asks after one step after the other: all of them are answered by one look
_SUBMIT_S = 10.0  # a submission that takes longer goes on in the background
_POLL_S = 5.0  # a scheduler that is slower answers the next look
_LAST_WORDS_S = 5.0  # the last event of a step may be seen a little after its job has ended badly
_LAST_FIGURES_S = 15.0  # the jobs of the last steps end a little after these, and so does their account

Tell = Callable[[str, JobResult | None], None]  # into the event log: a sentence, with the result of a job that is over


@dataclass
class Watched:
    """The job of one attempt at a step. `tell` writes into the event log, under the step."""

    step_key: str
    identity: str
    tell: Tell
    is_submitted: bool = True  # False: that is under way
    refusal: str = ""  # why it was not submitted
    row: JobRow | None = None
    told: tuple[JobState, str] | None = None
    over_since: float | None = None
    result: JobResult | None = None
    reported: bool = False  # the step itself has said how it ended


class JobWatch:
    """What became of the jobs, and what is to be told of it."""

    def __init__(self, hpc: HPCJobRunner, clock: Callable[[], float] = time.monotonic) -> None:
        self._hpc, self._clock = hpc, clock
        self._jobs: dict[str, Watched] = {}  # by their identities
        self._looked_at = -_ONE_LOOK_S

    def submit(self, key: str, identity: str, tell: Tell, request: Callable[[], Request]) -> JobRow | None:
        """Submit the job of a step, unless it is there already. None while the scheduler does not answer, or if it refuses.

        A submission that takes long goes on by itself: the other steps, and whoever terminates the run, do not wait for it.
        """
        job = self._jobs[identity] = Watched(key, identity, tell, is_submitted=False)
        engine = self._hpc._engine()

        def submit() -> None:
            try:
                if identity not in engine.latest([identity]):
                    engine.submit(request())
                job.row = engine.latest([identity]).get(identity)
            except HPCError as error:
                job.refusal = str(error)
            finally:
                job.is_submitted = True  # or it never will be

        SYSTEM_CLOCK.within(_SUBMIT_S, submit)
        return job.row

    def join(self, key: str, identity: str, tell: Tell) -> bool:
        """Go on with the job that an earlier process has submitted for this step; False if there is none."""
        self._jobs[identity] = Watched(key, identity, tell)
        self._look(at_once=True)
        return self._jobs[identity].row is not None

    def knows(self, identity: str) -> bool:
        return identity in self._jobs

    def trouble(self, identity: str) -> str:
        """Why this step, which has not reported its end, will never do so; '' while it may."""
        self._look()
        job = self._jobs[identity]
        if not job.is_submitted:
            return ""
        if job.row is None or (job.refusal and job.row.is_over):
            return job.refusal or "the ledger has no job of this step: somebody has removed it, or it never came to be."
        if job.result is None or job.over_since is None:
            return ""
        over_s, engine = self._clock() - job.over_since, self._hpc._engine()
        if not job.result.succeeded:
            return str(failure_of(job.result)) if over_s >= _LAST_WORDS_S else ""
        return _silent(job.result) if over_s >= engine.target.patience.file_delay_s else ""

    def has_reported(self, key: str) -> None:
        """The step has told Dagster how it ended; of its job only the figures are still to come, and no further attempt."""
        for job in self._jobs.values():
            if job.step_key == key and not job.reported:
                job.reported = True
                if job.row is not None:
                    with suppress(LedgerUnavailable):
                        self._hpc._engine().ledger.observations.close(job.row)

    def cancel(self) -> str:
        """Cancel all jobs that are not over, by one command; what became of that."""
        engine = self._hpc._engine()
        self._read(engine.latest)
        live = [job.row for job in self._jobs.values() if job.row is not None and not job.row.is_over]
        self._jobs.clear()
        if not live:
            return ""
        try:
            gone = engine.cancel([row.handle() for row in live])
        except HPCError as error:
            return f"the jobs of {len(live)} steps are to be cancelled, but {error}"
        seen = "were cancelled" if gone else "were told to end, and have not been seen to end yet"
        return f"the jobs of {len(live)} steps {seen}"

    def finish(self) -> None:
        """Tell what the jobs of the last steps have cost, if that comes soon. The ledger has it in any case."""
        open_jobs = [job for job in self._jobs.values() if job.row is not None and job.result is None]
        handles = [job.row.handle() for job in open_jobs if job.row is not None]
        with suppress(WaitTimeout):
            for result in self._hpc._engine().as_completed(handles, timeout_s=_LAST_FIGURES_S):
                self._is_over(open_jobs[result.index or 0], result)

    def _look(self, *, at_once: bool = False) -> None:
        """Ask the scheduler if that is due, read all rows, and tell what is new."""
        if not at_once and self._clock() - self._looked_at < _ONE_LOOK_S:
            return
        engine = self._hpc.polled(_POLL_S)
        try:
            self._read(engine.ledger.latest)
        except LedgerUnavailable:
            return  # a ledger that is silent changes nothing
        for job in list(self._jobs.values()):
            self._take_in(job, engine)
            if job.reported and (job.result is not None or job.row is None):
                del self._jobs[job.identity]
        self._looked_at = self._clock()

    def _read(self, latest: Callable[[list[str]], dict[str, JobRow]]) -> None:
        rows = latest([job.identity for job in self._jobs.values() if job.result is None])
        for job in self._jobs.values():
            if job.result is None:
                job.row = rows.get(job.identity)

    def _take_in(self, job: Watched, engine: Runner) -> None:
        row = job.row
        if row is None or job.result is not None:
            return
        if row.is_over:
            self._is_over(job, engine.wait([row.handle()])[0])
        elif row.state is not JobState.SUBMITTING and job.told != (row.state, row.reason):
            job.told = (row.state, row.reason)
            job.tell(f"job {row.job_id or row.token}: {row.state}{f', {row.reason}' if row.reason else ''}", None)

    def _is_over(self, job: Watched, result: JobResult) -> None:
        job.result, job.over_since = result, self._clock()
        job.tell(_sentence(result), result)


def _sentence(result: JobResult) -> str:
    """How a job ended and what it cost, in the words of a person who looks at the run's log."""
    figures = result.metrics
    words = f"{result.handle} ended as {result.state}"
    if figures.elapsed_s is not None:
        words += f" after {figures.elapsed_s:.0f} s"
    if figures.node_list:
        words += f" on {figures.node_list}"
    if figures.queue_wait_s is not None:
        words += f"; it had waited {figures.queue_wait_s:.0f} s in the queue"
    return words


def _silent(result: JobResult) -> str:
    """A job that ended well, while its step is still under way for all that Dagster knows."""
    words = (
        f"{result.handle} ended well, but its step has not reported that in Dagster's event log. Can the compute nodes "
        f"reach the storage of this instance? See `dagster-hpc doctor`. Its directory is {result.handle.work_dir}."
    )
    return f"{words}\nLast lines of stderr:\n{result.stderr_tail[-2000:]}" if result.stderr_tail.strip() else words
