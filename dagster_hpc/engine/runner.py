"""The verbs in order: submit, wait, collect, deliver; cancel; and report, where no run waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from dagster_hpc.engine.cancel import cancel
from dagster_hpc.engine.clock import SYSTEM_CLOCK, Clock
from dagster_hpc.engine.cluster import identified
from dagster_hpc.engine.collect import collect, printed
from dagster_hpc.engine.errors import HPCError, LedgerUnavailable, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobHandle, JobLost, JobResult, JobState, Request, WaitTimeout
from dagster_hpc.engine.ledger import JobRow, Ledger, Recipient
from dagster_hpc.engine.report import Addressee, Reported, report_all
from dagster_hpc.engine.submit.claim import Claimed, claim
from dagster_hpc.engine.submit.recover import send_all
from dagster_hpc.engine.target import Listener, Target
from dagster_hpc.engine.upkeep import Upkeep
from dagster_hpc.engine.wait import Waiter
from dagster_hpc.engine.workplace import Workplace

_ASK_AGAIN_S = 5.0
_LOOK_AGAIN_S = 0.5
_TAIL_BYTES = 16 * 1024


class Runner:
    """Runs jobs on one target. What it knows is in the ledger, so any number of them can share the work."""

    def __init__(
        self,
        target: Target,
        ledger: Ledger,
        listener: Listener | None = None,
        clock: Clock = SYSTEM_CLOCK,
        conceal: Callable[[str], str] = lambda printed: printed,
    ) -> None:
        self._work = Workplace(target, ledger, listener or Listener(), clock, conceal)
        self._identified = target.cluster != "" or target.scheduler.identify() is None
        self._upkeeps: dict[str, Upkeep] = {}

    @property
    def target(self) -> Target:
        """The target under its full name, if its cluster has been asked already."""
        return self._work.target

    @property
    def is_identified(self) -> bool:
        """Whether the target's full name is known: without it no job can be looked for."""
        return self._identified

    @property
    def ledger(self) -> Ledger:
        return self._work.ledger

    def identify(self, listener: Listener | None = None) -> Target:
        """The target under its full name, by which requests are told apart. Its cluster is asked once."""
        return self._place(listener).target

    def submit(self, request: Request, listener: Listener | None = None) -> list[JobHandle]:
        """Submit a job, or take over one that is the same. One handle for each element of an array.

        A job for which its target has no room waits in the ledger, and is submitted by whoever polls next.
        """
        return self.submit_all([request], listener)[0]

    def submit_all(self, requests: Sequence[Request], listener: Listener | None = None) -> list[list[JobHandle]]:
        """Submit several jobs, a few side by side where the target gains from it: all of them, or none goes on."""
        work = self._place(listener)
        claimed = [self._claim(request, work) for request in requests]
        try:
            send_all([rows for each in claimed for rows in each.to_send], work)
        except HPCError:
            if len(requests) > 1:
                with suppress(HPCError):
                    self.cancel([row.handle() for each in claimed for rows in each.to_send for row in rows])
            raise
        return [self._handles(each) for each in claimed]

    def wait(
        self,
        handles: Sequence[JobHandle],
        *,
        timeout_s: float | None = None,
        listener: Listener | None = None,
        recipient: Recipient | None = None,
    ) -> list[JobResult]:
        """The results of these jobs, however they ended. `WaitTimeout` when the caller's patience ends first.

        `recipient` is the Dagster step that gets them; without one they are delivered by being returned.
        """
        if not handles:
            return []
        tokens = [handle.token for handle in handles]
        with _patient(handles, timeout_s):
            work = self._place_of(tokens, listener, within_s=timeout_s)
            _await_what_is_owed(handles, work, recipient)
            rows = Waiter(work, self._upkeep(work)).wait(tokens, work.listener, timeout_s=timeout_s)
        return _results(rows, handles, work, recipient)

    def as_completed(
        self,
        handles: Sequence[JobHandle],
        *,
        timeout_s: float | None = None,
        listener: Listener | None = None,
        recipient: Recipient | None = None,
    ) -> Iterator[JobResult]:
        """The results of these jobs as they end, `index` the place of its handle; else as `wait`."""
        if not handles:
            return
        places = {handle.token: index for index, handle in enumerate(handles)}
        with _patient(handles, timeout_s):
            work = self._place_of(list(places), listener, within_s=timeout_s)
            _await_what_is_owed(handles, work, recipient)
            for ends in Waiter(work, self._upkeep(work)).ends(list(places), work.listener, timeout_s=timeout_s):
                asked = [handles[places[token]] for token, _ in ends]
                for handle, result in zip(asked, _results([row for _, row in ends], asked, work, recipient), strict=True):
                    yield replace(result, index=places[handle.token])

    def delivered(self, handles: Sequence[JobHandle]) -> None:
        """These results are with those who asked, for good: the same work asked for again is new work."""
        self._work.clock.point("deliver: before it is for good")
        tokens = [handle.token for handle in handles]
        self._work.insist(lambda: self._work.ledger.deliveries.returned(tokens, None))

    def cancel(self, handles: Sequence[JobHandle]) -> bool:
        """Cancel these jobs. Whether they were seen to end: the scheduler may not show it within a short time."""
        if not handles:
            return True
        tokens = [handle.token for handle in handles]
        work = self._place_of(tokens, Listener())
        cancel(tokens, work)
        work.insist(lambda: work.ledger.leases.hurry(work.target.key, 0.2))
        try:
            Waiter(work, self._upkeep(work)).wait(tokens, Listener(), timeout_s=work.target.patience.cancel_s)
        except WaitTimeout:
            return False  # whoever looks next sees it end
        return True

    def wait_for_id(self, handle: JobHandle) -> str:
        """The scheduler's id of a job, as soon as it has one: it may still wait for room in the ledger."""
        work = self._place_of([handle.token], None)
        while not (row := work.insist(lambda: work.ledger.job(handle.token))).job_id:
            if row.state.is_final:
                raise SubmitRefused(f"{row.name} was not submitted: {row.reason}", work_dir=row.work_dir)
            self._upkeep(work).tick()
            work.clock.sleep(_LOOK_AGAIN_S)
        return row.job_id

    def follow(self, handle: JobHandle, listener: Listener, *, timeout_s: float | None = None) -> JobRow:
        """Hear of a job until it is over; its result is left to those who asked for it."""
        work = self._place_of([handle.token], listener)
        return Waiter(work, self._upkeep(work)).wait([handle.token], listener, timeout_s=timeout_s)[0]

    def latest(self, identities: Sequence[str]) -> dict[str, JobRow]:
        """For each of these identities its latest job, if there is one."""
        return self._work.insist(lambda: self.ledger.latest(identities))

    def printed(self, row: JobRow) -> tuple[str, str]:
        """The ends of what a job has printed so far, to stdout and to stderr."""
        return printed(row, _TAIL_BYTES, self._work)

    def tick(self) -> None:
        """Ask the scheduler once for all live jobs if that is due, and go on with what nobody is at."""
        self._upkeep(self._place(None)).tick()

    def report(self, addressee: Addressee, *, within_s: float) -> Reported:
        """Tell of all jobs that are over and that no run waits for. What takes longer is told at the next call."""
        return report_all(addressee, self._place(None), within_s=within_s)

    def _claim(self, request: Request, work: Workplace) -> Claimed:
        try:
            return claim(request, work)
        except JobLost:
            self._upkeep(work).tick(hurry=True)  # it may have turned up meanwhile
            return claim(request, work)

    def _handles(self, claimed: Claimed) -> list[JobHandle]:
        tokens = [row.token for row in claimed.rows]
        now = {row.token: row for row in self._work.insist(lambda: self.ledger.rows(tokens))}
        return [now[row.token].handle(joined=row.token in claimed.joined) for row in claimed.rows]

    def _place(self, listener: Listener | None) -> Workplace:
        """The place under its full name. A scheduler that cannot be asked for it is waited for."""
        work = replace(self._work, listener=listener or self._work.listener)
        deadline, told = work.clock.monotonic() + work.target.patience.unavailable_s, False
        while not self._identified:
            try:
                target = identified(work.target)
            except SchedulerUnavailable as error:
                if work.clock.monotonic() > deadline:
                    raise
                if not told:
                    work.listener.on_warning(f"waiting until {work.target.name} says which cluster it is: {error.message}")
                told = True
                work.clock.sleep(_ASK_AGAIN_S)
                continue
            work.insist(partial(self.ledger.claims.name_cluster, target.name, target.key, target.cluster))
            self._work, self._identified = replace(self._work, target=target), True
        return replace(work, target=self._work.target)

    def _place_of(
        self, tokens: Sequence[str], listener: Listener | None, *, within_s: float | None = None
    ) -> Workplace:
        """The place of jobs that are there: their rows say on which cluster, whatever answers here now."""
        work = replace(self._work, listener=listener or self._work.listener)
        row = work.insist(lambda: work.ledger.job(tokens[0]), within_s)
        name = row.target.removesuffix(f"@{row.cluster}")
        return replace(work, target=replace(work.target, name=name, cluster=row.cluster))

    def _upkeep(self, work: Workplace) -> Upkeep:
        if work.target.key not in self._upkeeps:
            self._upkeeps[work.target.key] = Upkeep(work)
        upkeep = self._upkeeps[work.target.key]
        upkeep.listener = work.listener
        return upkeep


@contextmanager
def _patient(handles: Sequence[JobHandle], timeout_s: float | None) -> Iterator[None]:
    """A ledger that is silent for longer than the caller waits ends the wait, and no job."""
    try:
        yield
    except LedgerUnavailable as error:
        if timeout_s is None:
            raise
        raise WaitTimeout(handles[0], JobState.UNKNOWN, timeout_s) from error


def _await_what_is_owed(handles: Sequence[JobHandle], work: Workplace, recipient: Recipient | None) -> None:
    """Jobs that others have submitted may be to be reported without a run, now or later: this run tells of them."""
    joined = [handle.token for handle in handles if handle.joined]
    if joined and recipient is not None:
        work.insist(lambda: work.ledger.reports.await_by(joined, recipient))


def _results(
    rows: Sequence[JobRow], handles: Sequence[JobHandle], work: Workplace, recipient: Recipient | None
) -> list[JobResult]:
    """The results of jobs that are over, noted as being in the caller's hands."""
    results = collect(rows, [handle.joined for handle in handles], work)
    well = [result.handle.token for result in results if result.succeeded]
    work.clock.point("deliver: before the note")
    work.insist(lambda: work.ledger.deliveries.returned(well, recipient))
    return results
