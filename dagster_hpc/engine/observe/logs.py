"""A job's output while it is written: whole lines, as they come."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice

from dagster_hpc.engine.hosts.base import Host
from dagster_hpc.engine.jobdir import STDERR, STDOUT
from dagster_hpc.engine.ledger import JobRow
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.target import Listener

_CHUNK = 1 << 20
_LOOK = 8 * _CHUNK  # of one stream at one look, so that a chatty job does not keep its watcher from the others
_LAST_LOOK = 64 * _CHUNK  # of what is left when the job is over; the file has all of it
_LONGEST_LINE = 64 * 1024
_TAIL_BYTES = 64 * 1024
_TAIL_LINES = 100
_RANKS, _RANKS_LOOKED_AT = 4, 64  # so many are shown, of the first so many that may have printed anything


@dataclass
class _Stream:
    """One log file, and what of it has been read but not yet passed on."""

    name: str
    path: str
    offset: int = 0
    rest: bytes = b""  # the line that is not finished: no longer than a line may be
    state: bytes = b""  # what a carriage return ended in this line: a progress bar's last state
    is_shown: bool = False  # the state before the rest has been passed on, so a mere line end after it says nothing new

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that this chunk finishes."""
        *lines, rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            text = last_state(line) or self.state
            if text or not self.is_shown:
                yield from _pieces(text)
            self.state, self.is_shown = b"", False
        before, is_returned, self.rest = rest.rpartition(b"\r")
        if is_returned:
            self.state, self.is_shown = last_state(before) or self.state, False
        *pieces, self.rest = _pieces(self.rest)
        yield from pieces

    def pause(self) -> Iterator[bytes]:
        """At the end of a look: how far a progress bar has come, once however often it was redrawn."""
        if self.state:
            yield from _pieces(self.state)
            self.state, self.is_shown = b"", True


@dataclass
class LogFollower:
    """Hands the lines of a job's stdout.log and stderr.log to a listener, each once.

    A carriage return ends a line too: of a progress bar each look passes on the last state. However much a job writes,
    a look reads at most a few MiB and keeps less than one. A file that cannot be read now is read at the next look.
    """

    host: Host
    row: JobRow
    listener: Listener
    conceal: Callable[[str], str] = lambda printed: printed
    _streams: list[_Stream] = field(default_factory=list)

    def __post_init__(self) -> None:
        files = {"stdout": STDOUT, "stderr": STDERR}
        self._streams = [_Stream(name, posixpath.join(self.row.work_dir, file)) for name, file in files.items()]

    def follow(self) -> None:
        """Pass on the lines that were finished since the last call."""
        for stream in self._streams:
            self._read(stream, _LOOK)
            self._pass_on(stream, stream.pause())

    def finish(self) -> None:
        """Pass on everything, a last line without its end too. What would take too long is left to the file."""
        for stream in self._streams:
            self._skip(stream)
            self._read(stream, _LAST_LOOK + _CHUNK)
            if stream.rest:
                self._pass_on(stream, stream.take(b"\n"))
            self._pass_on(stream, stream.pause())

    def _read(self, stream: _Stream, limit: int) -> None:
        end = stream.offset + limit
        while stream.offset < end:
            try:
                chunk = self.host.read(stream.path, stream.offset, _CHUNK)
            except OSError:
                return
            if not chunk:
                return
            stream.offset += len(chunk)
            self._pass_on(stream, stream.take(chunk))

    def _skip(self, stream: _Stream) -> None:
        try:
            left = (self.host.size(stream.path) or 0) - stream.offset
        except OSError:
            return
        if left > _LAST_LOOK:
            skipped = left - _LAST_LOOK
            stream.offset += skipped
            self._pass_on(stream, stream.take(b"\n") if stream.rest else ())
            note = f"dagster_hpc: {skipped / 2**20:.0f} MiB are left out here; all of it is in {stream.path}"
            self._pass_on(stream, [note.encode()])

    def _pass_on(self, stream: _Stream, lines: Iterable[bytes]) -> None:
        for line in lines:
            self.listener.on_output(self.row.handle(), stream.name, self.conceal(line.decode("utf-8", "replace")))


def last_state(line: bytes) -> bytes:
    """What a terminal shows of a line that was written over: the text after the last carriage return but for its end."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def _pieces(line: bytes) -> list[bytes]:
    """A line in parts that are not too long; no character is cut in two."""
    parts = []
    while len(line) > _LONGEST_LINE:
        cut = _LONGEST_LINE
        while cut > _LONGEST_LINE - 4 and line[cut] & 0xC0 == 0x80:
            cut -= 1
        parts.append(line[:cut])
        line = line[cut:]
    return [*parts, line]


def read_tail(host: Host, path: str, limit: int = _TAIL_BYTES) -> str:
    """The last lines of a log: where the error message stands."""
    try:
        content = host.tail(path, limit)
    except OSError as error:
        return f"dagster_hpc: {path} cannot be read now: {error.strerror or error}"
    lines = content.removesuffix(b"\n").split(b"\n")
    if len(content) == limit and len(lines) > 1 and b"\r" not in lines[0]:
        del lines[0]  # it may be cut
    lines = lines[-_TAIL_LINES:]
    return "\n".join(last_state(line).decode("utf-8", "replace") for line in lines)


def read_tails(host: Host, row: JobRow, scheduler: Scheduler, limit: int = _TAIL_BYTES) -> tuple[str, str]:
    """The ends of stdout and stderr; what the scheduler itself had to say is added to stderr."""
    stdout = _tail_of(host, row, scheduler, "stdout", STDOUT, limit)
    stderr = _tail_of(host, row, scheduler, "stderr", STDERR, limit)
    said = scheduler.worth_telling(read_tail(host, scheduler.log_of(row.work_dir, row.array_index), limit))
    return stdout, "\n".join(part for part in (stderr, said) if part)


def _tail_of(host: Host, row: JobRow, scheduler: Scheduler, stream: str, file: str, limit: int) -> str:
    """The job's own log; where that is empty, what its first ranks left in files of their own, if its MPI makes any."""
    own = read_tail(host, posixpath.join(row.work_dir, file), limit)
    pattern = "" if own or row.job_id is None else scheduler.rank_outputs(row.job_id, stream)
    if not pattern:
        return own
    top, name = pattern.split("/**/")
    try:
        folders = [posixpath.join(row.work_dir, each) for each in host.list(row.work_dir) if fnmatchcase(each, top)]
        files = [path for folder in folders for path in islice(_files(host, folder, name), _RANKS_LOOKED_AT)]
    except OSError:
        return own
    tails = ((path, read_tail(host, path, limit // _RANKS)) for path in files)
    said = islice(((path, tail) for path, tail in tails if tail), _RANKS)
    return "\n".join(f"-- rank {_rank(path)} ({posixpath.relpath(path, row.work_dir)})\n{tail}" for path, tail in said)


def _files(host: Host, folder: str, name: str, depth: int = 4) -> Iterator[str]:
    """The files of this name in this folder, by rank, and then those in the folders below it."""
    entries = host.list(folder)
    for entry in sorted((each for each in entries if fnmatchcase(each, name)), key=_rank):
        yield posixpath.join(folder, entry)
    for entry in entries if depth else ():
        if "." not in entry:  # folders are numbers; a rank's files are not worth a look whether they are any
            yield from _files(host, posixpath.join(folder, entry), name, depth - 1)


def _rank(path: str) -> int:
    """`stdout.1.47` is of rank 47."""
    last = path.rpartition(".")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
