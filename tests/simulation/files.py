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
        self._before: dict[str, bytes | None] = {}  # what is still seen of a file that was changed on another machine
        self._writer: dict[str, str] = {}
        self._folders: set[str] = set()
        self.delay = 0.0
        self.lag: dict[str, float] = {}  # further delay, by host
        self.unreadable_until = 0.0
        self.full_until = 0.0
        self.error = errno.ESTALE
        self.closed_to: str | None = None  # a host whose user may not enter the directories of jobs of other hosts
        self._placed_by: dict[str, str] = {}

    def write(self, path: str, content: bytes, *, late: bool = False, by: str = "a node") -> None:
        self._change(path, late)
        self._writer[path] = by
        self.contents[path] = content
        self.make(posixpath.dirname(path))

    def remove(self, path: str, *, late: bool = False) -> None:
        if path in self.contents:
            self._change(path, late)
            del self.contents[path]

    def _change(self, path: str, late: bool) -> None:
        delay = self.time.random.uniform(0.0, self.delay) if late else 0.0
        if self._seen_from.get(path, 0.0) <= self.time.passed:
            self._before[path] = self.contents.get(path)
        self._seen_from[path] = self.time.passed + delay

    def make(self, folder: str) -> None:
        while folder not in self._folders and folder not in ("", "/"):
            self._folders.add(folder)
            folder = posixpath.dirname(folder)

    def visible(self, path: str, host: str) -> bytes | None:
        lag = self.lag.get(host, 0.0) if path in self._before and self._writer.get(path) != host else 0.0
        if self._seen_from.get(path, 0.0) + lag > self.time.passed:
            return self._before.get(path)
        return self.contents.get(path)

    def placed(self, directory: str, host: str) -> None:
        self._placed_by[directory] = host

    def is_closed(self, path: str, host: str) -> bool:
        if self.closed_to != host:
            return False
        owner = next((by for directory, by in self._placed_by.items() if path.startswith(f"{directory}/")), host)
        return owner != host

    def ask_afresh(self, path: str) -> None:
        """An exclusive creation that failed makes the host forget what it believed of the file."""
        self._seen_from[path] = 0.0
        self._before.pop(path, None)

    def is_folder(self, path: str) -> bool:
        return path in self._folders


class SimulatedHost(Host):
    """One orchestrator host, as one process uses it."""

    def __init__(self, process: Process, files: Files, execute: Callable[[Process, Call], Answer]) -> None:
        self.name, self.user = process.host, "me"
        self._process, self._files, self._execute = process, files, execute

    def run(self, call: Call) -> Answer:
        self._process.check()
        return self._execute(self._process, call)

    def place(self, directory: str, files: Mapping[str, bytes], folders: Sequence[str] = ()) -> None:
        self._process.check()
        if self._files.full_until > self._files.time.passed:
            raise OSError(errno.ENOSPC, "No space left on device", directory)
        self._files.make(directory)
        self._files.placed(directory, self.name)
        for folder in folders:
            self._files.make(posixpath.join(directory, folder))
        for name, content in files.items():
            self._process.pause()  # it may die between any two files
            self._files.write(posixpath.join(directory, name), content, by=self.name)

    def create(self, path: str, content: bytes) -> bool:
        self._readable(path)
        if not self._files.is_folder(posixpath.dirname(path)):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        if path in self._files.contents:
            self._files.ask_afresh(path)
            return False
        self._files.write(path, content, by=self.name)
        return True

    def list(self, path: str) -> list[str]:
        self._readable(path)
        prefix = path.rstrip("/") + "/"
        return sorted({name[len(prefix) :].partition("/")[0] for name in self._files.contents if name.startswith(prefix)})

    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        self._readable(path)
        content = self._files.visible(path, self.name)
        return None if content is None else content[offset : None if limit is None else offset + limit]

    def tail(self, path: str, limit: int) -> bytes:
        return (self.read(path) or b"")[-limit:]

    def size(self, path: str) -> int | None:
        self._readable(path)
        content = self._files.visible(path, self.name)
        if content is None:
            return 4096 if self._files.is_folder(path) else None
        return len(content)

    def is_private(self, path: str) -> bool:
        return True

    def _readable(self, path: str) -> None:
        self._process.check()
        if self._files.unreadable_until > self._files.time.passed:
            raise OSError(self._files.error, "cannot be read", path)
        if self._files.is_closed(path, self.name):
            raise PermissionError(errno.EACCES, "Permission denied", path)
