"""Flux's vocabulary: its states, and what its complaints mean."""

from __future__ import annotations

from dagster_hpc.engine.job import JobState

# state of a job that is not over → ours, and what it means to the one who waits
LIVE: dict[str, tuple[JobState, str]] = {
    "DEPEND": (JobState.HELD, "waits for what it depends on (DEPEND)"),
    "PRIORITY": (JobState.PENDING, "waits for its priority (PRIORITY)"),
    "SCHED": (JobState.PENDING, "waits its turn (SCHED)"),
    "RUN": (JobState.RUNNING, ""),
    "CLEANUP": (JobState.RUNNING, "is ending (CLEANUP)"),
}
NODE_LOST = ("node-failure", "lost-contact")  # types of exceptions

_UNREACHED = ("unable to connect to flux", "broker socket", "connection refused", "connection reset", "timed out")
_ADVICE = {
    "queue": "check queue_cpu / queue_gpu of the target; `flux queue list` lists the queues.",
    "dependency": "check the jobs that it depends on: Flux forgets jobs that have been over for long.",
    "bank": "check project_cpu / project_gpu of the target; `flux account view-user $USER` lists your banks.",
    "duration": "check the walltime; `flux queue list` shows the limits.",
}


def unreached(words: str) -> bool:
    """No instance was reached, or its reply was lost: the job may have been taken all the same."""
    return any(phrase in words.lower() for phrase in _UNREACHED)


def is_over(words: str) -> bool:
    """A complaint of flux cancel's about a job that needs no cancellation."""
    return words.endswith(("job is inactive", "unknown job id"))


def refusal_advice(words: str) -> str:
    """Which setting of ours the refusal is about."""
    lowered = words.lower()
    advice = next((text for word, text in _ADVICE.items() if word in lowered), "")
    return advice or "correct what Flux names; `dagster-hpc render` shows the script."
