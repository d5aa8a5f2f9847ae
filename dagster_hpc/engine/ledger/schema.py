"""The ledger's tables, and how a ledger of an older version becomes one of this version.

The steps are few and additive, so they are written out here. Alembic would bring its own table, a folder of scripts
and a start-up cost to a command line that shall answer in a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from dagster_hpc.engine.job import FINAL_STATES, JobState

VERSION = 6

METADATA = sa.MetaData()
JOBS = sa.Table(
    "dagster_hpc_jobs",
    METADATA,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("batch", sa.Text, nullable=False, index=True),  # the token in the job name, shared by an array
    sa.Column("array_index", sa.Integer),
    sa.Column("identity", sa.Text, index=True),
    # The identity until the job has ended badly or its result was delivered: one such job of each, at most.
    sa.Column("held_identity", sa.Text, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("cluster", sa.Text, nullable=False, server_default=""),  # what the system itself says it is
    sa.Column("scheduler", sa.Text, nullable=False),  # JSON: enough to build the scheduler again, for `cancel`
    sa.Column("queue", sa.Text, nullable=False, server_default=""),
    sa.Column("project", sa.Text, nullable=False, server_default=""),
    sa.Column("work_dir", sa.Text, nullable=False),
    sa.Column("script_sha256", sa.Text, nullable=False),
    sa.Column("outputs", sa.Text, nullable=False, server_default="{}"),
    sa.Column("asset_key", sa.Text, index=True),
    sa.Column("partition_key", sa.Text),
    sa.Column("together", sa.Integer, nullable=False, server_default="1"),  # so many commands were asked for at once
    sa.Column("deployment", sa.Text, nullable=False, server_default=""),  # the Dagster that its run belongs to
    sa.Column("run_id", sa.Text, index=True),
    sa.Column("step_key", sa.Text),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("heartbeat_at", sa.Float, nullable=False, server_default="0"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("not_before", sa.Float, nullable=False, server_default="0"),
    sa.Column("copies", sa.Text, nullable=False, server_default="[]"),
    sa.Column("follows", sa.Text, nullable=False, server_default=""),  # READY: the batch that must be over before
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("job_id", sa.Text, index=True),
    sa.Column("exit_code", sa.Integer),
    sa.Column("metrics", sa.Text, nullable=False, server_default="{}"),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("cancel_sent_at", sa.Float),  # when the scheduler last took the order
    # since when a poll has found: no trace of it; that it is over, though its accounts are not in; that it cannot start
    sa.Column("absent_since", sa.Float),
    sa.Column("ending_since", sa.Float),
    sa.Column("stuck_since", sa.Float),
    sa.Column("missing", sa.Text, nullable=False, server_default="[]"),
    sa.Column("collected_at", sa.Float),
    sa.Column("delivered_at", sa.Float),
    sa.Column("retry", sa.Text, nullable=False, server_default=""),  # JSON: RetryPlan
    sa.Column("again", sa.Text, nullable=False, server_default=""),  # JSON: that of the attempt to come
    sa.Column("again_at", sa.Float),  # when that is due
    sa.Column("retry_number", sa.Integer, nullable=False, server_default="0"),
    sa.Column("first_token", sa.Text, nullable=False, server_default="", index=True),
    sa.Column("next_token", sa.Text, nullable=False, server_default=""),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Index("dagster_hpc_jobs_live", "target", "state"),
    sa.Index("dagster_hpc_jobs_created", "created_at"),
)
GOES_ON = JOBS.c.again_at.is_not(None)
sa.Index("dagster_hpc_jobs_again", JOBS.c.target, JOBS.c.again_at, sqlite_where=GOES_ON, postgresql_where=GOES_ON)
DELIVERIES = sa.Table(
    "dagster_hpc_deliveries",
    METADATA,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),  # the Dagster run whose step got the result
    sa.Column("step_key", sa.Text, primary_key=True),
    sa.Column("returned_at", sa.Float, nullable=False),
)
LEASES = sa.Table(
    "dagster_hpc_leases",
    METADATA,
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("polled_at", sa.Float, nullable=False),
    sa.Column("next_due", sa.Float, nullable=False),
    sa.Column("interval_s", sa.Float, nullable=False),
    sa.Column("quick", sa.Float, nullable=False),  # so many questions may be asked before they are due
)
ROOMS = sa.Table(
    "dagster_hpc_rooms",
    METADATA,
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("queue", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("most", sa.Integer),  # live jobs at once, as the scheduler said last; none: it does not limit them
    sa.Column("arrays_are_one", sa.Boolean, nullable=False, default=False),  # in that count
    sa.Column("elements", sa.Integer),  # of one array
    sa.Column("asked_at", sa.Float, nullable=False),
)
QUANTUM = sa.Table(
    "dagster_hpc_quantum_jobs",
    METADATA,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, index=True),
    sa.Column("held_key", sa.Text, unique=True),  # the key until the job has failed: one such job of each, at most
    sa.Column("sampler", sa.Text, nullable=False),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("shots", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, index=True),
    sa.Column("circuits", sa.Text, nullable=False),
    sa.Column("times", sa.Text, nullable=False),
    sa.Column("copies", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("heartbeat_at", sa.Float, nullable=False),
    sa.Column("asset_key", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("submitted_at", sa.Float),
    sa.Column("updated_at", sa.Float, nullable=False),
)
# Steps that wait for jobs which others have submitted: what comes of them is for their runs to tell.
WAITERS = sa.Table(
    "dagster_hpc_waiters",
    METADATA,
    sa.Column("token", sa.Text, primary_key=True),  # of the first attempt
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("step_key", sa.Text, primary_key=True),
)
# What is owed to Dagster where no run waits for it: one report for all jobs that were asked for together.
REPORTS = sa.Table(
    "dagster_hpc_reports",
    METADATA,
    sa.Column("report", sa.Text, primary_key=True),  # made of the jobs' tokens: the same jobs are reported once
    sa.Column("tokens", sa.Text, nullable=False),  # JSON, in their order
    sa.Column("single", sa.Boolean, nullable=False),  # one Command was asked for, and not a list of one
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),  # the Dagster that it is owed to
    sa.Column("asset_key", sa.Text, nullable=False),
    sa.Column("partition_key", sa.Text),
    sa.Column("run_id", sa.Text, nullable=False, index=True),  # that has submitted them
    sa.Column("step_key", sa.Text, nullable=False),
    sa.Column("tags", sa.Text, nullable=False, server_default="{}"),  # JSON: of the code and the inputs, as they were
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),  # who reports it just now, or NOBODY
    sa.Column("heartbeat_at", sa.Float, nullable=False, server_default="0"),
    sa.Column("begun_at", sa.Float),  # somebody began to report it: the event log may have it
    sa.Column("reported_at", sa.Float),
    sa.Column("outcome", sa.Text, nullable=False, server_default=""),
    sa.Index("dagster_hpc_reports_open", "target", "reported_at"),
)
# What has been said of a job, and to whom: a sensor that starts something, or a channel that people read.
NOTICES = sa.Table(
    "dagster_hpc_notices",
    METADATA,
    sa.Column("watcher", sa.Text, primary_key=True),
    sa.Column("what", sa.Text, primary_key=True),  # the end, or a word of the watcher's own
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),  # who says it just now, or NOBODY
    sa.Column("begun_at", sa.Float, nullable=False),
    sa.Column("told_at", sa.Float),
)
SCHEMA = sa.Table("dagster_hpc_schema", METADATA, sa.Column("version", sa.Integer, primary_key=True))


def in_state(states: Sequence[str], jobs: sa.FromClause = JOBS) -> sa.ColumnElement[bool]:
    """Whether a job is in one of these states, in words that are the same each time: the statement is read once."""
    return jobs.c.state.in_([sa.literal_column(f"'{state}'") for state in states])


OVER = in_state(FINAL_STATES)
# A job that is over stays over: a late answer cannot bring it back. A lost one may turn up again.
OPEN = ~in_state([state for state in FINAL_STATES if state != JobState.LOST])
# The first attempt at a job stands for all of them.
CHAIN = sa.func.coalesce(sa.func.nullif(JOBS.c.first_token, ""), JOBS.c.token)


def create(connection: sa.Connection) -> None:
    METADATA.create_all(connection)
    connection.execute(SCHEMA.insert(), {"version": VERSION})


def upgrade(connection: sa.Connection) -> None:
    """Bring an older ledger to our version, step by step, in the caller's transaction; nothing if another just did."""
    # Whoever has this row locked upgrades alone. SQLite locks the whole file when the transaction begins.
    version = connection.execute(sa.select(SCHEMA.c.version).with_for_update()).scalar_one()
    if version >= VERSION:
        return
    for number in range(version, VERSION):
        _STEPS[number](connection)
    connection.execute(SCHEMA.update().values(version=VERSION))


