"""What is owed to Dagster where no run waits for it: which jobs, for which asset, and who reports it just now.

A report is durable as begun before the first word of it is said, and as done after the last. One that was begun and is
not done may have been said: whoever takes it over looks before he says it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count
from typing import Any, NamedTuple

import sqlalchemy as sa

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger.database import Database, in_parts
from dagster_hpc.engine.ledger.deliveries import Recipient
from dagster_hpc.engine.ledger.rows import JobRow, rows_of
from dagster_hpc.engine.ledger.schema import CHAIN, DELIVERIES, GOES_ON, JOBS, OVER, REPORTS, WAITERS
from dagster_hpc.engine.process import NOBODY

_OPEN = REPORTS.c.reported_at.is_(None)
_OPEN_OF = REPORTS.select().where(_OPEN, REPORTS.c.target == sa.bindparam("of"), REPORTS.c.deployment == sa.bindparam("to"))
# A job goes on as long as any of its attempts does, or another is to come.
_LIVE_OF = sa.select(CHAIN).where(JOBS.c.target == sa.bindparam("of"), ~OVER | GOES_ON)
_REPORTED_AT = sa.select(REPORTS.c.reported_at).where(REPORTS.c.report == sa.bindparam("name"))
_OWING = (JOBS.c.state == JobState.COMPLETED.value) & JOBS.c.held_identity.is_not(None)
_OF_A_STEP = JOBS.c.run_id.is_not(None) & JOBS.c.asset_key.is_not(None) & (JOBS.c.target == sa.bindparam("of"))
_UNOWED = (
    sa.select(JOBS.c.deployment, JOBS.c.run_id, JOBS.c.step_key, JOBS.c.asset_key)
    .where(_OF_A_STEP, ~OVER | GOES_ON | _OWING)
    .where(~sa.exists().where(REPORTS.c.run_id == JOBS.c.run_id, REPORTS.c.step_key == JOBS.c.step_key))
    .distinct()
)


class Asked(NamedTuple):
    """A step that has asked for jobs."""

    deployment: str
    run_id: str
    step_key: str
    asset_key: str


@dataclass(frozen=True)
class Report:
    """Jobs that were asked for together, and what they are to Dagster."""

    tokens: tuple[str, ...]  # of the first attempt at each
    target: str
    deployment: str
    asset_key: str
    run_id: str
    step_key: str
    partition_key: str | None = None
    single: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)  # of the code and the inputs, as they were
    report: str = ""  # its name
    created_at: float = 0.0
    owner: str = NOBODY
    heartbeat_at: float = 0.0
    begun_at: float | None = None
    reported_at: float | None = None
    outcome: str = ""

    @property
    def submitter(self) -> Recipient:
        return Recipient(self.run_id, self.step_key)


class Reports:
    """The reports of one ledger. Every method is one transaction and may be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, reports: Sequence[Report]) -> list[Report]:
        """Owe these. Those whose very jobs are to be reported already add nothing; the new ones are returned."""

        def add(connection: sa.Connection) -> list[Report]:
            added = []
            first = _first_attempts([token for report in reports for token in report.tokens], connection)
            for given in reports:
                report = replace(given, tokens=tuple(first[token] for token in given.tokens))
                name = _free_name(report.tokens, connection)
                if name is None:
                    continue
                new = replace(report, report=name)
                values = {**_columns_of(new), "created_at": self._database.now()}
                try:
                    with connection.begin_nested():
                        connection.execute(REPORTS.insert().values(values))
                except sa.exc.IntegrityError:
                    continue  # another has added it in the same moment
                added.append(new)
            return added

        return self._database.write(add) if reports else []

    def open(self, target: str, deployment: str) -> list[Report]:
        """All that is owed to this Dagster for jobs of this target, the oldest first."""
        query, asked = _OPEN_OF.order_by(REPORTS.c.created_at), {"of": target, "to": deployment}
        return self._database.read(lambda connection: _reports_of(connection.execute(query, asked)))

    def due(self, target: str, deployment: str) -> tuple[list[Report], int]:
        """Those of them of which no job is live; and how many wait for jobs that are."""
        reports = self.open(target, deployment)
        live = self._database.read(lambda connection: set(connection.execute(_LIVE_OF, {"of": target}).scalars()))
        due = [report for report in reports if live.isdisjoint(report.tokens)]
        return due, len(reports) - len(due)

    def jobs_of(self, report: Report) -> dict[str, JobRow]:
        """What has become of its jobs, by their tokens: the last attempts, as far as the ledger has not forgotten them."""

        def look(connection: sa.Connection) -> dict[str, JobRow]:
            found: dict[str, JobRow] = {}
            for part in in_parts(report.tokens):
                attempts = JOBS.select().where(JOBS.c.token.in_(part) | JOBS.c.first_token.in_(part))
                rows = rows_of(connection.execute(attempts.order_by(JOBS.c.retry_number)))
                found |= {row.chain: row for row in rows}
            return found

        return self._database.read(look)

    def unowed(self, target: str) -> list[Asked]:
        """The steps whose jobs are live, or have a result that nobody has received, and are not to be reported."""
        return self._database.read(
            lambda connection: [Asked(*row) for row in connection.execute(_UNOWED, {"of": target})]
        )

    def await_by(self, tokens: Collection[str], recipient: Recipient) -> None:
        """A step waits for these jobs, which others have submitted: what comes of them is for its run to tell."""

        def note(connection: sa.Connection) -> None:
            for token in set(_first_attempts(list(tokens), connection).values()):
                values = {"token": token, **recipient._asdict()}
                known = sa.select(WAITERS.c.token).where(*(WAITERS.c[name] == value for name, value in values.items()))
                if connection.execute(known).first() is None:
                    connection.execute(WAITERS.insert(), values)

        self._database.write(note)

    def awaited_by(self, report: Report) -> list[Recipient]:
        """The steps that wait for its jobs, or did, whoever has submitted them."""
        steps = sa.select(WAITERS.c.run_id, WAITERS.c.step_key).distinct()
        return self._steps(report.tokens, lambda part: steps.where(WAITERS.c.token.in_(part)))

    def received_since(self, report: Report, tokens: Sequence[str]) -> list[Recipient]:
        """The steps that these results of a report were returned to since it is owed. `tokens`: of the last attempts."""
        steps = sa.select(DELIVERIES.c.run_id, DELIVERIES.c.step_key).distinct()
        steps = steps.where(DELIVERIES.c.returned_at >= report.created_at)
        return self._steps(tokens, lambda part: steps.where(DELIVERIES.c.token.in_(part)))

    def begin(self, seen: Report, owner: str) -> bool:
        """Become the one who reports it. False: somebody else was faster, or it is done."""
        now = self._database.now()
        as_seen = (REPORTS.c.owner == seen.owner) & (REPORTS.c.heartbeat_at == seen.heartbeat_at)
        mine = _named(seen) & _OPEN & (as_seen | (REPORTS.c.owner == owner))
        values = {"owner": owner, "heartbeat_at": now, "begun_at": sa.func.coalesce(REPORTS.c.begun_at, now)}
        return self._change(mine, **values)

    def beat(self, report: Report, owner: str) -> bool:
        """The owner is about to say it. False: it has been overtaken and must not."""
        return self._change(_named(report) & _OPEN & (REPORTS.c.owner == owner), heartbeat_at=self._database.now())

    def let_go(self, report: Report, owner: str) -> bool:
        """It cannot be reported just now: whoever comes next tries again."""
        return self._change(_named(report) & _OPEN & (REPORTS.c.owner == owner), owner=NOBODY)

    def done(self, report: Report, outcome: str, *, delivered: Sequence[str] = ()) -> None:
        """It was reported. The results `delivered` have thereby reached those who asked for them."""

        def done(connection: sa.Connection) -> None:
            now = self._database.now()
            values = {"reported_at": now, "outcome": outcome, "owner": NOBODY}
            closed = connection.execute(REPORTS.update().where(_named(report), _OPEN).values(values)).rowcount
            for part in in_parts(delivered if closed else ()):
                well = JOBS.c.token.in_(part) & (JOBS.c.state == JobState.COMPLETED.value)
                connection.execute(JOBS.update().where(well).values(held_identity=None, delivered_at=now))

        self._database.write(done)

    def _steps(
        self, tokens: Sequence[str], query: Callable[[Sequence[str]], sa.Select[Any]]
    ) -> list[Recipient]:
        def look(connection: sa.Connection) -> list[Recipient]:
            return [Recipient(*row) for part in in_parts(tokens) for row in connection.execute(query(part))]

        return self._database.read(look)

    def _change(self, condition: sa.ColumnElement[bool], **values: Any) -> bool:
        statement = REPORTS.update().where(condition).values(**values)
        return self._database.write(lambda connection: bool(connection.execute(statement).rowcount))


