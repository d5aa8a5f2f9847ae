"""What Slurm's commands print, as values: ids, and of each job its state, how it ended, its figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, signal_name
from dagster_hpc.engine.schedulers.base import Report
from dagster_hpc.engine.schedulers.slurm.records import history_metrics, integer, job_and_step, parsed, time_of
from dagster_hpc.engine.schedulers.slurm.words import (
    ACCOUNTING_OFF,
    EXPLAINED,
    NO_SUCH_JOB,
    cannot_start,
    capacity,
    explain,
    explain_end,
    refusal_advice,
    state_of,
    transient,
)

# The name comes last: it is the only field that could hold the separator.
QUEUE_FORMAT = "%i|%T|%r|%V|%S|%e|%D|%C|%N|%j"

_PARSABLE_ID = re.compile(r"(\d+)(?:;\S*)?")
_SPOKEN_ID = re.compile(r"Submitted batch job (\d+)")
_CLUSTER_NAME = re.compile(r"^ClusterName\s*=\s*(\S+)\s*$", re.MULTILINE)
_CLUSTER_HEAD = re.compile(r"CLUSTER: \S+\s*")  # before the jobs of each cluster that was asked with -M
_JOB_ID = re.compile(r"\d+(_\d+)?", re.ASCII)
_COMPONENT = re.compile(r"(\d+)\+(\d+)", re.ASCII)  # of a heterogeneous job; the first one runs the script
_RANGE = r"\d{1,7}(?:-\d{1,7}(?::[1-9]\d{0,6})?)?"
_CUT = r"(?:,[-:\d]*\.\.\.)?"  # where a list of elements is cut, `7_[0-3,1...]`, the last number may be cut, too
_ELEMENTS = re.compile(rf"(\d+)_\[({_RANGE}(?:,{_RANGE})*){_CUT}(?:%\d+)?\]", re.ASCII)
_FIELD = re.compile(r"(\w+)=(\S*)")
_NO_START = 53  # Slurm's "signal" when a node cannot enter the job's directory or open its log


def cluster_name(answer: Answer) -> str:
    """`ClusterName` of the configuration that the controller serves."""
    name = _CLUSTER_NAME.search(answer.stdout) if answer.code == 0 else None
    if not name:
        raise SchedulerUnavailable(f"Slurm does not say which cluster it is: {answer.words[:500]}")
    return name[1]


def submitted(answer: Answer) -> str:
    """The id of the new job."""
    job_id = _submitted_id(answer.stdout) if answer.code == 0 else None
    if job_id:
        return job_id
    if answer.code not in (None, 0) and capacity(answer.words):
        raise CapacityReached(f"Slurm takes no more jobs of this user now: {answer.words}")
    if answer.code in (None, 0) or transient(answer.words):
        raise SchedulerUnavailable(f"sbatch left it open whether the job was taken: {answer.words}")
    raise SubmitRefused(f"Slurm refused the job: {answer.words}", advice=refusal_advice(answer.words))


def queue_report(answer: Answer) -> Report:
    """The jobs that squeue lists in `QUEUE_FORMAT`. It denies a job only where it was asked for that one alone."""
    if answer.code != 0:
        return _denied(answer, _ids_asked(answer)) if NO_SUCH_JOB in answer.stderr else Report(failed=answer.words)
    jobs: dict[str, JobStatus] = {}
    foreign = []
    for line in _lines(answer):
        row = line.split("|", 9)
        if len(row) == 10 and _is_id(row[0]):
            jobs |= dict.fromkeys(_expanded(row[0]), queue_status(row))
        else:
            foreign.append(line)
    return Report(jobs=jobs) if jobs or not foreign else _strange(answer, foreign)


def job_report(answer: Answer) -> Report:
    """The one job that `scontrol show job` was asked for: shown, or said not to exist."""
    asked = answer.argv[-1]
    if answer.code == 1 and (NO_SUCH_JOB in answer.stderr or f"Job {asked} not found" in answer.words):
        return _denied(answer, [asked])
    if answer.code != 0:
        return Report(failed=answer.words)
    jobs: dict[str, JobStatus] = {}
    for line in _lines(answer):
        fields = dict(reversed(_FIELD.findall(line)))  # of two fields of one name, the first is Slurm's own
        if "JobId" in fields and "JobState" in fields:
            jobs |= dict.fromkeys(_expanded(_shown_id(fields)), queue_status(_queue_row(fields)))
    return Report(jobs=jobs) if jobs else _strange(answer, _lines(answer))


def history_report(answer: Answer) -> Report:
    """The jobs that sacct lists as `records` reads them, each with its steps."""
    if answer.code != 0:
        return Report(disabled=True) if ACCOUNTING_OFF in answer.words else Report(failed=answer.words)
    runs: dict[str, list[tuple[dict[str, str], list[dict[str, str]]]]] = {}  # one id may have several records
    foreign = []
    for line in _lines(answer):
        record = parsed(line)
        job_id, step = job_and_step(record) if record else ("", "")
        if record is None or not _is_id(job_id):
            foreign.append(line)
            continue
        for one in _expanded(job_id):
            if not step:
                runs.setdefault(one, []).append((record, []))
            elif one in runs:
                runs[one][-1][1].append(record)
    if not runs and (foreign or "error" in answer.stderr):  # until 23.02, sacct may fail with exit code 0
        return _strange(answer, foreign)
    # A requeued job leaves a record of each run, and ids come round again; the last one is the job that there is.
    last = {job_id: max(reversed(several), key=lambda run: run[0]["Submit"]) for job_id, several in runs.items()}
    return Report(jobs={job_id: history_status(*run) for job_id, run in last.items()})


def found(answer: Answer) -> list[str]:
    """The ids under the name that squeue or sacct was asked for."""
    if answer.code != 0 and ACCOUNTING_OFF in answer.words:
        return []
    name = next((word.removeprefix("--name=") for word in answer.argv if word.startswith("--name=")), "")
    rows = [line.partition("|") for line in _lines(answer)]
    ids = [cell.partition("_")[0].partition("+")[0] for cell, _, shown in rows if shown == name and _is_id(cell)]
    # That there is no such job must be said by nothing but silence: it would be submitted again.
    if answer.code != 0 or (not ids and (rows or "error" in answer.stderr)):
        raise SchedulerUnavailable(f"Slurm could not be asked for the job: {answer.words}")
    return list(dict.fromkeys(ids))


def check_cancelled(answer: Answer) -> None:
    complaints = [line for line in answer.words.splitlines() if line.strip() and "Invalid job id" not in line]
    if answer.code != 0 and complaints:
        raise SchedulerUnavailable(f"scancel did not go through: {answer.words}")


# -- what an answer is made of


def _lines(answer: Answer) -> list[str]:
    return [line for line in answer.stdout.splitlines() if line.strip() and not _CLUSTER_HEAD.fullmatch(line)]


def _strange(answer: Answer, lines: Sequence[str]) -> Report:
    said = "\n".join(lines[:3]) or answer.words
    return Report(failed=f"`{answer.argv[0]}` ended with {answer.code} and did not answer as Slurm does: {said[:500]}")


def _denied(answer: Answer, ids: Sequence[str]) -> Report:
    """Where several ids were asked for, this may be said of any of them."""
    return Report(unknown=frozenset(ids if len(ids) == 1 else ()))


def _ids_asked(answer: Answer) -> list[str]:
    words = list(answer.argv)
    return words[words.index("-j") + 1].split(",") if "-j" in words[:-1] else []


def _submitted_id(stdout: str) -> str | None:
    """The id in sbatch's output, whatever a site's wrapper prints around it."""
    for line in reversed(stdout.splitlines()):
        match = _PARSABLE_ID.fullmatch(line.strip()) or _SPOKEN_ID.search(line)
        if match:
            return match[1]
    return None


def _is_id(text: str) -> bool:
    return any(kind.fullmatch(text) for kind in (_JOB_ID, _ELEMENTS, _COMPONENT))


def _expanded(job_id: str) -> list[str]:
    """The ids that one line stands for: elements that never started share one, `7_[0,2-5%3]`; `7+0` is job 7."""
    component = _COMPONENT.fullmatch(job_id)
    if component:
        return [component[1]] if component[2] == "0" else []
    match = _ELEMENTS.fullmatch(job_id)
    if not match:
        return [job_id] if _JOB_ID.fullmatch(job_id) else []
    ids = []
    for part in match[2].split(","):
        first, _, rest = part.partition("-")
        last, _, step = rest.partition(":")
        ids += [f"{match[1]}_{index}" for index in range(int(first), int(last or first) + 1, int(step or 1))]
    return ids


# -- one job


def _shown_id(fields: Mapping[str, str]) -> str:
    """How squeue would name the job that scontrol shows."""
    if "ArrayJobId" in fields:
        elements = fields.get("ArrayTaskId", "")
        return f"{fields['ArrayJobId']}_{elements if elements.isdigit() else f'[{elements}]'}"
    return f"{fields['HetJobId']}+{fields.get('HetJobOffset', '')}" if "HetJobId" in fields else fields["JobId"]


def _queue_row(fields: Mapping[str, str]) -> list[str]:
    """What squeue would print of it in `QUEUE_FORMAT`."""
    names = ("JobId", "JobState", "Reason", "SubmitTime", "StartTime", "EndTime", "NumNodes", "NumCPUs", "NodeList")
    values = [fields.get(name, "") for name in (*names, "JobName")]
    return ["" if value == "(null)" else value for value in values]


def queue_status(row: list[str]) -> JobStatus:
    _, state_word, reason, submitted, started, ended, nodes, cores, node_list, name = row
    state = state_of(state_word, reason)
    over, runs = state.is_final, state is JobState.RUNNING
    metrics = JobMetrics(
        submitted_at=time_of(submitted),
        # A job that was cancelled while it waited has a start time all the same, but never had a node.
        started_at=time_of(started) if node_list and (over or runs) else None,
        ended_at=time_of(ended) if over else None,
        nodes=integer(nodes),
        cores=integer(cores),
        node_list=node_list or None,
    )
    if runs and reason == "None":  # most of a long queue: nothing has to be explained
        return JobStatus(state, job_name=name, metrics=metrics)
    said = "" if state.is_success or reason == "None" else explain_end(reason) if over else explain(reason)
    stuck = cannot_start(reason) and not over
    return JobStatus(state, said, job_name=name, metrics=metrics.derived() if over else metrics, stuck=stuck)


def history_status(record: dict[str, str], steps: list[dict[str, str]]) -> JobStatus:
    state = state_of(record["State"], record["Reason"])
    code, _, number = record["ExitCode"].partition(":")
    exit_code, killed_by = integer(code), integer(number)
    # For TIMEOUT, CANCELLED and OUT_OF_MEMORY Slurm prints 0:0 or 0:125, which say nothing of the program.
    meaningful = state in (JobState.COMPLETED, JobState.FAILED)
    if meaningful and killed_by == _NO_START:
        why = "could not be started: its node cannot enter the job's directory or write its log there (ExitCode 0:53)"
        return JobStatus(state, why, job_name=_recorded_name(record), metrics=history_metrics(record, steps))
    reason = _history_reason(record, state, steps, killed_by if meaningful else None)
    return JobStatus(
        state,
        reason,
        # Until 25.05, sacct takes 128 off the codes above 127: FAILED with 0:0 was 128, or was no exit at all.
        exit_code=exit_code if meaningful and not killed_by and (exit_code or state.is_success) else None,
        signal=killed_by if meaningful and killed_by else None,
        job_name=_recorded_name(record),
        metrics=history_metrics(record, steps),
    )


def _recorded_name(record: dict[str, str]) -> str:
    # A short job's end may reach the database before its beginning: for some seconds it is called "allocation".
    half_written = record["Eligible"] == "Unknown" and record["JobName"] == "allocation"
    return "" if half_written else record["JobName"]


def _history_reason(record: dict[str, str], state: JobState, steps: list[dict[str, str]], killed_by: int | None) -> str:
    if state is JobState.COMPLETED:
        starved = any(step["State"].startswith("OUT_OF_ME") for step in steps)
        return "a step of it ran out of memory, though the job went on" if starved else ""
    by = re.fullmatch(r"CANCELLED by (\S+)", record["State"])
    if by:
        return f"cancelled by user id {by[1]}"
    if state is JobState.CANCELLED and record["Reason"] == "Dependency":
        return "the job that it depends on did not end as required (Dependency)"
    why = explain_end(record["Reason"]) if state.is_final else explain(record["Reason"])
    if why and record["Reason"] in EXPLAINED:
        return why
    if killed_by:
        return f"killed by signal {killed_by} ({signal_name(killed_by)})"
    return {
        JobState.TIMEOUT: "ran into its walltime",
        JobState.OOM: "used more memory than it had asked for",
        JobState.NODE_FAIL: "a node of it failed",
    }.get(state, "")
