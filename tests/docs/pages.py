"""The pages of the documentation, cut into the blocks that the tests run.

A fenced block is run by its language: `python` as Python, `console` (or `bash`) as the commands behind `$ `, each of
which has to end with exit code 0 and to print the lines that follow it. A block whose first line is a comment that
names a file, as in `# histogram.py`, becomes that file, and is run as well. The blocks of a page are one session in one
folder, from top to bottom.

An HTML comment before a block says what is special about it:

    <!-- on Slurm -->        it runs on a real Slurm, in a session of its own in which the page's files exist
    <!-- on PostgreSQL -->   likewise, with a real database
    <!-- not run: why -->    it is not run at all
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.systems.needs import REPOSITORY

COMMANDS = ("console", "bash")
RUN = ("python", *COMMANDS)
SHOWN = ("text", "jinja", "yaml", "toml")  # never run, but may become files
SYSTEMS = {"on Slurm": "slurm", "on PostgreSQL": "postgres"}

_FENCE = re.compile(r"(?P<fence>`{3,})(?P<language>\S*)(?P<rest>.*)")
_COMMENT = re.compile(r"<!-- (.+) -->")
_FILE = re.compile(r"(?:# |\{# )([\w./-]+\.\w+)(?: #\})?")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page. `note` is the HTML comment before it."""

    page: str
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> str | None:
        """Why it is not run; None if it is."""
        return self.note.removeprefix("not run:").strip() if self.note.startswith("not run") else None

    @property
    def system(self) -> str | None:
        return SYSTEMS.get(self.note)

    @property
    def is_run(self) -> bool:
        return self.language in RUN and self.not_run is None

    @property
    def file(self) -> str | None:
        named = _FILE.fullmatch(self.text.split("\n", 1)[0])
        return named[1] if named and self.language not in COMMANDS else None


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(REPOSITORY))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        return self._parts[0]

    @cached_property
    def prose(self) -> str:
        """The page without its blocks."""
        return self._parts[1]

    @cached_property
    def _parts(self) -> tuple[list[Block], str]:
        blocks, prose, note = [], [], ""
        lines = iter(enumerate(self.text.split("\n"), 1))
        for number, line in lines:
            opening = _FENCE.match(line)
            if opening:
                inside = []
                for _, inner in lines:
                    if inner.rstrip() == opening["fence"]:
                        break
                    inside.append(inner)
                blocks.append(Block(str(self), number, opening["language"], "\n".join(inside) + "\n", note))
                note = ""
            elif line.strip():
                comment = _COMMENT.fullmatch(line.strip())
                note = comment[1] if comment else ""
                prose.append(line)
        return blocks, "\n".join(prose)

    @property
    def systems(self) -> list[str | None]:
        """The sessions that this page needs: here (None) and on real systems."""
        wanted = {block.system for block in self.blocks if block.is_run}
        return [system for system in (None, *SYSTEMS.values()) if system in wanted]


PAGES = [Page(REPOSITORY / "README.md"), *(Page(path) for path in sorted((REPOSITORY / "docs").rglob("*.md")))]


def page(name: str) -> Page:
    (found,) = (one for one in PAGES if one.path.name == name)
    return found
