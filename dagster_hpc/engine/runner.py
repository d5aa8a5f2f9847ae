"""The verbs in order: submit, watch, collect; and cancel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from dagster_hpc.engine.collect import collect
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobHandle, JobResult, JobState, Request, WaitTimeout
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.observe.poll import Poller
from dagster_hpc.engine.submit import recover, revoke, submit
from dagster_hpc.engine.target import Listener, Target
from dagster_hpc.engine.wait import Watcher


@dataclass
class Runner:
    """Runs jobs on one target. Holds no state that is not in the ledger, so any number of them can share the work."""

    target: Target
    ledger: Ledger
    listener: Listener = field(default_factory=Listener)

    def __post_init__(self) -> None:
        self._poller = Poller(self.target, self.ledger, self.listener)
        self._watcher = Watcher(self.target, self.ledger, self._poller, self._recover)

    def submit(self, request: Request, listener: Listener | None = None) -> list[JobHandle]:
        """Submit a job, or join a live one that is the same. One handle for each element of an array."""
        listener = listener or self.listener
        self._wait_for_room(len(request.spec.elements) or 1, listener)
        before = time.time()
        rows = submit(request, self.target, self.ledger, listener)
        return [row.handle(joined=row.created_at < before) for row in rows]

    def wait(
        self, handles: Sequence[JobHandle], *, timeout_s: float | None = None, listener: Listener | None = None
    ) -> list[JobResult]:
        """The results of these jobs, however they ended. `WaitTimeout` when the caller's patience ends first."""
        tokens = [handle.token for handle in handles]
        rows = self._watcher.wait(tokens, listener or self.listener, timeout_s=timeout_s)
        return [
            collect(row, self.target, self.ledger, joined=handle.joined)
            for row, handle in zip(rows, handles, strict=True)
        ]

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        """Cancel these jobs and see them end, as far as the scheduler shows that within a short time."""
        rows = [row for handle in handles if not (row := self.ledger.job(handle.token)).state.is_final]
        self.ledger.request_cancel([row.token for row in rows])
        ids = [row.job_id for row in rows if row.job_id]
        for row in rows:
            if not row.job_id:
                ids += revoke(row, self.target)
                self.ledger.settle(row.token, JobState.CANCELLED, "cancelled before the scheduler had taken it")
        ids = list(dict.fromkeys(ids))
        for start in range(0, len(ids), self.target.scheduler.ids_per_call):
            self._send_cancel(ids[start : start + self.target.scheduler.ids_per_call])
        self._see_end([row for row in rows if row.job_id])

    def _send_cancel(self, ids: Sequence[str]) -> None:
        call = self.target.scheduler.cancel(ids)
        try:
            self.target.scheduler.read_cancel(self.target.host.run(call))
        except FileNotFoundError as error:
            raise ConfigurationError(f"`{call.argv[0]}` is not on PATH on {self.target.host.name}") from error

    def refresh(self) -> None:
        """Ask the scheduler once for all live jobs, unless somebody has just done so."""
        self._poller.tick()

    def _see_end(self, rows: Sequence[JobRow]) -> None:
        self.ledger.hurry_poll(self.target.name, 0.5)
        with suppress(WaitTimeout):  # then it has been told to stop, and whoever looks next sees it end
            self._watcher.wait([row.token for row in rows], Listener(), timeout_s=self.target.patience.cancel_s)

    def _recover(self, row: JobRow, listener: Listener) -> None:
        recover(row, self.target, self.ledger, listener)

    def _wait_for_room(self, wanted: int, listener: Listener) -> None:
        """Hold back while this target has as many live jobs as it may have."""
        most, told = self.target.max_jobs, False
        while most and (live := self.ledger.live_count(self.target.name)) and live + wanted > most:
            if not told:
                listener.on_warning(f"{live} jobs are live on {self.target.name}, which takes {most}: waiting for room")
                told = True
            self._poller.tick(listener)
            time.sleep(0.5)
