"""A step that runs: the process of its script, its deadlines, and how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from dagster_hpc.step_batch.folder import Folder
from dagster_hpc.step_batch.spool import Submission

_GRACE_S = 10.0  # from TERM to KILL
# Who ends an allocation signals its nodes one after another, and a step may hear of it so much sooner than its holder.
_AHEAD_S = 15.0
_BY_SIGTERM = ((signal.SIGTERM, None), (None, 128 + signal.SIGTERM))  # of itself, or of what it ran
_OF_THE_HOLDER = "HPC_"  # begins what the held job's own script has set


@dataclass(frozen=True)
class End:
    """How a step ended, in the words of the ledger."""

    state: str
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    cpu_time_s: float | None = None
    max_rss_mib: float | None = None
    ended_at: float | None = None


class Running:
    """A step that was started, and is looked at now and then. `umask`: of the programs, as the held job was given it."""

    def __init__(self, submission: Submission, index: int, now: float, *, umask: int) -> None:
        self.submission, self.index = submission, index
        self._stop: tuple[str, str] | None = None  # state and reason, if we end it
        self._ended: End | None = None
        self._told_at = float("-inf")  # when its end may be told, once it has ended
        self._kill_at = float("inf")
        self._ends_at = now + submission.walltime_s if submission.walltime_s else float("inf")
        self._warn_at = self._ends_at - submission.signal_before_s if submission.signal else float("inf")
        self._process = _start(submission, index, umask)

    def stop(self, state: str, reason: str, now: float) -> None:
        """Tell it to end, and see to it. What it ended by is said once."""
        self._told_at = float("-inf")
        if self._stop is None and self._ended is None:
            self._stop = (state, reason)
            self._kill_at = now + _GRACE_S
            self._signal(signal.SIGTERM)

    def look(self, now: float) -> End | None:
        """Do what is due; how it ended, once it has, however often it is asked.

        A SIGTERM that was not ours may be the first sign of the end of the whole allocation. That is waited for: the
        step has then ended as its allocation has, and no other one is to begin in its place.
        """
        if self._ended is not None:
            return self._ended if now >= self._told_at else None
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if pid:
            self._process.returncode = 0  # we have waited ourselves
            self._signal(signal.SIGKILL)  # what the script has left behind
            self._ended = self._end(status, usage)
            if self._stop is None and (self._ended.signal, self._ended.exit_code) in _BY_SIGTERM:
                self._told_at = now + _AHEAD_S
            return self.look(now)
        if now >= self._warn_at:
            self._warn_at = float("inf")
            os.kill(self._process.pid, signal.Signals[f"SIG{self.submission.signal}"])
        if now >= self._ends_at:
            self.stop("TIMEOUT", f"ran into its walltime of {self.submission.walltime_s} s", now)
        if now >= self._kill_at:
            self._signal(signal.SIGKILL)
        return None

    def _end(self, status: int, usage: Any) -> End:
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        state, reason = self._stop or _judge(code, number)
        figures = {}
        if self.submission.on_this_node:  # else these are the launcher's figures, not the program's
            figures = {"cpu_time_s": usage.ru_utime + usage.ru_stime, "max_rss_mib": round(usage.ru_maxrss / 1024, 3)}
        return End(state, reason, code, number, ended_at=time.time(), **figures)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # all of it has ended


def _start(submission: Submission, index: int, umask: int) -> subprocess.Popen[bytes]:
    # The engine's own lock, by which it closes what is never to begin: the script reads whose it is.
    directory = os.path.dirname(os.path.dirname(submission.script))
    place = os.path.join(directory, str(index)) if submission.elements else directory
    Folder(place).create(".job/lock", f"{submission.id_of(index)}\n".encode(), durable=False)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OF_THE_HOLDER)}
    environment |= {"STEP_ID": submission.id_of(index), "STEP_INDEX": str(index), "STEP_UMASK": f"{umask:04o}"}
    output = submission.output.replace("%a", str(index))
    with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        return subprocess.Popen(
            ["/bin/bash", submission.script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _judge(code: int | None, number: int | None) -> tuple[str, str]:
    if number is not None:
        return "FAILED", f"killed by signal {number}"
    return ("COMPLETED", "") if code == 0 else ("FAILED", f"exited with code {code}")
