"""The ledger's database: where it lies, how it is opened safely, which tables it has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dagster_hpc.engine.errors import LedgerError
from dagster_hpc.engine.filesystem import network_filesystem, state_folder

SCHEMA_VERSION = 1

_metadata = sa.MetaData()
JOBS = sa.Table(
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
LEASES = sa.Table(
    "dagster_hpc_leases",
    _metadata,
    sa.Column("target", sa.String(255), primary_key=True),
    sa.Column("holder", sa.String(128)),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("polled_at", sa.Float, nullable=False),
    sa.Column("interval_s", sa.Float, nullable=False),
)
_SCHEMA = sa.Table("dagster_hpc_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))


def default_url() -> str:
    """`DAGSTER_HPC_LEDGER`, else a file in `DAGSTER_HOME`, else one in the user's state directory."""
    given = os.environ.get("DAGSTER_HPC_LEDGER")
    if given:
        return given if "://" in given else f"sqlite:///{given}"
    home = os.environ.get("DAGSTER_HOME")
    folder = Path(home).expanduser() / "dagster_hpc" if home else state_folder()
    return f"sqlite:///{folder / 'ledger.db'}"


def connect(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise LedgerError(f"the ledger URL {url!r} is none that SQLAlchemy understands: {error}") from error
    try:
        sqlite = parsed.get_backend_name() == "sqlite"
        engine = _connect_sqlite(parsed) if sqlite else sa.create_engine(parsed, pool_pre_ping=True)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise LedgerError(
            f"no driver for the ledger {parsed.render_as_string()} is installed: {error}",
            advice="for PostgreSQL, `pip install dagster-hpc[postgres]` and a URL that begins with postgresql://.",
        ) from error
    try:
        _ensure_schema(engine)
    except sa.exc.DatabaseError as error:
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
    if not sa.inspect(engine).has_table(_SCHEMA.name):
        try:
            with engine.begin() as connection:
                _metadata.create_all(connection)
                connection.execute(_SCHEMA.insert(), {"version": SCHEMA_VERSION})
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.OperationalError):
            # Two processes may create the tables at the same moment: one wins, both go on.
            if not sa.inspect(engine).has_table(_SCHEMA.name):
                raise
    with engine.execution_options(reading=True).connect() as connection:
        version = connection.execute(sa.select(sa.func.max(_SCHEMA.c.version))).scalar_one()
    if version != SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {engine.url.render_as_string()} was written by another version (schema {version}, "
            f"this one knows {SCHEMA_VERSION})",
            advice="use the dagster_hpc that wrote it, or point DAGSTER_HPC_LEDGER at a new file.",
        )
