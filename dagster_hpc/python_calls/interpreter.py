"""What the interpreter on the nodes is, as far as it can be asked from here: in the same modules, commands and container."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.python_calls.worker import mismatch

_TIMEOUT_S = 60.0
_MARK = "dagster_hpc interpreter: "
_QUESTION = f"""\
import json, sys
try:
    import cloudpickle
    version = cloudpickle.__version__
except ImportError:
    version = None
print("{_MARK}" + json.dumps([list(sys.version_info[:2]), version]))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python and what makes it the one that it is."""

    words: tuple[str, ...]  # the command that starts it
    modules: tuple[str, ...] = ()
    pre_commands: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    container: str | None = None

    def question(self) -> Call:
        """The command that asks it for its versions."""
        inside = ["apptainer", "exec", self.container] if self.container else []
        lines = [
            "set -e",
            *(f"module load {shlex.quote(module)}" for module in self.modules),
            *self.pre_commands,
            shlex.join([*inside, *self.words, "-c", _QUESTION]),
        ]
        shell = ["bash", "-lc"] if self.modules else ["bash", "-c"]
        return Call((*shell, "\n".join(lines)), _TIMEOUT_S, dict(self.environment))

    def fault(self, wanted: Mapping[str, Any], answer: Answer) -> str:
        """Why it cannot take what travels by value; empty if it can, or could not be asked here: then the node says it."""
        told = _versions(answer.stdout) if answer.code == 0 else None
        return mismatch(dict(wanted), *told) if told else ""


def _versions(printed: str) -> tuple[Sequence[int], str | None] | None:
    """What it has answered, among what a site's shell prints of its own."""
    for line in reversed(printed.splitlines()):
        if line.startswith(_MARK):
            python, cloudpickle = json.loads(line[len(_MARK) :])
            return python, cloudpickle
    return None
