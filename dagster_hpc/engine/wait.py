"""Waiting for jobs: by their own files, which costs the scheduler nothing, and by the ledger, where polls are kept.

Who waits for a job that is tried again waits for the last of its attempts. A waiter looks often at a young or changing
job, and ever less often at one that stays as it is. Nothing that is silent meanwhile, neither a file nor the scheduler
nor the ledger, ends the wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.errors import LedgerUnavailable
from dagster_hpc.engine.job import JobState, Progress, WaitTimeout
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.observe.logs import LogFollower
from dagster_hpc.engine.observe.sentinel import has_ended
from dagster_hpc.engine.submit.recover import settle
from dagster_hpc.engine.target import Listener
from dagster_hpc.engine.upkeep import Upkeep
from dagster_hpc.engine.workplace import Workplace

_QUICKEST_S, _SLOWEST_S = 0.05, 5.0  # between two looks
_SLOWER = 0.05  # the pause, as a part of the time since anything changed
_SHARE = 0.05  # of the time, at most, is spent on looks: who waits does it beside others, where people log in
_FILES_PER_LOOK = 3  # directories that one look touches, however many jobs are waited for
_TOO_YOUNG_S = 1.0  # at the beginning of a wait: the job's own files tell soon enough how it does
_ASKED_AGAIN_S = 0.1  # between two questions about a job that has ended, at first
_LESS_EAGERLY = 0.5  # and later, as a part of the time since it was seen to end
_TOGETHER = 0.5  # between two questions about jobs that have ended while others run, as a part of the whole wait
_UNSETTLED_S = 2.0  # between two looks whether a submission's process is gone
_TOLD_AGAIN_S, _TOLD_LATER = 1.0, 0.25  # between two words on how far an array is: ever longer, as a part of its age


class _Watched:
    """One job that is waited for, and what its listener has been told of it. `asked`: the tokens by which it is meant."""

    def __init__(self, row: JobRow, asked: Sequence[str], work: Workplace, listener: Listener) -> None:
        self.row = row
        self.asked = list(asked)
        self.ended = False
        self._listener = listener
        self._logs = LogFollower(work.target.host, row, listener, work.conceal)
        self._told: tuple[JobState, str] | None = None

    def look(self, row: JobRow) -> bool:
        """Take in what the ledger says, and tell what is new. True if anything is."""
        self.row = row
        self.ended = self.ended and row.ending_since is not None  # else it was requeued, and runs anew
        if row.state is JobState.SUBMITTING or (row.state, row.reason) == self._told:
            return False
        self._told = (row.state, row.reason)
        self._listener.on_state(row.handle(), row.state, row.reason)
        if row.state.is_final:
            self._logs.finish()
        return True

    def follow_logs(self) -> None:
        self._logs.follow()


class _HowFar:
    """How far several jobs are: told when it changes, and ever less often, so that no log is buried."""

    def __init__(self, listener: Listener, began: float) -> None:
        self.ended: list[JobState] = []  # of those that are no longer waited for
        self._listener = listener
        self._began = self._next = began
        self._news = True
        self._told: Progress | None = None

    def tell(self, live: Mapping[str, _Watched], now: float, *, news: bool) -> None:
        """Tell it if it has changed, and at once if all are over. `news`: whether any state may have."""
        self._news |= news
        due = now >= self._next or all(job.row.is_over for job in live.values())
        if not (self._news and due) or len(self.ended) + len(live) < 2:
            return
        progress = Progress.of([*self.ended, *(_standing(job.row) for job in live.values() for _ in job.asked)])
        self._news, self._next = False, now + max(_TOLD_AGAIN_S, _TOLD_LATER * (now - self._began))
        if progress != self._told:
            self._told = progress
            self._listener.on_progress(progress)


def _standing(row: JobRow) -> JobState:
    """Where a job stands for those who wait: one that ended badly and is to be tried again is pending."""
    return JobState.PENDING if row.state.is_final and not row.is_over else row.state


class Waiter:
    """Waits for jobs of one target. Any number of waiters, in any process on any host, share the polling."""

    def __init__(self, work: Workplace, upkeep: Upkeep) -> None:
        self._work = work
        self._upkeep = upkeep

    def wait(self, tokens: Sequence[str], listener: Listener, *, timeout_s: float | None = None) -> list[JobRow]:
        """The rows of their last attempts when all are over. `WaitTimeout` after `timeout_s`: the jobs themselves go on."""
        done = {token: row for ends in self.ends(tokens, listener, timeout_s=timeout_s) for token, row in ends}
        return [done[token] for token in tokens]

    def ends(
        self, tokens: Sequence[str], listener: Listener, *, timeout_s: float | None = None
    ) -> Iterator[list[tuple[str, JobRow]]]:
        """The tokens and rows of jobs as they come to be over, those together that are seen together."""
        work, clock = self._work, self._work.clock
        began = changed_at = clock.monotonic()
        live: dict[str, _Watched] = {}
        for row in work.insist(lambda: work.ledger.rows(tokens), timeout_s):
            live[row.token] = _Watched(row, [row.token], work, listener)
        for job in live.values():
            job.look(job.row)
        tick_at, settle_at, asked_at = began + _TOO_YOUNG_S, 0.0, -math.inf
        ended_at: float | None = None  # when the last of those that have ended, and are not yet over, was seen to
        silent = False
        how_far = _HowFar(listener, began)
        while True:
            looking_at = clock.monotonic()
            try:
                news = self._read(live, listener)
                silent = self._tell(silent, "", listener)
            except LedgerUnavailable as error:
                news, silent = False, self._tell(silent, error.message, listener)
            look_s = clock.monotonic() - looking_at
            over = [token for token, job in live.items() if job.row.is_over]
            how_far.tell(live, clock.monotonic(), news=news)
            if over:
                ends = [(asked, job.row) for job in map(live.pop, over) for asked in job.asked]
                how_far.ended += [row.state for _, row in ends]
                yield ends
            if not live:
                return
            now = clock.monotonic()
            changed_at = now if news else changed_at
            left_s = None if timeout_s is None else timeout_s - (now - began)
            if left_s is not None and left_s <= 0:
                first = next(iter(live.values())).row
                raise WaitTimeout(first.handle(), first.state, timeout_s or 0.0)
            if self._look_at_files(live):
                changed_at = ended_at = now
            look_s += clock.monotonic() - now
            unaccounted = sum(job.ended and not job.row.state.is_final for job in live.values())
            ended_at = (ended_at or now) if unaccounted else None
            unsettled = next((job.row for job in live.values() if job.row.state in _UNSUBMITTED), None)
            if unsettled is not None and now >= settle_at:
                settle_at = now + max(_UNSETTLED_S, 0.1 * (now - changed_at))
                clock.within(left_s, partial(self._settle, unsettled))
            # The scheduler sees a job end later than its own files do; it is asked ever less eagerly. While others of an
            # array still run, more ends are to come: it is asked about several together.
            hurry = ended_at is not None and now - ended_at >= work.target.scheduler.sees_ends_after_s
            pace_s = max(_ASKED_AGAIN_S, _LESS_EAGERLY * (asked_at - (ended_at or now)))
            if unaccounted < len(live):
                pace_s = max(pace_s, _TOGETHER * (now - began))
            if now >= tick_at or (hurry and now >= asked_at + pace_s):
                tick_at = now + max(self._tick(left_s, hurry=hurry), _QUICKEST_S)
                asked_at = clock.monotonic()
                continue  # what it found is read at once
            pause_s = min(max(_QUICKEST_S, _SLOWER * (now - changed_at)), _SLOWEST_S)
            if ended_at is not None:
                pause_s = min(pause_s, 0.25)
            pause_s = max(pause_s, min(look_s / _SHARE, _SLOWEST_S))
            if left_s is not None:
                pause_s = min(pause_s, max(0.0, left_s))
            clock.sleep(pause_s)

    def _read(self, live: dict[str, _Watched], listener: Listener) -> bool:
        """Take in what was written since the last look. True if anything is new."""
        news = False
        for row in self._work.ledger.changed([job.row for job in live.values()]):
            news |= live[row.token].look(row)
        while followed := {job.row.next_token: token for token, job in live.items() if job.row.next_token}:
            for row in self._work.ledger.rows(list(followed)):
                before = live.pop(followed[row.token])
                job = live.setdefault(row.token, _Watched(row, [], self._work, listener))
                job.asked += before.asked
                news |= job.look(row)
        return news

    def _look_at_files(self, live: dict[str, _Watched]) -> bool:
        """See whether a running job has ended, and pass its new output on. The next look begins at the others."""
        running = [token for token, job in live.items() if job.row.state.is_submitted and not job.ended]
        seen: list[str] = []
        if len(running) > _FILES_PER_LOOK:
            seen += self._ended_elements(live, running)
        for token in running[:_FILES_PER_LOOK]:
            job = live[token]
            if job.row.state is JobState.RUNNING:
                job.follow_logs()
            if token not in seen and has_ended(self._work.target.host, job.row.work_dir):
                job.follow_logs()
                seen.append(token)
            live[token] = live.pop(token)
        for token in seen:
            live[token].ended = True
        if seen:
            try:
                self._work.ledger.observations.saw_end(seen)
            except LedgerUnavailable:
                for token in seen:
                    live[token].ended = False  # seen again at the next look
        return bool(seen)

    def _ended_elements(self, live: dict[str, _Watched], running: Sequence[str]) -> list[str]:
        """The elements of one array that have left their mark in the folder above them: one look for all."""
        first = live[running[0]].row
        if first.array_index is None:
            return []
        folder = jobdir.ended_directory(first.batch_dir)
        try:
            marks = set(self._work.target.host.list(folder))
        except OSError:
            return []
        return [
            token
            for token in running
            if live[token].row.batch == first.batch and str(live[token].row.array_index) in marks
        ]

    def _tick(self, left_s: float | None, *, hurry: bool) -> float:
        """Do the upkeep that is due, for no longer than the wait may last. When to come again."""
        again: list[float] = []
        self._work.clock.within(left_s, lambda: again.append(self._upkeep.tick(hurry=hurry)))
        return again[0] if again else _TOO_YOUNG_S

    def _settle(self, row: JobRow) -> None:
        try:
            settle(self._work.ledger.job(row.token), self._work)  # as it is now: its owner may have given a sign of life
        except LedgerUnavailable:
            return  # told where the rows are read

    def _tell(self, silent: bool, words: str, listener: Listener) -> bool:
        """Tell once that the ledger does not answer, and once that it does again."""
        if words and not silent:
            listener.on_warning(words)
        elif silent and not words:
            listener.on_warning("the ledger answers again.")
        return bool(words)


_UNSUBMITTED = (JobState.READY, JobState.SUBMITTING)
