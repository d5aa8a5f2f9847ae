"""The vocabulary of Miyabi's own qstat. What it says in full (`-f`) is PBS's."""

from __future__ import annotations

from dagster_hpc.engine.job import JobState

_STATES = {
    JobState.PENDING: ("QUEUED", "TRANSIT", "TRANSITING"),
    JobState.HELD: ("HELD", "WAITING"),
    JobState.RUNNING: ("RUNNING", "BEGUN", "EXITING"),
    JobState.SUSPENDED: ("SUSPEND",),
}
STATE_OF = {word: state for state, words in _STATES.items() for word in words}
OVER = ("FINISH", "EXPIRED")  # EXPIRED: an element that has ended while others of its array have not
NOTHING = ("No unfinished job found.", "No matching job found.")  # said with code 0: asked, and none there
