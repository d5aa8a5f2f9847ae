"""The simulated database server: a real SQLite, one for all processes of a world, that hangs up now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData

from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.ledger import JobRow, Report, schema
from dagster_hpc.engine.ledger.database import Database
from dagster_hpc.engine.ledger.reports import _reports_of
from dagster_hpc.engine.ledger.rows import rows_of
from tests.simulation.time import Process, SimulatedClock

T = TypeVar("T")

_ALL_JOBS = sa.select(schema.JOBS).order_by(schema.JOBS.c.created_at, schema.JOBS.c.array_index)
_FINAL = "('COMPLETED','FAILED','CANCELLED','TIMEOUT','OOM','NODE_FAIL','PREEMPTED','REFUSED')"
# What no transaction may do is seen by the database itself. It is noted and not refused: the engine would take the refusal
# for an equal request that was quicker.
_VIOLATIONS = "CREATE TABLE violations (words TEXT)"
_NO_SECOND_END = f"""
CREATE TRIGGER no_second_end BEFORE UPDATE ON {schema.JOBS.name}
WHEN OLD.state IN {_FINAL} AND NEW.state <> OLD.state AND NOT (OLD.state = 'COMPLETED' AND OLD.collected_at IS NULL)
BEGIN INSERT INTO violations VALUES (OLD.token || ' was ' || OLD.state || ' and became ' || NEW.state); END
"""
# The room lies in a table: a trigger that changes makes SQLite read every statement anew.
_ROOM = "CREATE TABLE room (most INTEGER)"
_NO_MORE_ROOM = f"""
CREATE TRIGGER room_{{event}} AFTER {{event}} ON {schema.JOBS.name}
WHEN {{unless}} (SELECT most FROM room) IS NOT NULL
 AND (SELECT count(*) FROM {schema.JOBS.name} WHERE state NOT IN ('READY','LOST',{_FINAL[1:]}) > (SELECT most FROM room)
BEGIN INSERT INTO violations VALUES ('more jobs are live than there is room for'); END
"""


class SimulatedDatabase(Database):
    """A real SQLite, one for all processes of a world, that hangs up now and then."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self.url, self.clock, self._engine = str(storage.engine.url), clock, storage.engine
        self._storage = storage

    def _read_once(self, work: Callable[[sa.Connection], T]) -> T:
        self._storage.answers()
        return work(self._storage.connection)

    def _write_once(self, work: Callable[[sa.Connection], T]) -> T:
        self._storage.answers()
        with self._storage.transaction():
            return work(self._storage.connection)

    def now(self) -> sa.ColumnElement[float]:
        return sa.literal(self._here(), sa.Float)

    def here(self) -> dict[str, float]:
        return {"here": self._here()}

    def _here(self) -> float:
        """The server's own clock: hosts whose clocks are wrong agree on it."""
        return self.clock.of_the_server() if isinstance(self.clock, SimulatedClock) else self.clock.now()


class _Rendered:
    """A statement as SQLAlchemy renders it for SQLite, and what makes values of its answers."""

    def __init__(self, statement: sa.Executable, parameters: dict[str, Any], dialect: sa.Dialect) -> None:
        compiled = cast(Any, statement).compile(dialect=dialect, column_keys=list(parameters))
        constants = compiled.construct_params(_check=False)
        self.text = str(compiled)
        self.is_whole = "POSTCOMPILE" not in self.text  # else it depends on how many values it is given
        self._values = [(name, constants.get(name)) for name in compiled.positiontup]
        self._columns = list(statement.selected_columns) if isinstance(statement, sa.Select) else []
        self._metadata = SimpleResultMetaData([column.key for column in self._columns])
        kinds = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in self._columns]
        self._kinds = [(place, kind) for place, kind in enumerate(kinds) if kind is not None]

    def values(self, parameters: dict[str, Any]) -> list[Any]:
        return [parameters.get(name, constant) for name, constant in self._values]

    def answer(self, cursor: Any) -> Any:
        if not self._columns:
            return cursor
        rows = cursor.fetchall()
        for place, kind in self._kinds:
            rows = [(*row[:place], kind(row[place]), *row[place + 1 :]) for row in rows]
        return IteratorResult(self._metadata, iter(rows))


