"""This machine: commands by subprocess, files by the file system that it shares with the compute nodes."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import secrets
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.base import Host, Names, command_environment

_KILLED_WITHIN_S = 5.0  # a process that a dead file server holds does not even die of KILL
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class LocalHost(Host):
    """The machine that this process runs on."""

    def __init__(self) -> None:
        self.name = socket.gethostname()
        self.user = _user_name()

    def run(self, call: Call) -> Answer:
        # Into files in memory, not pipes: those are open until the last grandchild of a site's wrapper has ended.
        with (
            open(call.stdin or os.devnull, "rb") as stdin,
            open(os.memfd_create("stdout"), "rb") as stdout,
            open(os.memfd_create("stderr"), "rb") as stderr,
        ):
            try:
                process = subprocess.Popen(
                    call.argv,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env=_environment(call),
                    cwd=call.directory,
                    start_new_session=True,
                )
            except PermissionError as error:  # a file of that name that we may not run is no command
                raise FileNotFoundError(*error.args) from error
            try:
                code = process.wait() if _ends(process, call.timeout_s) else None
            finally:  # also after an interrupt of the caller: do not leave the command behind
                if process.returncode is None:
                    _kill(process)
            if code is not None and code < 0:
                code = None  # killed: it had no time to end
            return Answer(call.argv, code, _text(stdout), _text(stderr))

    def place(self, directory: str, files: Mapping[str, bytes], folders: Sequence[str] = ()) -> None:
        root = Path(directory)
        changed = _make_directory(root) | {root}
        for folder in folders:
            _make_directory(root / folder)
        for name, content in files.items():
            path = root / name
            if path.parent not in changed:
                _make_directory(path.parent)
                changed.add(path.parent)
            _write_durably(path, content)
        for folder_path in changed:
            _sync_directory(folder_path)

    def create(self, path: str, content: bytes) -> bool:
        whole = f"{path}.{secrets.token_hex(8)}"
        try:
            _write_durably(Path(whole), content)
            try:
                os.link(whole, path)
            except FileExistsError:
                # A network file system that lost the answer to a link that was made says this too.
                if not os.path.samefile(whole, path):
                    return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return _create_without_links(path, content)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(whole)
        _sync_directory(Path(path).parent)
        return True

    def is_private(self, path: str) -> bool:
        found = os.stat(path)
        return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(-1 if limit is None else limit)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def tail(self, path: str, limit: int) -> bytes:
        try:
            with open(path, "rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - limit))
                return file.read(limit)
        except (FileNotFoundError, NotADirectoryError):
            return b""

    def size(self, path: str) -> int | None:
        # Listing the parent makes an NFS or Lustre client forget what it believes about the entry.
        with contextlib.suppress(OSError):
            os.listdir(os.path.dirname(path))
        try:
            return os.stat(path).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, path: str) -> Names:
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []


def _environment(call: Call) -> dict[str, str]:
    environment = command_environment(os.environ, call.environment)
    if call.argv[0] == sys.executable and "PYTHONPATH" in os.environ:
        # A program of our own finds its modules where we found them. The local batch system keeps it from its jobs.
        environment.setdefault("PYTHONPATH", os.environ["PYTHONPATH"])
    return environment


def _ends(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for the process itself, whatever it has left behind; False if it takes longer."""
    try:
        descriptor = os.pidfd_open(process.pid)  # wakes at once, where Popen.wait sleeps and looks
    except OSError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
        return process.returncode is not None
    try:
        watch = select.poll()
        watch.register(descriptor, select.POLLIN)
        return bool(watch.poll(max(0.0, timeout_s) * 1000))
    finally:
        os.close(descriptor)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a command and all of its session that did not leave it; not waited for longer than is sure to end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_WITHIN_S)


def _text(output: BinaryIO) -> str:
    output.seek(0)
    return output.read().decode("utf-8", "replace")


def _make_directory(path: Path) -> set[Path]:
    """Make it and what is missing above it, each for this user alone; returns where something was added."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):  # made by another process just now; a file of that name fails below
            os.mkdir(directory, 0o700)
    return {directory.parent for directory in missing}


def _write_durably(path: Path, content: bytes) -> None:
    # A scheduler on another machine reads the script at once: it has met empty files that were only in a write cache.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # it may have been there
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _create_without_links(path: str, content: bytes) -> bool:
    """The second best, for a file system without hard links: exclusive, but not whole at once."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return True


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may know the number only
        return str(os.geteuid())
