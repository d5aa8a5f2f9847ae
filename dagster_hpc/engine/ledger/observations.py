"""What became of the jobs: written by whoever learned it, and never taken back, LOST apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dagster_hpc.engine.job import JobMetrics, JobState, RetryPlan
from dagster_hpc.engine.ledger.database import Database, in_parts
from dagster_hpc.engine.ledger.rows import Change, JobRow, encoded_plan
from dagster_hpc.engine.ledger.schema import GOES_ON, JOBS, OPEN, OVER, in_state
from dagster_hpc.engine.process import NOBODY

_LEARNED = (
    "state", "reason", "exit_code", "metrics", "absent_since", "ending_since", "stuck_since",
)  # fmt: skip
# One statement for any number of jobs: thousands may end between two polls.
_RECORD = (
    JOBS.update()
    .where(JOBS.c.token == sa.bindparam("of"), OPEN)
    .values({name: sa.bindparam(name) for name in _LEARNED})
)
_FIGURES = (
    JOBS.update()
    .where(JOBS.c.token == sa.bindparam("of"), JOBS.c.collected_at.is_not(None))
    .values(metrics=sa.bindparam("metrics"))
)


def _stopped(why: str) -> dict[str, Any]:
    """The values of a row whose further attempt is not made."""
    return {"again_at": None, "held_identity": None, "reason": JOBS.c.reason + f"; {why}"}


class Observations:
    """The states of all jobs of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, changes: Iterable[Change]) -> None:
        """Write what was learned. A job that ended badly gives its identity up; one that ended well owes its result.

        One that is tried again keeps it, until the next attempt takes its place.
        """
        kept: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        again: list[dict[str, Any]] = []
        for change in changes:
            values = {
                "of": change.token,
                "state": change.state.value,
                "reason": change.reason,
                "exit_code": change.exit_code,
                "metrics": json.dumps(change.metrics.to_dict()),
                "absent_since": change.absent_since,
                "ending_since": change.ending_since,
                "stuck_since": change.stuck_since,
            }
            bad = change.state.is_final and change.state not in (JobState.COMPLETED, JobState.LOST)
            if change.again is not None:
                again.append(values | {"plan": encoded_plan(change.again), "delay": change.delay_s})
            else:
                (failed if bad else kept).append(values)

        def write(connection: sa.Connection) -> None:
            now = self._database.now()
            if kept:
                connection.execute(_RECORD.values(updated_at=now), kept)
            if failed:
                connection.execute(_RECORD.values(updated_at=now, held_identity=None), failed)
            if again:
                due = now + sa.bindparam("delay", type_=sa.Float)
                connection.execute(_RECORD.values(updated_at=now, again=sa.bindparam("plan"), again_at=due), again)

        if kept or failed or again:
            self._database.write(write)

    def saw_end(self, tokens: Sequence[str]) -> None:
        """These jobs' own files say that they have ended: the next question is about them."""
        self._update(tokens, JOBS.c.ending_since.is_(None) & OPEN, ending_since=self._database.now())

    def follow(self, token: str, job_id: str, copies: Sequence[str]) -> None:
        """The copy that runs is not the one whose id was stored: this one is asked for from now on."""
        values = {"job_id": job_id, "copies": json.dumps(list(copies)), "ending_since": None, "absent_since": None}
        values["cancel_sent_at"] = None  # the order was for another
        self._update([token], OPEN, **values)

    def request_cancel(self, tokens: Sequence[str]) -> list[str]:
        """Durable before any command is sent: whoever polls sends it until the job is gone. All tokens that it means.

        From now on a job that is nowhere to be seen may be gone for this; what was absent before says nothing of it.
        What is tried again is cancelled whole: no further attempt is made, and the one that lives ends.
        """
        wanted, new = list(tokens), list(tokens)
        while new:
            self._update(new, OPEN & JOBS.c.cancel_requested.is_(False), cancel_requested=True, absent_since=None)
            # What ended before the wish; an attempt that is made just now finds this, or is found by the next look.
            self._update(new, GOES_ON, **_stopped("cancelled before that"), cancel_requested=True)
            new = [token for token in self._followers(new) if token not in wanted]
            wanted += new
        # What nobody has begun to submit is cancelled by this alone; an array only as a whole.
        others = JOBS.alias()
        is_wanted = others.c.cancel_requested.is_(False) & (others.c.batch == JOBS.c.batch)
        unsent = (JOBS.c.state == JobState.READY.value) & (JOBS.c.owner == NOBODY) & (JOBS.c.attempts == 0)
        unsent &= ~sa.exists().where(is_wanted)
        words = "cancelled before it was submitted"
        self._update(wanted, unsent, state=JobState.CANCELLED.value, reason=words, held_identity=None)
        return wanted

    def give_up(self, tokens: Sequence[str], why: str) -> None:
        """No further attempt is made at these, though one was due."""
        self._update(tokens, GOES_ON, **_stopped(why))

    def try_again(self, token: str, plan: RetryPlan) -> bool:
        """A person wants this job, which has ended badly, to be tried once more: whoever polls next makes the attempt.

        False: it is not over, goes on already, or its work is in the hands of another job by now.
        """
        bad = (JOBS.c.token == token) & OVER & ~GOES_ON & (JOBS.c.next_token == "")
        bad &= ~in_state([JobState.COMPLETED, JobState.LOST])
        now = self._database.now()
        values = {
            "again": encoded_plan(plan), "again_at": now, "updated_at": now,
            "held_identity": JOBS.c.identity, "cancel_requested": False,
        }  # fmt: skip
        statement = JOBS.update().where(bad).values(**values)
        try:
            return self._database.write(lambda connection: bool(connection.execute(statement).rowcount))
        except sa.exc.IntegrityError:  # of its identity: the same work has been asked for anew
            return False

    def close(self, row: JobRow) -> None:
        """What this job was for is done: however it ends, no further attempt is made."""
        if row.retry is not None:
            self._update([row.token], OPEN, retry=encoded_plan(row.retry.closed))
            self.give_up([row.token], "what it was for was done")

    def _followers(self, tokens: Sequence[str]) -> list[str]:
        """The attempts that have taken the place of these."""

        def look(connection: sa.Connection) -> list[str]:
            found: list[str] = []
            for part in in_parts(tokens):
                some = JOBS.c.token.in_(part) & (JOBS.c.next_token != "")
                found += connection.execute(sa.select(JOBS.c.next_token).where(some)).scalars()
            return found

        return self._database.read(look)

    def sent_cancel(self, tokens: Sequence[str]) -> None:
        """The scheduler has taken the order to cancel these; it may take a while to obey."""
        self._update(tokens, OPEN, cancel_sent_at=self._database.now())

    def collected(self, token: str, missing: Sequence[str], metrics: JobMetrics | None) -> bool:
        """The result was looked at, once and for all. With outputs missing, the job failed. False: done before."""
        values: dict[str, Any] = {"collected_at": self._database.now()}
        if metrics is not None:
            values["metrics"] = json.dumps(metrics.to_dict())
        if missing:
            words = f"declared output missing: {', '.join(missing)}"
            values |= {"state": JobState.FAILED.value, "reason": words, "missing": json.dumps(list(missing))}
            values["held_identity"] = None
        return bool(self._update([token], JOBS.c.collected_at.is_(None), **values))

    def figures(self, told: Mapping[str, JobMetrics]) -> None:
        """What the system wrote of jobs that are over, by their tokens; their results stay what they were."""
        values = [{"of": token, "metrics": json.dumps(metrics.to_dict())} for token, metrics in told.items()]
        if values:
            statement = _FIGURES.values(updated_at=self._database.now())
            self._database.write(lambda connection: connection.execute(statement, values))

    def _update(self, tokens: Sequence[str], condition: sa.ColumnElement[bool], **values: Any) -> int:
        values.setdefault("updated_at", self._database.now())

        def update(connection: sa.Connection) -> int:
            count = 0
            for part in in_parts(tokens):
                mine = JOBS.c.token.in_(part)
                count += connection.execute(JOBS.update().where(mine, condition).values(**values)).rowcount
            return count

        return self._database.write(update) if tokens else 0
