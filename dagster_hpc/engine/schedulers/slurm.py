"""Slurm: sbatch, squeue, sacct, scancel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Demand, Probe, Report, Scheduler
from dagster_hpc.engine.schedulers.slurm_probes import slurm_probes
from dagster_hpc.engine.schedulers.slurm_text import history_status, queue_status
from dagster_hpc.engine.schedulers.slurm_words import (
    capacity,
    transient,
)

# sbatch itself retries for up to two minutes when the controller is busy; cutting it short makes an ambiguous submit.
SUBMIT_TIMEOUT_S = 150.0
_ENVIRONMENT = {"SLURM_TIME_FORMAT": "standard", "SLURM_BITSTR_LEN": "0"}

# The name comes last: it is the only field that could hold the separator.
_QUEUE_FORMAT = "%i|%T|%r|%V|%S|%e|%D|%C|%N|%j"
_HISTORY_FIELDS = (
    "JobID", "State", "ExitCode", "Reason", "Submit", "Eligible", "Start", "End", "ElapsedRaw", "NNodes", "NCPUS",
    "NodeList", "TotalCPU", "UserCPU", "SystemCPU", "MaxRSS", "MaxVMSize", "MaxDiskRead", "MaxDiskWrite",
    "ConsumedEnergyRaw", "AllocTRES", "ReqMem", "DerivedExitCode", "TRESUsageInTot", "Cluster", "JobName",
)  # fmt: skip

_PARSABLE_ID = re.compile(r"(\d+)(?:;\S*)?")
_SPOKEN_ID = re.compile(r"Submitted batch job (\d+)")
_RANGE = r"\d{1,7}(?:-\d{1,7}(?::[1-9]\d{0,6})?)?"
_ELEMENTS = re.compile(rf"(\d+)_\[({_RANGE}(?:,{_RANGE})*)(?:%\d+)?\]", re.ASCII)


@dataclass(frozen=True)
class Slurm(Scheduler):
    """Slurm 20.11 and later. `cluster` is asked with `-M` where one controller serves several."""

    kind: ClassVar[str] = "slurm"
    suffix: ClassVar[str] = ".slurm"
    template: ClassVar[str] = "slurm.sh.j2"
    job_id_variable: ClassVar[str] = "SLURM_JOB_ID"
    index_variable: ClassVar[str] = "SLURM_ARRAY_TASK_ID"

    cluster: str = ""

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
        return self._call("sbatch", "--parsable", script, timeout_s=SUBMIT_TIMEOUT_S)

    def read_submit(self, answer: Answer) -> str:
        job_id = _submitted_id(answer.stdout) if answer.code == 0 else None
        if job_id:
            return job_id
        if answer.code in (None, 0) or transient(answer.words):
            raise SchedulerUnavailable(f"sbatch left it open whether the job was taken: {answer.words}")
        if capacity(answer.words):
            raise CapacityReached(f"Slurm takes no more jobs of this user now: {answer.words}")
        raise SubmitRefused(f"Slurm refused the job: {answer.words}", advice=_refusal_advice(answer.words))

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        # A single id that squeue has forgotten is an error to it; the same id twice is not.
        asked = [*ids, *ids] if len(ids) == 1 else list(ids)
        return self._call("squeue", "-h", "-r", "-t", "all", "-j", ",".join(asked), "-o", _QUEUE_FORMAT)

    def read_queue(self, answer: Answer) -> Report:
        if answer.code != 0:
            forgotten = "Invalid job id specified" in answer.stderr
            return Report() if forgotten else Report(failed=answer.words)
        rows = (line.split("|", 9) for line in answer.stdout.splitlines())
        return Report(jobs={row[0]: queue_status(row) for row in rows if len(row) == 10 and _is_id(row[0])})

    def history(self, ids: Sequence[str]) -> Call:
        return self._call(
            "sacct", "-n", "-P", "--noconvert", "-j", ",".join(ids), f"--format={','.join(_HISTORY_FIELDS)}"
        )

    def read_history(self, answer: Answer) -> Report:
        if answer.code != 0:
            if "accounting storage is disabled" in answer.words:
                return Report(disabled=True)
            return Report(failed=answer.words)
        jobs: dict[str, dict[str, str]] = {}
        steps: dict[str, list[dict[str, str]]] = {}
        for line in answer.stdout.splitlines():
            cells = line.split("|", len(_HISTORY_FIELDS) - 1)
            if len(cells) != len(_HISTORY_FIELDS):
                continue
            record = dict(zip(_HISTORY_FIELDS, cells, strict=True))
            job_id, _, step = record["JobID"].partition(".")
            for one in _expanded(job_id):
                if step:
                    steps.setdefault(one, []).append(record)
                else:
                    jobs[one] = record
        return Report(jobs={job_id: history_status(record, steps.get(job_id, [])) for job_id, record in jobs.items()})

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        queue = self._call("squeue", "-h", "-r", "-t", "all", f"--name={job_name}", "-o", "%F|%j")
        # Without -j, sacct starts at midnight unless told otherwise.
        history = self._call(
            "sacct", "-n", "-P", "-X", "-S", "now-7days", f"--name={job_name}", "--format=JobID,JobName"
        )
        return [queue, history]

    def read_found(self, answer: Answer) -> list[str]:
        if answer.code != 0:
            if "accounting storage is disabled" in answer.words:
                return []
            raise SchedulerUnavailable(f"Slurm could not be asked for the job: {answer.words}")
        ids = (line.partition("|")[0].partition("_")[0] for line in answer.stdout.splitlines())
        return list(dict.fromkeys(job_id for job_id in ids if job_id.isdigit()))

    def cancel(self, ids: Sequence[str]) -> Call:
        return self._call("scancel", *ids)

    def read_cancel(self, answer: Answer) -> None:
        if answer.code != 0 and "Invalid job id" not in answer.words:
            raise SchedulerUnavailable(f"scancel did not go through: {answer.words}")

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}_{index}"

    def array_id(self, element_id: str) -> str:
        return element_id.partition("_")[0]

    def probes(self, demands: Sequence[Demand], user: str) -> list[Probe]:
        return slurm_probes(self._call, demands, user)

    def _call(self, program: str, *arguments: str, timeout_s: float = 60.0) -> Call:
        cluster = ("-M", self.cluster) if self.cluster else ()
        return Call((program, *cluster, *arguments), timeout_s, _ENVIRONMENT)


def _submitted_id(stdout: str) -> str | None:
    """The id in sbatch's output, whatever a site's wrapper prints around it."""
    for line in reversed(stdout.splitlines()):
        match = _PARSABLE_ID.fullmatch(line.strip()) or _SPOKEN_ID.search(line)
        if match:
            return match[1]
    return None


def _is_id(text: str) -> bool:
    return re.fullmatch(r"\d+(_\d+)?", text, re.ASCII) is not None


def _expanded(job_id: str) -> list[str]:
    """The ids that one line of sacct stands for: elements that never started share one, `7_[0,2-5%3]`."""
    match = _ELEMENTS.fullmatch(job_id)
    if not match:
        return [job_id] if _is_id(job_id) else []
    ids = []
    for part in match[2].split(","):
        first, _, rest = part.partition("-")
        last, _, step = rest.partition(":")
        ids += [f"{match[1]}_{index}" for index in range(int(first), int(last or first) + 1, int(step or 1))]
    return ids


def _refusal_advice(words: str) -> str:
    lowered = words.lower()
    if "partition" in lowered and "account" not in lowered:
        return "check queue_cpu / queue_gpu of the target; `sinfo` lists the partitions."
    if "account" in lowered:
        return "check project_cpu / project_gpu of the target; `sacctmgr show assoc user=$USER` lists your accounts."
    if "qos" in lowered:
        return "check qos of the profile; `sacctmgr show qos` lists what exists."
    if "memory" in lowered or "node configuration" in lowered:
        return "ask for fewer nodes, cores or less memory; `sinfo -o '%P %c %m %l'` shows what a node has."
    return "correct what Slurm names; `dagster-hpc render` shows the script."
