"""Slurm: what sbatch, squeue, sacct and scancel are asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobMetrics, JobSpec
from dagster_hpc.engine.schedulers.base import Outlook, Report, Room, Scheduler
from dagster_hpc.engine.schedulers.slurm import outlook, records, replies, room, steps

# sbatch itself retries for up to two minutes when the controller is busy; cutting it short makes an ambiguous submit.
SUBMIT_TIMEOUT_S = 150.0
_ENVIRONMENT = {"SLURM_TIME_FORMAT": "standard", "SLURM_BITSTR_LEN": "0"}


@dataclass(frozen=True)
class Slurm(Scheduler):
    """Slurm 20.11 and later. `cluster` is asked with `-M` where one controller serves several."""

    kind: ClassVar[str] = "slurm"
    suffix: ClassVar[str] = ".slurm"
    template: ClassVar[str] = "slurm.sh.j2"
    job_id_variable: ClassVar[str] = "SLURM_JOB_ID"
    index_variable: ClassVar[str] = "SLURM_ARRAY_TASK_ID"
    history_ids_beside: ClassVar[int] = 100  # a line each; elsewhere a record of 3 kB, or other words that find less

    cluster: str = ""

    # -- which cluster it is

    def identify(self) -> Call:
        return self.ask("scontrol", "show", "config")

    def read_identity(self, answer: Answer) -> str:
        return replies.cluster_name(answer)

    # -- what the script says

    def time_limit(self, spec: JobSpec) -> str:
        days, rest = divmod(spec.walltime_s, 86400)
        clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
        return f"{days}-{clock}" if days else clock

    def dependency(self, spec: JobSpec) -> str:
        # Every id carries its kind: a bare id after a comma is old syntax and means afterany.
        return ",".join(f"{dependency.kind}:{dependency.job_id}" for dependency in spec.dependencies)

    def log_path(self, spec: JobSpec, directory: str) -> str:
        if "\\" in directory:
            raise ConfigurationError(f"{directory!r} contains a backslash, which Slurm drops from the path of its log")
        escaped = directory.replace("%", "%%")
        return f"{escaped}/%a/scheduler.log" if spec.is_array else f"{escaped}/scheduler.log"

    # -- submit

    def submit(self, script: str) -> Call:
        return self.ask("sbatch", "--parsable", script, timeout_s=SUBMIT_TIMEOUT_S)

    def read_submit(self, answer: Answer) -> str:
        return replies.submitted(answer)

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        return self.ask("squeue", "-h", "-r", "-t", "all", "-j", ",".join(ids), "-o", replies.QUEUE_FORMAT)

    def read_queue(self, answer: Answer) -> Report:
        return replies.queue_report(answer)

    def look_for(self, job_id: str) -> Call:
        # squeue says nothing, with exit code 0, to an element that it does not know of an array that it knows.
        return self.ask("scontrol", "-o", "show", "job", job_id)

    def read_look_for(self, answer: Answer) -> Report:
        return replies.job_report(answer)

    def history(self, ids: Sequence[str]) -> Call:
        fields = ",".join(records.HISTORY_FIELDS)
        return self.ask("sacct", "-n", "-P", "--noconvert", "-j", ",".join(ids), f"--format={fields}")

    def read_history(self, answer: Answer) -> Report:
        return replies.history_report(answer)

    def steps(self, ids: Sequence[str]) -> list[Call]:
        return [self.history(ids), self.ask("scontrol", "show", "config")]

    def read_steps(self, answers: Sequence[Answer], names: Collection[str]) -> Mapping[str, JobMetrics] | None:
        return steps.read(answers, names)

    # -- room

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return [self.ask(*question) for question in room.questions(user, queue, project)]

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return room.read(answers)

    # -- outlook

    def outlook(self, job_id: str) -> Call:
        return self.look_for(job_id)

    def read_outlook(self, answer: Answer) -> Outlook:
        return outlook.read(answer)

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        # Without -a, squeue leaves out the jobs in a hidden partition, even to their owner.
        queue = self.ask("squeue", "-h", "-a", "-r", "-t", "all", f"--name={job_name}", "-o", "%F|%j")
        # Without -j, sacct starts at midnight unless told otherwise.
        history = self.ask("sacct", "-n", "-P", "-X", "-S", "now-7days", f"--name={job_name}", "--format=JobID,JobName")
        return [queue, history]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return self.ask("scancel", *ids)

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}_{index}"

    def own_id(self, spec: JobSpec) -> str:
        return "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" if spec.is_array else super().own_id(spec)

    def array_id(self, element_id: str) -> str:
        return element_id.partition("_")[0]

    def ask(self, program: str, *arguments: str, timeout_s: float = 60.0) -> Call:
        """A command of Slurm's, of the right cluster and in the form that is read here."""
        # sacctmgr speaks to the database of all clusters, and knows no -M.
        cluster = ("-M", self.cluster) if self.cluster and program != "sacctmgr" else ()
        return Call((program, *cluster, *arguments), timeout_s, _ENVIRONMENT)
