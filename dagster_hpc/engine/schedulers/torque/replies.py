"""What Torque's commands print, as values: ids, and of each job its state, how it ended, its figures.

The commands that Slurm brings for Torque's users print the same with another meaning: `qstat` has one C for every end
and no exit status, so the job's own files decide. For memory alone it has a letter of its own: U.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobState, JobStatus, signal_name
from dagster_hpc.engine.schedulers.base import Report, Room
from dagster_hpc.engine.schedulers.pbs.limits import sections
from dagster_hpc.engine.schedulers.pbs.records import Record, integer, kib, records, seconds, stamp, used
from dagster_hpc.engine.schedulers.pbs.replies import asked, denied
from dagster_hpc.engine.schedulers.torque.words import OVER, STATE_OF, TERM, TORQUE_ENDED, full, is_over, unreached

UNKNOWN_CODE = 153
_ID = re.compile(r"\d{1,18}(?:\[\])?(?:\.(?=\S*[A-Za-z])[A-Za-z0-9._-]{1,255})?", re.ASCII)


def submitted(answer: Answer) -> str:
    """The id of the new job."""
    ids = _ids(answer.stdout)
    if answer.code == 0 and ids:
        return ids[-1]
    said = f"{answer.stdout}\n{answer.stderr}"  # Slurm's commands complain on stdout
    if answer.code in (None, 0) or unreached(said):
        raise SchedulerUnavailable(f"qsub left it open whether the job was taken: {answer.words}")
    if full(said):
        raise CapacityReached(f"Torque takes no more jobs of this user now: {answer.words}")
    raise SubmitRefused(
        f"Torque refused the job: {answer.words}",
        advice="correct what it names: often queue_cpu / queue_gpu or project_cpu / project_gpu of the target.",
    )


def found(answer: Answer) -> list[str]:
    """The ids under the name that qselect was asked for."""
    if answer.code != 0:
        raise SchedulerUnavailable(f"Torque could not be asked for the job: {answer.words}")
    return list(dict.fromkeys(_ids(answer.stdout)))


def found_over_slurm(answer: Answer) -> list[str]:
    """The ids in the whole queue whose name is the last word of the question."""
    if answer.code not in (0, UNKNOWN_CODE):
        raise SchedulerUnavailable(f"the queue could not be read: {answer.words}")
    rows = (re.match(r"(\d{1,18}) +(\S+) ", line, re.ASCII) for line in answer.stdout.split("\n"))
    return [row[1] for row in rows if row and row[2] == answer.argv[-1]]


def check_cancelled(answer: Answer) -> None:
    lines = [line for line in f"{answer.stdout}\n{answer.stderr}".split("\n") if line.strip()]
    if answer.timed_out or (answer.code != 0 and any(not is_over(line) for line in lines)):
        raise SchedulerUnavailable(f"qdel did not go through: {answer.words}")


def _ids(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if _ID.fullmatch(line.strip())]


def room(answers: Sequence[Answer]) -> Room:
    """What `max_user_queuable` and `max_queuable` leave, by the documents; an array is counted as one job at least."""
    queues, servers, mine = sections(answers[0]), sections(answers[1]), answers[2]
    server = next(iter(servers.values()), {})
    queue = next(iter(queues.values()), {}) if len(answers[0].argv) > 3 else queues.get(server.get("default_queue", ""), {})
    own = len(_ids(mine.stdout)) if mine.code == 0 else None
    counted = [
        (integer(queue.get("max_user_queuable", "")), own),
        (integer(server.get("max_user_queuable", "")), own),
        (integer(queue.get("max_queuable", "")), integer(queue.get("total_jobs", ""))),
    ]
    limits = [(most, count) for most, count in counted if most and count is not None]
    sizes = [integer(server.get("max_job_array_size", "")), *(most for most, _ in limits)]
    left = [max(0, most - count) for most, count in limits]
    return Room(min(left, default=None), min((size for size in sizes if size), default=None))


# -- one job


def status(record: Record) -> JobStatus:
    """What one record of Torque's says."""
    letter, name = record.of("job_state"), record.of("Job_Name")
    started = stamp(record.of("start_time"))
    metrics = replace(
        used(record),
        submitted_at=stamp(record.of("ctime")) or stamp(record.of("qtime")),
        started_at=started,
        ended_at=stamp(record.of("comp_time")) if letter == OVER and started else None,
    )
    if letter == OVER:
        return replace(_end(record, metrics), job_name=name, metrics=metrics.derived())
    return _live(record, metrics)