def _from_1(connection: sa.Connection) -> None:
    """0.1.0 held an identity only while the job was live, and gave all elements of an array the same."""
    table = JOBS.name
    connection.exec_driver_sql(f"ALTER TABLE {table} RENAME COLUMN live_identity TO held_identity")
    _add_columns(connection)
    if connection.dialect.name == "postgresql":
        # Ids and names are as long as the systems make them; SQLite never looked at the lengths.
        for column in JOBS.columns:
            if isinstance(column.type, sa.Text):
                connection.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN {column.name} TYPE TEXT")
    connection.execute(
        JOBS.update()
        .where(JOBS.c.array_index.is_not(None), JOBS.c.identity.is_not(None))
        .values(identity=JOBS.c.identity + "." + sa.cast(JOBS.c.array_index, sa.String))
    )
    connection.execute(JOBS.update().where(JOBS.c.job_id.is_not(None)).values(attempts=1))
    connection.execute(JOBS.update().where(JOBS.c.state == "SUBMITTING").values(attempts=1))
    LEASES.drop(connection)  # who polls, and when: nothing of it outlives a minute
    LEASES.create(connection)
    DELIVERIES.create(connection)
    for index in JOBS.indexes:
        index.create(connection, checkfirst=True)


def _from_2(connection: sa.Connection) -> None:
    """Since version 3 the room of a scheduler is known, parts of an array may follow each other, and orders are dated."""
    _add_columns(connection)
    ROOMS.create(connection, checkfirst=True)