def _free_name(tokens: Sequence[str], connection: sa.Connection) -> str | None:
    """A name for a report of these jobs; None if one is open. A result that was reported may be taken, and told, again."""
    names = (hashlib.sha256(json.dumps([*tokens, number]).encode()).hexdigest()[:16] for number in count())
    looked_up = ((name, connection.execute(_REPORTED_AT, {"name": name}).first()) for name in names)
    name, known = next((name, known) for name, known in looked_up if known is None or known.reported_at is None)
    return name if known is None else None


def _first_attempts(tokens: Sequence[str], connection: sa.Connection) -> dict[str, str]:
    """For each of these attempts the first of its chain."""
    first = {token: token for token in tokens}
    for part in in_parts(tokens):
        query = sa.select(JOBS.c.token, CHAIN.label("chain")).where(JOBS.c.token.in_(part))
        first |= {row.token: row.chain for row in connection.execute(query)}
    return first


def _named(report: Report) -> sa.ColumnElement[bool]:
    return REPORTS.c.report == report.report


def _columns_of(report: Report) -> dict[str, Any]:
    texts = {"tokens": json.dumps(list(report.tokens)), "tags": json.dumps(dict(report.tags))}
    return {**{one.name: getattr(report, one.name) for one in fields(Report)}, **texts}


def _reports_of(found: Iterable[Any]) -> list[Report]:
    return [
        Report(**{**row._asdict(), "tokens": tuple(json.loads(row.tokens)), "tags": json.loads(row.tags)}) for row in found
    ]
