"""Who may ask a target's scheduler, and when: one row for each target, taken by one atomic UPDATE.

A question is due when `next_due` has come. A waiter who knows that its job has ended may ask earlier; such quick
questions come out of a small budget, which submissions and time refill. So the load on a scheduler stays the same
however many wait, in however many processes on however many hosts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dagster_hpc.engine.ledger.database import Database
from dagster_hpc.engine.ledger.schema import LEASES

_TTL_S = 90.0  # a holder that died delays the others by this much at most; a living one renews it
_STEP_S = 90.0  # what lies further in the future than it may, and by more than this, was written before a clock was set back
_MOST_QUICK = 6.0
_QUICK_PER_JOB = 3.0
_LONGEST_INTERVAL_S = 3600.0
CLOSEST_S = 0.15  # between two questions, however eager somebody is


@dataclass(frozen=True)
class Lease:
    """The right to ask, or how long nobody needs to look for it again."""

    taken: bool
    interval_s: float = 0.0  # between two questions, as it is now
    due_in_s: float = 0.0
    idle_s: float = 0.0  # since the last question
    polled_at: float = 0.0  # when that was, by the database's clock
    early: bool = False  # out of the budget of quick questions: only about the jobs that are known to have ended


class Leases:
    """The polling of all targets of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        c = LEASES.c
        seen = (c.expires_at, c.polled_at, c.next_due, c.interval_s, c.quick)
        # Asked again and again by all who wait: made once.
        self._look_up = sa.select(*seen, database.now_later().label("now")).where(c.target == sa.bindparam("target"))

    def take(self, target: str, holder: str, *, hurry: bool = False) -> Lease:
        """Become the one who asks this target's scheduler now, if that is due and nobody else is at it."""
        # Looking first: those who wait ask again and again, and only a write makes them wait for each other.
        seen = self._database.read(lambda connection: self._look(connection, target))
        if seen is None:
            self._database.write(lambda connection: _open(connection, target))
            seen = self._database.read(lambda connection: self._look(connection, target))
            assert seen is not None
        lease = _judge(seen, hurry)
        if not lease.taken:
            return lease
        return self._database.write(lambda connection: self._take(connection, target, holder, seen, lease))

    def renew(self, target: str, holder: str) -> None:
        """The question takes its time; nobody else shall ask meanwhile."""
        mine = (LEASES.c.target == target) & (LEASES.c.holder == holder)
        self._database.write(
            lambda connection: connection.execute(
                LEASES.update().where(mine).values(expires_at=self._database.now() + _TTL_S)
            )
        )

    def release(self, target: str, holder: str, *, interval_s: float, due: bool = True) -> None:
        """The question was asked. The next is due after `interval_s`; a quick one leaves that as it was."""
        now = self._database.now()
        values = {"holder": None, "expires_at": 0.0, "polled_at": now}
        if due:
            values |= {"interval_s": interval_s, "next_due": now + interval_s}
        mine = (LEASES.c.target == target) & (LEASES.c.holder == holder)
        self._database.write(lambda connection: connection.execute(LEASES.update().where(mine).values(**values)))

    def hurry(self, target: str, within_s: float) -> None:
        """Let the next question be due no later than this from now on."""
        self._database.write(lambda connection: sooner(connection, target, self._database.now() + within_s))

    def _look(self, connection: sa.Connection, target: str) -> sa.Row[Any] | None:
        found: sa.Row[Any] | None = connection.execute(self._look_up, {"target": target, **self._database.here()}).first()
        return found

    def _take(
        self, connection: sa.Connection, target: str, holder: str, seen: sa.Row[Any], lease: Lease
    ) -> Lease:
        c, now = LEASES.c, self._database.now()
        as_seen = (c.target == target) & (c.expires_at == seen.expires_at) & (c.polled_at == seen.polled_at)
        budget = _budget(seen) - (1.0 if lease.early else 0.0)
        values = {"holder": holder, "expires_at": now + _TTL_S, "quick": budget}
        taken = connection.execute(LEASES.update().where(as_seen).values(**values)).rowcount
        return lease if taken else Lease(False, lease.interval_s, CLOSEST_S)


def sooner(connection: sa.Connection, target: str, when: sa.ColumnElement[float], jobs: int = 0) -> None:
    """Pull the next question forward; new jobs bring a few quick questions along."""
    c = LEASES.c
    values: dict[str, object] = {"next_due": sa.case((c.next_due > when, when), else_=c.next_due)}
    if jobs:
        more = c.quick + _QUICK_PER_JOB * jobs
        values["quick"] = sa.case((more < _MOST_QUICK, more), else_=_MOST_QUICK)
    connection.execute(LEASES.update().where(c.target == target).values(**values))


def lock(connection: sa.Connection, target: str) -> None:
    """Within a transaction: whoever counts the jobs of this target does so one after the other."""
    touch = LEASES.update().where(LEASES.c.target == target).values(target=target)
    if not connection.execute(touch).rowcount:
        _open(connection, target)
        connection.execute(touch)  # several may have opened it in the same moment: only now one of them has it


def _open(connection: sa.Connection, target: str) -> None:
    row = {
        "target": target, "holder": None, "expires_at": 0.0, "polled_at": 0.0, "next_due": 0.0, "interval_s": 0.0,
        "quick": _MOST_QUICK,
    }  # fmt: skip
    try:
        with connection.begin_nested():
            connection.execute(LEASES.insert(), row)
    except sa.exc.IntegrityError:
        return  # somebody else opened it in the same moment: as good


def _budget(seen: sa.Row[Any]) -> float:
    """Each interval that has passed since the last question brings one quick question."""
    passed = max(0.0, seen.now - seen.polled_at) / max(seen.interval_s, 1.0)
    return float(min(_MOST_QUICK, seen.quick + passed))


def _judge(seen: sa.Row[Any], hurry: bool) -> Lease:
    since, due_in = seen.now - seen.polled_at, seen.next_due - seen.now
    # SQLite's `now` was read before the row, which may have been written meanwhile: a little in the future is no step.
    if seen.now < seen.expires_at <= seen.now + _TTL_S + _STEP_S:
        return Lease(False, seen.interval_s, CLOSEST_S if hurry else 1.0)
    if due_in <= 0 or since < -_STEP_S or due_in > _LONGEST_INTERVAL_S:
        return Lease(True, seen.interval_s, idle_s=abs(since), polled_at=seen.polled_at)
    if hurry and since >= CLOSEST_S and _budget(seen) >= 1:
        return Lease(True, seen.interval_s, idle_s=since, polled_at=seen.polled_at, early=True)
    return Lease(False, seen.interval_s, due_in)
