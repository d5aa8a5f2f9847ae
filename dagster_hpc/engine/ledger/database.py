"""The ledger's database: where it lies, how it is opened safely, and how it is spoken to when it does not answer."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from dagster_hpc.engine.clock import SYSTEM_CLOCK, Clock
from dagster_hpc.engine.errors import LedgerError, LedgerUnavailable
from dagster_hpc.engine.filesystem import network_filesystem, state_folder
from dagster_hpc.engine.ledger import schema

T = TypeVar("T")
Value = TypeVar("Value")

_BUSY_S = 2  # SQLite: how long one statement waits for another writer
_RETRY_S = 1.0  # how long one call tries again before it says that the database does not answer
_PAUSE_S = 0.05
_VALUES = 500  # in one statement
# What passes when a ledger is opened, and after how long it is an error after all: a wrong port refuses for ever.
_PASSES = {
    "locked": 60.0,
    "starting up": 60.0,
    "shutting down": 60.0,
    "Connection refused": 10.0,
    "server closed the connection": 10.0,
}
_TRANSIENT = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)


class Database:
    """One database URL. Every statement goes through `read` or `write`, which may be repeated safely."""

    def __init__(self, url: str | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.url = url or default_url()
        self.clock = clock
        self._engine = connect(self.url)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """One look, in no transaction of its own. `LedgerUnavailable` if the database does not answer."""
        return self._patiently(lambda: self._read_once(work))

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """All of this work or nothing. It may be done twice when the database's answer was lost."""
        return self._patiently(lambda: self._write_once(work))

    def now(self) -> sa.ColumnElement[float]:
        """The database's clock, so that hosts whose clocks differ agree on what is due. SQLite has this host's."""
        return sa.literal(self.clock.now(), sa.Float) if self.is_sqlite else now_later(False)

    def here(self) -> dict[str, float]:
        """What a statement with `now_later` in it needs beside its own parameters."""
        return {"here": self.clock.now()} if self.is_sqlite else {}

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @property
    def public_url(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self._engine.dispose()

    def _read_once(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return work(connection)

    def _write_once(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    def _patiently(self, action: Callable[[], T]) -> T:
        deadline = self.clock.monotonic() + _RETRY_S
        pause = _PAUSE_S
        while True:
            try:
                return action()
            except _transient(self._engine) as error:
                _forget_what_broke(self._engine, error)
                if self.clock.monotonic() >= deadline:
                    words = str(getattr(error, "orig", None) or error).strip()
                    raise LedgerUnavailable(
                        f"the ledger {self.public_url} does not answer: {words}",
                        advice="jobs go on meanwhile; check the database server, or who holds the file locked.",
                    ) from error
                self.clock.sleep(pause)
                pause *= 2


def in_parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """So many at once as any database takes in one statement."""
    for start in range(0, len(values), _VALUES):
        yield values[start : start + _VALUES]


def now_later(is_sqlite: bool) -> sa.ColumnElement[float]:
    """The database's clock, for a statement that is made once and executed often: with `Database.here()`."""
    if is_sqlite:
        return sa.bindparam("here", type_=sa.Float)
    return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)


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
        raise LedgerError(f"SQLAlchemy does not understand the ledger URL {url!r}: {error}") from error
    try:
        sqlite = parsed.get_backend_name() == "sqlite"
        engine = _connect_sqlite(parsed) if sqlite else sa.create_engine(parsed, pool_pre_ping=True)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise LedgerError(
            f"no driver for the ledger {parsed.render_as_string()} is installed: {error}",
            advice="for PostgreSQL, `pip install dagster-hpc[postgres]` and a URL that begins with postgresql://.",
        ) from error
    unusable: tuple[type[Exception], ...] = (sa.exc.DatabaseError, *_transient(engine))
    try:
        _patiently_ensured(engine)
    except unusable as error:
        raise LedgerError(
            f"the ledger {engine.url.render_as_string()} cannot be used: {getattr(error, 'orig', error)}",
            advice="check that the folder is writable and the database server runs, or set DAGSTER_HPC_LEDGER.",
        ) from error
    return engine


def _connect_sqlite(url: sa.URL) -> sa.Engine:
    path = Path(url.database or "")
    if url.database and url.database != ":memory:":
        _prepare_file(path)
    # The write-ahead log needs shared memory, which a network file system has not.
    journal = "DELETE" if network_filesystem(path) else "WAL"
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_S})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling starts a transaction too late for a claim to be atomic.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA journal_mode={journal}")
        # A claim has to outlive a power cut: it is all that keeps a restarted run from submitting twice.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _prepare_file(path: Path) -> None:
    """The ledger is a private file in a private folder, whatever the umask; somebody else's file is not used."""
    try:
        made = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        if made:
            path.parent.chmod(0o700)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        found = os.stat(path)
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be made: {error}", advice="set DAGSTER_HPC_LEDGER to a file that you may write."
        ) from error
    if found.st_uid == os.geteuid():
        if stat.S_IMODE(found.st_mode) != 0o600:
            os.chmod(path, 0o600)
    elif os.geteuid() != 0:
        raise LedgerError(
            f"the ledger {path} belongs to another user (uid {found.st_uid}), who could change what runs as you",
            advice="set DAGSTER_HPC_LEDGER to a file of your own, or share a PostgreSQL database.",
        )
    if kind := network_filesystem(path):
        _bind_to_this_host(path, kind)


