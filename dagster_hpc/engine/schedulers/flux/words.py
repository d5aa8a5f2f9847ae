"""Flux's vocabulary: its states, and what its complaints mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

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

NEVER_STARTED = "could never start: what it depends on did not end as required"
_LIMITED = re.compile(r"max-[a-z-]+", re.ASCII)  # what flux-accounting calls a job's wait for a limit of its user's
_FULL = re.compile(r"user has max (?:active jobs|number of jobs submitted)")  # flux-accounting's, of now and of before
# When the script, which is the initial program of an instance, does not end with 0, the broker of that instance says so.
_BROKERS_OWN = re.compile(r"(?:\S+ )*broker\.err\[\d+\]: rc2\.\d+: .* \(rc=\d+\) [\d.]+s", re.ASCII)

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


def is_full(words: str) -> bool:
    """No more jobs of this user now, but later."""
    return _FULL.search(words) is not None


def is_limited(dependencies: Sequence[str]) -> bool:
    """Whether a job waits for nothing but room."""
    return bool(dependencies) and all(_LIMITED.fullmatch(name) for name in dependencies)


def worth_telling(log: str) -> str:
    """What Flux says of a job, without the brokers' lines on an exit code that is told anyway."""
    return "\n".join(line for line in log.split("\n") if not _BROKERS_OWN.fullmatch(line))


def is_over(words: str) -> bool:
    """A complaint of flux cancel's about a job that needs no cancellation."""
    return words.endswith(("job is inactive", "unknown job id"))


def refusal_advice(words: str) -> str:
    """Which setting of ours the refusal is about."""
    lowered = words.lower()
    advice = next((text for word, text in _ADVICE.items() if word in lowered), "")
    return advice or "correct what Flux names; `dagster-hpc render` shows the script."
