"""The real engine in the simulated world: where the two touch, and nowhere else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
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

T = TypeVar("T")
TEMPLATE = str(Path(__file__).with_name("job.sim.j2"))
PATIENCE = Patience(
    file_delay_s=60.0, accounting_delay_s=5.0, epilogue_s=60.0, lost_after_s=300.0, unavailable_s=300.0, recheck_s=30.0,
    capacity_retry_s=15.0, owner_silent_s=120.0, slowest_poll_s=60.0, cancel_s=5.0,
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
# The room lies in a table: a trigger that changes makes SQLite read every statement anew.
_ROOM = "CREATE TABLE room (most INTEGER)"
_NO_MORE_ROOM = f"""
CREATE TRIGGER room_{{event}} AFTER {{event}} ON {schema.JOBS.name}
WHEN {{unless}} (SELECT most FROM room) IS NOT NULL
 AND (SELECT count(*) FROM {schema.JOBS.name} WHERE state NOT IN ('READY','LOST',{_FINAL[1:]}) > (SELECT most FROM room)
BEGIN INSERT INTO violations VALUES ('more jobs are live than there is room for'); END
"""


class Broken(AssertionError):
    """An invariant that does not hold."""


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


class Storage:
    """The database server: its tables are made once and emptied for each history.

    All processes share one connection: only one of them is ever at it, and a history costs half as much.
    """

    def __init__(self) -> None:
        self.engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, isolation_level="AUTOCOMMIT")
        self.connection = self.engine.connect()
        self.process: Callable[[], Process | None] = lambda: None
        self.down: Callable[[], bool] = lambda: False
        self.loses: Callable[[], bool] = lambda: False  # whether the answer to this commit is lost
        self.fine = False  # whether others may go on between any two transactions
        schema.create(self.connection)
        # A lost job that turns up again has had its room given to another.
        no_more_room = [
            _NO_MORE_ROOM.format(event=event, unless=unless)
            for event, unless in (("INSERT", ""), ("UPDATE", "OLD.state <> 'LOST' AND"))
        ]
        for statement in (_VIOLATIONS, _NO_SECOND_END, _ROOM, *no_more_room):
            self.connection.exec_driver_sql(statement)

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
        driver: Any = self.connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            driver.execute("ROLLBACK")
            raise
        driver.execute("COMMIT")
        if self.process() is not None and self.loses():
            raise sa.exc.OperationalError("COMMIT", {}, Exception("the server closed the connection"))

    @contextmanager
    def told_to(self, tell: Callable[[str], None] | None) -> Iterator[None]:
        """Let somebody hear of all that is written of jobs. A listener costs each statement a little: only if asked."""

        def write(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            if statement.startswith((f"UPDATE {schema.JOBS.name}", f"INSERT INTO {schema.JOBS.name}")):
                tell(f"{' '.join(statement.split())[:150]} {str(parameters)[:300]}")

        if tell is None:
            yield
            return
        sa.event.listen(self.engine, "before_cursor_execute", write)
        try:
            yield
        finally:
            sa.event.remove(self.engine, "before_cursor_execute", write)

    def violation(self) -> str:
        """What the database has seen that may not be; '' for nothing."""
        return str(self.connection.exec_driver_sql("SELECT words FROM violations LIMIT 1").scalar() or "")

    def clear(self, room: int | None) -> None:
        with self.transaction():
            for table in (schema.JOBS.name, schema.LEASES.name, schema.DELIVERIES.name, "violations", "room"):
                self.connection.exec_driver_sql(f"DELETE FROM {table}")
            self.connection.exec_driver_sql("INSERT INTO room VALUES (?)", (room,))


def runner_of(process: Process, storage: Storage, files: Files, cluster: Cluster, room: int | None) -> Runner:
    """What a process of an orchestrator has in hand."""
    clock = SimulatedClock(process)
    host = SimulatedHost(process, files, cluster.execute)
    target = Target(
        "sim", SimulatedScheduler(), host, poll_interval_s=20.0, max_jobs=room, template=TEMPLATE, patience=PATIENCE
    )
    ledger = Ledger(clock=clock, database=SimulatedDatabase(storage, clock))
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
