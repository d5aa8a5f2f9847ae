"""The few durations that an environment variable may change, in one place."""

import os

from dagster_hpc.local_batch.directives import Refused, duration

DEFAULTS = {
    "KILL_AFTER": 5.0,  # from TERM to KILL
    "IDLE": 5.0,  # how long a daemon with nothing to do stays
    "POLL": 5.0,  # the daemon's safety net; what matters rings a bell at once
    "SAMPLE": 1.0,  # between two looks at the memory of a job
}


def check() -> None:
    """Refuse a wrong value while its user is watching: the daemon could only tell its log."""
    for name in DEFAULTS:
        seconds(name)


def seconds(name: str) -> float:
    """The value of LOCAL_BATCH_<name>, or its default; a value that is no duration is an error, not a default."""
    text = os.environ.get(f"LOCAL_BATCH_{name}")
    if not text:
        return DEFAULTS[name]
    try:
        return duration(text)
    except ValueError as error:
        raise Refused(f"LOCAL_BATCH_{name}={text}: {error}") from error
