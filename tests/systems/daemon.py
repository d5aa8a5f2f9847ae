"""A background process that belongs to a folder: started, found again by a later process, stopped, its log quoted.

Every daemon runs in its foreground mode, in a session of its own. So its death is seen at once (a daemon that forks has
already said "fine" when it fails), all that it says stands in one log, and Ctrl-C in the terminal does not reach it
before the fixtures have put things in order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_S = 0.02
LOOPBACK = "127.0.0.1"
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # not on an ordinary user's PATH, but daemons are there


class SystemFailed(RuntimeError):
    """A test system did not come up or did not stop; the message quotes what its own log says."""


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    """Poll until the condition holds, or raise `SystemFailed` with the words of `otherwise`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemFailed(otherwise())
        time.sleep(POLL_S)


def port_is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether a daemon could listen on this port now (connections in TIME_WAIT do not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def port_answers(port: int, address: str = LOOPBACK) -> bool:
    """Whether something accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def process_birth(pid: int) -> str | None:
    """The start time of a living process in the kernel's ticks; None when there is none, or only its zombie.

    With the pid it names a process for good: pids are used again, and a container's first process may never reap.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, or a word that there is nothing."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "(nothing)"


@dataclass
class Daemon:
    """One process of a system, known by `folder/pids/NAME` and `folder/log/NAME.log`."""

    name: str
    argv: Sequence[str]
    folder: Path
    user: str | None = None  # None: the user who runs the tests
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def log(self) -> Path:
        return self.folder / "log" / f"{self.name}.log"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "pids" / self.name

    @property
    def pid(self) -> int | None:
        """The pid while the daemon lives, whoever started it; a stale pid file counts as nothing."""
        if self._process is not None:
            self._process.poll()  # reaps
        try:
            pid, birth = self._pid_file.read_text().split()
        except (FileNotFoundError, ValueError):  # never started; or the writer was killed before it wrote
            return None
        return int(pid) if process_birth(int(pid)) == birth else None

    def start(self, ready: Callable[[], bool], seconds: float = 20) -> None:
        """Start unless it runs, and return when `ready()` holds; a daemon that dies meanwhile twice is an error.

        Once may be the fault of its predecessor, which was killed a moment ago and still holds a lock or a socket.
        """
        for _attempt in (1, 2):
            if self.pid is None:
                self._launch()
            wait_until(
                lambda: self.pid is None or ready(), seconds, lambda: self.complaint(f"is not ready after {seconds} s")
            )
            if self.pid is not None:
                return
        raise SystemFailed(self.complaint("ended while starting"))

    def _launch(self) -> None:
        for path in (self.log, self._pid_file):
            path.parent.mkdir(exist_ok=True)
        identity: dict[str, object] = {}
        if self.user is not None:
            identity = {"user": self.user, "group": self.user, "extra_groups": []}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o022,
                **identity,  # type: ignore[call-overload]
            )
        self._pid_file.write_text(f"{self._process.pid} {process_birth(self._process.pid)}\n")

    def complaint(self, what: str) -> str:
        """What happened, with the end of the log."""
        return f"{self.name} {what}. Its log {self.log} ends:\n{tail(self.log)}"

    def ends_before(self, deadline: float) -> bool:
        """Wait for its end, at most until this time of the monotonic clock."""
        while self.pid is not None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return self.pid is None

    def stop(self, seconds: float = 20) -> None:
        """Ask it to end and wait for that; kill it when it does not. Nothing happens when it does not run."""
        stop_all([self], seconds)


def stop_all(daemons: Iterable[Daemon], seconds: float = 20) -> None:
    """Stop several daemons at the same time."""
    running = [(daemon, pid) for daemon in daemons if (pid := daemon.pid) is not None]
    for daemon, pid in running:
        send(pid, daemon.stop_signal)
    deadline = time.monotonic() + seconds
    for daemon, pid in running:
        if not daemon.ends_before(deadline):
            send(pid, signal.SIGKILL)
            daemon.ends_before(time.monotonic() + 5)


def kill_all(processes: Callable[[], list[int]]) -> None:
    """Kill these, and what one of them may have started just then, until none is left."""

    def none_is_left() -> bool:
        for pid in processes():
            send(pid, signal.SIGKILL)
        return not processes()

    wait_until(none_is_left, 10, lambda: f"processes do not die: {processes()}")


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