def _from_3(connection: sa.Connection) -> None:
    """Since version 4 the jobs of quantum computers are kept too."""
    QUANTUM.create(connection, checkfirst=True)


def _from_4(connection: sa.Connection) -> None:
    """Since version 5 a job may be a further attempt at another, and reports may be owed to Dagster without a run."""
    _add_columns(connection)
    for index in JOBS.indexes:
        index.create(connection, checkfirst=True)
    REPORTS.create(connection, checkfirst=True)
    WAITERS.create(connection, checkfirst=True)


def _from_5(connection: sa.Connection) -> None:
    """Since version 6 it is known what was said of a job to those who watch."""
    NOTICES.create(connection, checkfirst=True)


def _add_columns(connection: sa.Connection) -> None:
    """Those of the table of jobs that an older version did not have."""
    known = {column["name"] for column in sa.inspect(connection).get_columns(JOBS.name)}
    compiler = connection.dialect.ddl_compiler(connection.dialect, None)  # type: ignore[arg-type]
    for column in JOBS.columns:
        if column.name not in known:
            connection.exec_driver_sql(f"ALTER TABLE {JOBS.name} ADD COLUMN {compiler.get_column_specification(column)}")


_STEPS: dict[int, Callable[[sa.Connection], None]] = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4, 5: _from_5}
