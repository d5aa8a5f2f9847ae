"""The durable table of jobs: written before a job is submitted, read by everything that looks for one.

SQLAlchemy Core on SQLite (WAL, a local disk) or any other database by URL, PostgreSQL for several orchestrator hosts.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dagster_hpc.engine.errors import LedgerError
from dagster_hpc.engine.filesystem import network_filesystem
from dagster_hpc.engine.job import FINAL_STATES, JobHandle, JobMetrics, JobState

_TOKEN_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_TOKEN_LENGTH = 8
SCHEMA_VERSION = 1

_metadata = sa.MetaData()
_jobs = sa.Table(
    "dagster_hpc_jobs",
    _metadata,
    sa.Column("token", sa.String(32), primary_key=True),
    sa.Column("batch", sa.String(16), nullable=False, index=True),  # the token in the job name, shared by an array
    sa.Column("array_index", sa.Integer),
    sa.Column("identity", sa.String(64), index=True),
    sa.Column("live_identity", sa.String(64), unique=True),  # the identity while live: one live job of each, at most
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("target", sa.String(255), nullable=False),
    sa.Column("scheduler", sa.Text, nullable=False),  # JSON: enough to build the scheduler again, for `cancel`
    sa.Column("queue", sa.Text, nullable=False, default=""),
    sa.Column("project", sa.Text, nullable=False, default=""),
    sa.Column("work_dir", sa.Text, nullable=False),
    sa.Column("script_sha256", sa.String(64), nullable=False),
    sa.Column("outputs", sa.Text, nullable=False, default="{}"),
    sa.Column("asset_key", sa.Text),
    sa.Column("partition_key", sa.Text),
    sa.Column("run_id", sa.String(64)),
    sa.Column("owner", sa.Text, nullable=False),  # the process that submits: host:pid:start
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("job_id", sa.String(64)),
    sa.Column("exit_code", sa.Integer),
    sa.Column("metrics", sa.Text, nullable=False, default="{}"),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    # since when a poll has found: no trace of it; that it is over, though its accounts are not in; that it cannot start
    sa.Column("absent_since", sa.Float),
    sa.Column("ending_since", sa.Float),
    sa.Column("stuck_since", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Index("dagster_hpc_jobs_live", "target", "state"),
    sa.Index("dagster_hpc_jobs_created", "created_at"),
)
_leases = sa.Table(
    "dagster_hpc_leases",
    _metadata,
    sa.Column("target", sa.String(255), primary_key=True),
    sa.Column("holder", sa.String(128)),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("polled_at", sa.Float, nullable=False),
    sa.Column("interval_s", sa.Float, nullable=False),
)
_schema = sa.Table("dagster_hpc_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))


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
        self._engine = _connect(self.url)
        self._reader = self._engine.execution_options(reading=True)

    # -- claim and submit

    def claim(self, rows: Sequence[JobRow]) -> bool:
        """Insert the rows of one submission in one transaction; False if a live job of the same identity is there."""
        try:
            with self._engine.begin() as connection:
                connection.execute(_jobs.insert(), [_to_columns(row) for row in rows])
        except sa.exc.IntegrityError:
            if rows[0].identity and self.live_job(rows[0].identity):
                return False
            raise
        return True

    def live_job(self, identity: str) -> JobRow | None:
        return self._one((_jobs.c.identity == identity) & _jobs.c.live_identity.is_not(None))

    def finished_job(self, identity: str) -> JobRow | None:
        """The latest job of this identity that ended well."""
        return self._one((_jobs.c.identity == identity) & (_jobs.c.state == JobState.COMPLETED.value))

    def new_token(self) -> str:
        """A name for a submission that fits into the job name of every scheduler. Unused in this ledger."""
        while True:
            token = "".join(secrets.choice(_TOKEN_ALPHABET) for _ in range(_TOKEN_LENGTH))
            if not self.jobs(batch=token, limit=1):
                return token

    def submitted(self, ids: Mapping[str, str]) -> None:
        """Store the ids and the state in one transaction: {token: job id}."""
        with self._engine.begin() as connection:
            statement = (
                _jobs.update()
                .where(_jobs.c.token == sa.bindparam("t"), _jobs.c.state == JobState.SUBMITTING.value)
                .values(job_id=sa.bindparam("j"), state=JobState.PENDING.value, updated_at=time.time())
            )
            connection.execute(statement, [{"t": token, "j": job_id} for token, job_id in ids.items()])

    def take_over(self, row: JobRow, owner: str) -> bool:
        """Become the one who settles an unfinished submission; False if somebody else was faster."""
        statement = (
            _jobs.update()
            .where(
                _jobs.c.batch == row.batch,
                _jobs.c.owner == row.owner,
                _jobs.c.state == JobState.SUBMITTING.value,
            )
            .values(owner=owner, updated_at=time.time())
        )
        with self._engine.begin() as connection:
            return bool(connection.execute(statement).rowcount)

    # -- what became of them

    def record(self, changes: Iterable[Change]) -> None:
        """Write what was learned. A job that is over stays over: a late answer cannot bring it back."""
        with self._engine.begin() as connection:
            for change in changes:
                values: dict[str, Any] = {
                    "state": change.state.value,
                    "reason": change.reason,
                    "exit_code": change.exit_code,
                    "metrics": json.dumps(change.metrics.to_dict()),
                    "absent_since": change.absent_since,
                    "ending_since": change.ending_since,
                    "stuck_since": change.stuck_since,
                    "updated_at": time.time(),
                }
                if change.state.is_final:
                    values["live_identity"] = None
                connection.execute(
                    _jobs.update()
                    .where(_jobs.c.token == change.token, _jobs.c.state.not_in(FINAL_STATES))
                    .values(**values)
                )

    def settle(self, token: str, state: JobState, reason: str) -> None:
        """Say how a job ended where no scheduler can: an output is missing, or it could never start."""
        with self._engine.begin() as connection:
            connection.execute(
                _jobs.update()
                .where(_jobs.c.token == token)
                .values(state=state.value, reason=reason, live_identity=None, updated_at=time.time())
            )

    def request_cancel(self, tokens: Sequence[str]) -> None:
        with self._engine.begin() as connection:
            connection.execute(_jobs.update().where(_jobs.c.token.in_(tokens)).values(cancel_requested=True))

    # -- reading

    def job(self, token: str) -> JobRow:
        row = self._one(_jobs.c.token == token)
        if row is None:
            raise LedgerError(f"the ledger {self.public_url} holds no job with the token {token!r}")
        return row

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
        query = sa.select(_jobs).order_by(_jobs.c.created_at.desc(), _jobs.c.array_index)
        wanted = {"target": target, "state": state, "batch": batch, "asset_key": asset_key, "run_id": run_id}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(_jobs.c[column] == str(value))
        if live is not None:
            query = query.where(_jobs.c.state.not_in(FINAL_STATES) if live else _jobs.c.state.in_(FINAL_STATES))
        with self._reader.connect() as connection:
            return [_from_columns(row._asdict()) for row in connection.execute(query.limit(limit))]

    def look_up(self, word: str) -> list[JobRow]:
        """The jobs that a person means by a token, the start of one, or a scheduler's job id."""
        exact = (_jobs.c.token == word) | (_jobs.c.batch == word) | (_jobs.c.job_id == word)
        for condition in (exact, _jobs.c.token.startswith(word, autoescape=True)):
            query = sa.select(_jobs).where(condition).order_by(_jobs.c.created_at.desc(), _jobs.c.array_index)
            with self._reader.connect() as connection:
                found = [_from_columns(row._asdict()) for row in connection.execute(query)]
            if found:
                return found
        return []

    def live_count(self, target: str) -> int:
        query = sa.select(sa.func.count()).where(_jobs.c.target == target, _jobs.c.state.not_in(FINAL_STATES))
        with self._reader.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def _one(self, condition: sa.ColumnElement[bool]) -> JobRow | None:
        query = sa.select(_jobs).where(condition).order_by(_jobs.c.created_at.desc(), _jobs.c.array_index).limit(1)
        with self._reader.connect() as connection:
            row = connection.execute(query).first()
        return _from_columns(row._asdict()) if row else None

    # -- who may ask the scheduler

    def take_poll_lease(self, target: str, holder: str, *, ttl_s: float, early_after_s: float | None) -> float | None:
        """The right to ask this target's scheduler once, taken by one atomic UPDATE; the current interval if taken.

        A poll is due when the interval is over, or already after `early_after_s` where the caller has reason to hurry.
        """
        now = self._now()
        due = _leases.c.polled_at + _leases.c.interval_s
        if early_after_s is not None:
            due = sa.case((due < _leases.c.polled_at + early_after_s, due), else_=_leases.c.polled_at + early_after_s)
        statement = (
            _leases.update()
            .where(_leases.c.target == target, _leases.c.expires_at <= now, due <= now)
            .values(holder=holder, expires_at=now + ttl_s)
        )
        with self._engine.begin() as connection:
            if connection.execute(statement).rowcount:
                query = sa.select(_leases.c.interval_s).where(_leases.c.target == target)
                return float(connection.execute(query).scalar_one())
            known = connection.execute(sa.select(_leases.c.target).where(_leases.c.target == target)).first()
        if known is None:
            self._open_lease(target)
            return self.take_poll_lease(target, holder, ttl_s=ttl_s, early_after_s=early_after_s)
        return None

    def release_poll_lease(self, target: str, holder: str, *, interval_s: float) -> None:
        """The poll is done; the next is due after `interval_s`."""
        now = self._now()
        with self._engine.begin() as connection:
            connection.execute(
                _leases.update()
                .where(_leases.c.target == target, _leases.c.holder == holder)
                .values(holder=None, expires_at=0.0, polled_at=now, interval_s=interval_s)
            )

    def hurry_poll(self, target: str, interval_s: float) -> None:
        """Something new is in the queue: let the next poll come no later than after `interval_s`."""
        with self._engine.begin() as connection:
            connection.execute(
                _leases.update()
                .where(_leases.c.target == target, _leases.c.interval_s > interval_s)
                .values(interval_s=interval_s)
            )

    def _open_lease(self, target: str) -> None:
        row = {"target": target, "holder": None, "expires_at": 0.0, "polled_at": 0.0, "interval_s": 0.0}
        try:
            with self._engine.begin() as connection:
                connection.execute(_leases.insert(), row)
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


