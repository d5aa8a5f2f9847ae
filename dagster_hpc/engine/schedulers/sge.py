"""Grid Engine (Sun's, Son of, Univa's, Open Cluster Scheduler): qsub, qstat, qacct, qdel."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobSpec, JobStatus
from dagster_hpc.engine.schedulers import sge_text as text
from dagster_hpc.engine.schedulers.base import Demand, Probe, Report, Scheduler
from dagster_hpc.engine.schedulers.sge_probes import sge_probes
from dagster_hpc.engine.schedulers.sge_words import capacity, refusal_advice, transient
from dagster_hpc.engine.units import format_walltime

ACCOUNTING_TIMEOUT_S = 180.0  # qacct reads through all of a file that can hold years
_UNQUOTABLE = "$:,#\"'"  # a variable, a host, a second path, a comment; quotes know no escape
_SPOKEN_ID = re.compile(r"Your job(?:-array)? (\d+)", re.ASCII)
_TERSE_ID = re.compile(r"(\d+)(?:\.\d+-\d+:\d+)?", re.ASCII)


@dataclass(frozen=True)
class SGE(Scheduler):
    """Grid Engine 6.2 and later. Only the site knows how its parallel environments and resources are called."""

    kind: ClassVar[str] = "sge"
    suffix: ClassVar[str] = ".sge"
    template: ClassVar[str] = "sge.sh.j2"
    job_id_variable: ClassVar[str] = "JOB_ID"
    index_variable: ClassVar[str] = "SGE_TASK_ID"
    first_index: ClassVar[int] = 1
    forgets_deleted: ClassVar[bool] = True
    lacks: ClassVar[Mapping[str, str]] = {
        "afterok": "Grid Engine starts a job after another's end, however that was: it has no afterok, only afterany",
        "afternotok": "Grid Engine starts a job after another's end, however that was: it has no afternotok",
        "qos": "Grid Engine has no quality of service; a project or a queue may stand for it",
        "srun": "Grid Engine has no srun: choose launcher mpirun or mpiexec",
    }

    user: str = ""  # whose jobs qstat and qacct list; empty: whose they list by default
    parallel_environment: str = ""  # for several slots on one node
    multi_node_environment: str = ""  # for several nodes; {cores} in it stands for the slots on each
    memory_resource: str = "h_vmem"  # per slot; several by commas
    gpu_resource: str = ""
    gpus_per_slot: bool = False  # whether the resource is counted for every slot, not once for the job
    exclusive_resource: str = ""
    verify: bool = False
    history_days: int = 30

    # -- what the script says

    def unsupported(self, spec: JobSpec) -> list[str]:
        faults = super().unsupported(spec)
        missing = {
            "parallel_environment": spec.nodes == 1 and spec.cores_per_node > 1,
            "multi_node_environment": spec.nodes > 1,
            "memory_resource": spec.memory_per_node_mib,
            "gpu_resource": spec.gpus_per_node,
            "exclusive_resource": spec.exclusive,
        }
        faults += [
            f"this request needs {field} of the SGETarget: only the site knows what that is called"
            for field, needed in missing.items()
            if needed and not getattr(self, field)
        ]
        if spec.gpus_per_node and self.gpus_per_slot and spec.gpus_per_node % spec.cores_per_node:
            faults.append(f"{spec.gpus_per_node} GPUs cannot be divided among {spec.cores_per_node} slots of a node")
        if spec.gpus_per_node and not self.gpus_per_slot and spec.nodes > 1:
            faults.append("Grid Engine counts GPUs that are asked for per job on the first node only: ask for one node")
        if spec.signal_name not in (None, "USR1"):
            faults.append(f"Grid Engine warns with the signal USR1 only, not {spec.signal_name}")
        if spec.signal_before_s and spec.signal_before_s >= spec.walltime_s:
            faults.append("signal_before_end is longer than the walltime")
        faults += [
            f"Grid Engine cannot wait for {dependency.job_id}, only for a whole job"
            for dependency in spec.dependencies
            if not dependency.job_id.isdigit()
        ]
        texts = [
            spec.executable,
            *spec.args,
            *spec.pre_commands,
            *spec.launcher_options,
            *dict(spec.environment).values(),
        ]
        if any(line.startswith("#$") for text in texts for line in text.splitlines()[1:] or [text]):
            faults.append("a line that begins with #$ would be read as a directive wherever it stands: indent it")
        return faults

    def resources(self, spec: JobSpec) -> str:
        """What `-l` asks for."""
        asked = {"h_rt": format_walltime(spec.walltime_s)}
        if spec.signal_before_s:
            asked["s_rt"] = format_walltime(spec.walltime_s - spec.signal_before_s)
        if spec.memory_per_node_mib:
            per_slot = -(-spec.memory_per_node_mib // spec.cores_per_node)
            asked |= {name.strip(): f"{per_slot}M" for name in self.memory_resource.split(",")}
        if spec.gpus_per_node:
            share = spec.gpus_per_node // spec.cores_per_node if self.gpus_per_slot else spec.gpus_per_node
            asked[self.gpu_resource] = str(share)
        if spec.exclusive:
            asked[self.exclusive_resource] = "true"
        return ",".join(f"{name}={value}" for name, value in asked.items())

    def environment_of(self, spec: JobSpec) -> str:
        """The parallel environment and its slots; empty for a job of one slot."""
        slots = spec.nodes * spec.cores_per_node
        across = self.multi_node_environment.replace("{cores}", str(spec.cores_per_node))
        return f"{across if spec.nodes > 1 else self.parallel_environment} {slots}" if slots > 1 else ""

    def log_path(self, spec: JobSpec, directory: str) -> str:
        bad = [character for character in _UNQUOTABLE if character in directory]
        if bad:
            raise ConfigurationError(f"{directory!r} contains {bad[0]}, with which Grid Engine cannot open its log")
        return f"{directory}/scheduler.$TASK_ID.log" if spec.is_array else f"{directory}/scheduler.log"

    def log_of(self, work_dir: str, index: int | None) -> str:
        # Elements count from 1 there and from 0 here, so that the log cannot lie in the element's own folder.
        if index is None:
            return super().log_of(work_dir, index)
        return f"{posixpath.dirname(work_dir)}/scheduler.{index + self.first_index}.log"

    def word(self, value: str) -> str:
        """A word in a directive. Quotes keep blanks together, and nothing in them can be escaped."""
        if any(character in value for character in "#\"'"):
            raise ConfigurationError(f"{value!r} has a quote or #, which no directive of Grid Engine can hold")
        return f'"{value}"' if any(character.isspace() for character in value) else value

    # -- submit

    def submit(self, script: str) -> Call:
        verify = ("-w", "e") if self.verify else ()
        return Call(("qsub", "-terse", *verify, script))

    def read_submit(self, answer: Answer) -> str:
        lines = [line.strip() for line in reversed(answer.stdout.splitlines())] if answer.code == 0 else []
        for line in lines:
            match = _TERSE_ID.fullmatch(line) or _SPOKEN_ID.search(line)
            if match:
                return match[1]
        if answer.code in (None, 0) or transient(answer.words):
            raise SchedulerUnavailable(f"qsub left it open whether the job was taken: {answer.words}")
        if capacity(answer.words):
            raise CapacityReached(f"Grid Engine takes no more jobs now: {answer.words}")
        raise SubmitRefused(f"Grid Engine refused the job: {answer.words}", advice=refusal_advice(answer.words))

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        # The list takes no ids: it is of all jobs of the user. -r adds what a held job waits for.
        return Call(("qstat", *self._mine("-u"), "-s", "a", "-r", "-xml"))

    def read_queue(self, answer: Answer) -> Report:
        if "-j" in answer.argv:
            return Report(jobs=dict(text.error_reasons(answer.stdout)))
        root = text.document(answer)
        if answer.code != 0 or root is None or root.tag != "job_info":
            return Report(failed=text.complaint(answer, root))
        jobs: dict[str, JobStatus] = {}
        for row in root.iter("job_list"):
            job_id, status = row.findtext("JB_job_number", ""), text.queue_status(row)
            if job_id.isascii() and job_id.isdigit():
                jobs.update(dict.fromkeys(text.expanded(job_id, row.findtext("tasks")), status))
        broken = {self.array_id(job_id): None for job_id, status in jobs.items() if status.stuck}
        return Report(jobs=jobs, reasons=Call(("qstat", "-j", ",".join(broken))) if broken else None)

    def history(self, ids: Sequence[str]) -> Call:
        # Either way qacct reads the whole file, and it takes one id at most.
        which = (ids[0],) if len(ids) == 1 else ()
        recent = () if which else (*self._mine("-o"), "-d", str(self.history_days))
        return Call(("qacct", *recent, "-j", *which), ACCOUNTING_TIMEOUT_S)

    def read_history(self, answer: Answer) -> Report:
        if "unable to open" in answer.words:
            return Report(disabled=True)
        nothing = "not found" in answer.words or "no jobs running since startup" in answer.stdout
        if answer.code != 0 and not nothing:
            return Report(failed=answer.words)
        # A job has a record for each time that it was sent back to the queue: the last one counts.
        return Report(
            jobs={text.recorded_id(record): text.history_status(record) for record in text.records(answer.stdout)}
        )

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [Call(("qstat", "-xml", "-j", job_name)), Call(("qacct", "-j", job_name), ACCOUNTING_TIMEOUT_S)]

    def read_found(self, answer: Answer) -> list[str]:
        if answer.argv[0] == "qacct":
            report = self.read_history(answer)
            if report.failed:
                raise SchedulerUnavailable(f"the accounting could not be asked for the job: {report.failed}")
            return list(dict.fromkeys(self.array_id(job_id) for job_id in report.jobs))
        root = text.document(answer)
        if root is None or root.tag not in ("detailed_job_info", "unknown_jobs"):
            raise SchedulerUnavailable(f"Grid Engine could not be asked for the job: {text.complaint(answer, root)}")
        ids = [element.text or "" for element in root.iterfind("djob_info/element/JB_job_number")]
        return list(dict.fromkeys(job_id for job_id in ids if job_id.isascii() and job_id.isdigit()))

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("qdel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        if answer.code is None or transient(answer.stdout + answer.stderr):
            raise SchedulerUnavailable(f"Grid Engine did not take the cancellation: {answer.words}")
        refused = [line for line in answer.stdout.splitlines() if "privileges" in line or "permission" in line]
        silent = answer.code != 0 and "does not exist" not in answer.stdout
        if refused or silent:
            words = "\n".join(refused) or answer.words
            raise SchedulerUnavailable(f"Grid Engine did not take the cancellation: {words}")

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}.{index + self.first_index}"

    def array_id(self, element_id: str) -> str:
        return element_id.partition(".")[0]

    def probes(self, demands: Sequence[Demand], user: str) -> list[Probe]:
        environments = [name for name in (self.parallel_environment, self.multi_node_environment) if name]
        resources = [*self.memory_resource.split(","), self.gpu_resource, self.exclusive_resource]
        named = [name.strip() for name in resources if name.strip()]
        fixed = [name for name in environments if "{cores}" not in name]
        return sge_probes(self.queue(()), self.history(()), demands, fixed, named)

    def _mine(self, option: str) -> tuple[str, ...]:
        return (option, self.user) if self.user else ()
