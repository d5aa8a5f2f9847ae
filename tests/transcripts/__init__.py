"""What real batch systems answered: SCHEDULER/NAME.cmd, .out, .err and .rc."""

from __future__ import annotations

import shlex
from pathlib import Path

from dagster_hpc.engine.call import Answer

_FOLDER = Path(__file__).parent


def transcript(scheduler: str, name: str) -> Answer:
    """One recorded answer."""
    file = _FOLDER / scheduler / name
    command, out, err, code = (
        (file.parent / f"{name}.{kind}").read_bytes().decode("utf-8", "replace") for kind in ("cmd", "out", "err", "rc")
    )
    return Answer(_words(command), None if code.strip() == "None" else int(code), out, err)


def _words(command: str) -> tuple[str, ...]:
    """The words of a command line; cut at the blanks where it was noted down as no shell would take it."""
    try:
        return tuple(shlex.split(command))
    except ValueError:
        return tuple(command.split())


def names(scheduler: str, prefix: str = "") -> list[str]:
    """All cases of a scheduler whose names begin so."""
    return sorted(path.stem for path in (_FOLDER / scheduler).glob(f"{prefix}*.cmd"))
