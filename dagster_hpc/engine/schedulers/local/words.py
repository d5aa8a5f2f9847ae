"""The embedded system's vocabulary: its states are ours, by the same names."""

from __future__ import annotations

from dagster_hpc.engine.job import JobState

NO_JOB = "no job"  # begins its complaint about an id that it does not know


def state_of(word: str) -> JobState:
    """A word that is new to us is UNKNOWN, never an error."""
    try:
        return JobState(word)
    except ValueError:
        return JobState.UNKNOWN


def unreached(words: str) -> bool:
    """The spool could not be used: the job may have been taken all the same."""
    return "cannot use the spool" in words
