"""The durable table of jobs: written before a job is submitted, read by everything that looks for one.

SQLAlchemy Core on SQLite (WAL, a local disk) or any other database by URL, PostgreSQL for several orchestrator hosts.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from dagster_hpc.engine.errors import LedgerError
from dagster_hpc.engine.job import FINAL_STATES, JobHandle, JobMetrics, JobState
from dagster_hpc.engine.ledger.database import JOBS, LEASES, connect, default_url
from dagster_hpc.engine.process import NOBODY

_TOKEN_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_TOKEN_LENGTH = 8


@dataclass(frozen=True)
class JobRow:
    """One job in the ledger; one element of an array job is one too."""

    token: str
    batch: str
    name: str
    target: str
    scheduler: str
    work_dir: str
    state: JobState
    created_at: float
    updated_at: float = 0.0
    array_index: int | None = None
    identity: str | None = None
    queue: str = ""
    project: str = ""
    script_sha256: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    asset_key: str | None = None
    partition_key: str | None = None
    run_id: str | None = None
    owner: str = ""
    reason: str = ""
    job_id: str | None = None
    exit_code: int | None = None
    metrics: JobMetrics = field(default_factory=JobMetrics)
    cancel_requested: bool = False
    absent_since: float | None = None
    ending_since: float | None = None
    stuck_since: float | None = None

    def handle(self, *, joined: bool = False) -> JobHandle:
        return JobHandle(self.token, self.job_id, self.work_dir, self.target, self.name, joined)


@dataclass(frozen=True)
class Change:
    """What a poll or a command learned of one job."""

    token: str
    state: JobState
    reason: str = ""
    exit_code: int | None = None
    metrics: JobMetrics = field(default_factory=JobMetrics)
    absent_since: float | None = None
    ending_since: float | None = None
    stuck_since: float | None = None


class Ledger:
    """The table of jobs behind one database URL."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or default_url()
        self._engine = connect(self.url)
        self._reader = self._engine.execution_options(reading=True)

    # -- claim and submit

    def claim(self, rows: Sequence[JobRow]) -> bool:
        """Insert the rows of one submission in one transaction; False if a live job of the same identity is there."""
        try:
            with self._engine.begin() as connection:
                connection.execute(JOBS.insert(), [_to_columns(row) for row in rows])
        except sa.exc.IntegrityError:
            if rows[0].identity and self.live_job(rows[0].identity):
                return False
            raise
        return True

    def live_job(self, identity: str) -> JobRow | None:
        return self._one((JOBS.c.identity == identity) & JOBS.c.live_identity.is_not(None))

    def finished_job(self, identity: str) -> JobRow | None:
        """The latest job of this identity that ended well."""
        return self._one((JOBS.c.identity == identity) & (JOBS.c.state == JobState.COMPLETED.value))

    def new_token(self) -> str:
        """A name for a submission that fits into the job name of every scheduler. Unused in this ledger."""
        while True:
            token = "".join(secrets.choice(_TOKEN_ALPHABET) for _ in range(_TOKEN_LENGTH))
            if not self.jobs(batch=token, limit=1):
                return token

    def submitted(self, ids: Mapping[str, str], target: str, *, poll_within_s: float) -> None:
        """Store {token: job id} and the state in one transaction, and let the next poll come soon."""
        store = (
            JOBS.update()
            .where(JOBS.c.token == sa.bindparam("t"), JOBS.c.state == JobState.SUBMITTING.value)
            .values(job_id=sa.bindparam("j"), state=JobState.PENDING.value, updated_at=time.time())
        )
        with self._engine.begin() as connection:
            connection.execute(store, [{"t": token, "j": job_id} for token, job_id in ids.items()])
            connection.execute(_sooner(target, poll_within_s))

    def take_over(self, row: JobRow, owner: str) -> bool:
        """Become the one who settles an unfinished submission; False if somebody else was faster."""
        statement = (
            JOBS.update()
            .where(
                JOBS.c.batch == row.batch,
                JOBS.c.owner == row.owner,
                JOBS.c.state == JobState.SUBMITTING.value,
            )
            .values(owner=owner, updated_at=time.time())
        )
        with self._engine.begin() as connection:
            return bool(connection.execute(statement).rowcount)

    def goes_by(self, token: str, job_id: str) -> None:
        """The scheduler took a submission twice, and the copy that runs is not the one whose id was stored."""
        with self._engine.begin() as connection:
            connection.execute(JOBS.update().where(JOBS.c.token == token).values(job_id=job_id, ending_since=None))

    def abandon(self, batch: str) -> None:
        """Say that nobody is at this submission any more: whoever wants the job next settles it first."""
        with self._engine.begin() as connection:
            connection.execute(
                JOBS.update()
                .where(JOBS.c.batch == batch, JOBS.c.state == JobState.SUBMITTING.value)
                .values(owner=NOBODY)
            )

    # -- what became of them

    def record(self, changes: Iterable[Change]) -> None:
        """Write what was learned. A job that is over stays over: a late answer cannot bring it back."""
        now = time.time()
        over: list[dict[str, Any]] = []
        live: list[dict[str, Any]] = []
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
                "updated_at": now,
            }
            (over if change.state.is_final else live).append(values)
        with self._engine.begin() as connection:
            if live:
                connection.execute(_RECORD, live)
            if over:
                connection.execute(_RECORD.values(live_identity=None), over)

    def settle(self, token: str, state: JobState, reason: str) -> None:
        """Say how a job ended where no scheduler can: an output is missing, or it could never start."""
        with self._engine.begin() as connection:
            connection.execute(
                JOBS.update()
                .where(JOBS.c.token == token)
                .values(state=state.value, reason=reason, live_identity=None, updated_at=time.time())
            )

    def request_cancel(self, tokens: Sequence[str]) -> None:
        with self._engine.begin() as connection:
            connection.execute(JOBS.update().where(JOBS.c.token.in_(tokens)).values(cancel_requested=True))

    # -- reading

    def job(self, token: str) -> JobRow:
        return self.rows([token])[0]

    def rows(self, tokens: Sequence[str]) -> list[JobRow]:
        """These jobs, in any order; an error if one is not there."""
        found: list[JobRow] = []
        with self._reader.connect() as connection:
            for start in range(0, len(tokens), 500):  # databases limit the values of one statement
                query = sa.select(JOBS).where(JOBS.c.token.in_(tokens[start : start + 500]))
                found += [_from_columns(row._asdict()) for row in connection.execute(query)]
        missing = set(tokens) - {row.token for row in found}
        if missing:
            raise LedgerError(f"the ledger {self.public_url} holds no job {', '.join(sorted(missing))!r}")
        return found

    def jobs(
        self,
        *,
        live: bool | None = None,
        target: str | None = None,
        state: JobState | None = None,
        batch: str | None = None,
        asset_key: str | None = None,
        run_id: str | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """The jobs that fit, newest first."""
        query = sa.select(JOBS).order_by(JOBS.c.created_at.desc(), JOBS.c.array_index)
        wanted = {"target": target, "state": state, "batch": batch, "asset_key": asset_key, "run_id": run_id}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(JOBS.c[column] == str(value))
        if live is not None:
            query = query.where(JOBS.c.state.not_in(FINAL_STATES) if live else JOBS.c.state.in_(FINAL_STATES))
        with self._reader.connect() as connection:
            return [_from_columns(row._asdict()) for row in connection.execute(query.limit(limit))]

    def look_up(self, word: str) -> list[JobRow]:
        """The jobs that a person means by a token, the start of one, or a scheduler's job id."""
        exact = (JOBS.c.token == word) | (JOBS.c.batch == word) | (JOBS.c.job_id == word)
        array_ids = [JOBS.c.job_id.startswith(word + bracket, autoescape=True) for bracket in "_["]
        element = JOBS.c.array_index.is_not(None) & sa.or_(*array_ids)
        for condition in (exact | element, JOBS.c.token.startswith(word, autoescape=True)):
            query = sa.select(JOBS).where(condition).order_by(JOBS.c.created_at.desc(), JOBS.c.array_index)
            with self._reader.connect() as connection:
                found = [_from_columns(row._asdict()) for row in connection.execute(query)]
            if found:
                return found
        return []

    def live_count(self, target: str) -> int:
        query = sa.select(sa.func.count()).where(JOBS.c.target == target, JOBS.c.state.not_in(FINAL_STATES))
        with self._reader.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def _one(self, condition: sa.ColumnElement[bool]) -> JobRow | None:
        query = sa.select(JOBS).where(condition).order_by(JOBS.c.created_at.desc(), JOBS.c.array_index).limit(1)
        with self._reader.connect() as connection:
            row = connection.execute(query).first()
        return _from_columns(row._asdict()) if row else None

    # -- who may ask the scheduler

    def take_poll_lease(self, target: str, holder: str, *, ttl_s: float, early_after_s: float | None) -> float | None:
        """The right to ask this target's scheduler once, taken by one atomic UPDATE; the current interval if taken.

        A poll is due when the interval is over, or already after `early_after_s` where the caller has reason to hurry.
        """
        now = self._now()
        due = LEASES.c.polled_at + LEASES.c.interval_s
        if early_after_s is not None:
            due = sa.case((due < LEASES.c.polled_at + early_after_s, due), else_=LEASES.c.polled_at + early_after_s)
        free = (LEASES.c.target == target) & (LEASES.c.expires_at <= now) & (due <= now)
        # Looking first: those who wait ask many times a second, and only a write makes them wait for each other.
        with self._reader.connect() as connection:
            query = sa.select(LEASES.c.interval_s, sa.case((free, 1), else_=0)).where(LEASES.c.target == target)
            lease = connection.execute(query).first()
        if lease is None:
            self._open_lease(target)
            return self.take_poll_lease(target, holder, ttl_s=ttl_s, early_after_s=early_after_s)
        interval_s, is_free = lease
        if not is_free:
            return None
        with self._engine.begin() as connection:
            taken = connection.execute(LEASES.update().where(free).values(holder=holder, expires_at=now + ttl_s))
            return float(interval_s) if taken.rowcount else None

    def release_poll_lease(self, target: str, holder: str, *, interval_s: float) -> None:
        """The poll is done; the next is due after `interval_s`."""
        now = self._now()
        with self._engine.begin() as connection:
            connection.execute(
                LEASES.update()
                .where(LEASES.c.target == target, LEASES.c.holder == holder)
                .values(holder=None, expires_at=0.0, polled_at=now, interval_s=interval_s)
            )

    def hurry_poll(self, target: str, interval_s: float) -> None:
        """Let the next poll come no later than this after the last one."""
        with self._engine.begin() as connection:
            connection.execute(_sooner(target, interval_s))

    def _open_lease(self, target: str) -> None:
        row = {"target": target, "holder": None, "expires_at": 0.0, "polled_at": 0.0, "interval_s": 0.0}
        try:
            with self._engine.begin() as connection:
                connection.execute(LEASES.insert(), row)
        except sa.exc.IntegrityError:
            return  # somebody else opened it in the same moment: as good

    def _now(self) -> sa.ColumnElement[float]:
        # The database's clock, so that hosts whose clocks differ agree on what is due.
        if self._engine.dialect.name == "postgresql":
            return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)
        if self._engine.dialect.name == "sqlite":
            return (sa.func.julianday("now") - 2440587.5) * 86400.0
        return sa.literal(time.time())

    @property
    def public_url(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self._engine.dispose()


# One statement for any number of jobs: thousands may end between two polls.
_RECORD = (
    JOBS.update()
    .where(JOBS.c.token == sa.bindparam("of"), *(JOBS.c.state != final for final in FINAL_STATES))
    .values(
        {
            name: sa.bindparam(name)
            for name in (
                "state", "reason", "exit_code", "metrics", "absent_since", "ending_since", "stuck_since", "updated_at",
            )
        }
    )
)  # fmt: skip


def _sooner(target: str, interval_s: float) -> sa.Update:
    shorter = LEASES.c.interval_s > interval_s
    return LEASES.update().where(LEASES.c.target == target, shorter).values(interval_s=interval_s)


_PLAIN = (
    "token", "batch", "array_index", "identity", "name", "target", "scheduler", "queue", "project", "work_dir",
    "script_sha256", "asset_key", "partition_key", "run_id", "owner", "reason", "job_id", "exit_code",
    "cancel_requested", "absent_since", "ending_since", "stuck_since", "created_at", "updated_at",
)  # fmt: skip


def _to_columns(row: JobRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _PLAIN}
    element = "" if row.array_index is None else f".{row.array_index}"
    return {
        **values,
        "updated_at": row.created_at,
        "state": row.state.value,
        "live_identity": f"{row.identity}{element}" if row.identity else None,
        "outputs": json.dumps(dict(row.outputs)),
        "metrics": json.dumps(row.metrics.to_dict()),
    }


def _from_columns(columns: Mapping[str, Any]) -> JobRow:
    return JobRow(
        **{name: columns[name] for name in _PLAIN},
        state=JobState(columns["state"]),
        outputs=json.loads(columns["outputs"]),
        metrics=JobMetrics.from_dict(json.loads(columns["metrics"])),
    )
