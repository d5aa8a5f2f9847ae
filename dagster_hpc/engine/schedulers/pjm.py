"""PJM, the job operation software of Fujitsu's Technical Computing Suite: pjsub, pjstat, pjdel."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobState, JobStatus, signal_name
from dagster_hpc.engine.jobdir import directory_of_script
from dagster_hpc.engine.schedulers.base import Demand, Probe, Report, Scheduler
from dagster_hpc.engine.schedulers.pjm_probes import pjm_probes
from dagster_hpc.engine.schedulers.pjm_text import DELIMITER, JOB_ID, read_statistics, table
from dagster_hpc.engine.schedulers.pjm_words import (
    CODES,
    ENDED,
    STATE_BY_WORD,
    capacity,
    code_words,
    is_error,
    knows_no_option,
    lost,
    not_there,
    refusal_advice,
)

SUBMIT_TIMEOUT_S = 150.0
_SUBMITTED = re.compile(r"\bJob (\d{1,18}(?:_\d{1,9})?)(?:\[[\d-]{1,20}\])? submitted", re.ASCII)
_RESOURCE = "pjm_resources"
_MPI = "mpi_options_for_pjm"


@dataclass(frozen=True)
class PJM(Scheduler):
    """PJM as on Fugaku, Wisteria-O, Flow and Genkai. `plain` is asked through its columns for people.

    The id is read from the sentence that every pjsub prints: not every one knows `-z jid`, which prints the bare id.
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

    # -- what the script says

    def unsupported(self, spec: JobSpec) -> list[str]:
        """Options of the target that say otherwise than the profile are no addition to it."""
        faults = super().unsupported(spec)
        own = {"rscgrp": "queue_cpu / queue_gpu", "elapse": "walltime", "node-mem": "memory_per_node"}
        for key, value in _items(spec, _RESOURCE):
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
        """Every item for -L: ours, and then the target's. A shape of nodes replaces their number."""
        given = {key for key, _ in _items(spec, _RESOURCE)}
        own = [f"rscgrp={spec.queue}"] if spec.queue else []
        own += [] if given & {"node", "vnode"} else [f"node={spec.nodes}"]
        own += [f"node-mem={spec.memory_per_node_mib}Mi"] if spec.memory_per_node_mib else []
        return own + list(spec.option_list(_RESOURCE))

    def mpi_options(self, spec: JobSpec) -> list[str]:
        """Every item for --mpi: the ranks, and then the target's."""
        given = {key for key, _ in _items(spec, _MPI)}
        own = {"proc": spec.ranks, "max-proc-per-node": spec.ranks_per_node}
        return [f"{key}={size}" for key, size in own.items() if key not in given] + list(spec.option_list(_MPI))

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

    def statistics_of(self, work_dir: str, index: int | None) -> str:
        return _file_of(work_dir, index, "stats")

    def read_statistics(self, text: str) -> JobMetrics:
        return read_statistics(text)

    # -- submit

    def submit(self, script: str) -> Call:
        # A job starts where pjsub ran, and does not start at all if its nodes do not see that folder.
        return Call(("pjsub", script), SUBMIT_TIMEOUT_S, directory=directory_of_script(script) or None)

    def read_submit(self, answer: Answer) -> str:
        said = f"{answer.stdout}\n{answer.stderr}"
        match = _SUBMITTED.search(said)
        if not is_error(said):
            if match:
                return match[1]
            if answer.code == 0 and re.fullmatch(r"\d{1,18}", bare := answer.stdout.strip(), re.ASCII):
                return bare
        words = "\n".join(line for line in said.splitlines() if is_error(line)) or answer.words
        unheard = answer.code is None or not 0 <= answer.code < 126
        silent = not said.strip() or (answer.code == 0 and not is_error(said) and "data area" not in said)
        if match or unheard or silent or lost(words):
            raise SchedulerUnavailable(f"pjsub left it open whether the job was taken: {words}")
        if capacity(words):
            raise CapacityReached(f"PJM takes no more jobs of this user now: {words}")
        raise SubmitRefused(f"PJM refused the job: {words}", advice=refusal_advice(words))

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        return self._pjstat("jid", ids)

    def read_queue(self, answer: Answer) -> Report:
        # A complaint about an option is about ours: this version is asked for its columns instead.
        if not self.plain and not answer.timed_out and knows_no_option(answer.words):
            return Report(instead=replace(self, plain=True))
        rows = table(answer.stdout, delimited=not self.plain)
        trouble = _trouble(answer, has_table=rows is not None)
        statuses = {row["JOB_ID"]: _status(row, trust_name=not self.plain) for row in rows or ()}
        known = {job_id: status for job_id, status in statuses.items() if status and JOB_ID.fullmatch(job_id)}
        return Report(jobs=known, failed=trouble)

    def history(self, ids: Sequence[str]) -> Call:
        return self._pjstat("jid", ids, "-H")

    def read_history(self, answer: Answer) -> Report:
        return self.read_queue(answer)

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [self._pjstat("jnam", [job_name]), self._pjstat("jnam", [job_name], "-H")]

    def read_found(self, answer: Answer) -> list[str]:
        rows = table(answer.stdout, delimited=True)
        if trouble := _trouble(answer, has_table=rows is not None):
            raise SchedulerUnavailable(f"PJM could not be asked for the job: {trouble}")
        name = answer.argv[-1].removeprefix("jnam=")
        mine = (row["JOB_ID"].partition("[")[0] for row in rows or () if row.get("JOB_NAME") == name)
        return list(dict.fromkeys(job_id for job_id in mine if JOB_ID.fullmatch(job_id)))

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("pjdel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        said = f"{answer.stdout}\n{answer.stderr}"
        over = not_there(said) or "Invalid jobid" in said
        if (answer.code != 0 or is_error(said)) and not (over and not answer.timed_out):
            raise SchedulerUnavailable(f"pjdel did not go through: {answer.words}")

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}[{index}]"

    def array_id(self, element_id: str) -> str:
        return element_id.partition("[")[0]

    def probes(self, demands: Sequence[Demand], user: str) -> list[Probe]:
        return pjm_probes(self.queue, self.read_queue, demands)

    def _pjstat(self, key: str, values: Sequence[str], *options: str) -> Call:
        if self.plain:  # without ids: all of the user's, and none that it could complain of
            return Call(("pjstat", *options, "-v", "-E"))
        chosen = ("--choose", "jid,jnam,st,ec,pc,sn,ermsg", "--data", "--delimiter", DELIMITER)
        return Call(("pjstat", *options, "-v", "-E", *chosen, "--filter", f"{key}={'+'.join(values)}"))


