"""The few things that are done to files in a spool. Each is safe on a network file system, and safe to do twice.

The only exclusive act is a hard link: of several who link to one name, one succeeds, and the file is whole at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence

Names = Sequence[str]


class Folder:
    """A directory, by paths below it; an absolute path is itself."""

    def __init__(self, path: str) -> None:
        self.path = path

    def list(self, name: str) -> Names:
        """The names in a directory, sorted; none if there is no such directory."""
        try:
            return sorted(os.listdir(self._at(name)))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes | None:
        """What is in this file; None if there is none."""
        try:
            with open(self._at(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def has(self, name: str) -> bool:
        return os.path.exists(self._at(name))

    def make(self, name: str) -> None:
        """Make this directory, and what is missing above it, for this user alone."""
        parts = [self.path]
        for part in name.split("/") if name else ():
            parts.append(f"{parts[-1]}/{part}")
        for part in parts:
            if not os.path.isdir(part):
                with contextlib.suppress(FileExistsError):
                    os.makedirs(part, 0o700)

    def create(self, name: str, content: bytes, *, durable: bool = True) -> bool:
        """Make this file, whole at once; False if there is one already, which stays as it is."""
        fresh = f"{self._at(name)}.{secrets.token_hex(6)}.new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        try:
            return _link(fresh, self._at(name))
        finally:
            os.unlink(fresh)

    def link(self, known: str, name: str) -> bool:
        """Another name for a file that is there; False if that name is taken."""
        return _link(self._at(known), self._at(name))

    def append(self, name: str, line: bytes) -> None:
        """Add to a file that only this process writes."""
        with open(os.open(self._at(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0) as file:
            file.write(line)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(name))

    def remove_empty(self, name: str) -> None:
        """Remove this directory if there is nothing in it."""
        with contextlib.suppress(OSError):
            os.rmdir(self._at(name))

    def _at(self, name: str) -> str:
        return os.path.join(self.path, name)


def _link(known: str, name: str) -> bool:
    try:
        os.link(known, name)
    except FileExistsError:
        # A network file system that lost the answer to a link that was made says this too.
        with contextlib.suppress(FileNotFoundError):
            return os.path.samefile(known, name)
        return False
    return True
