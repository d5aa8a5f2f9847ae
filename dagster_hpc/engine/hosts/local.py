"""This machine: commands by subprocess, files by the file system that it shares with the compute nodes."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.base import Host, scrubbed


class LocalHost(Host):
    """The machine that this process runs on."""

    def __init__(self) -> None:
        self.name = socket.gethostname()

    def run(self, call: Call) -> Answer:
        with open(call.stdin or os.devnull, "rb") as stdin:
            try:
                process = subprocess.Popen(
                    call.argv,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=scrubbed(os.environ, call.environment),
                    cwd=call.directory,
                )
            except PermissionError as error:  # a file of that name that we may not run is no command
                raise FileNotFoundError(*error.args) from error
        try:
            stdout, stderr = process.communicate(timeout=call.timeout_s)
            code = process.returncode if process.returncode >= 0 else None  # killed: it had no time to end
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            code = None
        except BaseException:  # an interrupt of the caller: do not leave the command behind unwaited
            process.kill()
            process.wait()
            raise
        return Answer(call.argv, code, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))

    def place(self, directory: str, files: Mapping[str, bytes], folders: Sequence[str] = ()) -> None:
        root = Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        made = {root}
        for folder in folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = root / name
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            _write_durably(path, content)
        for folder_path in made:
            _sync_directory(folder_path)

    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(-1 if limit is None else limit)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, path: str, content: bytes) -> bool:
        temporary = f"{path}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        return True

    def list(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def tail(self, path: str, limit: int) -> bytes:
        try:
            with open(path, "rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - limit))
                return file.read()
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


def _write_durably(path: Path, content: bytes) -> None:
    # A scheduler on another machine reads the script at once: it has met empty files that were only in a write cache.
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
