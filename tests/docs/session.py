"""Running the blocks of a page: as a reader would who types all of it, in one folder, from top to bottom."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tests.docs.pages import COMMANDS, Block

WITHIN_S = 120.0  # for one command, on a loaded machine

# What a run of a documented command cannot repeat: the job's token, the machine, how long something took.
_VARYING = {
    r"k7m2x9q[a-z]": r"[a-z2-9]{8}",
    r"laptop": r"[\\w.-]+",
    r"\d+(\.\d+)?s\b": r"\\S+s",
    r"\d+(\.\d+)? (s|MiB|GiB)\b": r"\\S+ \2",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": r"[\\d-]+ [\\d:]+",
}


class Step(NamedTuple):
    """A command, and the lines that the page shows under it."""

    command: str
    output: list[str]


def steps(text: str) -> Iterator[Step]:
    """`$ ` begins a command, a backslash at the end of a line continues it, all else is output."""
    current: Step | None = None
    goes_on = False
    for line in text.splitlines():
        if goes_on and current:
            current = Step(f"{current.command}\n{line}", [])
        elif line.startswith("$ "):
            if current:
                yield current
            current = Step(line[2:], [])
        else:
            assert current, f"a console block begins with a command, `$ …`, not with {line!r}"
            current.output.append(line)
            continue
        goes_on = line.endswith("\\")
    if current:
        yield current


def pattern(output: list[str]) -> re.Pattern[str]:
    """What the page shows, as an expression for what may be printed: `…` is anything, blanks are all alike."""
    words = re.escape(" ".join("\n".join(output).split())).replace("\\ ", " ").replace("\\-", "-")
    for shown, printed in _VARYING.items():
        words = re.sub(shown.replace(r"\.", r"\\\."), printed, words)
    return re.compile(words.replace("…", ".*?").replace(" ", r"\s+"), re.DOTALL)


class Session:
    """One folder in which the blocks of a page are run. `names` says what the page's examples are called here."""

    def __init__(self, folder: Path, names: Mapping[str, str]) -> None:
        self.folder = folder
        self.names = names
        self.module = ModuleType("page")
        self.written: list[str] = []

    def __enter__(self) -> Session:
        sys.modules["page"] = self.module
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        return self

    def __exit__(self, *_: object) -> None:
        sys.path.remove(str(self.folder))
        for name in ("page", *self.written):
            sys.modules.pop(name, None)

    def here(self, text: str) -> str:
        """The text with the names of this place: a site's queue is the test cluster's, its folders are ours."""
        for name, ours in self.names.items():
            text = text.replace(name, ours)
        return text

    def write(self, block: Block) -> None:
        """Make the block the file that its first line names."""
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.here(block.text), encoding="utf-8")
            if path.suffix == ".py":
                self.written.append(path.stem)

    def run(self, block: Block) -> None:
        if block.language in COMMANDS:
            for step in steps(self.here(block.text)):
                self._command(block, step)
        elif block.file:
            importlib.invalidate_caches()
            importlib.import_module(Path(block.file).stem)
        else:
            code = compile("\n" * block.line + self.here(block.text), block.page, "exec", dont_inherit=True)
            exec(code, self.module.__dict__)

    def _command(self, block: Block, step: Step) -> None:
        done = subprocess.run(
            ["bash", "-c", step.command],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "120"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN_S,
        )
        said = f"{block}: `{step.command}` ended with {done.returncode} and printed\n{done.stdout}"
        assert done.returncode == 0, said
        assert pattern(step.output).search(done.stdout), f"{said}\nbut the page shows\n" + "\n".join(step.output)
