"""IBM Spectrum LSF: what bsub, bjobs and bkill are asked."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.base import Outlook, Report, Room, Scheduler
from dagster_hpc.engine.schedulers.lsf import outlook, replies

# Where too many of a user's jobs wait, bsub tries again every minute for ever, and the job would be neither taken nor
# refused: it is to try once.
_ONCE = {"LSB_NTRIES": "1"}
SUBMIT_TIMEOUT_S = 150.0  # bsub itself waits and tries again when the batch daemon is away


@dataclass(frozen=True)
class LSF(Scheduler):
    """LSF 9.1 and later. Its dialects: `plain` is asked without -json, which came later than `-o`, and `few` without the
    fields that came later still.

    bjobs shows finished jobs too, for the site's CLEAN_PERIOD (an hour by default); later the job's own files speak.
    """

    kind: ClassVar[str] = "lsf"
    suffix: ClassVar[str] = ".lsf"
    template: ClassVar[str] = "lsf.sh.j2"
    job_id_variable: ClassVar[str] = "LSB_JOBID"
    index_variable: ClassVar[str] = "LSB_JOBINDEX"
    first_index: ClassVar[int] = 1
    ids_per_call: ClassVar[int] = 200
    lacks: ClassVar[Mapping[str, str]] = {"srun": "launcher srun belongs to Slurm: choose mpirun or mpiexec"}

    plain: bool = False
    few: bool = False

    # -- which cluster it is

    def identify(self) -> Call:
        return Call(("lsid",))

    def read_identity(self, answer: Answer) -> str:
        return replies.cluster_name(answer)

    # -- what the script says

    def minutes(self, spans_s: int) -> int:
        """LSF counts in minutes: never less than what was asked for."""
        return -(-spans_s // 60)

    def array(self, spec: JobSpec) -> str:
        """`[1-10]%4`, a part of the name."""
        limit = f"%{spec.element_limit}" if spec.element_limit else ""
        return f"[1-{len(spec.elements)}]{limit}" if spec.is_array else ""

    def memory(self, spec: JobSpec) -> tuple[int, int]:
        """What to reserve, per host or per slot as the site counts, and the limit, per process or per job; in MiB."""
        per_node = spec.memory_per_node_mib or 0
        reserve = -(-per_node // spec.ranks_per_node) if spec.option("memory_per_slot") else per_node
        return reserve, per_node * spec.nodes if spec.option("memory_limit_per_job") else per_node

    def dependency(self, spec: JobSpec) -> str:
        words = {"afterok": "done", "afterany": "ended", "afternotok": "exit"}
        return " && ".join(f"{words[each.kind]}({each.job_id})" for each in spec.dependencies)

    def quoted(self, text: str) -> str:
        """A value in double quotes, in which nothing can be escaped."""
        if bad := [character for character in '"\\\n\r\0' if character in text]:
            raise ConfigurationError(f"{text!r} contains {bad[0]!r}, which no directive of LSF can hold")
        return f'"{text}"'

    def elsewhere(self, spec: JobSpec) -> str:
        """The hosts on which it shall not run, as a condition of `select`."""
        return " && ".join(f"hname!='{node}'" for node in spec.exclude_nodes)

    def log_path(self, spec: JobSpec, directory: str) -> str:
        if "%J" in directory or "%I" in directory:
            raise ConfigurationError(f"{directory!r} contains %J or %I, which LSF replaces in the path of its log")
        return f"{directory}/.job/scheduler{'.%I' if spec.is_array else ''}.log"

    def log_of(self, work_dir: str, index: int | None) -> str:
        if index is None:
            return f"{work_dir}/.job/scheduler.log"
        return f"{posixpath.dirname(work_dir)}/.job/scheduler.{index + self.first_index}.log"

    # -- submit

    def submit(self, script: str) -> Call:
        # As an argument the script would be run as a command, and its directives be comments.
        return Call(("bsub",), SUBMIT_TIMEOUT_S, _ONCE, stdin=script)

    def read_submit(self, answer: Answer) -> str:
        return replies.submitted(answer)

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        if fields := self._fields():
            return Call(("bjobs", "-a", "-noheader", "-o", f"{' '.join(fields)} delimiter='|'", *ids))
        return Call(("bjobs", "-a", "-o", " ".join(replies.MORE_FIELDS), "-json", *ids))

    def read_queue(self, answer: Answer) -> Report:
        plainer = replace(self, plain=True, few=self.plain)
        if plainer != self and replies.refuses_question(answer):
            return Report(instead=plainer)
        report = replies.queue_report(answer, self._fields())
        is_json = not self.plain
        return Report(instead=plainer) if is_json and replies.is_incomplete(report, answer) else report

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return [Call(("bparams", "-a")), Call(("busers", "-w", user))]

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return replies.room(*answers) if len(answers) == len(self.room("", "", "")) else Room()

    def _fields(self) -> Sequence[str]:
        """What each line of an answer holds; nothing where it is a JSON document."""
        return (replies.FEW_FIELDS if self.few else replies.FIELDS) if self.plain else ()

    # -- outlook

    def outlook(self, job_id: str) -> Call:
        return Call(("bjobs", "-l", job_id))

    def read_outlook(self, answer: Answer) -> Outlook:
        return outlook.read(answer)

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [Call(("bjobs", "-a", "-noheader", "-o", "jobid job_name delimiter='|'", "-J", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("bkill", *ids))

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}[{index + self.first_index}]"

    def own_id(self, spec: JobSpec) -> str:
        return "${LSB_JOBID}[${LSB_JOBINDEX}]" if spec.is_array else super().own_id(spec)

    def array_id(self, element_id: str) -> str:
        return replies.array_of(element_id)
