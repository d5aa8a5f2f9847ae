"""The vocabulary of the queue of steps: its states are ours, by the same names."""

from __future__ import annotations

from dagster_hpc.engine.job import JobState

NO_JOB = "no job"  # begins its complaint about an id that it does not know
NO_SPOOL = "cannot use the spool"  # what was asked for may have happened all the same


def state_of(word: str) -> JobState:
    """A word that is new to us is UNKNOWN, never an error."""
    try:
        return JobState(word)
    except ValueError:
        return JobState.UNKNOWN
