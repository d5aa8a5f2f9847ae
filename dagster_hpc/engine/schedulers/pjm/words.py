"""PJM's vocabulary: its states, its PJM codes, and what its complaints mean."""

from __future__ import annotations

import re

from dagster_hpc.engine.job import JobState

_STATES: dict[JobState, str] = {
    JobState.PENDING: "ACC QUE RDY",
    JobState.HELD: "HLD ERR",
    JobState.RUNNING: "RNA RNP RUN RNE RNO SIN SOT",
    JobState.SUSPENDED: "SPP SPD RSM SWO SWD SWI",
    JobState.CANCELLED: "CCL",
    JobState.FAILED: "RJT",
}
STATE_BY_WORD = {word: state for state, words in _STATES.items() for word in words.split()}
ENDED = "EXT"  # however it ended: the PJM code, the exit code and the signal tell that, in this order
# Words that wrappers of a site print in place of PJM's own, as Wisteria's pjstat does.
SITE_WORDS = {"QUEUED": "QUE", "RUNNING": "RUN", "END": "EXT", "HOLD": "HLD", "ERROR": "ERR", "CANCEL": "CCL"}

# PJM code → how a job ended that has it, and what it means
CODES: dict[int, tuple[JobState, str]] = {
    1: (JobState.CANCELLED, "cancelled with pjdel"),
    2: (JobState.FAILED, "rejected when it was accepted"),
    3: (JobState.FAILED, "rejected by the site's job manager exit"),
    4: (JobState.CANCELLED, "held with pjhold"),
    6: (JobState.CANCELLED, "cancelled: the step that it depends on did not end as required"),
    7: (JobState.TIMEOUT, "stopped at a deadline of the system"),
    8: (JobState.CANCELLED, "cancelled by the site's job manager exit"),
    9: (JobState.NODE_FAIL, "not run again after the system was rebuilt"),
    11: (JobState.TIMEOUT, "ran into its elapse limit"),
    12: (JobState.OOM, "used more memory than it had asked for"),
    13: (JobState.FAILED, "used more disk than it may"),
    16: (
        JobState.FAILED,
        "could not be started: its node cannot enter the job's directory or open its log; is gfscache right?",
    ),
    18: (JobState.PREEMPTED, "stopped after its minimum time, for another job or a deadline"),
    20: (JobState.NODE_FAIL, "a node of it went down"),
    21: (JobState.FAILED, "could not be started: its shell cannot be executed"),
    22: (JobState.NODE_FAIL, "the interconnect of its nodes failed"),
    23: (JobState.OOM, "killed because its node ran out of memory"),
    25: (JobState.FAILED, "the system failed over while it ran"),
    26: (JobState.FAILED, "the system's prologue or epilogue failed"),
    27: (JobState.FAILED, "the system failed to clean up after it"),
    28: (JobState.FAILED, "the job manager failed"),
}


WAITS_FOR_SUB_JOBS = 14  # of a bulk job: no end

# REASON → what it means and what to do, where the word alone does not say it
REASONS = {
    "GATE CHECK": "the site checks a job before it starts, and refused this one: is every volume of gfscache there, "
    "with ':' between two, and may this group use the resource group?",
    "IMPOSSIBLE SCHED": "no node of the resource group can ever serve this request: ask for less",
    "RSCGRP NOT EXIST": "the resource group is gone: correct queue_cpu / queue_gpu",
    "RSCGRP STOP": "the resource group is closed just now",
    "NO CURRENT DIR": "the nodes do not see the job's directory: is its volume in gfscache?",
    "FILE IO ERROR": "the nodes cannot open the job's files: is the volume of work_root in gfscache?",
    "LIMIT OVER MEMORY": "it asks for more memory than a job may have",
    "LOST COMM": "the job manager lost its nodes",
}
NEVER_STARTS = ("IMPOSSIBLE SCHED", "RSCGRP NOT EXIST")


def explained(reason: str) -> str:
    """`GATE CHECK` → itself with what it means."""
    meaning = REASONS.get(reason.upper())
    return f"{reason} ({meaning})" if meaning else reason


def code_words(code: int) -> str:
    """`11` → `ran into its elapse limit (PJM code 11)`."""
    _, sentence = CODES.get(code, (None, "ended abnormally"))
    return f"{sentence} (PJM code {code})"


def is_error(text: str) -> bool:
    """`[ERR.]` marks an error; the exit code does not, on older systems."""
    return "[ERR.]" in text


def knows_no_option(words: str) -> bool:
    """The command complains of an option, not of a job."""
    return bool(re.search(r"\b(invalid|unknown|unrecogni[sz]ed|illegal) option|^usage:", words, re.I | re.M))


def denied(words: str) -> list[str] | None:
    """The ids that pjstat calls invalid, '' for one that it does not name; None where it complains of something else."""
    errors = [line for line in words.splitlines() if is_error(line)]
    named = [re.search(r"PJM 0211 pjstat Invalid jobid(?::\s*(\S{1,40}?))?\.?\s*$", line) for line in errors]
    return [match[1] or "" for match in named if match] if all(named) else None


def not_there(words: str) -> bool:
    """It says that there is no such job, or none any more."""
    return bool(
        re.search(r"no (such |matching )?job|job (is )?not found|not exist|already (ended|finished)", words, re.I)
    )


_LOST = (
    "cannot connect", "can't connect", "connection refused", "connection reset", "communication", "timed out",
    "timeout", "time out", "no response", "not respond", "is down", "is stopped", "not running", "temporar", "busy",
    "retry later", "try again",
)  # fmt: skip


def lost(words: str) -> bool:
    """The job manager was not reached, or its reply was lost: the job may have been taken all the same."""
    return any(phrase in words.lower() for phrase in _LOST)


def capacity(words: str) -> bool:
    """No more jobs now, but later: a limit of the number of jobs, not of their size.

    `pjstat --limit` calls such limits ru-accept, ru-accept-allsubjob and ru-accept-bulksubjob.
    """
    counted = r"(?:number of .{0,40}\b(?:sub-?)?jobs?\b|\br[ug]-accept[a-z-]*)"
    return bool(re.search(rf"{counted}.{{0,80}}limit|limit.{{0,80}}{counted}|too many jobs", words, re.I | re.S))


def refusal_advice(words: str) -> str:
    lowered = words.lower()
    if "pjsub-bulk" in lowered:
        return "this site permits no bulk jobs: set bulk_jobs=False of the target, and arrays become single jobs."
    if "gfscache" in lowered:
        return "set gfscache of the target to the volume of work_root, as in /vol0004."
    if "data area" in lowered:
        return "put work_root on a data area, or add '#PJM --no-check-directory' to directives of the profile."
    if "group" in lowered and "resource group" not in lowered and "rscgrp" not in lowered:
        return "check project_cpu / project_gpu of the target; `id -Gn` lists your groups."
    if "resource group" in lowered or "rscgrp" in lowered or "staging" in lowered:
        return "check queue_cpu / queue_gpu of the target; `pjstat --rsc` lists the resource groups."
    if "limit" in lowered:
        return "ask for less; `pjacl` shows what each resource group allows you."
    return "correct what PJM names; `dagster-hpc render` shows the script."
