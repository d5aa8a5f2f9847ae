"""IBM Spectrum LSF: bsub, bjobs, bkill."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobSpec, JobState, JobStatus, signal_name
from dagster_hpc.engine.schedulers.base import Demand, Probe, Report, Scheduler
from dagster_hpc.engine.schedulers.lsf_probes import lsf_probes
from dagster_hpc.engine.schedulers.lsf_text import bare_name, documents, id_of, lines, metrics_of
from dagster_hpc.engine.schedulers.lsf_words import (
    EXPLAINED,
    STATE_BY_WORD,
    cannot_start,
    capacity,
    end_of,
    forgotten,
    is_held,
    is_over,
    knows_no_option,
    lost,
    nothing_found,
    refusal_advice,
)

SUBMIT_TIMEOUT_S = 150.0  # bsub itself waits and tries again when the batch daemon is away
_SUBMITTED = re.compile(r"Job <(\d{1,18})> is submitted", re.ASCII)

# What others may have written freely comes last: a separator inside it spoils nothing that a state rests on.
_FIELDS = (
    "jobid", "jobindex", "stat", "exit_code", "run_time", "cpu_used", "max_mem", "exec_host", "nexec_host",
    "submit_time", "start_time", "finish_time", "exit_reason", "pend_reason", "job_name",
)  # fmt: skip
_MORE_FIELDS = (*_FIELDS[:-1], "kill_reason", "suspend_reason", _FIELDS[-1])


@dataclass(frozen=True)
class LSF(Scheduler):
    """LSF 9.1 and later. `plain` is asked without -json, which came later than `-o`.

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
        return Call(("bsub",), SUBMIT_TIMEOUT_S, stdin=script)

    def read_submit(self, answer: Answer) -> str:
        said = f"{answer.stdout}\n{answer.stderr}"
        if match := _SUBMITTED.search(said):
            return match[1]
        unheard = answer.code is None or answer.code < 0 or not said.strip()
        if lost(said) or unheard or (answer.code == 0 and "not submitted" not in said):
            raise SchedulerUnavailable(f"bsub left it open whether the job was taken: {answer.words}")
        if capacity(said):
            raise CapacityReached(f"LSF takes no more jobs of this user now: {answer.words}")
        raise SubmitRefused(f"LSF refused the job: {answer.words}", advice=refusal_advice(said))

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        if self.plain:
            return Call(("bjobs", "-a", "-noheader", "-o", f"{' '.join(_FIELDS)} delimiter='|'", *ids))
        return Call(("bjobs", "-a", "-o", " ".join(_MORE_FIELDS), "-json", *ids))

    def read_queue(self, answer: Answer) -> Report:
        if answer.timed_out:
            return Report(failed=answer.words)
        said = f"{answer.stdout}\n{answer.stderr}"
        records = list(lines(answer.stdout, _FIELDS) if self.plain else documents(answer.stdout))
        if not records and not self.plain and answer.code != 0 and knows_no_option(said):
            return Report(instead=replace(self, plain=True))
        jobs = {job_id: _status(record) for record in records if (job_id := id_of(record))}
        # An empty list has been seen while jobs were running: only what is said of a job proves anything.
        asked = {self.array_id(word) for word in answer.argv if re.fullmatch(r"\d{1,18}(\[\d{1,9}\])?", word, re.ASCII)}
        mentioned = {self.array_id(job_id) for job_id in jobs} | forgotten(said)
        if nothing_found(said) or (asked <= mentioned and (asked or mentioned)):
            return Report(jobs=jobs)
        missing = ", ".join(sorted(asked - mentioned)) or "any job"
        return Report(jobs=jobs, failed=f"bjobs says nothing of {missing}: {answer.words[:2000]}")

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [Call(("bjobs", "-a", "-noheader", "-o", "jobid job_name delimiter='|'", "-J", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        said = f"{answer.stdout}\n{answer.stderr}"
        name = answer.argv[-1]
        rows = (line.strip().split("|", 1) for line in answer.stdout.splitlines())
        mine = (row[0] for row in rows if len(row) == 2 and bare_name(row[1]) == name)
        ids = list(dict.fromkeys(job_id for job_id in mine if re.fullmatch(r"\d{1,18}", job_id, re.ASCII)))
        absent = re.search(rf"Job <{re.escape(name)}> is not found", said) or nothing_found(said)
        if not ids and not absent and (answer.code != 0 or said.strip()):
            raise SchedulerUnavailable(f"LSF could not be asked for the job: {answer.words}")
        if not ids and not absent:
            raise SchedulerUnavailable("LSF could not be asked for the job: bjobs said nothing at all")
        return ids

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("bkill", *ids))

    def read_cancel(self, answer: Answer) -> None:
        said = [line for line in f"{answer.stdout}\n{answer.stderr}".splitlines() if line.strip()]
        refused = [line for line in said if not is_over(line) and "is being" not in line]
        if answer.timed_out or (answer.code != 0 and (refused or not said)):
            raise SchedulerUnavailable(f"bkill did not go through: {answer.words}")

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}[{index + self.first_index}]"

    def array_id(self, element_id: str) -> str:
        return element_id.partition("[")[0]

    def probes(self, demands: Sequence[Demand], user: str) -> list[Probe]:
        return lsf_probes(demands)


def _status(record: Mapping[str, str]) -> JobStatus:
    word = record["STAT"]
    state = STATE_BY_WORD.get(word, JobState.UNKNOWN)
    status = JobStatus(
        state, EXPLAINED.get(word, ""), job_name=bare_name(record.get("JOB_NAME", "")), metrics=metrics_of(record)
    )
    if state in (JobState.PENDING, JobState.HELD):
        said = record.get("PEND_REASON", "").strip(" ;-")
        never = cannot_start(said)
        state = JobState.HELD if is_held(said) else state
        return replace(status, state=state, reason=f"can never start: {said}" if never else said, stuck=never)
    if state is JobState.SUSPENDED:
        return replace(status, reason=record.get("SUSPEND_REASON", "").strip(" ;-"))
    if word == "DONE":
        return replace(status, exit_code=0, metrics=metrics_of(record, over=True))
    if word == "EXIT":
        return _ended(replace(status, metrics=metrics_of(record, over=True)), record)
    return status if word in STATE_BY_WORD else replace(status, reason=f"is in state {word!r}, which is not known here")


def _ended(status: JobStatus, record: Mapping[str, str]) -> JobStatus:
    """LSF's own word first: an exit code of 140 may be the end of the walltime, or the program's."""
    if ended := end_of(record.get("EXIT_REASON", "")):
        return replace(status, state=ended[0], reason=ended[1])
    code = int(text) if re.fullmatch(r"\d{1,3}", text := record.get("EXIT_CODE", ""), re.ASCII) else 0
    if 128 < code < 193:
        return replace(status, reason=f"killed by signal {code - 128} ({signal_name(code - 128)})", signal=code - 128)
    return replace(status, exit_code=code or None)
