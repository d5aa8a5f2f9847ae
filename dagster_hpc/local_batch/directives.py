"""What a script asks for: the `#LOCAL --key=value` lines at its head, parsed and checked before anything is queued."""

import re
import shlex
import signal as signals
from collections.abc import Callable, Iterator
from typing import NamedTuple

MOST_ELEMENTS = 100_000
_PREFIX = "#LOCAL"


class Refused(Exception):
    """A request that cannot be taken; the message says why, in words for the person who made it."""


class Dependency(NamedTuple):
    """`kind` ok, any or notok of one job, or of one array element where `element` is given."""

    kind: str
    submission: int
    element: int | None = None

    @property
    def on(self) -> str:
        return str(self.submission) if self.element is None else f"{self.submission}_{self.element}"


class Request(NamedTuple):
    """The directives of one script. Zero memory or time means: not limited."""

    name: str | None = None
    cores: int = 1
    memory_mib: int = 0
    gpus: int = 0
    time_s: float = 0
    array: tuple[int, ...] | None = None
    at_once: int | None = None
    after: tuple[Dependency, ...] = ()
    output: str | None = None
    signal: int | None = None
    signal_before_s: float = 0


def parse_script(script: bytes) -> Request:
    """Read the head of a script, up to the first line that is neither blank nor a comment."""
    interpreter(script)
    request = Request()
    for number, line in _head(script):
        key, value = _split(line, number)
        if key not in _READERS:
            raise Refused(f"line {number}: unknown directive --{key}; known are --{', --'.join(_READERS)}")
        if not value:
            raise Refused(f"line {number}: --{key} needs a value, --{key}=…")
        try:
            request = _READERS[key](request, value)
        except ValueError as error:
            raise Refused(f"line {number}: --{key}={value}: {error}") from error
    return request


def interpreter(script: bytes) -> list[str]:
    """The program of the `#!` line, split as the kernel does it: at most one argument, blanks included.

    We start it ourselves, so the spool may lie on a file system that is mounted noexec.
    """
    first = script.split(b"\n", 1)[0]
    if not first.startswith(b"#!") or not first[2:].strip():
        raise Refused("the script does not begin with #! and an interpreter, for example #!/bin/bash")
    if b"\0" in first:
        raise Refused("the first line contains a NUL byte; is this a script?")
    if first.endswith(b"\r"):
        raise Refused("the script has DOS line ends; convert it first, for example with dos2unix")
    return [part.decode(errors="surrogateescape") for part in first[2:].strip().split(None, 1)]


def parse_array(text: str) -> tuple[tuple[int, ...], int | None]:
    """`0-9%2` → the indices 0 to 9 and the limit 2; `0,3,7-9` → 0, 3, 7, 8, 9 and no limit."""
    ranges, percent, limit = text.partition("%")
    at_once = _whole(limit, least=1) if percent else None
    indices: set[int] = set()
    for part in ranges.split(","):
        if not (match := re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part.strip())):
            raise ValueError("expected indices and ranges such as 0-9, 0,3,7-9 or 0-9%2")
        first = int(match[1])
        last = int(match[2] or match[1])
        if last < first:
            raise ValueError(f"the range {part.strip()} runs backwards")
        if last - first >= MOST_ELEMENTS or len(indices) > MOST_ELEMENTS:
            raise ValueError(f"more than {MOST_ELEMENTS} elements")
        indices.update(range(first, last + 1))
    if len(indices) > MOST_ELEMENTS:
        raise ValueError(f"more than {MOST_ELEMENTS} elements")
    return tuple(sorted(indices)), at_once


def parse_job_id(text: str) -> tuple[int, int | None] | None:
    """`12` → (12, None), `12_3` → (12, 3), anything else → None."""
    match = re.fullmatch(r"([0-9]{1,18})(?:_([0-9]{1,18}))?", text)
    return (int(match[1]), int(match[2]) if match[2] else None) if match else None


def duration(text: str) -> float:
    """`60` → 60, `0.5` → 0.5."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text):
        raise ValueError("expected a number of seconds")
    value = float(text)
    return int(value) if value.is_integer() else value


def _head(script: bytes) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(script.split(b"\n"), start=1):
        line = raw.decode(errors="surrogateescape").rstrip()
        if line and not line.lstrip().startswith("#"):
            return
        if line.startswith(_PREFIX) and line[len(_PREFIX) :][:1] in ("", " ", "\t"):
            rest = line[len(_PREFIX) :].strip()
            if rest:
                yield number, rest


def _split(line: str, number: int) -> tuple[str, str]:
    """One directive; its value may contain blanks as it stands, or be quoted as in a shell."""
    if "\0" in line:
        raise Refused(f"line {number}: a directive contains a NUL byte")
    key, _, value = line.partition("=")
    if line[0] in "'\"" or value[:1] in ("'", '"'):
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise Refused(f"line {number}: {line}: {error}") from error
        if len(words) != 1:
            raise Refused(f"line {number}: one directive per line, please: {line}")
        key, _, value = words[0].partition("=")
    if not key.startswith("--"):
        raise Refused(f"line {number}: expected {_PREFIX} --key=value, not {line}")
    return key[2:].strip(), value.strip()


def _whole(text: str, least: int = 0) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < least:
        raise ValueError(f"expected a whole number of at least {least}")
    return int(text)


def _name(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected a printable name")
    return text


def _after(text: str) -> tuple[Dependency, ...]:
    found: list[Dependency] = []
    for group in text.split(","):
        kind, *ids = group.strip().split(":")
        if kind not in ("ok", "any", "notok") or not ids:
            raise ValueError("expected ok:ID, any:ID or notok:ID")
        for job in ids:
            if (target := parse_job_id(job)) is None:
                raise ValueError(f"{job or 'nothing'} is not a job id")
            found.append(Dependency(kind, *target))
    return tuple(found)


def _signal(request: Request, text: str) -> Request:
    name, at, before = text.partition("@")
    if name.isdigit():
        number = int(name)
    else:
        member = getattr(signals, "SIG" + name.upper().removeprefix("SIG"), None)
        number = int(member) if isinstance(member, signals.Signals) else 0
    if number not in {int(known) for known in signals.valid_signals()}:
        raise ValueError(f"{name or 'nothing'} is not a signal; expected for example USR1@60")
    return request._replace(signal=number, signal_before_s=duration(before) if at else 60)


def _array(request: Request, text: str) -> Request:
    indices, at_once = parse_array(text)
    return request._replace(array=indices, at_once=at_once)


_READERS: dict[str, Callable[[Request, str], Request]] = {
    "name": lambda request, text: request._replace(name=_name(text)),
    "cores": lambda request, text: request._replace(cores=_whole(text, least=1)),
    "memory": lambda request, text: request._replace(memory_mib=_whole(text)),
    "gpus": lambda request, text: request._replace(gpus=_whole(text)),
    "time": lambda request, text: request._replace(time_s=duration(text)),
    "array": _array,
    "after": lambda request, text: request._replace(after=request.after + _after(text)),
    "output": lambda request, text: request._replace(output=text),
    "signal": _signal,
}
