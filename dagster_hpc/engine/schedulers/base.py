"""What every batch system can be asked, and in what words it answers.

A scheduler is pure. It turns a request into a `Call` (an argv to run) and an `Answer` (exit code, stdout, stderr)
into values. It never runs a command, opens a file or sleeps; a host does that. So every parser is tested from recorded
transcripts, and a new system is one folder here, one template and one folder of transcripts.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobStatus


@dataclass(frozen=True)
class Report:
    """The answer to a status query. A job that it does not show is gone only where it says so; otherwise it is in doubt."""

    jobs: Mapping[str, JobStatus] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()  # the ids of which it says that there is no such job
    whole: bool = False  # it lists all jobs of the user that there are: one that it does not show is not there
    failed: str = ""  # the query did not work: these words say why; `jobs` then proves nothing by absence
    disabled: bool = False  # this source does not exist here (accounting switched off): do not ask again
    instead: Scheduler | None = None  # this version of the system is asked in other words: ask again through this
    reasons: Call | None = None  # a further question, whose answer has better reasons for jobs that are stuck


@dataclass(frozen=True)
class Room:
    """What a system takes of this user now, as far as it tells. None: it does not say, or does not limit that."""

    jobs: int | None = None  # so many more, whoever shares the limit; an element of an array counts as one
    elements: int | None = None  # of one array, at most: no more than it takes jobs in all
    arrays_are_one: bool = False  # in the count of jobs an array is one, however many elements it has


@dataclass(frozen=True)
class Outlook:
    """What a system says of a job that waits, to somebody who wants to know more than its reason."""

    starts_at: float | None = None  # when it expects to start it, as things are now
    words: tuple[str, ...] = ()  # its own, a statement each


@dataclass(frozen=True)
class Scheduler(ABC):
    """One kind of batch system. See `slurm/` for a complete example."""

    kind: ClassVar[str]  # its name in the ledger and in messages
    dialect_of: ClassVar[str] = ""  # the kind of which it is a dialect, at one site or in one way of asking
    suffix: ClassVar[str]  # of its job scripts: ".slurm"
    template: ClassVar[str]  # of its job scripts: "slurm.sh.j2"
    job_id_variable: ClassVar[str]  # set by the system inside a job
    index_variable: ClassVar[str]  # set by the system inside an array element
    first_index: ClassVar[int] = 0  # of an array's elements, as the system counts them
    name_limit: ClassVar[int] = 128  # characters of a job name that queue and history both keep
    ids_per_call: ClassVar[int] = 1000
    history_ids_per_call: ClassVar[int] = 1000
    history_ids_beside: ClassVar[int] = 0  # so many more in a question about some cost next to nothing
    forgets_deleted: ClassVar[bool] = False  # a job that is deleted while it waits leaves no record anywhere
    sees_ends_after_s: ClassVar[float] = 0.1  # a job's own files tell of its end so much earlier than the system does
    lacks: ClassVar[Mapping[str, str]] = {}  # what this system cannot express: a key of `_ASKED` → why, in a sentence

    @property
    def system(self) -> str:
        """The batch system: what a user calls it, whichever dialect is spoken at the site."""
        return self.dialect_of or self.kind

    def job_name(self, name: str, token: str) -> str:
        """The name under which queue and history show the job: readable first, the token last."""
        clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "job"
        if not clean[0].isalpha():
            clean = f"j{clean}"
        return f"{clean[: self.name_limit - len(token) - 1]}_{token}"

    def unsupported(self, spec: JobSpec) -> list[str]:
        """What the request asks for and this system cannot express: an error before submission, never dropped."""
        own = _ONLY_ON.get(spec.launcher, self.kind)
        foreign = [] if own == self.kind else [f"launcher {spec.launcher!r} starts ranks under {own} only"]
        return [why for asked, why in self.lacks.items() if _ASKED[asked](spec)] + foreign

    def identify(self) -> Call | None:
        """Ask which cluster this is, so that two on one ledger are told apart by what they are; None where none can say."""
        return None

    def read_identity(self, answer: Answer) -> str:
        """The name that stays as long as its job ids go on; '' where this version cannot say it.

        `SchedulerUnavailable` when it was not told, so that it may be asked again.
        """
        raise SchedulerUnavailable(f"a system of the kind {self.kind} does not say which one it is: {answer.words}")

    @abstractmethod
    def log_path(self, spec: JobSpec, directory: str) -> str:
        """Where the system itself writes what it has to say of the job, in its own pattern language."""

    @abstractmethod
    def submit(self, script: str) -> Call:
        """Submit the script at this path."""

    @abstractmethod
    def read_submit(self, answer: Answer) -> str:
        """The job id; or `SubmitRefused`, `CapacityReached`, or `SchedulerUnavailable` when nothing is certain."""

    @abstractmethod
    def queue(self, ids: Sequence[str]) -> Call:
        """Ask the live queue for these jobs, all in one command."""

    @abstractmethod
    def read_queue(self, answer: Answer) -> Report: ...

    def history(self, ids: Sequence[str]) -> Call | None:
        """Ask the accounting for these jobs; None where the live queue tells all there is."""
        return None

    def read_history(self, answer: Answer) -> Report:
        return Report(disabled=True)

    def steps(self, ids: Sequence[str]) -> list[Call]:
        """Ask the accounting for what these jobs have started inside themselves; nothing where it knows jobs only."""
        return []

    def read_steps(self, answers: Sequence[Answer], names: Collection[str]) -> Mapping[str, JobMetrics] | None:
        """The figures of those steps of these names that are over. None where there is no accounting: do not ask again."""
        return None

    def look_for(self, job_id: str) -> Call:
        """Ask for this job alone, in words to which a system that does not know it says so."""
        return self.queue([job_id])

    def read_look_for(self, answer: Answer) -> Report:
        return self.read_queue(answer)

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        """Ask what the system takes of this user in this queue now; nothing where it does not tell."""
        return []

    def read_room(self, answers: Sequence[Answer]) -> Room:
        """What these answers say, one for each question; one that failed or is not understood says nothing."""
        return Room()

    def outlook(self, job_id: str) -> Call | None:
        """Ask when this job, which waits, may start, and why it has not yet; None where the system tells no more."""
        return None

    def read_outlook(self, answer: Answer) -> Outlook:
        """What the answer says; nothing where it failed or is not understood."""
        return Outlook()

    @abstractmethod
    def find(self, job_name: str) -> list[Call]:
        """Look a job up by its name, in the queue and in the history."""

    @abstractmethod
    def read_found(self, answer: Answer) -> list[str]:
        """The ids found; `SchedulerUnavailable` when the look-up itself failed."""

    @abstractmethod
    def cancel(self, ids: Sequence[str]) -> Call: ...

    @abstractmethod
    def read_cancel(self, answer: Answer) -> None:
        """Nothing when the system took the order (also for a job that is over); an error otherwise."""

    @abstractmethod
    def element_id(self, job_id: str, index: int) -> str:
        """How this system names one element of an array job."""

    @abstractmethod
    def array_id(self, element_id: str) -> str:
        """The id that covers all elements in one query; the id itself where the job is no array."""

    def mail_letters(self, spec: JobSpec) -> str:
        """When it shall write a mail, in the letters of the PBS family: begin, end, and abort."""
        return "".join(letter for kind, letter in (("begin", "b"), ("end", "e"), ("fail", "a")) if kind in spec.mail_on)

    def own_id(self, spec: JobSpec) -> str:
        """How the script names the job that it runs in: a word of bash, equal to the id that the queue shows."""
        return f"${{{self.job_id_variable}:-$$}}"

    def log_of(self, work_dir: str, index: int | None) -> str:
        """The file that `log_path` names, for one job or element."""
        return f"{work_dir}/scheduler.log"

    def rank_outputs(self, job_id: str, stream: str) -> str:
        """Where an MPI of this system leaves what each rank prints to this stream, in a file for each: `FOLDER/**/NAME`.

        Both are patterns, and the folder is in the job's directory. '' where ranks print into the job's own log.
        """
        return ""

    def read_log(self, text: str) -> JobStatus | None:
        """What was done to a job that is over, as the end of its system's own log says; None where that does not tell."""
        return None

    def worth_telling(self, log: str) -> str:
        """The system's own log without the lines that only say what everybody knows."""
        return log

    def statistics_of(self, work_dir: str, index: int | None) -> str | None:
        """The file in which the system leaves the figures of one job or element, where it writes such a file."""
        return None

    def read_statistics(self, text: str) -> JobMetrics:
        """The figures in that file."""
        return JobMetrics()


_ONLY_ON = {"flux": "flux"}  # launchers that one kind of system brings along: launcher → kind

# What a request may ask for beyond a program, its size and its time, and how to see that it does.
_ASKED: Mapping[str, Callable[[JobSpec], object]] = {
    "memory": lambda spec: spec.memory_per_node_mib,
    "gpus": lambda spec: spec.gpus_per_node,
    "exclusive": lambda spec: spec.exclusive,
    "qos": lambda spec: spec.qos,
    "reservation": lambda spec: spec.reservation,
    "signal": lambda spec: spec.signal_name,
    "mail": lambda spec: spec.mail_to,
    "project": lambda spec: spec.project,
    "nodes": lambda spec: spec.nodes > 1,
    "array": lambda spec: spec.is_array,
    "array limit": lambda spec: spec.element_limit,
    "srun": lambda spec: spec.launcher == "srun",
    "dependencies": lambda spec: spec.dependencies,
    "afterok": lambda spec: any(dependency.kind == "afterok" for dependency in spec.dependencies),
    "afterany": lambda spec: any(dependency.kind == "afterany" for dependency in spec.dependencies),
    "afternotok": lambda spec: any(dependency.kind == "afternotok" for dependency in spec.dependencies),
}
