"""Decides which job starts next, and notices jobs whose shepherd has died. It can be killed at any time: all it knows
is in the spool, and whoever starts the next one loses nothing."""

import fcntl
import os
import signal
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dagster_hpc.engine.process import alive, boot_id
from dagster_hpc.local_batch import job, knobs, processes, shepherd, transitions
from dagster_hpc.local_batch.doorbell import Doorbell, ring
from dagster_hpc.local_batch.job import Job
from dagster_hpc.local_batch.plan import turns
from dagster_hpc.local_batch.shepherd import log
from dagster_hpc.local_batch.signals import SignalInbox
from dagster_hpc.local_batch.spool import Spool
from dagster_hpc.local_batch.transitions import End


def main(directory: Path) -> int:
    """Serve until idle. In a forked child, `serve` returns the job to look after, with all the daemon's files closed:
    an inherited lock would keep the next daemon out for as long as the job runs."""
    lock = _lock(directory)
    if lock is None:
        return 0
    try:
        seq = _Daemon(directory, os.fstat(lock).st_ino).serve()
    finally:
        os.close(lock)
    return 0 if seq is None else shepherd.run(directory, seq)


def _lock(directory: Path) -> int | None:
    """The right to be the daemon; None if another one is and hears us. One that is about to leave is waited for."""
    descriptor = os.open(directory / "daemon.lock", os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if ring(directory):
                os.close(descriptor)
                return None
            time.sleep(0.01)


@dataclass
class _Daemon:
    directory: Path
    lock_inode: int
    children: dict[int, Job] = field(default_factory=dict)  # pid of a shepherd of ours → the job it was forked for
    failed: list[Job] = field(default_factory=list)  # jobs whose shepherd has failed; if not even claimed, we must rest
    rest_until: float = 0.0  # no new shepherds before this moment

    def serve(self) -> int | None:
        idle_s, poll_s = knobs.seconds("IDLE"), knobs.seconds("POLL")
        log("the daemon is up")
        bell = Doorbell(self.directory)
        busy_at = time.monotonic()
        try:
            with SignalInbox(signal.SIGCHLD) as inbox:
                while self._spool_is_mine():
                    bell.hush()
                    seq, live = self._step()
                    if seq is not None:
                        return seq
                    if live or self.children:
                        busy_at = time.monotonic()
                    idle_for = time.monotonic() - busy_at
                    if idle_for >= idle_s:
                        # Who rings from now on finds nobody and starts a new daemon; who rang before has left a row.
                        bell.close()
                        if not self._live():
                            log("the daemon leaves: nothing to do")
                            return None
                        bell = Doorbell(self.directory)
                        continue
                    inbox.wait(poll_s if live or self.children else idle_s - idle_for, bell.descriptor)
            log("the daemon leaves: its spool was removed or replaced")
            return None
        finally:
            bell.close()

    def _step(self) -> tuple[int | None, bool]:
        """Look once at everything. Returns the job to look after (in a forked child only), and whether jobs live."""
        self._reap()
        try:
            with Spool(self.directory) as spool:
                self._visit_running(spool)
                ready = self._ready(spool)
                live = spool.has_live_jobs()
        except sqlite3.Error as error:
            log(f"the spool cannot be used now: {error}; nothing has changed, and I shall try again")
            return None, True
        for next_job in ready:  # the spool is closed: SQLite does not survive a fork
            try:
                child = os.fork()
            except OSError as error:
                log(f"cannot start job {next_job.id}: {error}; I shall try again")
                self._rest()
                break
            if child == 0:
                return next_job.seq, True
            self.children[child] = next_job
        return None, live

    def _ready(self, spool: Spool) -> list[Job]:
        if time.monotonic() < self.rest_until:
            return []
        ready: list[Job] = []
        with spool.snapshot() as sql:
            unclaimed = self._pending(sql, self.failed)
            self.failed.clear()
            if unclaimed:
                self._rest()
                return []
            claiming = self._pending(sql, self.children.values())
            occupying = [*job.in_state(sql, "RUNNING"), *claiming]
            forked = {each.seq for each in claiming}
            queue = (each for each in job.candidates(sql) if each.seq not in forked)
            for turn in turns(queue, occupying, spool.capacity()):
                if turn.starts:
                    ready.append(turn.job)
                elif turn.blocks:
                    break
        return ready

    def _pending(self, sql: sqlite3.Connection, jobs: Iterable[Job]) -> list[Job]:
        found = (job.with_seq(sql, each.seq) for each in jobs)
        return [each for each in found if each is not None and each.state == "PENDING"]

    def _visit_running(self, spool: Spool) -> None:
        for running in list(job.in_state(spool.sql, "RUNNING")):
            keeper = running.shepherd_identity
            if keeper is None or not alive(keeper):
                self._bury(spool, running)
            elif running.cancel_asked:
                transitions.alert(keeper)  # whoever asked may have died before it could say so

    def _bury(self, spool: Spool, lost: Job) -> None:
        """A job without a shepherd: nobody saw how it ended, so end what is left of it and say so."""
        now = job.with_seq(spool.sql, lost.seq)
        if now is None or now.state != "RUNNING":
            return  # the shepherd had just finished its work
        if now.boot != boot_id():
            reason = "the machine was restarted while it ran"
        else:
            reason = "its shepherd process died, so nobody saw how it ended"
            undead = processes.clear(now.leader_identity, processes.mark(self.directory, now.id), grace_s=0)
            if undead:
                log(f"job {now.id}: processes {undead} would not die")
        transitions.finish(spool, now, End("NODE_FAIL", reason, time.time()))
        shepherd.script_file(self.directory, now).unlink(missing_ok=True)
        log(f"job {now.id} is lost: {reason}")

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                kept = self.children.pop(pid, None)
                if status and kept is not None:
                    code = os.waitstatus_to_exitcode(status)
                    log(f"the shepherd {pid} of job {kept.id} failed with status {code}")
                    self.failed.append(kept)

    def _rest(self) -> None:
        self.rest_until = time.monotonic() + knobs.seconds("POLL")

    def _live(self) -> bool:
        with Spool(self.directory) as spool:
            return spool.has_live_jobs()

    def _spool_is_mine(self) -> bool:
        """False when somebody removed the directory, or put another one in its place."""
        try:
            return (self.directory / "daemon.lock").stat().st_ino == self.lock_inode
        except FileNotFoundError:
            return False