@dataclass(frozen=True)
class PJMWithoutBulk(PJM):
    """PJM at a site that permits no bulk jobs, as Wisteria: a user sees that before anything is submitted."""

    kind: ClassVar[str] = "pjm-without-bulk"
    lacks: ClassVar[Mapping[str, str]] = {
        **PJM.lacks,
        "array": "this site permits no bulk jobs (bulk_jobs=False of the target), so elements run as single jobs",
    }


def _items(spec: JobSpec, option: str) -> list[tuple[str, str]]:
    """`["freq=2000,eco_state=2"]` → freq and eco_state; a word without a value has an empty one."""
    parts = (part.strip().partition("=") for text in spec.option_list(option) for part in text.split(","))
    return [(key.strip(), value.strip()) for key, _, value in parts]


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


def _trouble(answer: Answer, *, has_table: bool) -> str:
    """Why an absence from this answer proves nothing; '' where it does. The exit code alone says little."""
    said = f"{answer.stdout}\n{answer.stderr}"
    if answer.timed_out or is_error(said) or knows_no_option(answer.words):
        return answer.words if answer.timed_out or not is_error(said) else said.strip()
    if has_table or not_there(said) or re.search(r"\bjobs? found\.", said):
        return ""
    silent = not said.strip() if answer.code else not answer.stdout.strip()
    return "" if silent and 0 <= (answer.code or 0) < 126 else answer.words


def _status(row: Mapping[str, str], *, trust_name: bool) -> JobStatus | None:
    """What a row says; None for a job that has ended, where the row does not say how."""
    word = row.get("ST", "")
    name = row.get("JOB_NAME", "") if trust_name else ""  # columns may cut it
    said = row.get("REASON", "").strip().strip("-")
    code = _number(row.get("PC", ""))
    if word == ENDED:
        ended = _ended(code, _number(row.get("EC", "")), _number(row.get("SN", "")))
        return replace(ended, job_name=name) if ended else None
    state = STATE_BY_WORD.get(word, JobState.UNKNOWN)
    why = code_words(code) if code else ""
    if state is JobState.UNKNOWN:
        why = f"is in state {word!r}, which is not known here"
    elif word == "RJT":
        why = f"rejected after it had been accepted{f': {why}' if why else ''} (RJT)"
    elif word == "ERR":
        why = f"is in PJM's error state, which it does not leave by itself (ERR{f', PJM code {code}' if code else ''})"
    elif word == "HLD":
        why = "is held; `pjrls` lets it go (HLD)"
    reason = f"{why}: {said}" if why and said else why or said
    return JobStatus(state, reason, job_name=name, stuck=word == "ERR")


def _ended(code: int | None, exit_code: int | None, number: int | None) -> JobStatus | None:
    """The PJM code first: it alone tells a limit from a failure of the program's own."""
    if code is None:
        return None
    if code:
        state, _ = CODES.get(code, (JobState.FAILED, ""))
        return JobStatus(state, code_words(code))
    if exit_code:
        return JobStatus(JobState.FAILED, exit_code=exit_code)
    if number:
        return JobStatus(JobState.FAILED, f"killed by signal {number} ({signal_name(number)})", signal=number)
    return JobStatus(JobState.COMPLETED, exit_code=0) if exit_code == 0 else None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None