def status_over_slurm(record: Record) -> JobStatus:
    """What one record of Slurm's `qstat` says: mtime is the start, ctime the end, of a running job the latest possible."""
    letter, name = record.of("job_state"), record.of("Job_Name")
    over, ran = letter in (OVER, "U"), bool(record.of("exec_host"))
    metrics = replace(
        used(record),
        submitted_at=stamp(record.of("qtime")),
        started_at=stamp(record.of("mtime")) if ran else None,
        ended_at=stamp(record.of("ctime")) if ran and over else None,
    ).derived()
    if letter == "U":
        said = "used more memory than it had asked for (job_state U, which else is for deadlines that we do not set)"
        return JobStatus(JobState.OOM, said, job_name=name, metrics=metrics)
    if letter == OVER and not ran:
        said = "was deleted, or what it depends on did not end as required"
        return JobStatus(JobState.CANCELLED, said, job_name=name, metrics=metrics)
    if letter == OVER:
        return replace(_end(record, metrics), job_name=name, metrics=metrics)
    return _live(record, metrics)


def queue_report(answer: Answer, read: Callable[[Record], JobStatus] = status) -> Report:
    """The jobs of `qstat -f`; an array's own record is none of a job. One that it does not show is merely in doubt."""
    if answer.code not in (0, UNKNOWN_CODE):  # that: some job is not known any more, and the others are in the output
        return Report(failed=answer.words)
    jobs, ids = records(answer.stdout), asked(answer)
    if not jobs and answer.code == 0 and (ids or answer.stdout.strip()):
        return Report(failed=f"qstat's answer is not understood: {answer.words[:200]!r}")
    unknown = denied(answer)
    if answer.code == UNKNOWN_CODE and len(ids) == 1 and not jobs:  # Slurm's commands say it by this code alone
        unknown = frozenset(ids)
    return Report({job_id: read(record) for job_id, record in jobs.items() if "[]" not in job_id}, unknown)


def _live(record: Record, metrics: JobMetrics) -> JobStatus:
    letter = record.of("job_state")
    state = STATE_OF.get(letter, JobState.UNKNOWN)
    so_far = replace(metrics, elapsed_s=None)  # it would pose as that of the end
    return JobStatus(state, _waits(record, letter, state), job_name=record.of("Job_Name"), metrics=so_far)


def _end(record: Record, metrics: JobMetrics) -> JobStatus:
    code = integer(record.of("exit_status"))
    comment = record.of("comment").strip()
    said = f" ({comment})" if comment else ""
    limit = seconds(record.of("Resource_List.walltime"))
    used_up = metrics.elapsed_s is not None and limit is not None and metrics.elapsed_s >= limit
    if code == -11 or (used_up and (code is None or code < 0 or code > 255)):
        return JobStatus(JobState.TIMEOUT, f"ran into its walltime{said}")
    if code is None:
        return JobStatus(JobState.LOST, f"the system does not say how it ended{said}")
    if code in TORQUE_ENDED or code < 0:
        state, reason = TORQUE_ENDED.get(code, (JobState.FAILED, f"was ended by Torque itself{said}"))
        return JobStatus(state, f"{reason} (exit_status {code})")
    if code == TERM:
        before = "" if metrics.started_at else " before it started"
        return JobStatus(JobState.CANCELLED, f"was deleted{before}{said}")
    if code > 256:
        return _killed(record, code - 256)
    return JobStatus(JobState.FAILED if code else JobState.COMPLETED, exit_code=code)


def _killed(record: Record, number: int) -> JobStatus:
    peak, limit = kib(record.of("resources_used.mem")), kib(record.of("Resource_List.mem"))
    if peak and limit and peak > limit:
        return JobStatus(JobState.OOM, "used more memory than it had asked for")
    return JobStatus(JobState.FAILED, f"killed by signal {number} ({signal_name(number)})", signal=number)


def _waits(record: Record, letter: str, state: JobState) -> str:
    comment = record.of("comment").strip()
    said = f" ({comment})" if comment else ""
    if letter == "W":
        return f"waits for its start time{said}"
    if state is JobState.HELD:
        if record.of("depend"):
            return f"waits for the job that it depends on{said}"
        return f"is held by {'its owner' if 'u' in record.of('Hold_Types') else 'the system'}{said}"
    if state is JobState.PENDING:
        return f"waits its turn{said}"
    return (
        f"is in a state that is not known here (job_state {letter or 'missing'})" if state is JobState.UNKNOWN else ""
    )
