"""Waiting for jobs: by their own files, which costs the scheduler nothing, and by the ledger, where polls are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dagster_hpc.engine.job import JobState, WaitTimeout
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.observe.logs import LogFollower
from dagster_hpc.engine.observe.poll import CROWD, Poller
from dagster_hpc.engine.observe.sentinel import has_ended
from dagster_hpc.engine.target import Listener, Target

_GLANCE_S, _SLOW_GLANCE_S = 0.05, 0.25  # between two looks at the jobs' own files, at first and later
_CROWD_READ_S = 1.0  # between two looks at the ledger's rows of many jobs
_TOO_YOUNG_S = 1.0  # a job submitted a moment ago: its own files tell soon enough how it does
_FIRST_NUDGE_S = 0.1  # between a job's own end and the first question about it: the scheduler sees it end later


class _Watched:
    """One job that is waited for, and what its listener has been told of it."""

    def __init__(self, row: JobRow, target: Target, listener: Listener) -> None:
        self.row = row
        self.listener = listener
        self.logs = LogFollower(target.host, row, listener)
        self.told: tuple[JobState, str] | None = None

    def look(self, row: JobRow, *, crowded: bool) -> None:
        """Tell what is new: the state, if it changed, and the lines that were written since.

        In a crowd only those are read that are known to run: to open thousands of files that are not there costs time.
        """
        self.row = row
        if row.state is not JobState.SUBMITTING and (row.state, row.reason) != self.told:
            self.told = (row.state, row.reason)
            self.listener.on_state(row.handle(), row.state, row.reason)
        if row.state.is_final:
            self.logs.finish()
        elif row.state is JobState.RUNNING or not crowded:
            self.logs.follow()


@dataclass
class Watcher:
    """Waits for jobs of one target. Any number of them, in any process on any host, share the polling."""

    target: Target
    ledger: Ledger
    poller: Poller
    recover: Callable[[JobRow, Listener], None]  # settles a submission that nobody finished (see submit.py)

    def wait(self, tokens: Sequence[str], listener: Listener, *, timeout_s: float | None = None) -> list[JobRow]:
        """The jobs' rows when all are over. `WaitTimeout` after `timeout_s`: the jobs themselves go on."""
        began = time.monotonic()
        live = {row.token: _Watched(row, self.target, listener) for row in self.ledger.rows(tokens)}
        done: dict[str, JobRow] = {}
        all_ended_at: float | None = None
        glance_s, nudges = _GLANCE_S, 0
        polled, read_at = True, 0.0
        while True:
            crowded = len(live) > CROWD
            # Others may poll too; but to read the rows of a crowd at every glance would cost more than it tells.
            if polled or not crowded or time.monotonic() - read_at > _CROWD_READ_S:
                read_at = time.monotonic()
                for row in self.ledger.rows(list(live)):
                    live[row.token].look(row, crowded=crowded)
                    if row.state.is_final:
                        done[row.token] = live.pop(row.token).row
            polled = False
            if not live:
                return [done[token] for token in tokens]
            first = next(iter(live.values())).row
            if timeout_s is not None and time.monotonic() - began > timeout_s:
                raise WaitTimeout(first.handle(), first.state, timeout_s)
            if first.state is JobState.SUBMITTING:
                self.recover(first, listener)
                polled = True
            elif all_ended_at is None and self._have_ended(live):
                all_ended_at, glance_s = time.monotonic(), _GLANCE_S
            if all_ended_at is not None and time.monotonic() - all_ended_at >= _FIRST_NUDGE_S:
                polled = self.poller.nudge(nudges, len(live), listener)
                nudges += polled
                if polled:
                    if not self._have_ended(live):
                        all_ended_at = None  # one was requeued, and runs anew
                    continue
            if time.time() - first.created_at > _TOO_YOUNG_S:
                polled |= self.poller.tick(listener)
            time.sleep(_SLOW_GLANCE_S / 2 if crowded else glance_s)
            glance_s = min(glance_s * 1.05, _SLOW_GLANCE_S)

    def _have_ended(self, live: dict[str, _Watched]) -> bool:
        """Whether all have run to their end. Those that have go to the back: the next look begins at the others."""
        for token in list(live):
            if not has_ended(self.target.host, live[token].row.work_dir):
                return False
            live[token] = live.pop(token)
        return True