def _bind_to_this_host(path: Path, kind: str) -> None:
    """On a network file system SQLite is safe for one host only: the first to use the ledger is the one."""
    binding, here = path.with_name(path.name + ".host"), socket.gethostname()
    try:
        with open(binding, "x", encoding="utf-8") as file:
            file.write(here)
        binding.chmod(0o600)
    except FileExistsError:
        owner = binding.read_text(encoding="utf-8").strip()
        if owner not in ("", here):
            raise LedgerError(
                f"the ledger {path} lies on {kind}, a network file system, and is in use on {owner}: two hosts would "
                "damage it",
                advice=f"run this on {owner}, or set DAGSTER_HPC_LEDGER to one PostgreSQL URL on both hosts.",
            ) from None
    else:
        warnings.warn(
            f"the ledger of jobs {path} lies on {kind} and can be used from {here} only; set DAGSTER_HPC_LEDGER to a "
            "PostgreSQL URL to use it from several hosts.",
            stacklevel=2,
        )


def _ensure_schema(engine: sa.Engine) -> None:
    if not sa.inspect(engine).has_table(schema.SCHEMA.name):
        try:
            with engine.begin() as connection:
                schema.create(connection)
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.OperationalError):
            # Two processes may create the tables at the same moment: one wins, both go on.
            if not sa.inspect(engine).has_table(schema.SCHEMA.name):
                raise
    version = _version(engine)
    if version > schema.VERSION:
        raise LedgerError(
            f"the ledger {engine.url.render_as_string()} was written by a newer version (schema {version}, "
            f"this one knows {schema.VERSION})",
            advice="upgrade dagster_hpc here too; an older one could not keep its promises on this ledger.",
        )
    if version < schema.VERSION:
        with engine.begin() as connection:
            schema.upgrade(connection)


def _patiently_ensured(engine: sa.Engine) -> None:
    """A database that is locked, or restarts, can be used in a moment; it is opened then."""
    began = SYSTEM_CLOCK.monotonic()
    while True:
        try:
            return _ensure_schema(engine)
        except _transient(engine) as error:
            _forget_what_broke(engine, error)
            patience_s = next((seconds for words, seconds in _PASSES.items() if words in str(error)), 0.0)
            if SYSTEM_CLOCK.monotonic() - began >= patience_s:
                raise
            SYSTEM_CLOCK.sleep(_PAUSE_S)


def _transient(engine: sa.Engine) -> tuple[type[Exception], ...]:
    """What may pass; also as the driver raises it, when a connection breaks while it is given back to the pool."""
    driver = engine.dialect.loaded_dbapi
    return (*_TRANSIENT, driver.OperationalError, driver.InterfaceError)


def _forget_what_broke(engine: sa.Engine, error: Exception) -> None:
    """A connection that broke while it was given back is not noticed by the pool, which would give it out again."""
    if not isinstance(error, sa.exc.SQLAlchemyError):
        engine.dispose()


def _version(engine: sa.Engine) -> int:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return int(connection.execute(sa.select(sa.func.max(schema.SCHEMA.c.version))).scalar_one())
