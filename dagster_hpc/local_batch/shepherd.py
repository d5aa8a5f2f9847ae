"""Looks after one job: claims it, starts its script, enforces its limits, and records how it ended."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dagster_hpc.engine.process import Identity, identify
from dagster_hpc.local_batch import directives, doorbell, knobs, processes, spool, transitions
from dagster_hpc.local_batch.job import Job, with_seq
from dagster_hpc.local_batch.signals import SignalInbox, name
from dagster_hpc.local_batch.spool import Spool
from dagster_hpc.local_batch.transitions import End

_RETRY_S = 2.0
_RAREST_SEARCH = 32  # samples of memory between two readings of the whole process table


def run(directory: Path, seq: int) -> int:
    """The life of a shepherd, in a process and session of its own."""
    os.setsid()
    with SignalInbox(signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT) as inbox:
        me = identify(os.getpid())
        if me is None:
            raise RuntimeError("cannot see myself in the process table")
        with Spool(directory) as open_spool:
            job = transitions.claim(open_spool, seq, me)
            if job is None:
                return 0
            return _record(open_spool, job, _look_after(open_spool, job, inbox))


def script_file(directory: Path, job: Job) -> Path:
    return directory / "jobs" / f"{job.id}.sh"


def log(text: str) -> None:
    """A line in the daemon's log."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), f"[{os.getpid()}]", text, file=sys.stderr, flush=True)


def _look_after(open_spool: Spool, job: Job, inbox: SignalInbox) -> End:
    try:
        script = _start(open_spool, job)
    except OSError as error:
        what = os.fsdecode(error.filename or open_spool.directory)
        return End("FAILED", f"could not start: {what}: {error.strerror}", time.time())
    leader = identify(script.pid, zombies=True)
    if leader is None:
        raise RuntimeError(f"cannot see my own child {script.pid} in the process table")
    watch = _Watch(open_spool, job, leader, processes.mark(open_spool.directory, job.id))
    try:
        transitions.note_leader(open_spool, job.seq, leader)
    except sqlite3.OperationalError as error:
        log(f"job {job.id}: cannot note its pid {leader.pid}: {error}; its mark will do")
    end = watch.until_end(inbox)
    script.returncode = end.exit_code if end.exit_code is not None else -(end.signal or 0)  # we have waited ourselves
    return end


