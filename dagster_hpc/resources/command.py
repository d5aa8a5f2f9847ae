"""WHAT: a program and its arguments, with no word about any cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

InputFile = str | bytes | Path


class Circumstances(bytes):
    """An input file that tells the job who asks for it, such as the id of a run.

    It does not make it another job: the same request under other circumstances joins the job that is there. Where some of
    it does, `digest` says which work it is.
    """

    digest = ""

    @classmethod
    def of_work(cls, content: bytes, digest: str) -> Circumstances:
        made = cls(content)
        made.digest = digest
        return made


@dataclass(frozen=True)
class Command:
    """A program to run.

    `executable` is a key of the target's `executable_map`, or an absolute path. `inputs` are files that are placed in
    the job's directory, which is the program's working directory, before it starts: name → text, bytes or a path.
    `name` is what the queue shows; `description` is what the run's log says with the submission.

    Example:
        Command("bitcount", args=["--input", "samples.txt"], inputs={"samples.txt": "0110\\n1100\\n"})
    """

    executable: str
    args: Sequence[str] = ()
    name: str | None = None
    description: str | None = None
    stdin: str | None = None
    inputs: Mapping[str, InputFile] = field(default_factory=dict)
    script: str | None = None

    @classmethod
    def shell(
        cls,
        script: str,
        *,
        args: Sequence[str] = (),
        name: str | None = None,
        description: str | None = None,
        stdin: str | None = None,
        inputs: Mapping[str, InputFile] | None = None,
    ) -> Command:
        """An inline bash script; it stops at the first command that fails (`bash -e -o pipefail`)."""
        return cls("bash", args, name, description, stdin, dict(inputs or {}), script)

    @property
    def job_name(self) -> str:
        return self.name or ("shell" if self.script is not None else PurePath(self.executable).name) or "job"
