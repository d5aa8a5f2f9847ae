"""A job's output while it is written: whole lines, as they come."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field

from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.script import STDERR, STDOUT
from dagster_hpc.engine.target import Listener

_CHUNK = 1 << 20
_TAIL_BYTES = 64 * 1024
_TAIL_LINES = 100


@dataclass
class _Stream:
    name: str
    path: str
    offset: int = 0
    rest: bytes = b""


@dataclass
class LogFollower:
    """Hands the lines of a job's stdout.log and stderr.log to a listener, each once."""

    host: Host
    row: JobRow
    listener: Listener
    _streams: list[_Stream] = field(default_factory=list)

    def __post_init__(self) -> None:
        files = {"stdout": STDOUT, "stderr": STDERR}
        self._streams = [_Stream(name, posixpath.join(self.row.work_dir, file)) for name, file in files.items()]

    def follow(self) -> None:
        """Pass on the lines that were finished since the last call."""
        for stream in self._streams:
            while chunk := self.host.read(stream.path, stream.offset, _CHUNK):
                stream.offset += len(chunk)
                *lines, stream.rest = (stream.rest + chunk).split(b"\n")
                for line in lines:
                    self._pass_on(stream, line)

    def finish(self) -> None:
        """Pass on everything, a last line without its end too."""
        self.follow()
        for stream in self._streams:
            if stream.rest:
                self._pass_on(stream, stream.rest)
                stream.rest = b""

    def _pass_on(self, stream: _Stream, line: bytes) -> None:
        self.listener.on_output(self.row.handle(), stream.name, line.decode("utf-8", "replace").rstrip("\r"))


def read_tail(host: Host, path: str, limit: int = _TAIL_BYTES) -> str:
    """The last lines of a log: where the error message stands."""
    content = host.tail(path, limit)
    text = content.decode("utf-8", "replace")
    if len(content) == limit:
        text = text.partition("\n")[2]  # the first line may be cut
    return "\n".join(text.splitlines()[-_TAIL_LINES:])


def read_tails(host: Host, row: JobRow, scheduler: Scheduler, limit: int = _TAIL_BYTES) -> tuple[str, str]:
    """The ends of stdout and stderr; what the scheduler itself had to say is added to stderr."""
    stdout = read_tail(host, posixpath.join(row.work_dir, STDOUT), limit)
    stderr = read_tail(host, posixpath.join(row.work_dir, STDERR), limit)
    said = read_tail(host, scheduler.log_of(row.work_dir, row.array_index), limit)
    return stdout, "\n".join(part for part in (stderr, said) if part)
