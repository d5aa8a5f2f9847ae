"""Grid Engine: what qsub, qstat, qacct and qdel are asked."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Outlook, Report, Room, Scheduler
from dagster_hpc.engine.schedulers.sge import outlook, replies
from dagster_hpc.engine.units import format_walltime

ACCOUNTING_TIMEOUT_S = 180.0  # qacct reads through all of a file that can hold years
# Several cells may have their master on one host. The name of the cell is in the environment only.
_WHICH = 'master=$(qconf -sss) && echo "master $master" && echo "cell ${SGE_CELL:-default}"'
_UNQUOTABLE = "$:,#\"'"  # a variable, a host, a second path, a comment; quotes know no escape


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

    # -- which cluster it is

    def identify(self) -> Call:
        return Call(("sh", "-c", _WHICH))

    def read_identity(self, answer: Answer) -> str:
        return replies.cell_name(answer)

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
        if spec.exclude_nodes:
            asked["h"] = f"!({'|'.join(spec.exclude_nodes)})"
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
        return replies.submitted(answer)

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        # The list takes no ids: it is of all jobs of the user. -r adds what a held job waits for.
        return Call(("qstat", *self._mine("-u"), "-s", "a", "-r", "-xml"))

    def read_queue(self, answer: Answer) -> Report:
        if "-j" in answer.argv:
            return replies.reasons_report(answer)
        report = replies.queue_report(answer)
        broken = {self.array_id(job_id): None for job_id, status in report.jobs.items() if status.stuck}
        return replace(report, reasons=Call(("qstat", "-j", ",".join(broken)))) if broken else report

    def look_for(self, job_id: str) -> Call:
        if job_id == self.array_id(job_id):
            return Call(("qstat", "-xml", "-j", job_id))  # of whatever user
        # Of an element `qstat -j` says only what it says of its array; the list takes no ids, so that it is named before.
        return Call(("sh", "-c", 'exec "$@"', job_id, *self.queue(()).argv))

    def read_look_for(self, answer: Answer) -> Report:
        return replies.known_report(answer) if "-j" in answer.argv else replies.element_report(answer)

    def history(self, ids: Sequence[str]) -> Call:
        # Either way qacct reads the whole file, and it takes one id at most. Days count from a job's start: one that never
        # started, or lost its node, or started before, is shown only to who asks for it alone.
        if len(ids) == 1:
            array, _, element = ids[0].partition(".")
            return Call(("qacct", "-j", array, *(("-t", element) if element else ())), ACCOUNTING_TIMEOUT_S)
        return Call(("qacct", *self._mine("-o"), "-d", str(self.history_days), "-j"), ACCOUNTING_TIMEOUT_S)

    def read_history(self, answer: Answer) -> Report:
        return replies.history_report(answer)

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return [Call(("qconf", "-sconf")), self.queue(())]

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return replies.room(*answers) if len(answers) == len(self.room("", "", "")) else Room()

    # -- outlook

    def outlook(self, job_id: str) -> Call:
        return Call(("qstat", "-j", self.array_id(job_id)))

    def read_outlook(self, answer: Answer) -> Outlook:
        return outlook.read(answer)

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [Call(("qstat", "-xml", "-j", job_name)), Call(("qacct", "-j", job_name), ACCOUNTING_TIMEOUT_S)]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found_in_accounting(answer) if answer.argv[0] == "qacct" else replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("qdel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}.{index + self.first_index}"

    def own_id(self, spec: JobSpec) -> str:
        return "${JOB_ID}.${SGE_TASK_ID}" if spec.is_array else super().own_id(spec)

    def array_id(self, element_id: str) -> str:
        return replies.array_of(element_id)

    def _mine(self, option: str) -> tuple[str, ...]:
        return (option, self.user) if self.user else ()