class _Connection:
    """The one connection. What comes again goes straight to the driver: a history costs a fifth less."""

    def __init__(self, connection: sa.Connection, driver: Any) -> None:
        self._connection, self._driver = connection, driver
        self._seen: WeakKeyDictionary[sa.Executable, _Rendered | None] = WeakKeyDictionary()

    def execute(self, statement: sa.Executable, parameters: Any = None) -> Any:
        rendered = None
        if isinstance(parameters, dict):
            if statement in self._seen:  # it is no longer one that was made for this time only
                rendered = self._seen[statement] = self._seen[statement] or self._render(statement, parameters)
            else:
                self._seen[statement] = None
        if rendered is None or not rendered.is_whole:
            return self._connection.execute(statement, parameters)
        return rendered.answer(self._driver.execute(rendered.text, rendered.values(parameters)))

    def _render(self, statement: sa.Executable, parameters: dict[str, Any]) -> _Rendered:
        return _Rendered(statement, parameters, self._connection.dialect)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Storage:
    """The database server: its tables are made once and emptied for each history.

    All processes share one connection: only one of them is ever at it, and a history costs half as much.
    """

    def __init__(self) -> None:
        self.engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, isolation_level="AUTOCOMMIT")
        connection = self.engine.connect()
        self._driver: Any = connection.connection.driver_connection
        self.connection = cast(sa.Connection, _Connection(connection, self._driver))
        self.process: Callable[[], Process | None] = lambda: None
        self.down: Callable[[], bool] = lambda: False
        self.loses: Callable[[], bool] = lambda: False  # whether the answer to this commit is lost
        self.fine = False  # whether others may go on between any two transactions
        schema.create(connection)
        # A lost job that turns up again has had its room given to another.
        no_more_room = [
            _NO_MORE_ROOM.format(event=event, unless=unless)
            for event, unless in (("INSERT", ""), ("UPDATE", "OLD.state <> 'LOST' AND"))
        ]
        for statement in (_VIOLATIONS, _NO_SECOND_END, _ROOM, *no_more_room):
            connection.exec_driver_sql(statement)

    def answers(self) -> None:
        """At the beginning of each look and each transaction: here it hangs up, and here others may go on."""
        process = self.process()
        if process is None:
            return
        process.check()
        if self.fine:
            process.passes("transaction")
        if self.down():
            raise sa.exc.OperationalError("SELECT", {}, Exception("the server closed the connection"))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and sometimes all, and nobody hears of it."""
        self._driver.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._driver.execute("ROLLBACK")
            raise
        self._driver.execute("COMMIT")
        if self.process() is not None and self.loses():
            raise sa.exc.OperationalError("COMMIT", {}, Exception("the server closed the connection"))

    @contextmanager
    def told_to(self, tell: Callable[[str], None] | None) -> Iterator[None]:
        """Let somebody hear of all that is written of jobs."""

        def hear(statement: str) -> None:
            if tell and statement.startswith((f"UPDATE {schema.JOBS.name}", f"INSERT INTO {schema.JOBS.name}")):
                tell(" ".join(statement.split())[:450])

        self._driver.set_trace_callback(hear if tell else None)
        yield

    def rows(self) -> list[JobRow]:
        """All jobs that the ledger knows."""
        return rows_of(self.connection.execute(_ALL_JOBS, {}))

    def reports(self) -> list[Report]:
        """All that is or was to be reported."""
        return _reports_of(self.connection.execute(schema.REPORTS.select()))

    def violation(self) -> str:
        """What the database has seen that may not be; '' for nothing."""
        return str(self.connection.exec_driver_sql("SELECT words FROM violations LIMIT 1").scalar() or "")

    def clear(self, room: int | None) -> None:
        with self.transaction():
            ours = (schema.JOBS, schema.LEASES, schema.ROOMS, schema.DELIVERIES, schema.REPORTS, schema.WAITERS)
            for table in (*(one.name for one in ours), "violations", "room"):
                self.connection.exec_driver_sql(f"DELETE FROM {table}")
            self.connection.exec_driver_sql("INSERT INTO room VALUES (?)", (room,))
