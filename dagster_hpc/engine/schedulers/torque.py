"""Torque: qsub, qstat, qdel, qselect. It keeps no history: a job that is over stays for some minutes, in state C."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobState, JobStatus, signal_name
from dagster_hpc.engine.schedulers.base import Demand, Finding, Probe, Report, Scheduler
from dagster_hpc.engine.schedulers.pbs_text import Record, integer, kib, records, seconds, stamp, used
from dagster_hpc.engine.units import format_walltime

SUBMIT_TIMEOUT_S = 120.0
_STATES = {JobState.PENDING: "QT", JobState.HELD: "HW", JobState.RUNNING: "RE", JobState.SUSPENDED: "S"}
_STATE_OF = {letter: state for state, letters in _STATES.items() for letter in letters}
_ID = re.compile(r"\d{1,18}(?:\[\])?(?:\.(?=\S*[A-Za-z])[A-Za-z0-9._-]{1,255})?", re.ASCII)
_TERM = 256 + 15  # how Torque's own end of a job looks: by qdel, by a walltime, by a dependency that cannot be met

# exit_status below zero: Torque itself ended it.
TORQUE_ENDED: dict[int, tuple[JobState, str]] = {
    -1: (JobState.FAILED, "could not be started"),
    -2: (JobState.FAILED, "could not be started"),
    -3: (JobState.FAILED, "could not be started, though Torque tried again"),
    -4: (JobState.NODE_FAIL, "its node's daemon was restarted"),
    -5: (JobState.NODE_FAIL, "its node's daemon was restarted"),
    -6: (JobState.NODE_FAIL, "its node's daemon was restarted"),
    -7: (JobState.FAILED, "could not be started again"),
    -8: (JobState.FAILED, "its shell could not be started"),
    -9: (JobState.FAILED, "its log could not be opened"),
    -10: (JobState.OOM, "used more memory than it had asked for"),
    -11: (JobState.TIMEOUT, "ran into its walltime"),
    -12: (JobState.FAILED, "used more CPU time than it had asked for"),
}
_UNREACHED = (
    "cannot connect to server", "connection refused", "connection timed out", "connection reset", "end of file",
    "errno=15034", "errno=111", "communication failure", "unable to contact slurm controller", "socket timed out",
    "problem loading", "batch script is empty", "zero bytes were transmitted",
)  # fmt: skip
_FULL = ("maximum number of jobs already in queue", "would exceed", "maxsubmitjob", "job count limit")


@dataclass(frozen=True)
class Torque(Scheduler):
    """Torque itself, with a scheduler such as Maui or Moab behind it."""

    kind: ClassVar[str] = "torque"
    suffix: ClassVar[str] = ".torque"
    template: ClassVar[str] = "torque.sh.j2"
    job_id_variable: ClassVar[str] = "PBS_JOBID"
    index_variable: ClassVar[str] = "PBS_ARRAYID"
    name_limit: ClassVar[int] = 15  # Torque refuses more
    ids_per_call: ClassVar[int] = 200
    lacks: ClassVar[dict[str, str]] = {
        "qos": "Torque itself has no quality of service (qos): write the line of the site's scheduler into directives",
        "reservation": "Torque itself has no reservations: write the line of the site's scheduler into directives",
        "exclusive": "Torque itself has no exclusive nodes: ask for all cores, or write the site's line into directives",
        "signal": "Torque cannot send a signal before the walltime ends (signal_before_end): set a timer in the command",
        "srun": "Torque has no launcher srun: choose mpirun, mpiexec or mpiexec.hydra",
    }

    kill_orphans: ClassVar[str] = ""  # a line for what Torque does by itself: end a job whose dependency has failed

    # -- what the script says

    def resources(self, spec: JobSpec) -> str:
        """All in one list: of two such lines some commands read the last only."""
        nodes = f"nodes={spec.nodes}:ppn={spec.cores_per_node}"
        if spec.gpus_per_node:
            nodes += f":gpus={spec.gpus_per_node}"
        memory = [f"mem={self._memory_mib(spec)}mb"] if spec.memory_per_node_mib else []
        return ",".join([nodes, f"walltime={format_walltime(spec.walltime_s)}", *memory])

    def _memory_mib(self, spec: JobSpec) -> int:
        return (spec.memory_per_node_mib or 0) * spec.nodes  # Torque counts a job's memory, not a node's

    def array(self, spec: JobSpec) -> str:
        return f"0-{len(spec.elements) - 1}{f'%{spec.element_limit}' if spec.element_limit else ''}"

    def dependency(self, spec: JobSpec) -> str:
        """Whole arrays have words of their own: afterokarray:12[]."""
        return ",".join(f"{one.kind}{'array' if '[]' in one.job_id else ''}:{one.job_id}" for one in spec.dependencies)

    def value(self, text: str) -> str:
        if re.search(r"[\s\"'\\#;&|$`<>()]", text) or not text.isascii():
            raise ConfigurationError(f"{text!r} cannot stand in a Torque directive: it has blanks, quotes or signs")
        return text

    def log_path(self, spec: JobSpec, directory: str) -> str:
        """Torque itself adds -INDEX for each element of an array."""
        if not directory.isascii() or re.search(r"[\s\"'\\:,]", directory):
            raise ConfigurationError(
                f"{directory!r} cannot be the folder of a Torque log: it has blanks, quotes, colons or foreign letters",
                advice="choose another work_root.",
            )
        return f"{directory}/scheduler.log"

    def log_of(self, work_dir: str, index: int | None) -> str:
        if index is None:
            return f"{work_dir}/scheduler.log"
        return f"{posixpath.dirname(work_dir)}/scheduler.log-{index}"

    # -- submit

    def submit(self, script: str) -> Call:
        return Call(("qsub", script), SUBMIT_TIMEOUT_S)

    def read_submit(self, answer: Answer) -> str:
        found = [line.strip() for line in answer.stdout.split("\n") if _ID.fullmatch(line.strip())]
        if answer.code == 0 and found:
            return found[-1]
        said = f"{answer.stdout}\n{answer.stderr}".lower()  # Slurm's commands complain on stdout
        if answer.code in (None, 0) or any(phrase in said for phrase in _UNREACHED):
            raise SchedulerUnavailable(f"qsub left it open whether the job was taken: {answer.words}")
        if any(phrase in said for phrase in _FULL):
            raise CapacityReached(f"Torque takes no more jobs of this user now: {answer.words}")
        raise SubmitRefused(
            f"Torque refused the job: {answer.words}",
            advice="correct what it names: often queue_cpu / queue_gpu or project_cpu / project_gpu of the target.",
        )

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        elements = ("-t",) if any("[]" in job_id for job_id in ids) else ()
        return Call(("qstat", "-f", "-1", *elements, *ids))

    def read_queue(self, answer: Answer) -> Report:
        if answer.code not in (0, 153):  # 153: some job is not known any more, and the others are in the output
            return Report(failed=answer.words)
        found = records(answer.stdout)
        return Report({job_id: self._status(record) for job_id, record in found.items() if "[]" not in job_id})

    def _status(self, record: Record) -> JobStatus:
        letter, name = record.of("job_state"), record.of("Job_Name")
        metrics = self._metrics(record, over=letter == "C")
        if letter == "C":
            return replace(self._end(record, metrics), job_name=name, metrics=metrics.derived())
        state = _STATE_OF.get(letter, JobState.UNKNOWN)
        return JobStatus(state, _waits(record, letter, state), job_name=name, metrics=metrics)

    def _end(self, record: Record, metrics: JobMetrics) -> JobStatus:
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
        if code == _TERM:
            return JobStatus(
                JobState.CANCELLED, f"was deleted{'' if metrics.started_at else ' before it started'}{said}"
            )
        if code > 256:
            return self._killed(record, code - 256)
        return JobStatus(JobState.FAILED if code else JobState.COMPLETED, exit_code=code)

    def _killed(self, record: Record, number: int) -> JobStatus:
        peak, limit = kib(record.of("resources_used.mem")), kib(record.of("Resource_List.mem"))
        if peak and limit and peak > limit:
            return JobStatus(JobState.OOM, "used more memory than it had asked for")
        return JobStatus(JobState.FAILED, f"killed by signal {number} ({signal_name(number)})", signal=number)

    def _metrics(self, record: Record, *, over: bool) -> JobMetrics:
        started = stamp(record.of("start_time"))
        return replace(
            used(record),
            submitted_at=stamp(record.of("ctime")) or stamp(record.of("qtime")),
            started_at=started,
            ended_at=stamp(record.of("comp_time")) if over and started else None,
        )

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [Call(("qselect", "-N", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        if answer.code != 0:
            raise SchedulerUnavailable(f"Torque could not be asked for the job: {answer.words}")
        return list(dict.fromkeys(line.strip() for line in answer.stdout.split("\n") if _ID.fullmatch(line.strip())))

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("qdel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        over = ("Unknown Job Id", "invalid state for job", "Request invalid for state of job", "Job has finished")
        lines = [line for line in f"{answer.stdout}\n{answer.stderr}".split("\n") if line.strip()]
        if answer.timed_out or (answer.code != 0 and any(not any(word in line for word in over) for line in lines)):
            raise SchedulerUnavailable(f"qdel did not go through: {answer.words}")

    def element_id(self, job_id: str, index: int) -> str:
        return job_id.replace("[]", f"[{index}]", 1)

    def array_id(self, element_id: str) -> str:
        return re.sub(r"^(\d+)\[\d+\]", r"\1[]", element_id)

    def probes(self, demands: Sequence[Demand], user: str) -> list[Probe]:
        return [
            Probe("qsub", Call(("qsub", "--version")), self._version, "fail"),
            Probe("qstat", Call(("qstat", "-u", user)), self._answers),
            Probe("qdel", Call(("qdel", "--version")), self._version),
        ]

    def _version(self, answer: Answer) -> Finding:
        said = answer.stdout.strip() or answer.stderr.strip()
        if "pbs_version" in said:
            return Finding("fail", f"this is PBS ({said}), not Torque", "use PBSTarget.")
        if "sbatch" in said.lower() or "Usage:" in said:
            advice = "set over_slurm=True in TorqueTarget, or better, use SlurmTarget."
            return Finding("fail", f"`{answer.argv[0]}` is one of the commands that Slurm brings", advice)
        return Finding("ok", said.partition("\n")[0] or f"`{answer.argv[0]}` is there")

    def _answers(self, answer: Answer) -> Finding:
        if answer.code not in (0, 153):
            return Finding("fail", f"the server does not answer: {answer.words}", "ask your site whether it runs.")
        number = sum(line[:1].isdigit() for line in answer.stdout.split("\n"))
        return Finding("ok", f"the server answers; {number} of your jobs are in the queue")


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