def this_process() -> str:
    """Who submits: enough to tell later, on this host, whether that process still lives."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start_time(os.getpid())}"


def process_lives(owner: str) -> bool | None:
    """Whether the process that claimed a job is alive; None when only its own host could tell."""
    host, pid, start = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return None
    return _start_time(int(pid)) == start != ""


def _start_time(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def state_folder() -> Path:
    """Where this user's ledger lives when nothing else is said."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "dagster_hpc"


def default_url() -> str:
    """`DAGSTER_HPC_LEDGER`, else a file in `DAGSTER_HOME`, else one in the user's state directory."""
    given = os.environ.get("DAGSTER_HPC_LEDGER")
    if given:
        return given if "://" in given else f"sqlite:///{given}"
    home = os.environ.get("DAGSTER_HOME")
    folder = Path(home).expanduser() / "dagster_hpc" if home else state_folder()
    return f"sqlite:///{folder / 'ledger.db'}"


def _connect(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise LedgerError(f"the ledger URL {url!r} is none that SQLAlchemy understands: {error}") from error
    if parsed.get_backend_name() == "sqlite":
        engine = _connect_sqlite(parsed)
    else:
        engine = sa.create_engine(parsed, pool_pre_ping=True)
    try:
        _ensure_schema(engine)
    except sa.exc.OperationalError as error:
        raise LedgerError(
            f"the ledger {engine.url.render_as_string()} cannot be used: {error.orig}",
            advice="check that the folder is writable and the database server runs, or set DAGSTER_HPC_LEDGER.",
        ) from error
    return engine


def _connect_sqlite(url: sa.URL) -> sa.Engine:
    path = Path(url.database or "")
    kind = network_filesystem(path)
    if kind:
        raise LedgerError(
            f"the ledger {path} lies on {kind}, a network file system, where SQLite loses data",
            advice="put it on a local disk (DAGSTER_HPC_LEDGER=/var/tmp/ledger.db) or use a PostgreSQL URL.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(
            f"the folder of the ledger cannot be made: {error}", advice="set DAGSTER_HPC_LEDGER."
        ) from error
    engine = sa.create_engine(url, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling starts a transaction too late for a claim to be atomic.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # A claim has to outlive a power cut: it is all that keeps a restarted run from submitting twice.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _ensure_schema(engine: sa.Engine) -> None:
    if not sa.inspect(engine).has_table(_schema.name):
        try:
            with engine.begin() as connection:
                _metadata.create_all(connection)
                connection.execute(_schema.insert(), {"version": SCHEMA_VERSION})
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.OperationalError):
            # Two processes may create the tables at the same moment: one wins, both go on.
            if not sa.inspect(engine).has_table(_schema.name):
                raise
    with engine.execution_options(reading=True).connect() as connection:
        version = connection.execute(sa.select(sa.func.max(_schema.c.version))).scalar_one()
    if version != SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {engine.url.render_as_string()} was written by another version (schema {version}, "
            f"this one knows {SCHEMA_VERSION})",
            advice="use the dagster_hpc that wrote it, or point DAGSTER_HPC_LEDGER at a new file.",
        )


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
