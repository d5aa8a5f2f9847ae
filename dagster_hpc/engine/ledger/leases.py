"""Who may ask a target's scheduler, and when: one row for each target, taken by one atomic UPDATE.

A question is due when `next_due` has come. A waiter who knows that its job has ended may ask earlier; such quick
questions come out of a small budget, which submissions and time refill. So the load on a scheduler stays the same
however many wait, in however many processes on however many hosts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from dagster_hpc.engine.ledger.database import Database, now_later
from dagster_hpc.engine.ledger.schema import LEASES
from dagster_hpc.engine.process import process_lives

_TTL_S = 90.0  # a holder that died on another host delays the others by this much at most; a living one renews it
_STEP_S = 90.0  # what lies in the future by more than this was written before a clock was set back
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
    early: bool = False  # out of the budget of quick questions: for the sake of jobs that are known to have ended


class _Statements:
    """Asked and written again and again by all who wait: each statement is made once."""

    def __init__(self, now: sa.ColumnElement[float]) -> None:
        c, bind = LEASES.c, sa.bindparam
        seen = (c.holder, c.expires_at, c.polled_at, c.next_due, c.interval_s, c.quick)
        its = c.target == bind("of")
        mine = its & (c.holder == bind("by"))
        as_seen = (c.expires_at == bind("until")) & (c.polled_at == bind("polled"))
        interval, soon = sa.cast(bind("interval"), sa.Float), now + sa.cast(bind("within"), sa.Float)
        free = {"holder": None, "expires_at": 0.0, "polled_at": now}
        more = c.quick + bind("more", type_=sa.Float)
        quick = sa.case((more < _MOST_QUICK, more), (c.quick > _MOST_QUICK, c.quick), else_=_MOST_QUICK)
        its_row, my_row = LEASES.update().where(its), LEASES.update().where(mine)
        self.look_up = sa.select(*seen, now.label("now")).where(its)
        self.taken = its_row.where(as_seen).values(holder=bind("by"), expires_at=now + _TTL_S, quick=bind("budget"))
        self.renewed = my_row.values(expires_at=now + _TTL_S)
        self.released = my_row.values(free)
        asked = {"interval_s": interval, "next_due": now + interval}
        self.asked = my_row.values(free | asked)
        self.unheard = my_row.values(free | asked | {"quick": 0.0})
        self.sooner = its_row.values(next_due=sa.case((c.next_due > soon, soon), else_=c.next_due), quick=quick)
        self.touched = its_row.values(target=bind("of"))


@cache
def _statements(is_sqlite: bool) -> _Statements:
    return _Statements(now_later(is_sqlite))


class Leases:
    """The polling of all targets of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = _statements(database.is_sqlite)

    def take(self, target: str, holder: str, *, hurry: bool = False) -> Lease:
        """Become the one who asks this target's scheduler now, if that is due and nobody else is at it.

        A holder who was interrupted while it took the lease, or gave it back, takes its own again.
        """
        # Looking first: those who wait ask again and again, and only a write makes them wait for each other.
        seen = self._database.read(lambda connection: self._look(connection, target))
        if seen is None:
            self._database.write(lambda connection: _open(connection, target))
            seen = self._database.read(lambda connection: self._look(connection, target))
            assert seen is not None
        lease = _judge(seen, holder, hurry)
        if not lease.taken:
            return lease
        return self._database.write(lambda connection: self._take(connection, target, holder, seen, lease))

    def renew(self, target: str, holder: str) -> None:
        """The question takes its time; nobody else shall ask meanwhile."""
        self._database.write(lambda connection: self._execute(connection, self._statements.renewed, of=target, by=holder))

    def release(self, target: str, holder: str, *, interval_s: float, due: bool = True, heard: bool = True) -> None:
        """The question was asked. The next is due after `interval_s`; a quick one leaves that as it was.

        Whoever did not answer, or could not be understood, is asked no sooner than that: no quick question is left.
        """
        values = {"of": target, "by": holder}
        if heard and not due:
            self._database.write(lambda connection: self._execute(connection, self._statements.released, **values))
            return
        statement = self._statements.asked if heard else self._statements.unheard
        self._database.write(lambda connection: self._execute(connection, statement, **values, interval=interval_s))

    def hurry(self, target: str, within_s: float) -> None:
        """Let the next question be due no later than this from now on."""
        self._database.write(lambda connection: self.sooner(connection, target, within_s))

    def sooner(self, connection: sa.Connection, target: str, within_s: float, jobs: int = 0) -> None:
        """The same within a transaction; new jobs bring a few quick questions along."""
        self._execute(connection, self._statements.sooner, of=target, within=within_s, more=_QUICK_PER_JOB * jobs)

    def lock(self, connection: sa.Connection, target: str) -> None:
        """Within a transaction: whoever counts the jobs of this target does so one after the other."""
        if not self._execute(connection, self._statements.touched, of=target).rowcount:
            _open(connection, target)
            # Several may have opened it in the same moment: only now one of them has it.
            self._execute(connection, self._statements.touched, of=target)

    def _look(self, connection: sa.Connection, target: str) -> sa.Row[Any] | None:
        found: sa.Row[Any] | None = self._execute(connection, self._statements.look_up, of=target).first()
        return found

    def _take(
        self, connection: sa.Connection, target: str, holder: str, seen: sa.Row[Any], lease: Lease
    ) -> Lease:
        taken = self._execute(
            connection, self._statements.taken, of=target, by=holder, until=seen.expires_at, polled=seen.polled_at,
            budget=_budget(seen) - (1.0 if lease.early else 0.0),
        ).rowcount  # fmt: skip
        return lease if taken else Lease(False, lease.interval_s, CLOSEST_S)

    def _execute(self, connection: sa.Connection, statement: sa.Executable, **values: Any) -> sa.CursorResult[Any]:
        result: sa.CursorResult[Any] = connection.execute(statement, {**values, **self._database.here()})
        return result


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


def _judge(seen: sa.Row[Any], holder: str, hurry: bool) -> Lease:
    since, due_in = seen.now - seen.polled_at, seen.next_due - seen.now
    # SQLite's `now` was read before the row, which may have been written meanwhile: a little in the future is no step.
    held = seen.now < seen.expires_at <= seen.now + _TTL_S + _STEP_S
    if held and seen.holder != holder and process_lives(seen.holder) is not False:
        return Lease(False, seen.interval_s, CLOSEST_S if hurry else 1.0)
    if due_in <= 0 or since < -_STEP_S or due_in > _LONGEST_INTERVAL_S:
        return Lease(True, seen.interval_s, idle_s=abs(since), polled_at=seen.polled_at)
    if not hurry or _budget(seen) < 1:
        return Lease(False, seen.interval_s, due_in)
    if since < CLOSEST_S:
        return Lease(False, seen.interval_s, min(due_in, CLOSEST_S - since))
    return Lease(True, seen.interval_s, idle_s=since, polled_at=seen.polled_at, early=True)
