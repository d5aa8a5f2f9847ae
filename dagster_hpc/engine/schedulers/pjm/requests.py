"""PJM: what pjsub, pjstat and pjdel are asked."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobMetrics, JobSpec
from dagster_hpc.engine.jobdir import directory_of_script
from dagster_hpc.engine.schedulers.base import Outlook, Report, Room, Scheduler
from dagster_hpc.engine.schedulers.pjm import limits, outlook, records, replies
from dagster_hpc.engine.schedulers.pjm.tables import lacks_codes
from dagster_hpc.engine.schedulers.pjm.words import knows_no_option
from dagster_hpc.engine.units import format_walltime, parse_walltime

SUBMIT_TIMEOUT_S = 150.0
_RESOURCE = "pjm_resources"
_MPI = "mpi_options_for_pjm"
_CHOSEN = ("--data", "--choose=jid,jnam,st,ec,pc,sn,ermsg")  # its delimiter is read from the head of the answer
_RECORD = "-s"  # all that PJM knows of a job, in lines of `KEY : value`


@dataclass(frozen=True)
class PJM(Scheduler):
    """PJM as on Fugaku, Wisteria-O, Flow and Genkai, with two habits that an answer can show.

    `plain`: it knows no --choose and --data, and is asked with -v for its columns for people.
    `by_record`: `pjstat -H` is empty, as reported of an account on Fugaku; jobs that have ended are asked for by -s.

    The id is read from the sentence that every pjsub prints: not every one knows `-z jid`, which prints the bare id.
    No question filters by resource group: the system moves waiting jobs from one to another.
    """

    kind: ClassVar[str] = "pjm"
    suffix: ClassVar[str] = ".pjm"
    template: ClassVar[str] = "pjm.sh.j2"
    job_id_variable: ClassVar[str] = "PJM_JOBID"
    index_variable: ClassVar[str] = "PJM_BULKNUM"
    name_limit: ClassVar[int] = 63
    ids_per_call: ClassVar[int] = 200
    history_ids_per_call: ClassVar[int] = 200
    lacks: ClassVar[Mapping[str, str]] = {
        "array limit": "PJM cannot limit how many elements of a bulk job run at once: leave the limit away",
        "dependencies": "PJM knows dependencies only between the steps of one step job, not between jobs: "
        "wait for the first job, then submit the next",
        "gpus": "PJM has no option for GPUs that all sites share: name your site's in pjm_resources, as in 'gpu=4'",
        "qos": "PJM has no quality of service: choose a resource group (queue_cpu / queue_gpu)",
        "reservation": "PJM reserves nodes as resource groups: name it in queue_cpu / queue_gpu",
        "signal": "PJM sends no signal ahead of the elapse limit: at the limit SIGXCPU, ten seconds later SIGKILL",
        "srun": "launcher srun belongs to Slurm: choose mpiexec or mpirun",
    }

    plain: bool = False
    by_record: bool = False

    # -- what the script says

    def unsupported(self, spec: JobSpec) -> list[str]:
        """Options of the target that say otherwise than the profile are no addition to it."""
        faults = super().unsupported(spec)
        own = {"rscgrp": "queue_cpu / queue_gpu", "elapse": "walltime", "node-mem": "memory_per_node"}
        for key, value in _items(spec, _RESOURCE):
            if key == "elapse" and _is_range(value, spec.walltime_s):
                continue
            if key in own and (key != "node-mem" or spec.memory_per_node_mib):
                faults.append(f"pjm_resources contains {key}={value}, which is for {own[key]} to say")
            if key == "node" and _product(value) != spec.nodes:
                faults.append(f"pjm_resources asks for node={value}, and the profile for num_nodes={spec.nodes}")
        sizes = {"proc": spec.ranks, "max-proc-per-node": spec.ranks_per_node}
        for key, value in _items(spec, _MPI):
            if key in sizes and value != str(sizes[key]):
                asked = f"num_nodes={spec.nodes} * mpiprocs={spec.ranks_per_node}"
                faults.append(f"mpi_options_for_pjm asks for {key}={value}, and the profile for {asked}")
        return faults

    def resources(self, spec: JobSpec) -> list[str]:
        """Every item for -L: ours, and then the target's. A shape of nodes, a range of times, replaces what we say."""
        given = {key for key, _ in _items(spec, _RESOURCE)}
        own = [f"rscgrp={spec.queue}"] if spec.queue else []
        own += [] if given & {"node", "vnode"} else [f"node={spec.nodes}"]
        own += [f"node-mem={spec.memory_per_node_mib}Mi"] if spec.memory_per_node_mib else []
        own += [] if "elapse" in given else [f"elapse={format_walltime(spec.walltime_s)}"]
        return own + list(spec.option_list(_RESOURCE))

    def mpi_options(self, spec: JobSpec) -> list[str]:
        """Every item for --mpi: the ranks, and then the target's."""
        given = {key for key, _ in _items(spec, _MPI)}
        own = {"proc": spec.ranks, "max-proc-per-node": spec.ranks_per_node}
        return [f"{key}={size}" for key, size in own.items() if key not in given] + list(spec.option_list(_MPI))

    def mail_letters(self, spec: JobSpec) -> str:
        """PJM writes of an end, however it was."""
        at_end = bool({"end", "fail"} & set(spec.mail_on))
        return ",".join(letter for letter, is_asked in (("b", "begin" in spec.mail_on), ("e", at_end)) if is_asked)

    def quoted(self, text: str) -> str:
        """A value in double quotes, in which nothing can be escaped."""
        if bad := [character for character in '"\\\n\r\0' if character in text]:
            raise ConfigurationError(f"{text!r} contains {bad[0]!r}, which no directive of PJM can hold")
        return f'"{text}"'

    def file(self, spec: JobSpec, directory: str, suffix: str) -> str:
        """A file that PJM itself writes beside the job's own notes."""
        if "%" in directory:
            raise ConfigurationError(f"{directory!r} contains '%', which is a pattern to PJM in the path of its log")
        return f"{directory}/.job/scheduler{'.%b' if spec.is_array else ''}.{suffix}"

    def log_path(self, spec: JobSpec, directory: str) -> str:
        return self.file(spec, directory, "log")

    def log_of(self, work_dir: str, index: int | None) -> str:
        return _file_of(work_dir, index, "log")

    def rank_outputs(self, job_id: str, stream: str) -> str:
        """Fujitsu's mpiexec takes it off the job's own: `output.101/0/1/stdout.1.47` is of rank 47."""
        return f"output.{self.array_id(job_id)}*/**/{stream}.*"

    def statistics_of(self, work_dir: str, index: int | None) -> str:
        return _file_of(work_dir, index, "stats")

    def read_statistics(self, text: str) -> JobMetrics:
        return records.read_statistics(text)

    # -- submit

    def submit(self, script: str) -> Call:
        # A job starts where pjsub ran, and does not start at all if its nodes do not see that folder.
        return Call(("pjsub", script), SUBMIT_TIMEOUT_S, directory=directory_of_script(script) or None)

    def read_submit(self, answer: Answer) -> str:
        return replies.submitted(answer)

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        if self.plain:  # without ids: all of the user's, and none that it could complain of
            return Call(("pjstat", "-v", "-E"))
        return Call(("pjstat", "-E", *_CHOSEN, *ids))

    def read_queue(self, answer: Answer) -> Report:
        report = replies.report(answer)
        # Where an option of ours is complained of, or ignored, this version is asked for its columns instead.
        complains = bool(report.failed) and not answer.timed_out and knows_no_option(answer.words)
        if not self.plain and _RECORD not in answer.argv and (complains or lacks_codes(answer.stdout)):
            return Report(instead=replace(self, plain=True))
        # Why a job is in the error state, or can never start, stands in its own record, if anywhere.
        stuck = [job_id for job_id, status in report.jobs.items() if status.stuck][: self.ids_per_call]
        return replace(report, reasons=_record(stuck)) if stuck and _RECORD not in answer.argv else report

    def history(self, ids: Sequence[str]) -> Call:
        if self.by_record:
            return _record(ids)
        if self.plain:
            return Call(("pjstat", "-H", "-v", "-E"))
        return Call(("pjstat", "-H", "-E", *_CHOSEN, *ids))

    def read_history(self, answer: Answer) -> Report:
        return self.read_queue(answer)

    def look_for(self, job_id: str) -> Call:
        return _record([job_id])

    def read_look_for(self, answer: Answer) -> Report:
        """A job that has ended and is found only here was left out of `pjstat -H`, which is asked no more."""
        report = replies.report(answer)
        ended = any(status.state.is_final for status in report.jobs.values())
        return replace(report, instead=replace(self, by_record=True)) if ended and not self.by_record else report

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return [
            Call(("pjstat", "--limit", *(("--group", project) if project else ()))),
            Call(("pjacl", *(("--rg", queue) if queue else ()))),
        ]

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return limits.room(answers)

    # -- outlook

    def outlook(self, job_id: str) -> Call:
        return _record([job_id])

    def read_outlook(self, answer: Answer) -> Outlook:
        return outlook.read(answer)

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        named = ("-E", *_CHOSEN, "--filter", f"jnam={job_name}")
        return [Call(("pjstat", *named)), Call(("pjstat", "-H", *named))]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("pjdel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}[{index}]"

    def own_id(self, spec: JobSpec) -> str:
        return "${PJM_JOBID}[${PJM_BULKNUM}]" if spec.is_array else super().own_id(spec)

    def array_id(self, element_id: str) -> str:
        return element_id.partition("[")[0]


@dataclass(frozen=True)
class PJMWithoutBulk(PJM):
    """PJM at a site that permits no bulk jobs, as Wisteria: a user sees that before anything is submitted."""

    kind: ClassVar[str] = "pjm-without-bulk"
    dialect_of: ClassVar[str] = "pjm"
    lacks: ClassVar[Mapping[str, str]] = {
        **PJM.lacks,
        "array": "this site permits no bulk jobs (bulk_jobs=False of the target), so elements run as single jobs",
    }


def _items(spec: JobSpec, option: str) -> list[tuple[str, str]]:
    """`["freq=2000,eco_state=2"]` → freq and eco_state; a word without a value has an empty one."""
    parts = (part.strip().partition("=") for text in spec.option_list(option) for part in text.split(","))
    return [(key.strip(), value.strip()) for key, _, value in parts]


def _record(ids: Sequence[str]) -> Call:
    return Call(("pjstat", _RECORD, "-E", *ids))


def _is_range(elapse: str, walltime_s: int) -> bool:
    """`00:30:00-02:00:00` for a walltime of two hours: after the first, the system may end the job for another."""
    try:
        least, most = (parse_walltime(time) for time in elapse.split("-"))
    except ValueError:
        return False
    return least <= most == walltime_s


def _product(shape: str) -> int:
    """`2x3x2:torus` are 12 nodes; what is no shape is none."""
    sides = shape.partition(":")[0].split("x")
    if not all(re.fullmatch(r"\d{1,6}", side, re.ASCII) for side in sides):
        return 0
    number = 1
    for side in sides:
        number *= int(side)
    return number


def _file_of(work_dir: str, index: int | None, suffix: str) -> str:
    if index is None:
        return f"{work_dir}/.job/scheduler.{suffix}"
    return f"{posixpath.dirname(work_dir)}/.job/scheduler.{index}.{suffix}"
