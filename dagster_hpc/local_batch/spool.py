"""The spool: one private directory with the queue in SQLite, and the transactions through which everything changes.

`synchronous=FULL`: an id that was printed is still queued after a power cut, and a job that was started is not started
again. A connection never crosses a fork (SQLite forbids it), so the daemon opens one per round.
"""

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dagster_hpc.engine.process import PROC
from dagster_hpc.local_batch.directives import Refused

CGROUPS = Path("/sys/fs/cgroup")
LIVE = ("PENDING", "HELD", "RUNNING")
_PATIENCE_S = 30.0

_SCHEMA = """
CREATE TABLE capacity (resource TEXT PRIMARY KEY, amount INTEGER NOT NULL);
CREATE TABLE submissions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, script BLOB, environment BLOB, cwd BLOB NOT NULL,
  output BLOB NOT NULL, umask INTEGER NOT NULL, is_array INTEGER NOT NULL, at_once INTEGER, cores INTEGER NOT NULL,
  memory_mib INTEGER NOT NULL, gpus INTEGER NOT NULL, time_s NUMERIC NOT NULL, warn_signal INTEGER,
  warn_before_s REAL NOT NULL, kill_after_s REAL NOT NULL, submitted_at REAL NOT NULL);
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, submission INTEGER NOT NULL REFERENCES submissions, element INTEGER NOT NULL,
  state TEXT NOT NULL, reason TEXT, exit_code INTEGER, signal INTEGER, started_at REAL, ended_at REAL, cpu_user_s REAL,
  cpu_system_s REAL, max_rss_mib REAL, granted_cores INTEGER, host TEXT, boot TEXT, shepherd INTEGER,
  shepherd_start TEXT, pid INTEGER, pid_start TEXT, cancel_asked INTEGER NOT NULL DEFAULT 0,
  UNIQUE (submission, element));
CREATE TABLE waits (
  submission INTEGER NOT NULL REFERENCES submissions, kind TEXT NOT NULL, target INTEGER NOT NULL, element INTEGER);
CREATE INDEX jobs_by_state ON jobs (state, submission, seq);
CREATE INDEX jobs_by_submission ON jobs (submission, state);
CREATE INDEX submissions_by_name ON submissions (name);
CREATE INDEX waits_by_submission ON waits (submission);
CREATE INDEX waits_by_target ON waits (target);
"""


class Capacity(NamedTuple):
    """What the machine has to give."""

    cores: int
    memory_mib: int


class Spool:
    """An open spool. Use it as a context manager; write only within `change()`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        uri = f"{(directory / 'spool.db').as_uri()}?mode=rw"  # never create an empty one where a spool has been removed
        self.sql = sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S, isolation_level=None)
        self.sql.row_factory = sqlite3.Row
        self.sql.execute("PRAGMA synchronous = FULL")

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.sql.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction that writes: all of it, or nothing and the error."""
        self._begin("BEGIN IMMEDIATE")
        try:
            yield self.sql
            self.sql.execute("COMMIT")
        except BaseException:
            if self.sql.in_transaction:  # SQLite has already rolled back by itself when the disk is full
                self.sql.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several reads that see the same moment."""
        self._begin("BEGIN")
        try:
            yield self.sql
        finally:
            self.sql.execute("ROLLBACK")

    def capacity(self) -> Capacity:
        """What was last given to `submit`; by default the cores we may use and the physical memory less a tenth."""
        kept = {row["resource"]: int(row["amount"]) for row in self.sql.execute("SELECT * FROM capacity")}
        return Capacity(kept.get("cores") or usable_cores(), kept.get("memory") or usable_memory_mib())

    def has_live_jobs(self) -> bool:
        query = f"SELECT EXISTS (SELECT 1 FROM jobs WHERE state IN {LIVE})"
        return bool(self.sql.execute(query).fetchone()[0])

    def _begin(self, statement: str) -> None:
        # The busy timeout does not cover the moment in which the last other connection closes and tidies the log up.
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.sql.execute(statement)
                self.sql.execute("SELECT count(*) FROM capacity").fetchone()  # BEGIN alone does not take the snapshot
                return
            except sqlite3.OperationalError as error:
                if self.sql.in_transaction:
                    self.sql.execute("ROLLBACK")
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def exists(directory: Path) -> bool:
    return (directory / "spool.db").exists()


def check_private(directory: Path) -> None:
    """Refuse a spool that somebody else could write: what stands in its queue is run as us."""
    for path in (directory, directory / "spool.db"):
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        if found.st_uid != os.geteuid():
            raise Refused(f"{path} belongs to the user with the number {found.st_uid}: choose a folder of your own")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            mode = stat.S_IMODE(found.st_mode)
            raise Refused(
                f"{path} can be written by others (its mode is {mode:o}), who could run jobs in your name: "
                f"`chmod go-w {path}` if all in it is yours, or choose another folder"
            )


def create(directory: Path) -> None:
    """Make the spool unless it is there; two who do so at once get one spool."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(directory)
    lock = os.open(directory / "create.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if exists(directory):
            return
        (directory / "jobs").mkdir(mode=0o700, exist_ok=True)
        fresh = directory / "spool.db.new"  # moved into place when complete, so a crash in between leaves no half spool
        fresh.unlink(missing_ok=True)
        connection = sqlite3.connect(fresh, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        finally:
            connection.close()
        fresh.rename(directory / "spool.db")
    finally:
        os.close(lock)


def usable_cores() -> int:
    """The cores this process may run on, fewer than the machine has under taskset or in a container."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def usable_memory_mib(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """The memory we may use less a tenth, which the system and the user's shell keep: all of the machine's, or what the
    control groups leave of it to a container or a login session."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_memory_limits(proc, cgroups)]) * 9 // 10 // 2**20


def _memory_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """The limits in bytes of this process's control group and of those around it, in version 2 and 1."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controllers == "":
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / inside.lstrip("/")  # in a container it may not be visible, and the root is the container's own
        for folder in (group, *group.parents):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                text = ""
            if text.isdigit():
                yield int(text)
            if folder == root:
                break
