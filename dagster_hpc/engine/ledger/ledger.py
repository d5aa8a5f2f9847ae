"""The ledger as one thing: what it keeps in parts, and what may be read of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from dagster_hpc.engine.clock import SYSTEM_CLOCK, Clock
from dagster_hpc.engine.errors import LedgerError
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger.claims import Claims
from dagster_hpc.engine.ledger.database import Database, in_parts
from dagster_hpc.engine.ledger.deliveries import Deliveries
from dagster_hpc.engine.ledger.leases import Leases
from dagster_hpc.engine.ledger.notices import Notices
from dagster_hpc.engine.ledger.observations import Observations
from dagster_hpc.engine.ledger.quantum import QuantumJobs
from dagster_hpc.engine.ledger.reports import Reports
from dagster_hpc.engine.ledger.rooms import Rooms
from dagster_hpc.engine.ledger.rows import JobRow, rows_of, to_columns
from dagster_hpc.engine.ledger.schema import DELIVERIES, GOES_ON, JOBS, NOTICES, OVER, REPORTS, WAITERS


class Watched(NamedTuple):
    """What a poll needs of a job that has not changed, without the work of reading all of it."""

    token: str
    batch: str
    job_id: str | None
    state: str
    reason: str
    cancel_requested: bool
    cancel_sent_at: float | None
    absent_since: float | None
    ending_since: float | None
    stuck_since: float | None


_WATCHED = [JOBS.c[name] for name in Watched._fields]
# Asked again and again by all who wait: made once.
_ITS_TOKEN = JOBS.c.token == sa.bindparam("token")
_THEIR_TOKENS = JOBS.c.token.in_(sa.bindparam("tokens", expanding=True))
# Two changes may be of one moment: what a wait must not miss is told apart without the time.
_STAMP_COLUMNS = (JOBS.c.token, JOBS.c.state, JOBS.c.updated_at, JOBS.c.job_id, JOBS.c.again_at, JOBS.c.next_token)
_ROW, _ROWS = sa.select(JOBS).where(_ITS_TOKEN), sa.select(JOBS).where(_THEIR_TOKENS)
_STAMP, _STAMPS = sa.select(*_STAMP_COLUMNS).where(_ITS_TOKEN), sa.select(*_STAMP_COLUMNS).where(_THEIR_TOKENS)
_LOST_BUT_HELD = (
    (JOBS.c.state == JobState.LOST.value)
    & JOBS.c.held_identity.is_not(None)
    & JOBS.c.job_id.is_not(None)
    & (JOBS.c.updated_at > sa.bindparam("recently"))
)
_WATCHED_OF = sa.select(*_WATCHED).where(JOBS.c.target == sa.bindparam("target"), ~OVER | _LOST_BUT_HELD)
_GOING_ON = sa.select(JOBS).where(JOBS.c.target == sa.bindparam("target"), GOES_ON)
_FIGURES_COME_S, _FIGURES_AT_ONCE = 86400.0, 50
# Of a step that did not run as its own child, its holder cannot tell the time; who told it since is noted beside it.
_NOT_ACCOUNTED = JOBS.c.metrics.like('%"cpu_time_s": null%"holder": "%') & ~JOBS.c.metrics.like('%"accounted_by": "%')
_ACCOUNTS_COME_S, _STEPS_AT_ONCE = 10.0, 2000
_LOST_FOR_GOOD_S = 30 * 86400.0  # a lost job that has not turned up for so long is asked about no more


class Ledger:
    """The table of jobs behind one database URL."""

    def __init__(
        self, url: str | None = None, clock: Clock = SYSTEM_CLOCK, *, database: Database | None = None
    ) -> None:
        self._database = database or Database(url, clock)
        self.url = self._database.url
        self.leases = Leases(self._database)
        self.claims = Claims(self._database, self.leases)
        self.observations = Observations(self._database)
        self.rooms = Rooms(self._database)
        self.deliveries = Deliveries(self._database)
        self.reports = Reports(self._database)
        self.notices = Notices(self._database)
        self.quantum = QuantumJobs(self._database)

    def job(self, token: str) -> JobRow:
        return self.rows([token])[0]

    def rows(self, tokens: Sequence[str]) -> list[JobRow]:
        """These jobs, in any order; an error if one is not there."""
        found = rows_of(self._database.read(lambda connection: _of(tokens, connection, _ROW, _ROWS)))
        missing = set(tokens) - {row.token for row in found}
        if missing:
            raise LedgerError(f"the ledger {self.public_url} holds no job {', '.join(sorted(missing))!r}")
        return found

    def changed(self, known: Sequence[JobRow]) -> list[JobRow]:
        """Those of these jobs of which there is news: only what tells that is read of all of them."""
        tokens = [row.token for row in known]
        stamps = self._database.read(lambda connection: _of(tokens, connection, _STAMP, _STAMPS))
        now: dict[str, tuple[object, ...]] = {row.token: tuple(row[1:]) for row in stamps}
        seen = {row.token: (row.state.value, row.updated_at, row.job_id, row.again_at, row.next_token) for row in known}
        new = [token for token in seen if now.get(token) != seen[token]]
        return self.rows(new) if new else []

    def watched(self, target: str) -> list[Watched]:
        """All jobs of a target that are not over, and those that were lost and may turn up again."""
        recently = self._database.clock.now() - _LOST_FOR_GOOD_S
        asked = {"target": target, "recently": recently}
        return self._database.read(
            lambda connection: [Watched._make(row) for row in connection.execute(_WATCHED_OF, asked)]
        )

    def jobs(
        self,
        *,
        live: bool | None = None,
        target: str | None = None,
        state: JobState | None = None,
        batch: str | None = None,
        asset_key: str | None = None,
        run_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        identity: str | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """The jobs that fit, newest first; `since` and `until` are about when they were asked for."""
        query = sa.select(JOBS).order_by(JOBS.c.created_at.desc(), JOBS.c.array_index)
        if target is not None:  # by its full name, or without that of its cluster
            query = query.where((JOBS.c.target == target) | JOBS.c.target.startswith(f"{target}@", autoescape=True))
        wanted = {"state": state, "batch": batch, "asset_key": asset_key, "run_id": run_id, "identity": identity}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(JOBS.c[column] == str(value))
        if since is not None:
            query = query.where(JOBS.c.created_at >= since)
        if until is not None:
            query = query.where(JOBS.c.created_at < until)
        if live is not None:
            query = query.where(~OVER | GOES_ON if live else OVER & ~GOES_ON)
        return self._select(query.limit(limit))

    def in_progress(self, asset_key: str) -> set[str]:
        """The partitions of an asset ('' where it has none) with a job that is not over, or not reported to Dagster yet."""
        jobs = sa.select(JOBS.c.partition_key).where(JOBS.c.asset_key == asset_key, ~OVER | GOES_ON)
        reports = sa.select(REPORTS.c.partition_key).where(
            REPORTS.c.asset_key == asset_key, REPORTS.c.reported_at.is_(None)
        )
        found = self._database.read(lambda connection: list(connection.execute(jobs.union(reports)).scalars()))
        return {key or "" for key in found}

    def to_be_tried_again(self, target: str) -> list[JobRow]:
        """The jobs of a target that have ended and after which another attempt is to come, the first due first."""
        found = self._database.read(lambda connection: rows_of(connection.execute(_GOING_ON, {"target": target})))
        return sorted(found, key=lambda row: (row.again_at or 0.0, row.token))

    def last_attempts(self, tokens: Sequence[str]) -> dict[str, JobRow]:
        """For each of these jobs what has become of it: the last attempt of its chain so far, itself where it is one."""
        last = {row.token: row for row in self.rows(tokens)}
        while going := {token: row.next_token for token, row in last.items() if row.next_token}:
            news = {row.token: row for row in self.rows(list(set(going.values())))}
            last |= {token: news[successor] for token, successor in going.items()}
        return {token: last[token] for token in tokens}

    def attempts(self, chains: Sequence[str]) -> dict[str, list[JobRow]]:
        """All attempts of these chains, each named by the token of its first, in their order."""
        found: dict[str, list[JobRow]] = {chain: [] for chain in chains}
        for start in range(0, len(chains), 250):
            some = chains[start : start + 250]
            query = sa.select(JOBS).where(JOBS.c.token.in_(some) | JOBS.c.first_token.in_(some))
            for row in self._select(query):
                found[row.chain].append(row)
        return {chain: sorted(rows, key=lambda row: row.retry_number) for chain, rows in found.items()}

    def latest(self, identities: Sequence[str], state: JobState | None = None) -> dict[str, JobRow]:
        """For each of these identities its latest job, delivered or not; the latest in this state."""
        found: dict[str, JobRow] = {}
        for part in in_parts(identities):
            query = sa.select(JOBS).where(JOBS.c.identity.in_(part)).order_by(JOBS.c.created_at, JOBS.c.retry_number)
            if state is not None:
                query = query.where(JOBS.c.state == state.value)
            found |= {row.identity or "": row for row in self._select(query)}
        return found

    def look_up(self, word: str) -> list[JobRow]:
        """The jobs that a person means by a token, the start of one, or a scheduler's job id."""
        exact = (JOBS.c.token == word) | (JOBS.c.batch == word) | (JOBS.c.job_id == word)
        array_ids = [JOBS.c.job_id.startswith(word + mark, autoescape=True) for mark in "_[."]
        element = JOBS.c.array_index.is_not(None) & sa.or_(*array_ids)
        conditions: list[sa.ColumnElement[bool]] = [exact | element, _spelled_otherwise(word)]
        if not word.isdigit():  # a number is a job id, never the start of a token
            conditions.append(JOBS.c.token.startswith(word, autoescape=True))
        for condition in conditions:
            found = self._select(
                sa.select(JOBS).where(condition).order_by(JOBS.c.created_at.desc(), JOBS.c.array_index)
            )
            if found:
                return found
        return []

    def begin_with(self, start: str, limit: int) -> list[JobRow]:
        """The newest jobs whose token or job id begins so."""
        fits = JOBS.c.token.startswith(start, autoescape=True) | JOBS.c.job_id.startswith(start, autoescape=True)
        return self._select(sa.select(JOBS).where(fits).order_by(JOBS.c.created_at.desc()).limit(limit))

    def known(self, column: Literal["target", "asset_key", "run_id"], start: str, limit: int) -> list[str]:
        """What stands in this column and begins so: the latest first."""
        what = JOBS.c[column]
        query = sa.select(what).where(what.startswith(start, autoescape=True)).group_by(what)
        query = query.order_by(sa.func.max(JOBS.c.created_at).desc()).limit(limit)
        return self._database.read(lambda connection: [str(found) for found in connection.execute(query).scalars()])

    def without_figures(self, target: str) -> list[JobRow]:
        """Jobs whose results were collected of late, and of whose cost the system has said nothing yet."""
        lately = self._database.clock.now() - _FIGURES_COME_S
        silent = (JOBS.c.collected_at > lately) & JOBS.c.metrics.endswith('"raw": {}}', autoescape=True)
        return self._select(sa.select(JOBS).where(JOBS.c.target == target, silent).limit(_FIGURES_AT_ONCE))

    def steps_without_figures(self, target: str | None = None) -> list[JobRow]:
        """Steps of allocations whose results were collected of late, not just now, and that were not accounted for."""
        now, collected = self._database.clock.now(), JOBS.c.collected_at
        lately = (collected > now - _FIGURES_COME_S) & (collected < now - _ACCOUNTS_COME_S)
        query = sa.select(JOBS).where(lately, _NOT_ACCOUNTED).order_by(collected.desc()).limit(_STEPS_AT_ONCE)
        return self._select(query if target is None else query.where(JOBS.c.target == target))

    def ended_elements(self, batches: Sequence[str]) -> dict[str, int]:
        """For each of these arrays how many of its elements are over, and not tried again."""
        over = sa.select(JOBS.c.batch, sa.func.count()).where(OVER, ~GOES_ON).group_by(JOBS.c.batch)

        def count(connection: sa.Connection) -> dict[str, int]:
            parts = [connection.execute(over.where(JOBS.c.batch.in_(part))) for part in in_parts(batches)]
            return {batch: number for part in parts for batch, number in part}

        return self._database.read(count)

    def live_count(self, target: str) -> int:
        query = sa.select(sa.func.count()).where(JOBS.c.target == target, ~OVER)
        return self._database.read(lambda connection: int(connection.execute(query).scalar_one()))

    def insert_missing(self, rows: Sequence[JobRow]) -> list[JobRow]:
        """Put in the rows that this ledger does not know yet, as they were read from the jobs' own directories.

        Of several that hold one identity the first that comes holds it, or the one that is here already.
        """

        def insert(connection: sa.Connection) -> list[JobRow]:
            added = []
            for row in rows:
                for version in (row, replace(row, held_identity=None)):
                    try:
                        with connection.begin_nested():
                            connection.execute(JOBS.insert(), to_columns(version))
                    except sa.exc.IntegrityError:
                        continue
                    added.append(version)
                    break
            return added

        return self._database.write(insert)

    def delete(self, tokens: Sequence[str]) -> int:
        """Forget these jobs, which are over. What lies in their directories is not touched."""

        def delete(connection: sa.Connection) -> int:
            count = 0
            for part in in_parts(tokens):
                connection.execute(DELIVERIES.delete().where(DELIVERIES.c.token.in_(part)))
                connection.execute(WAITERS.delete().where(WAITERS.c.token.in_(part)))
                arrays = {token.partition(".")[0] for token in part}
                connection.execute(NOTICES.delete().where(NOTICES.c.token.in_([*part, *arrays])))
                count += connection.execute(JOBS.delete().where(JOBS.c.token.in_(part), OVER)).rowcount
            return count

        return self._database.write(delete)

    def try_writing(self) -> None:
        """Take the right to write, and change nothing."""
        self._database.write(lambda connection: None)

    def now(self) -> float:
        """The database's clock, by which heartbeats are kept."""
        if here := self._database.here():
            return here["here"]
        query = sa.select(self._database.now())
        return float(self._database.read(lambda connection: connection.execute(query).scalar_one()))

    @property
    def public_url(self) -> str:
        return self._database.public_url

    def close(self) -> None:
        self._database.close()

    def _select(self, query: sa.Select[Any]) -> list[JobRow]:
        return self._database.read(lambda connection: rows_of(connection.execute(query)))


def _spelled_otherwise(word: str) -> sa.ColumnElement[bool]:
    """PBS prints one id as `62`, `62.server` and `62.server.site`, and that of an array as `62[]` and `62[].server`."""
    number, brackets, server = word.partition("[]")
    if brackets:
        elements = JOBS.c.job_id.startswith(f"{number}[", autoescape=True)
        return elements & JOBS.c.job_id.endswith(f"]{server}", autoescape=True) if server else elements
    longer = JOBS.c.job_id.startswith(f"{word}.", autoescape=True)
    number, _, server = word.partition(".")
    # The queue of some sites prints no server. A number behind the dot is none, but an element of Grid Engine's.
    return longer if not server or server.isdigit() else longer | (JOBS.c.job_id == number)


def _of(
    tokens: Sequence[str], connection: sa.Connection, one: sa.Select[Any], some: sa.Select[Any]
) -> list[sa.Row[Any]]:
    """What this query finds of these jobs; it comes in two forms, as nearly always only one job is asked for."""
    if len(tokens) == 1:
        return list(connection.execute(one, {"token": tokens[0]}))
    found: list[sa.Row[Any]] = []
    for part in in_parts(tokens):
        found += connection.execute(some, {"tokens": part})
    return found
