"""What those who watch jobs were told of them: a sensor that starts something, a channel that people read.

The ledger keeps for each watcher what it has heard, so nothing is forgotten while the watcher is switched off, and nothing
is told twice, whichever process looks. Who tells something takes it first, and notes afterwards that it is told. What was
taken by a process that died is told by another after a while: a mail that comes twice is better than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger.database import Database, in_parts
from dagster_hpc.engine.ledger.rows import JobRow, rows_of
from dagster_hpc.engine.ledger.schema import CHAIN, GOES_ON, JOBS, NOTICES, OVER

_BEGUN, _ENDED, _LOST = "begun", "ended", "lost"
_SILENT_S = 300.0  # who has taken something and does not say within this that it is told is gone

_ON_TARGET = JOBS.c.target == sa.bindparam("target")
_END = sa.case((JOBS.c.state == JobState.LOST.value, _LOST), else_=_ENDED)
_HEARD = sa.exists().where(
    NOTICES.c.watcher == sa.bindparam("watcher"), NOTICES.c.what == _END, NOTICES.c.token == JOBS.c.token,
    NOTICES.c.told_at.is_not(None),
)  # fmt: skip
_LAST_ATTEMPTS = OVER & ~GOES_ON & (JOBS.c.next_token == "")
_NEWS = sa.select(JOBS.c.token, CHAIN.label("chain")).where(_ON_TARGET, _LAST_ATTEMPTS, ~_HEARD)
_LIVE = sa.select(CHAIN).where(_ON_TARGET, ~OVER | GOES_ON)


class Subject(NamedTuple):
    """One thing that can be told of one job."""

    what: str
    token: str


def end_of(row: JobRow) -> Subject:
    """The end of a job as something that is told. A lost one may turn up again, and then end otherwise."""
    return Subject(_LOST if row.state is JobState.LOST else _ENDED, row.token)


class Notices:
    """What was told, to each watcher. Every method is one transaction and may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, watcher: str, target: str) -> bool:
        """From now on it watches this target: what is over already is no news. False if it has begun before."""

        def begin(connection: sa.Connection) -> bool:
            mine = (NOTICES.c.watcher == watcher) & (NOTICES.c.what == _BEGUN) & (NOTICES.c.token == target)
            if connection.execute(sa.select(NOTICES.c.token).where(mine)).first() is not None:
                return False
            now = self._database.now()
            noted = {"watcher": watcher, "what": _BEGUN, "token": target, "owner": "", "begun_at": now, "told_at": now}
            connection.execute(NOTICES.insert().values(noted))
            old = sa.select(sa.literal(watcher), _END, JOBS.c.token, sa.literal(""), now, now)
            old = old.where(JOBS.c.target == target, _LAST_ATTEMPTS)
            columns = ["watcher", "what", "token", "owner", "begun_at", "told_at"]
            connection.execute(NOTICES.insert().from_select(columns, old))
            return True

        return self._database.write(begin)

    def ended(self, watcher: str, target: str) -> list[list[JobRow]]:
        """The jobs whose end it has not heard of, oldest first. The elements of an array are one, when all are over."""

        def look(connection: sa.Connection) -> list[JobRow]:
            asked = {"watcher": watcher, "target": target}
            live = {_array_of(chain) for chain in connection.execute(_LIVE, {"target": target}).scalars()}
            news = [row.token for row in connection.execute(_NEWS, asked) if _array_of(row.chain) not in live]
            found: list[JobRow] = []
            for part in in_parts(news):
                found += rows_of(connection.execute(JOBS.select().where(JOBS.c.token.in_(part))))
            return found

        together: dict[str, list[JobRow]] = {}
        for row in sorted(self._database.read(look), key=lambda row: (row.created_at, row.array_index or 0)):
            together.setdefault(_array_of(row.chain), []).append(row)
        return list(together.values())

    def told(self, watcher: str, subjects: Iterable[Subject]) -> set[Subject]:
        """Those of these that it was told."""

        def look(connection: sa.Connection) -> set[Subject]:
            found: set[Subject] = set()
            for condition in _named(watcher, subjects):
                query = sa.select(NOTICES.c.what, NOTICES.c.token).where(condition, NOTICES.c.told_at.is_not(None))
                found |= {Subject(*row) for row in connection.execute(query)}
            return found

        return self._database.read(look)

    def take(self, watcher: str, subjects: Sequence[Subject], owner: str) -> bool:
        """Become the one who tells this. False: it is told, or somebody else is at it."""

        def take(connection: sa.Connection) -> bool:
            now = self._database.now()
            is_mine = (NOTICES.c.owner == owner) | (NOTICES.c.begun_at < now - _SILENT_S)
            for condition in _named(watcher, subjects):
                connection.execute(NOTICES.delete().where(condition, NOTICES.c.told_at.is_(None), is_mine))
                if connection.execute(sa.select(NOTICES.c.token).where(condition)).first() is not None:
                    return False
            connection.execute(_insert(now), _values(watcher, subjects, owner))
            return True

        try:
            return self._database.write(take)
        except sa.exc.IntegrityError:
            return False  # another has taken it in the same moment

    def tell(self, watcher: str, subjects: Iterable[Subject], owner: str) -> None:
        """It is told now, by the one who took it."""
        values = {"told_at": self._database.now()}
        self._change(watcher, subjects, lambda mine: NOTICES.update().where(mine, NOTICES.c.owner == owner).values(values))

    def let_go(self, watcher: str, subjects: Iterable[Subject], owner: str) -> None:
        """It could not be told: whoever looks next tries again."""
        is_open = (NOTICES.c.owner == owner) & NOTICES.c.told_at.is_(None)
        self._change(watcher, subjects, lambda mine: NOTICES.delete().where(mine, is_open))

    def note(self, watcher: str, subjects: Sequence[Subject]) -> None:
        """It has heard of these, or does not want to."""

        def note(connection: sa.Connection) -> None:
            for condition in _named(watcher, subjects):
                connection.execute(NOTICES.delete().where(condition))
            now = self._database.now()
            if subjects:
                connection.execute(_insert(now).values(told_at=now), _values(watcher, subjects, ""))

        self._database.write(note)

    def _change(self, watcher: str, subjects: Iterable[Subject], statement: Any) -> None:
        def change(connection: sa.Connection) -> None:
            for condition in _named(watcher, subjects):
                connection.execute(statement(condition))

        self._database.write(change)


def _array_of(chain: str) -> str:
    """What the elements of one array have in common, and further attempts at them."""
    return chain.partition(".")[0]


def _named(watcher: str, subjects: Iterable[Subject]) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions that find these, a few hundred at a time."""
    tokens: dict[str, list[str]] = {}
    for subject in subjects:
        tokens.setdefault(subject.what, []).append(subject.token)
    for what, each in tokens.items():
        for part in in_parts(each):
            yield (NOTICES.c.watcher == watcher) & (NOTICES.c.what == what) & NOTICES.c.token.in_(part)


def _insert(now: sa.ColumnElement[float]) -> sa.Insert:
    names: dict[str, Any] = {name: sa.bindparam(name) for name in ("watcher", "what", "token", "owner")}
    return NOTICES.insert().values(begun_at=now, **names)


def _values(watcher: str, subjects: Sequence[Subject], owner: str) -> list[dict[str, str]]:
    return [{"watcher": watcher, "what": what, "token": token, "owner": owner} for what, token in subjects]
