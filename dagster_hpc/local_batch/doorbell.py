"""How a command reaches the daemon: a FIFO that only a living daemon reads, and a daemon started when none does."""

import contextlib
import errno
import os
import signal
import sys
from pathlib import Path

from dagster_hpc.local_batch.processes import MARK
from dagster_hpc.local_batch.signals import drain

_LARGEST_LOG = 1_000_000


class Doorbell:
    """The daemon's end. While it is open, `ring` succeeds."""

    def __init__(self, directory: Path) -> None:
        path = _path(directory)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._own_writer = os.open(
            path, os.O_WRONLY | os.O_NONBLOCK
        )  # else "readable" for ever once a ringer has closed

    def hush(self) -> None:
        drain(self.descriptor)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            os.close(self._own_writer)
            self.descriptor = -1


def ring(directory: Path, *, only_look: bool = False) -> bool:
    """Wake the daemon; False if there is none."""
    try:
        descriptor = os.open(_path(directory), os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):  # nobody reads, or no daemon has ever been here
            return False
        raise
    try:
        if not only_look:
            with contextlib.suppress(BlockingIOError):  # full of rings that it has yet to hear
                os.write(descriptor, b"!")
    except BrokenPipeError:
        return False
    finally:
        os.close(descriptor)
    return True


def rouse(directory: Path, *, only_look: bool = False) -> None:
    """Wake the daemon, or start one."""
    if not ring(directory, only_look=only_look):
        start_daemon(directory)


def start_daemon(directory: Path) -> None:
    """Start a daemon that belongs to nobody: no parent, no terminal, none of the caller's open files.

    It is a new program image because a job may submit a job, and a daemon with that job's mark in its environment
    would be taken for one of the job's processes. When two are started at once, the lock lets one of them live.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    code = 1
    try:
        os.setsid()
        if os.fork() == 0:
            _become_daemon(directory)
        code = 0
    except OSError as error:
        os.write(2, f"local_batch: error: cannot start the daemon: {error}\n".encode())
    finally:
        os._exit(code)


def _become_daemon(directory: Path) -> None:
    path = directory / "daemon.log"
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(directory / "daemon.log.1")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # the C library keeps some for itself
            signal.signal(number, signal.SIG_DFL)  # a submitter under nohup ignores some, and jobs would inherit that
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.chdir("/")
    root = Path(__file__).resolve().parents[2]
    environment = {key: value for key, value in os.environ.items() if key != MARK}
    command = [sys.executable, "-S", "-m", "dagster_hpc.local_batch", "daemon", "--spool", str(directory)]
    os.execve(sys.executable, command, {**environment, "PYTHONPATH": str(root)})


def _path(directory: Path) -> Path:
    return directory / "doorbell"
