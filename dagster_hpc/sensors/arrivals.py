"""Which files of a folder are new and complete: a look into the folder, and what is to be remembered until the next one.

A file is noted when it is first seen, and complete when a later look finds it unchanged. So no clock of a file server is
trusted, and there is always a moment between the two: what is complete was kept in mind before anything was done about it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import NamedTuple

_UNFIT = ("...", "\a", "\b", "\f", "\n", "\r", "\t", "\v")  # Dagster takes no partition key with any of these
_SAME_MOMENT_S = 60.0  # a folder that changed so recently may change again without a new time: servers count in seconds
_LOOK_ANYWAY_S = 600.0  # whatever the folder's time says


class Seen(NamedTuple):
    """A file as it was when it was last found different, and when that was by our clock."""

    size: int
    modified_ns: int
    since: float


@dataclass(frozen=True)
class Memory:
    """What one look hands on to the next."""

    seen: Mapping[str, Seen] = field(default_factory=dict)  # files that are new, and not known to be complete
    quiet_ns: int = 0  # the folder's time when all in it was known
    looked_at: float = 0.0

    @classmethod
    def decode(cls, text: str | None) -> Memory:
        values = json.loads(text or "{}")
        seen = {name: Seen(*each) for name, each in values.get("seen", {}).items()}
        return cls(seen, values.get("quiet_ns", 0), values.get("looked_at", 0.0))

    def encode(self) -> str:
        return json.dumps({**vars(self), "seen": dict(self.seen)})


@dataclass(frozen=True)
class Inbox:
    """A folder in which files appear, and when one of them is complete."""

    folder: str
    pattern: str = "*"
    marker: str = ""  # a file is complete once there is one of its name with this behind it
    settled_after_s: float = 60.0  # else, once it has not changed for so long
    at_most: int = 500  # at one look

    def look(self, before: Memory, known: Callable[[], Collection[str]], now: float) -> Look:
        """What has come. `known`: the files that were taken; asked for only where the folder has changed."""
        modified_ns = os.stat(self.folder).st_mtime_ns
        seen = {name: now_seen for name, was in before.seen.items() if (now_seen := self._seen(name, was, now))}
        look = Look(memory=replace(before, seen=seen))
        is_quiet = modified_ns == before.quiet_ns and now - before.looked_at < _LOOK_ANYWAY_S
        if not is_quiet and len(seen) < self.at_most:
            look = self._searched(seen, known(), now, modified_ns)
        complete = sorted(name for name, one in before.seen.items() if seen.get(name) == one and self._is_settled(one, now))
        return replace(look, complete=tuple(complete))

    def _searched(self, seen: Mapping[str, Seen], known: Collection[str], now: float, modified_ns: int) -> Look:
        """One pass over the folder, which is never held as a whole, until enough new files are found."""
        found, unfit = dict(seen), list[str]()
        for name in self._names():
            if name in found or name in known:
                continue
            if not is_partition_key(name):
                unfit.append(name)
            elif one := self._seen(name, None, now):
                found[name] = one
                if len(found) >= self.at_most:
                    return Look(Memory(found), unfit=tuple(unfit))  # the next look goes on
        is_old = now - modified_ns / 1e9 > _SAME_MOMENT_S
        return Look(Memory(found, modified_ns if is_old else 0, now), unfit=tuple(unfit))

    def _names(self) -> Iterator[str]:
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if self.marker and not entry.name.endswith(self.marker):
                    continue
                name = entry.name[: len(entry.name) - len(self.marker)]
                if fnmatchcase(name, self.pattern) and not name.startswith("."):
                    yield name

    def _seen(self, name: str, was: Seen | None, now: float) -> Seen | None:
        """The file as it is now; None if there is none of this name."""
        try:
            found = os.stat(os.path.join(self.folder, name))
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        same = was is not None and (was.size, was.modified_ns) == (found.st_size, found.st_mtime_ns)
        return was if same else Seen(found.st_size, found.st_mtime_ns, now)

    def _is_settled(self, one: Seen, now: float) -> bool:
        return bool(self.marker) or now - one.since >= self.settled_after_s


@dataclass(frozen=True)
class Look:
    """What a look into the folder has found."""

    memory: Memory
    complete: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()  # names that no partition can have

    @property
    def after(self) -> Memory:
        """What is left to remember once the complete files are taken."""
        left = {name: one for name, one in self.memory.seen.items() if name not in self.complete}
        return replace(self.memory, seen=left)


def is_partition_key(name: str) -> bool:
    """Whether Dagster takes this name for a partition. Bytes that are no UTF-8 it cannot store."""
    return not any(part in name for part in _UNFIT) and not any("\ud800" <= c <= "\udfff" for c in name)


def ranges(known: Collection[str], wanted: Collection[str]) -> list[tuple[str, str]]:
    """First and last of the longest runs of partitions that are wanted, in Dagster's order: as they were added.

    `wanted` that are not known are added at the end, in their order.
    """
    wanted_ones, old = set(wanted), set(known)
    order = [*known, *(name for name in wanted if name not in old)]
    found: list[list[str]] = []
    goes_on = False
    for name in order:
        if name in wanted_ones:
            if goes_on:
                found[-1].append(name)
            else:
                found.append([name])
        goes_on = name in wanted_ones
    return [(run[0], run[-1]) for run in found]
