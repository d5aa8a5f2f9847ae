"""The real engine in the simulated world: where the two touch, and nowhere else."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.ledger import Ledger, schema
from dagster_hpc.engine.ledger.database import Database
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.target import Listener, Patience, Target
from tests.simulation.cluster import Cluster, SimulatedScheduler
from tests.simulation.files import Files, SimulatedHost
from tests.simulation.time import Process, SimulatedClock, Time

TEMPLATE = str(Path(__file__).with_name("job.sim.j2"))
PATIENCE = Patience(
    file_delay_s=60.0, accounting_delay_s=5.0, epilogue_s=60.0, lost_after_s=300.0, unavailable_s=300.0, recheck_s=30.0,
    capacity_retry_s=15.0, owner_silent_s=120.0, slowest_poll_s=30.0, cancel_s=5.0,
)  # fmt: skip

_FINAL = "('COMPLETED','FAILED','CANCELLED','TIMEOUT','OOM','NODE_FAIL','PREEMPTED','REFUSED')"
# What no transaction may do is seen by the database itself. It is noted and not refused: the engine would take the refusal
# for an equal request that was quicker.
_VIOLATIONS = "CREATE TABLE violations (words TEXT)"
_NO_SECOND_END = f"""
CREATE TRIGGER no_second_end BEFORE UPDATE ON {schema.JOBS.name}
WHEN OLD.state IN {_FINAL} AND NEW.state <> OLD.state AND NOT (OLD.state = 'COMPLETED' AND OLD.collected_at IS NULL)
BEGIN INSERT INTO violations VALUES (OLD.token || ' was ' || OLD.state || ' and became ' || NEW.state); END
"""
_NO_MORE_ROOM = """
CREATE TRIGGER room_{event} AFTER {event} ON {table}
WHEN {unless} (SELECT count(*) FROM {table} WHERE state NOT IN ('READY','LOST',{final}) > {room}
BEGIN INSERT INTO violations VALUES ('more jobs are live than there is room for'); END
"""


class Broken(AssertionError):
    """An invariant that does not hold."""


class SimulatedDatabase(Database):
    """A real SQLite, one for all processes of a world, that hangs up now and then."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self.url, self.clock, self._engine = str(engine.url), clock, engine

    def now(self) -> sa.ColumnElement[float]:
        return sa.literal(self._here(), sa.Float)

    def here(self) -> dict[str, float]:
        return {"here": self._here()}

    def _here(self) -> float:
        """The server's own clock: hosts whose clocks are wrong agree on it."""
        return self.clock.of_the_server() if isinstance(self.clock, SimulatedClock) else self.clock.now()


class _Kept(sqlite3.Connection):
    """The connection holds the database in memory: what SQLAlchemy gives up when a process dies is kept."""

    def close(self) -> None:
        self.rollback()


class Storage:
    """The database server: its tables are made once and emptied for each history."""

    def __init__(self) -> None:
        kept = sqlite3.connect(":memory:", factory=_Kept, isolation_level=None)
        self.engine = sa.create_engine("sqlite://", creator=lambda: kept, poolclass=sa.pool.StaticPool)
        self.process: Callable[[], Process | None] = lambda: None
        self.down: Callable[[], bool] = lambda: False
        self.loses: Callable[[], bool] = lambda: False  # whether the answer to this commit is lost
        self.note: Callable[[str], None] = lambda words: None
        self.fine = False  # whether others may go on between any two transactions

        @sa.event.listens_for(self.engine, "connect")
        def _configure(connection: object, _record: object) -> None:
            connection.isolation_level = None  # type: ignore[attr-defined]

        @sa.event.listens_for(self.engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            process = self.process()
            if process is not None and self.fine:
                process.passes("transaction")
            if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
                connection.exec_driver_sql("BEGIN IMMEDIATE")

        with self.engine.begin() as connection:
            schema.create(connection)
            connection.exec_driver_sql(_VIOLATIONS)
            connection.exec_driver_sql(_NO_SECOND_END)

        @sa.event.listens_for(self.engine, "before_cursor_execute")
        def _before(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            process = self.process()
            if process is None or statement in ("ROLLBACK", "COMMIT"):
                return
            process.check()
            self.note_statement(statement, parameters)
            if self.down():
                raise sa.exc.OperationalError(statement, {}, Exception("the server closed the connection"))

        commit = self.engine.dialect.do_commit

        def _commit(connection: Any) -> None:
            commit(connection)
            if self.process() is not None and self.loses():
                raise sqlite3.OperationalError("the server closed the connection")

        self.engine.dialect.do_commit = _commit  # type: ignore[method-assign,assignment]

    def note_statement(self, statement: str, parameters: object) -> None:
        if statement.startswith(("UPDATE dagster_hpc_jobs", "INSERT INTO dagster_hpc_jobs")):
            self.note(f"{' '.join(statement.split())[:150]} {str(parameters)[:300]}")

    def violation(self) -> str:
        """What the database has seen that may not be; '' for nothing."""
        with self.engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT words FROM violations LIMIT 1").scalar()
        return str(found or "")

    def clear(self, room: int | None) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM violations")
            for table in (schema.JOBS, schema.LEASES, schema.DELIVERIES):
                connection.exec_driver_sql("DROP TRIGGER IF EXISTS room_INSERT")
                connection.exec_driver_sql("DROP TRIGGER IF EXISTS room_UPDATE")
                connection.execute(table.delete())
            if room is not None:
                for event in ("INSERT", "UPDATE"):
                    # A lost job that turns up again has had its room given to another.
                    unless = "OLD.state <> 'LOST' AND" if event == "UPDATE" else ""
                    names = {"event": event, "table": schema.JOBS.name, "final": _FINAL[1:], "room": room}
                    text = _NO_MORE_ROOM.format(unless=unless, **names)
                    connection.exec_driver_sql(text)


def runner_of(process: Process, storage: Storage, files: Files, cluster: Cluster, room: int | None) -> Runner:
    """What a process of an orchestrator has in hand."""
    clock = SimulatedClock(process)
    host = SimulatedHost(process, files, cluster.execute)
    target = Target(
        "sim", SimulatedScheduler(), host, poll_interval_s=10.0, max_jobs=room, template=TEMPLATE, patience=PATIENCE
    )
    ledger = Ledger(clock=clock, database=SimulatedDatabase(storage.engine, clock))
    return Runner(target, ledger, Listener(on_warning=process.time.note), clock)


@contextmanager
def simulated_processes(time: Time) -> Iterator[None]:
    """Who a process is, and whether it lives, as the simulation knows it."""
    count = [0]

    def new_owner() -> str:
        count[0] += 1
        process = time.current
        return f"{process.host} {process.name} 0 boot {count[0]}" if process else f"nowhere {count[0]}"

    def process_lives(owner: str) -> bool | None:
        words = owner.split(" ")
        if len(words) < 2:
            return False
        if time.current is not None and words[0] != time.current.host:
            return None
        return any(process.name == words[1] and not process.over and not process.dead for process in time.processes)

    letters = random.Random(time.seed)
    with (
        patch("dagster_hpc.engine.ledger.claims.secrets", SimpleNamespace(choice=letters.choice)),
        patch("dagster_hpc.engine.submit.claim.new_owner", new_owner),
        patch("dagster_hpc.engine.submit.recover.new_owner", new_owner),
        patch("dagster_hpc.engine.observe.poll.new_owner", new_owner),
        patch("dagster_hpc.engine.submit.recover.process_lives", process_lives),
    ):
        yield