def _start(open_spool: Spool, job: Job) -> "subprocess.Popen[bytes]":
    """Start the script in its own session, with the surroundings of its submission."""
    text, environment = transitions.payload(open_spool, job.submission)
    added = {
        "LOCAL_JOB_ID": str(job.submission),
        "LOCAL_JOB_NAME": job.name,
        "LOCAL_CORES": str(job.granted_cores),
        processes.MARK: processes.mark(open_spool.directory, job.id),
    }
    if job.is_array:
        added["LOCAL_ARRAY_INDEX"] = str(job.element)
    environment.update({os.fsencode(key): os.fsencode(value) for key, value in added.items()})
    path = script_file(open_spool.directory, job)
    path.write_bytes(text)
    values = {b"%j": str(job.submission).encode(), b"%%": b"%"}
    if job.is_array:
        values[b"%a"] = str(job.element).encode()
    output = re.sub(rb"%[ja%]", lambda match: values.get(match[0], match[0]), job.output)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    os.umask(job.umask)
    descriptor = os.open(os.path.join(job.cwd, output), flags, 0o666)
    try:
        return subprocess.Popen(
            [*directives.interpreter(text), str(path)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=job.cwd,
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
        os.umask(0o077)


@dataclass
class _Watch:
    """The deadlines of one running job, and the reason to stop it once there is one."""

    open_spool: Spool
    job: Job
    leader: Identity
    mark: str
    stop: tuple[str, str] | None = None  # the state and the reason, if we ended it
    peak_mib: float = 0.0
    members: list[processes.Process] = field(default_factory=list)  # as far as we know
    samples: int = 0
    next_search: int = 0  # at this sample the whole process table is read, for members that have left the family
    due: dict[Callable[[], None], float] = field(default_factory=dict)  # what is to be done, and when

    def until_end(self, inbox: SignalInbox) -> End:
        now = time.monotonic()
        if self.job.time_s:
            self.due[self._walltime] = now + self.job.time_s
            if self.job.warn_signal:
                self.due[self._warning] = max(now, now + self.job.time_s - self.job.warn_before_s)
        if self.job.memory_mib:
            self.due[self._memory] = now
        while True:
            pid, status, usage = os.wait4(self.leader.pid, os.WNOHANG)
            if pid:
                break
            for task in [task for task, when in self.due.items() if when <= time.monotonic()]:
                del self.due[task]
                task()
            timeout = min(self.due.values()) - time.monotonic() if self.due else None
            if signal.SIGTERM in inbox.wait(timeout):
                self._look_for_cancel()
        ended_at = time.time()
        grace_s = self.due.get(self._kill, time.monotonic() + self.job.kill_after_s) - time.monotonic()
        undead = processes.clear(self.leader, self.mark, max(grace_s, 0))  # of what the script has left behind
        if undead:
            log(f"job {self.job.id}: processes {undead} would not die")
        exit_code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        state, reason = self.stop or _judge(exit_code, number)
        return End(
            state,
            reason,
            ended_at,
            exit_code,
            number,
            usage.ru_utime,
            usage.ru_stime,
            round(max(usage.ru_maxrss / 2**10, self.peak_mib), 3),
        )

    def _walltime(self) -> None:
        self._end("TIMEOUT", f"ran into its walltime of {self.job.time_s} s")

    def _warning(self) -> None:
        if self.job.warn_signal:
            os.kill(self.leader.pid, self.job.warn_signal)

    def _memory(self) -> None:
        limit = self.job.memory_mib
        self.members = self._find_members()
        used = processes.resident_mib(self.members, limit)
        self.peak_mib = max(self.peak_mib, used)
        if used > limit:
            self.stop = self.stop or ("OOM", f"used {used:.0f} MiB of memory, more than the {limit} MiB it asked for")
            self._kill()
        else:
            self.due[self._memory] = time.monotonic() + knobs.seconds("SAMPLE")

    def _find_members(self) -> list[processes.Process]:
        """All processes of the job. On a full machine the whole table is long, so it is read ever more rarely; in
        between only the family of those that we know."""
        self.samples += 1
        if self.samples <= self.next_search:
            found = processes.relatives(self.leader, self.members)
            if found is not None:
                return found
        else:
            self.next_search = self.samples + min(self.samples, _RAREST_SEARCH)
        return processes.members(self.leader, self.mark)

    def _look_for_cancel(self) -> None:
        """A TERM without a row that says so is not a cancel: the machine may be going down."""
        now = with_seq(self.open_spool.sql, self.job.seq)
        if now is not None and now.cancel_asked:
            self._end("CANCELLED", "cancelled while it ran")

    def _end(self, state: str, reason: str) -> None:
        if self.stop is None:
            self.stop = (state, reason)
            processes.send(processes.members(self.leader, self.mark), signal.SIGTERM)
            self.due[self._kill] = time.monotonic() + self.job.kill_after_s

    def _kill(self) -> None:
        processes.send(processes.members(self.leader, self.mark), signal.SIGKILL)
        self.due[self._kill] = time.monotonic() + 1.0  # again, for what was forked meanwhile


def _judge(exit_code: int | None, number: int | None) -> tuple[str, str | None]:
    if number is not None:
        return "FAILED", f"killed by signal {name(number)}"
    if exit_code == 0:
        return "COMPLETED", None
    assert exit_code is not None
    if 128 < exit_code <= 128 + 64:
        return "FAILED", f"exited with code {exit_code}, as after signal {name(exit_code - 128)}"
    return "FAILED", f"exited with code {exit_code}"


def _record(open_spool: Spool, job: Job, end: End) -> int:
    """Write the end down. A full disk or a locked database delays it; the job then stays RUNNING, which is no lie."""
    while True:
        try:
            transitions.finish(open_spool, job, end)
            break
        except sqlite3.OperationalError as error:
            if not spool.exists(open_spool.directory):
                return 1
            log(f"job {job.id} ended ({end.state}), which cannot be recorded: {error}; trying again in {_RETRY_S:g} s")
            time.sleep(_RETRY_S)
    script_file(open_spool.directory, job).unlink(missing_ok=True)
    if open_spool.has_live_jobs():
        doorbell.rouse(open_spool.directory)
    return 0
