"""What a job has reported: whole lines of its messages file, each once, whatever the file system does meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.hosts.base import Host

VERSION_FIELD = "__dagster_pipes_version"

Message = dict[str, Any]  # method, params

_CHUNK = 1 << 20
_LOOK = 16 * _CHUNK  # at one look, so that a chatty job does not keep its reader from the others
_LONGEST_LINE = 64 * _CHUNK
_SHOWN = 80  # characters of a line that is no message
_PASSING = ("log", "log_external_stream")  # handed on and forgotten


@dataclass
class JobMessages:
    """The messages of one job, read while they are written.

    A line counts once it is whole. A file that is not there yet, or cannot be read now, is read at the next look. A job
    that its scheduler starts again begins anew: what its former life has reported is dropped.

    Example:
        messages = JobMessages(LocalHost(), handle.work_dir)
        for message in messages.look():
            print(message["method"], message["params"])
    """

    host: Host
    directory: str
    conceal: Callable[[str], str] = lambda reported: reported  # hides secrets in what the job has reported
    kept: list[Message] = field(default_factory=list)  # of the present life, without what is only logged
    count: int = 0
    faults: list[str] = field(default_factory=list)  # lines that are no messages
    lives: int = 0
    silent: str = ""  # the file system does not answer, in its own words: then what is missing proves nothing
    _life: str = ""
    _offset: int = 0
    _rest: bytes = b""

    def look(self) -> list[Message]:
        """The messages that have come since the last look."""
        self.silent = ""
        try:
            self._follow_life()
            return self._read() if self._life else []
        except OSError as error:
            self.silent = str(error)
            return []

    def lacking(self) -> str:
        """What is missing for these to be all messages of a job that ended well, in a sentence; empty if nothing is."""
        if self.faults:
            return self.faults[0]
        if self._rest:
            return f"the last line of its messages is not finished: {self.conceal(_shown(self._rest))}"
        if not self.count:
            return "it has reported nothing: its program never opened Dagster Pipes"
        opened, closed = self._count("opened"), self._count("closed")
        if closed >= opened:
            return ""
        if opened == 1:
            return "its program opened Dagster Pipes and never closed it, so messages may be missing"
        return f"{opened} programs opened Dagster Pipes and {closed} closed it, so messages may be missing"

    def exception(self) -> str:
        """What a program reported that left Pipes by an exception; empty if none did.

        `sys.exit()` is one to Pipes, but no news: the exit code of the job says whether that was a good end.
        """
        closed = [message["params"].get("exception") for message in self.kept if message["method"] == "closed"]
        raised = [one for one in closed if one and not (isinstance(one, dict) and one.get("name") == "SystemExit")]
        return _traceback(raised[-1]) if raised else ""

    def _follow_life(self) -> None:
        """See whether the job has begun, or has begun again."""
        started = (self.host.read(jobdir.protocol_path(self.directory, jobdir.STARTED), limit=64) or b"").split()
        life = started[0].decode("ascii", "replace") if len(started) > 1 else ""
        if life and life != self._life:
            self.kept, self.count, self.faults, self._offset, self._rest = [], 0, [], 0, b""
            self._life, self.lives = life, self.lives + 1

    def _read(self) -> list[Message]:
        path, end = jobdir.messages_path(self.directory, self._life), self._offset + _LOOK
        new: list[Message] = []
        while self._offset < end and (chunk := self.host.read(path, self._offset, _CHUNK)):
            self._offset += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                new += self._take(line)
            if len(self._rest) > _LONGEST_LINE:
                self.faults.append(f"a line of its messages is longer than {_LONGEST_LINE >> 20} MiB")
                self._rest = b""
        return new

    def _take(self, line: bytes) -> list[Message]:
        if not line.strip():
            return []
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not (isinstance(said, dict) and VERSION_FIELD in said and isinstance(said.get("method"), str)):
            self.faults.append(f"a line of its messages is no message: {self.conceal(_shown(line))}")
            return []
        params = said.get("params")
        message: Message = {
            "method": said["method"], "params": _concealed(params, self.conceal) if isinstance(params, dict) else {}
        }  # fmt: skip
        self.count += 1
        if message["method"] not in _PASSING:
            self.kept.append(message)
        return [message]

    def _count(self, method: str) -> int:
        return sum(message["method"] == method for message in self.kept)


def _concealed(value: Any, conceal: Callable[[str], str]) -> Any:
    """The same value, with secrets hidden in all of its texts."""
    if isinstance(value, str):
        return conceal(value)
    if isinstance(value, list):
        return [_concealed(each, conceal) for each in value]
    if isinstance(value, dict):
        return {name: _concealed(each, conceal) for name, each in value.items()}
    return value


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _traceback(exception: Any) -> str:
    """The words of an exception, its stack above them."""
    if not isinstance(exception, dict):
        return str(exception)
    stack = "".join(str(line) for line in exception.get("stack") or ())
    return f"{stack}{exception.get('message') or exception.get('name') or ''}".strip()
