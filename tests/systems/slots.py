"""Numbers, of which each running test system has one to itself: its ports follow from it, and names of its own.

Several sessions, and several workers of one, start systems on the same machine at the same time. A free port alone proves
little: its owner may be starting, or stopped by a test for a moment. So who takes a number leaves a link to his folder,
which counts for as long as the folder says the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.systems.daemon import SystemFailed

CLAIMS = Path("/tmp/dagster-hpc-slots")  # not below TMPDIR, which may differ between sessions


def slot_of(folder: Path) -> int | None:
    """The number that this folder has taken."""
    try:
        return int((folder / "slot").read_text())
    except (OSError, ValueError):
        return None


def claim(system: str, folder: Path, slots: Iterable[int], is_free: Callable[[int], bool]) -> int:
    """The number of this folder, from now on: what it has already, or the first that nobody has and that is free."""
    known = slot_of(folder)
    if known is not None:
        return known
    with one_at_a_time():
        for slot in slots:
            link = CLAIMS / f"{system}-{slot}"
            if not _is_taken(link, slot) and is_free(slot) and _removed(link):
                link.symlink_to(folder)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "slot").write_text(f"{slot}\n")
                return slot
    raise SystemFailed(f"all slots for {system} on this machine are taken: {CLAIMS} says by whom; stop one of them")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """For what two sessions must not do at the same moment."""
    with contextlib.suppress(FileExistsError):
        CLAIMS.mkdir()
        CLAIMS.chmod(0o1777)
    descriptor = os.open(CLAIMS, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_taken(link: Path, slot: int) -> bool:
    try:
        return slot_of(Path(os.readlink(link))) == slot
    except OSError:
        return False


def _removed(link: Path) -> bool:
    """Whether a claim that no longer counts is away; another user's cannot be removed."""
    try:
        link.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True
