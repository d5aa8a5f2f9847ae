"""One command and what came back: all that a scheduler and a host exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

QUERY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Call:
    """One command for a host to run."""

    argv: tuple[str, ...]
    timeout_s: float = QUERY_TIMEOUT_S
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None  # path of a file that the command reads, for systems that take a script in no other way
    directory: str | None = None  # where it runs, for systems whose jobs start where they were submitted


@dataclass(frozen=True)
class Answer:
    """What came back. `code` is None when the command did not come to its end: it took too long, or was killed."""

    argv: tuple[str, ...]
    code: int | None
    stdout: str
    stderr: str

    @property
    def timed_out(self) -> bool:
        return self.code is None

    @property
    def words(self) -> str:
        """The scheduler's own words, for an error message. A line that it repeats for each job is said once."""
        if self.timed_out:
            return f"`{self.argv[0]}` gave no answer in time, or was killed"
        text = self.stderr.strip() or self.stdout.strip()
        once = "\n".join(dict.fromkeys(text.splitlines()))
        return once or f"`{self.argv[0]}` ended with exit code {self.code} and said nothing"
