"""What a script asks for: the `#STEP --key=value` lines at its head."""

from __future__ import annotations

from typing import Any

from dagster_hpc.step_batch.spool import Submission

_PREFIX = "#STEP --"
_TEXTS = ("token", "name", "output", "signal")
_NUMBERS = ("elements", "cores", "walltime_s", "at_once", "signal_before_s")


class Refused(Exception):
    """A request that cannot be taken; the message says why."""


def parse(script: str, path: str, now: float) -> Submission:
    """The submission that this script is."""
    asked: dict[str, Any] = {}
    for line in script.splitlines():
        if line and not line.startswith("#"):
            break
        if not line.startswith(_PREFIX):
            continue
        key, _, value = line[len(_PREFIX) :].partition("=")
        key = key.replace("-", "_")
        if key == "on_this_node":
            asked[key] = True
        elif key in _TEXTS:
            asked[key] = value
        elif key in _NUMBERS and value.isdigit():
            asked[key] = int(value)
        else:
            raise Refused(f"{path}: the directive {line!r} is not understood")
    missing = [key for key in ("token", "name", "output") if not asked.get(key)]
    if missing:
        raise Refused(f"{path}: no directive says its {', '.join(missing)}")
    if "/" in asked["token"] or "_" in asked["token"]:
        raise Refused(f"{path}: {asked['token']!r} is no token")
    return Submission(script=path, submitted_at=now, **asked)
