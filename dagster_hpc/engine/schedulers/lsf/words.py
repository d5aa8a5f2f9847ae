"""LSF's vocabulary: its states, why it ends jobs, and what its complaints mean."""

from __future__ import annotations

import re

from dagster_hpc.engine.job import JobState

_STATES: dict[JobState, str] = {
    JobState.PENDING: "PEND PROV WAIT",
    JobState.HELD: "PSUSP",
    JobState.RUNNING: "RUN",
    JobState.SUSPENDED: "USUSP SSUSP",
    JobState.COMPLETED: "DONE",
    JobState.FAILED: "EXIT",
    JobState.UNKNOWN: "UNKWN",
    JobState.NODE_FAIL: "ZOMBI",
}
STATE_BY_WORD = {word: state for state, words in _STATES.items() for word in words.split()}
EXPLAINED = {
    "UNKWN": "has a node with which contact is lost (UNKWN)",
    "ZOMBI": "given up: contact with its node was lost (ZOMBI)",
}

# exit_reason begins with one of these → how the job ended, and what that means
_REASONS: tuple[tuple[str, JobState, str], ...] = (
    ("TERM_RUNLIMIT", JobState.TIMEOUT, "ran into its walltime"),
    ("TERM_DEADLINE", JobState.TIMEOUT, "stopped at its deadline"),
    ("TERM_WINDOW", JobState.TIMEOUT, "stopped when the run window of its queue closed"),
    ("TERM_MEMLIMIT", JobState.OOM, "used more memory than it had asked for"),
    ("TERM_SWAP", JobState.OOM, "used more swap than it may"),
    ("TERM_OWNER", JobState.CANCELLED, "cancelled by its owner"),
    ("TERM_ADMIN", JobState.CANCELLED, "cancelled by an administrator"),
    ("TERM_FORCE_", JobState.CANCELLED, "cancelled by force"),
    ("TERM_ORPHAN", JobState.CANCELLED, "could never start: what it depends on did not end as required"),
    ("TERM_PREEMPT", JobState.PREEMPTED, "stopped in favour of a job of higher priority"),
    ("TERM_ZOMBI", JobState.NODE_FAIL, "given up: contact with its node was lost"),
    ("TERM_REQUEUE_", JobState.PENDING, "is put back into the queue"),
    ("TERM_CPULIMIT", JobState.FAILED, "used more CPU time than it may"),
    ("TERM_PROCESSLIMIT", JobState.FAILED, "started more processes than it may"),
    ("TERM_THREADLIMIT", JobState.FAILED, "started more threads than it may"),
    ("TERM_CWD_NOTEXIST", JobState.FAILED, "could not be started: its node cannot enter the job's directory"),
    ("TERM_UNKNOWN", JobState.FAILED, "ended for a reason that LSF does not know"),
)


def end_of(exit_reason: str) -> tuple[JobState, str] | None:
    """`TERM_RUNLIMIT: job killed after …` → a time-out, and a sentence with LSF's word in it."""
    word = re.search(r"\bTERM_[A-Z_]+", exit_reason)
    if not word:
        return None
    for start, state, sentence in _REASONS:
        if word[0].startswith(start):
            return state, f"{sentence} ({word[0]})"
    return JobState.FAILED, f"ended by LSF ({word[0]})"


def is_held(pend_reason: str) -> bool:
    return "dependency condition" in pend_reason.lower()


def cannot_start(pend_reason: str) -> bool:
    """`Dependency condition invalid or never satisfied;`"""
    return bool(re.search(r"\bnever\b", pend_reason, re.I))


# -- complaints


def forgotten(words: str) -> set[str]:
    """The ids that bjobs does not know, or not any more: `123`, `123[4]`."""
    return set(re.findall(r"Job <(\d{1,18}(?:\[\d{1,9}\])?)> is not found", words))


def nothing_found(words: str) -> bool:
    """Among all jobs, finished ones too: "No unfinished job found" says nothing of those that are over."""
    return bool(re.search(r"no matching job found|^no job found", words, re.I | re.M))


def knows_no_option(words: str) -> bool:
    """An older bjobs, without -json or without some field."""
    return bool(re.search(r"(illegal|unknown|invalid|bad) (option|argument|field)|^usage:|-json", words, re.I | re.M))


def is_over(words: str) -> bool:
    return bool(re.search(r"already finished|no matching job|is not found", words, re.I))


def lost(words: str) -> bool:
    """The batch daemon was not reached, or its reply was lost: the job may have been taken all the same."""
    return bool(
        re.search(
            r"daemon (is )?not responding|lsf is down|(lim|sbatchd|mbatchd) is (down|not)|cannot connect|"
            r"connection (refused|reset)|time ?d? ?out|communication|still trying|try(ing)? (again|later)|please wait|"
            r"in an lsf library call|host is not|reconfigur",
            words,
            re.I,
        )
    )


def capacity(words: str) -> bool:
    """No more jobs now, but later."""
    reached = r"(job|pending) (slot )?(limit|threshold)( is)? (has been )?(reached|exceeded)|reached its job limit"
    return bool(re.search(rf"{reached}|too many jobs|no job id can be used now", words, re.I))


def refusal_advice(words: str) -> str:
    lowered = words.lower()
    if "esub" in lowered:
        return "this site's own check of submissions said no; its words are above, and its documentation says why."
    if "array index" in lowered:
        return "map over fewer elements at a time; `bparams -a` shows MAX_JOB_ARRAY_SIZE."
    if "limit" in lowered or "resource req" in lowered:
        return "ask for less; `bqueues -l QUEUE` shows the limits, `bhosts -l` what a host has."
    if "queue" in lowered:
        return "check queue_cpu / queue_gpu of the target; `bqueues` lists the queues."
    if "project" in lowered or "user group" in lowered:
        return "check project_cpu / project_gpu and user_group of the target."
    return "correct what LSF names; `dagster-hpc render` shows the script."
