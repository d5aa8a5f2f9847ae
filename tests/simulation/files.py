"""Simulated files: what a compute node writes becomes visible late, a host may be unable to read, a disk may be full."""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Callable, Mapping, Sequence

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.base import Host
from tests.simulation.time import Process, Time


class Files:
    """The file server: the contents, and since when the orchestrators' hosts can see them."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.contents: dict[str, bytes] = {}
        self._seen_from: dict[str, float] = {}
        self._folders: set[str] = set()
        self.delay = 0.0
        self.unreadable_until = 0.0
        self.full_until = 0.0

    def write(self, path: str, content: bytes, *, late: bool = False) -> None:
        self.contents[path] = content
        delay = self.time.random.uniform(0.0, self.delay) if late else 0.0
        self._seen_from[path] = self.time.passed + delay
        self.make(posixpath.dirname(path))

    def remove(self, path: str) -> None:
        self.contents.pop(path, None)

    def make(self, folder: str) -> None:
        while folder not in self._folders and folder not in ("", "/"):
            self._folders.add(folder)
            folder = posixpath.dirname(folder)

    def visible(self, path: str) -> bytes | None:
        if self._seen_from.get(path, 0.0) > self.time.passed:
            return None
        return self.contents.get(path)

    def is_folder(self, path: str) -> bool:
        return path in self._folders


class SimulatedHost(Host):
    """One orchestrator host, as one process uses it."""

    def __init__(self, process: Process, files: Files, execute: Callable[[Process, Call], Answer]) -> None:
        self.name = process.host
        self._process, self._files, self._execute = process, files, execute

    def run(self, call: Call) -> Answer:
        self._process.check()
        return self._execute(self._process, call)

    def place(self, directory: str, files: Mapping[str, bytes], folders: Sequence[str] = ()) -> None:
        self._process.check()
        if self._files.full_until > self._files.time.passed:
            raise OSError(errno.ENOSPC, "No space left on device", directory)
        self._files.make(directory)
        for folder in folders:
            self._files.make(posixpath.join(directory, folder))
        for name, content in files.items():
            self._process.pause()  # it may die between any two files
            self._files.write(posixpath.join(directory, name), content)

    def create(self, path: str, content: bytes) -> bool:
        self._readable(path)
        if not self._files.is_folder(posixpath.dirname(path)):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        if path in self._files.contents:
            return False
        self._files.write(path, content)
        return True

    def list(self, path: str) -> list[str]:
        self._readable(path)
        prefix = path.rstrip("/") + "/"
        return [name[len(prefix) :] for name in self._files.contents if name.startswith(prefix)]

    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        self._readable(path)
        content = self._files.visible(path)
        return None if content is None else content[offset : None if limit is None else offset + limit]

    def tail(self, path: str, limit: int) -> bytes:
        return (self.read(path) or b"")[-limit:]

    def size(self, path: str) -> int | None:
        self._readable(path)
        content = self._files.visible(path)
        if content is None:
            return 4096 if self._files.is_folder(path) else None
        return len(content)

    def is_private(self, path: str) -> bool:
        return True

    def _readable(self, path: str) -> None:
        self._process.check()
        if self._files.unreadable_until > self._files.time.passed:
            raise OSError(errno.ESTALE, "Stale file handle", path)
