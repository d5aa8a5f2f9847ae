"""A simulated batch system that keeps the truth, and lies about it as real ones do.

Replies are lost before or after they took effect, come late, or are given twice; the history is behind, or forgets;
jobs are requeued, or lose their node; ids come round again; an answer about several jobs leaves some of them out.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import CapacityReached, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Report, Room, Scheduler
from tests.simulation.files import Files
from tests.simulation.time import Process, Time

_QUEUE_KEEPS_S = 60.0  # a job that is over is still shown by the queue


@dataclass(frozen=True)
class SimulatedScheduler(Scheduler):
    """The pure half: questions as words, answers as JSON."""

    kind: ClassVar[str] = "local"
    suffix: ClassVar[str] = ".sim"
    template: ClassVar[str] = "job.sim.j2"
    job_id_variable: ClassVar[str] = "SIM_ID"
    index_variable: ClassVar[str] = "SIM_INDEX"
    history_ids_beside: ClassVar[int] = 100

    spool: str = ""

    def log_path(self, spec: JobSpec, directory: str) -> str:
        return f"{directory}/scheduler.log"

    def submit(self, script: str) -> Call:
        return Call(("submit", script))

    def read_submit(self, answer: Answer) -> str:
        if answer.code == 0:
            return answer.stdout
        if answer.code is None or answer.stderr == "lost":
            raise SchedulerUnavailable("the reply was lost")
        if answer.stderr == "full":
            raise CapacityReached("no more jobs now")
        raise SubmitRefused(answer.stderr)

    def queue(self, ids: Sequence[str]) -> Call:
        return Call(("queue", *ids))

    def read_queue(self, answer: Answer) -> Report:
        if answer.code != 0:
            return Report(failed="down")
        told = json.loads(answer.stdout)
        jobs = {job_id: _status(values) for job_id, values in told["jobs"].items()}
        return Report(jobs, unknown=frozenset(told["unknown"]), whole=told["whole"])

    def look_for(self, job_id: str) -> Call:
        return Call(("look", job_id))

    def history(self, ids: Sequence[str]) -> Call:
        return Call(("history", *ids))

    def read_history(self, answer: Answer) -> Report:
        return Report(disabled=True) if answer.code == 3 else self.read_queue(answer)

    def find(self, job_name: str) -> list[Call]:
        return [Call(("find", "queue", job_name)), Call(("find", "history", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        if answer.code != 0:
            raise SchedulerUnavailable("down")
        return list(dict.fromkeys(job_id.partition("_")[0] for job_id in json.loads(answer.stdout)))

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("cancel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        if answer.code != 0:
            raise SchedulerUnavailable("down")

    def element_id(self, job_id: str, index: int) -> str:
        return f"{job_id}_{index}"

    def array_id(self, element_id: str) -> str:
        return element_id.partition("_")[0]

    def own_id(self, spec: JobSpec) -> str:
        return '"$SIM_ID"'


@dataclass(frozen=True)
class TellingScheduler(SimulatedScheduler):
    """One that can be asked how much it takes."""

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return [Call(("room",))]

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return Room(**json.loads(answers[0].stdout)) if answers[0].code == 0 else Room()


def _status(values: list[object]) -> JobStatus:
    state, code, name, started, ended = values
    assert isinstance(name, str)
    began_at, ended_at = (when if isinstance(when, float) else None for when in (started, ended))
    metrics = JobMetrics(started_at=began_at, ended_at=ended_at)
    return JobStatus(JobState(state), exit_code=code if isinstance(code, int) else None, job_name=name, metrics=metrics)


@dataclass
class Work:
    """What the payload of one directory will do."""

    seconds: float
    code: int
    end: JobState | None = None  # what the system does to it at its end, whatever its own code
    output: str = ""  # the file that it leaves
    heals_after: int | None = None  # so many attempts at one piece of work end badly; None: all of them


@dataclass
class Job:
    """The truth about one job."""

    id: str
    name: str
    directory: str
    state: JobState = JobState.PENDING
    taken_at: float = 0.0
    visible_from: float = 0.0
    started_at: float | None = None
    started_by_clock: float | None = None
    ended_by_clock: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    runs: int = 0  # how often the payload was started: more than once after a requeue
    told_to_end: bool = False
    ended_well: bool = False  # its script had written 0 when something was done to it
    forgotten: bool = False  # the controller has lost all knowledge of it, and it will never run
    runs_in: str = ""  # where its program runs, if that is not its own directory
    epoch: int = 0  # an event of an earlier run does nothing to a later one
    queue_forgets_at: float = float("inf")
    history_from: float = float("inf")
    history_until: float = float("inf")


@dataclass
class Lies:
    """What goes wrong, each with its probability; all of it ends when `stop` is called."""

    lost_after: float = 0.0  # the submission took effect, and its reply was lost
    lost_before: float = 0.0
    doubled: float = 0.0
    full: float = 0.0
    refused: float = 0.0
    down: float = 0.0  # a question fails
    cancel_lost: float = 0.0
    requeue: float = 0.0
    node_loss: float = 0.0
    late_s: float = 0.0  # a job is shown by queue and history so much later, at most
    history_late_s: float = 0.0
    has_history: bool = True
    history_keeps_s: float = 0.0  # so long after its end a job is forgotten; 0: never
    slow_s: float = 0.0  # a command takes up to so long, and takes effect at any moment of it, or after its time is up
    forgets: float = 0.0  # a job that was taken is lost with the controller's memory
    node_full: float = 0.0  # a node cannot write the job's files
    silent_requeue: bool = False  # a requeued job leaves no exit code: its node died
    wraps: int = 0  # so many ids there are; 0: any number
    waits_s: float = 30.0  # the longest time in the queue
    epilogue_s: float = 0.0
    node_skew_s: float = 0.0  # the clock of the nodes is wrong by so much
    held: float = 0.0  # a requeued job is held for a while
    most: int = 0  # so many jobs it takes at once, elements counted; 0: any number
    tells_room: bool = False  # and says so when it is asked
    absence: str = "named"  # how the queue says that a job is not there: named, listed (all others are), or not at all
    left_out: str = ""  # what an answer about several jobs leaves out without a word: some, or all but the first

    def stop(self) -> None:
        """What happens no more once the faults are over; what the system simply is stays."""
        self.lost_after = self.lost_before = self.doubled = self.full = self.refused = self.down = 0.0
        self.cancel_lost = self.requeue = self.node_loss = self.late_s = self.slow_s = 0.0
        self.forgets = self.node_full = 0.0
        self.left_out = self.left_out.replace("some", "")


class Cluster:
    """The batch system itself."""

    def __init__(self, time: Time, files: Files, lies: Lies) -> None:
        self._time, self._files, self._lies = time, files, lies
        self.jobs: list[Job] = []
        self.work = Work(10.0, 0)
        self.ran: list[Job] = []  # jobs in the order in which their payloads first started
        self.down_until = self.empty_until = 0.0
        self.most_running = 0
        self._count = 0
        self._spoiled: Counter[str] = Counter()  # work → how many attempts at it have ended badly

    @property
    def scheduler(self) -> SimulatedScheduler:
        return TellingScheduler() if self._lies.tells_room else SimulatedScheduler()

    def execute(self, process: Process, call: Call) -> Answer:
        """A command of one process. It takes effect at some moment, which its caller need not live to see."""
        process.pause()
        takes_s = self._time.random.choice((0.0, 0.0, 0.1, 1.0))
        if self._lies.slow_s and self._time.random.random() < 0.4:
            takes_s = self._time.random.uniform(0.0, self._lies.slow_s)
        answers: list[tuple[int | None, str, str]] = []

        def take_effect() -> None:
            if process.dead and self._time.random.random() < 0.5:
                return  # it died with its caller
            answers.append(getattr(self, f"_{call.argv[0]}")(*call.argv[1:]))
            self._time.note(f"{process.name}: {' '.join(call.argv)} -> {answers[-1]}")

        before_s = self._time.random.uniform(0.0, takes_s) if takes_s > 1.0 else 0.0
        if before_s:
            self._time.at(before_s, take_effect)
        else:
            take_effect()
        process.pause(min(takes_s, call.timeout_s))
        if takes_s > call.timeout_s or not answers:
            return Answer(call.argv, None, "", "")
        code, text, words = answers[0]
        return Answer(call.argv, code, text, words)

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._time.random.random() < probability

    # -- commands

    def _submit(self, script: str) -> tuple[int | None, str, str]:
        lies = self._lies
        if self._time.passed < self.down_until:
            return 1, "", "lost"
        if self._happens(lies.refused):
            return 1, "", "invalid account"
        count = self._elements_of(self._files.contents[script].decode()) or 1
        if self._happens(lies.full) or (lies.most and self._live + count > lies.most):
            return 1, "", "full"
        if self._happens(lies.lost_before):
            return 1, "", "lost"
        job_id = self._take(script)
        if self._happens(lies.doubled):
            self._take(script)
        if self._happens(lies.lost_after):
            return (None, "", "") if self._time.random.random() < 0.5 else (1, "", "lost")
        return 0, job_id, ""

    @property
    def _live(self) -> int:
        return sum(not job.state.is_final for job in self.jobs)

    def _room(self) -> tuple[int, str, str]:
        if self._time.passed < self.down_until or self._happens(self._lies.down):
            return 1, "", "down"
        most = self._lies.most
        return 0, json.dumps({"jobs": most - self._live, "elements": most} if most else {}), ""

    @staticmethod
    def _elements_of(text: str) -> int:
        """How many elements the array of this script has; 0 if it is no array."""
        array = next((line for line in text.splitlines() if line.startswith("#SBATCH --array=")), "")
        return int(array.partition("-")[2].rpartition("-")[2].partition("%")[0]) + 1 if array else 0

    def _take(self, script: str) -> str:
        text = self._files.contents[script].decode()
        name = next(line.partition("=")[2] for line in text.splitlines() if "--job-name=" in line)
        directory = jobdir.directory_of_script(script)
        count = self._elements_of(text)
        batch = self._new_id()
        visible = self._time.passed + self._time.random.uniform(0.0, self._lies.late_s)
        for index in range(max(1, count)):
            job_id = f"{batch}_{index}" if count else batch
            place = jobdir.element_directory(directory, index) if count else directory
            job = Job(job_id, name, place, taken_at=self._time.passed, visible_from=visible)
            job.runs_in = next((line.partition("=")[2] for line in text.splitlines() if "#DIRECTORY=" in line), place)
            self.jobs.append(job)
            waits_s = self._time.random.uniform(0.0, self._lies.waits_s)
            self._time.at(waits_s, lambda job=job: self._start(job, job.epoch))  # type: ignore[misc]
            if self._happens(self._lies.forgets):
                self._time.at(self._time.random.uniform(0.0, 20.0), lambda job=job: self._forget(job))  # type: ignore[misc]
        return batch

    def _new_id(self) -> str:
        """The next id. Where there are few, they come round again, but for those that the queue still shows."""
        for tried in itertools.count():
            self._count += 1
            number = self._count % self._lies.wraps if tried < self._lies.wraps else self._count
            batch = str(101 + number)
            shown = (job for job in self.jobs if job.id.partition("_")[0] == batch)
            if not any(self._time.passed < job.queue_forgets_at and not job.forgotten for job in shown):
                return batch
        raise AssertionError("there is always one more")

    def _forget(self, job: Job) -> None:
        """The controller restarts, and knows nothing any more of a job that had just been taken."""
        if job.state is JobState.PENDING and not job.runs:
            job.state, job.forgotten, job.ended_at = JobState.LOST, True, self._time.passed

    def _queue(self, *ids: str) -> tuple[int, str, str]:
        shown = self._shown(ids)
        left = self._without_those_left_out(shown, ids)
        unknown = set(ids) - {job.id for job in shown} - {job.id.partition("_")[0] for job in shown}
        absence = self._lies.absence
        return self._tell(left, unknown if absence == "named" else (), whole=absence == "listed" and left == shown)

    def _look(self, job_id: str) -> tuple[int, str, str]:
        """The question for one job alone is answered, whatever an answer about several leaves out."""
        shown = self._shown([job_id])
        return self._tell(shown, () if shown else [job_id])

    def _shown(self, ids: Sequence[str]) -> list[Job]:
        now = self._time.passed
        return [job for job in self._asked(ids) if now < job.queue_forgets_at] if now >= self.empty_until else []

    def _without_those_left_out(self, jobs: list[Job], ids: Sequence[str]) -> list[Job]:
        if len(ids) == len(jobs) == 1:
            return jobs  # the question was about this one alone
        if self._lies.left_out == "some":
            return [job for job in jobs if self._time.random.random() < 0.6]
        return jobs[:1] if self._lies.left_out else jobs

    def _history(self, *ids: str) -> tuple[int, str, str]:
        if not self._lies.has_history:
            return 3, "", "disabled"
        now = self._time.passed
        known = [job for job in self._asked(ids) if job.history_from <= now < job.history_until]
        return self._tell(self._without_those_left_out(known, ids))

    def _find(self, where: str, name: str) -> tuple[int, str, str]:
        now = self._time.passed
        if now < self.down_until or self._happens(self._lies.down):
            return 1, "", "down"
        if where == "queue" and now < self.empty_until:
            return 0, "[]", ""
        known = [
            job.id
            for job in self.jobs
            if job.name == name
            and now >= job.visible_from
            and not job.forgotten
            and (
                now < job.queue_forgets_at
                if where == "queue"
                else self._lies.has_history and job.history_from <= now < job.history_until
            )
        ]
        return 0, json.dumps(known), ""

    def _cancel(self, *ids: str) -> tuple[int, str, str]:
        lost = self._time.passed < self.down_until or self._happens(self._lies.cancel_lost)
        if lost and self._time.random.random() < 0.6:
            return 1, "", "down"
        for job in self._asked(ids, hidden=True):
            if job.state in (JobState.PENDING, JobState.HELD):
                self._end(job, JobState.CANCELLED, None)
            elif job.state is JobState.RUNNING and not job.told_to_end:
                job.told_to_end = True
                self._time.at(2.0, lambda job=job, epoch=job.epoch: self._killed(job, epoch))  # type: ignore[misc]
        return (1, "", "down") if lost else (0, "", "")

    def _asked(self, ids: Sequence[str], *, hidden: bool = False) -> list[Job]:
        now = self._time.passed
        wanted = set(ids)
        found = [job for job in self.jobs if {job.id, job.id.partition("_")[0]} & wanted and not job.forgotten]
        latest = {job.id: job for job in found if hidden or now >= job.visible_from}  # of several with one id
        return list(latest.values())

    def _tell(self, jobs: Sequence[Job], unknown: Iterable[str] = (), *, whole: bool = False) -> tuple[int, str, str]:
        if self._time.passed < self.down_until or self._happens(self._lies.down):
            return 1, "", "down"
        told = {job.id: [job.state.value, job.exit_code, job.name, job.started_by_clock, job.ended_by_clock] for job in jobs}
        return 0, json.dumps({"jobs": told, "unknown": sorted(unknown), "whole": whole}), ""

    # -- the life of a job on its node, as the job script lives it

    def _start(self, job: Job, epoch: int) -> None:
        if job.state is not JobState.PENDING or job.epoch != epoch:
            return
        job.state, job.started_at = JobState.RUNNING, self._time.passed
        job.started_by_clock = self._time.now()
        if self._happens(self._lies.node_full):
            self._time.at(0.5, lambda: self._end(job, JobState.FAILED, 73))
            return
        lock = jobdir.protocol_path(job.directory, jobdir.LOCK)
        holder = self._files.contents.get(lock, b"").decode().strip()
        if holder not in ("", job.id):
            self._time.at(0.5, lambda: self._end(job, JobState.FAILED, jobdir.DUPLICATE_EXIT_CODE))
            return
        if not holder:
            self._files.write(lock, f"{job.id}\n".encode(), late=True)
        for name in (jobdir.EXIT_CODE, jobdir.SIGNAL, jobdir.FAILURE):
            self._files.remove(jobdir.protocol_path(job.directory, name), late=True)
        self._time.note(f"job {job.id} begins, its lock was {holder!r}")
        job.runs += 1
        if job.runs == 1:
            self.ran.append(job)
        running = {other.directory for other in self.ran if other.state is JobState.RUNNING}
        self.most_running = max(self.most_running, len(running))
        self._note(job, jobdir.STARTED, f"{self._node_now()} {job.id} node1\n")
        self._time.at(self.work.seconds, lambda: self._finish(job, epoch))

    def _node_now(self) -> float:
        return self._time.now() + self._lies.node_skew_s

    def _finish(self, job: Job, epoch: int) -> None:
        """The payload has come to its end, or something was done to it."""
        if job.state is not JobState.RUNNING or job.epoch != epoch or job.told_to_end:
            return
        if self._happens(self._lies.node_loss):
            self._end(job, JobState.NODE_FAIL, None)
        elif self._happens(self._lies.requeue):
            self._requeue(job)
        elif self.work.end is not None and not self._is_healed(job):
            self._ended_by_system(job, self.work.end)
        else:
            code = 0 if self.work.end is None and self._is_healed(job) else self.work.code
            if code == 0 and self.work.output:
                self._files.write(f"{job.runs_in}/{self.work.output}", b"result", late=True)
            self._note(job, jobdir.EXIT_CODE, f"{code} {self._node_now()}\n")
            job.ended_well = code == 0
            state = JobState.COMPLETED if job.ended_well else JobState.FAILED
            job.told_to_end = True  # nothing ends it any more
            epilogue_s = self._time.random.uniform(0.0, self._lies.epilogue_s)
            self._time.at(epilogue_s, lambda: self._end(job, state, code))

    def _is_healed(self, job: Job) -> bool:
        """Whether so many attempts at this work have ended badly that this one does not. Asked once for each."""
        if self.work.heals_after is None:
            return False
        work = job.name.rpartition("_")[0]
        self._spoiled[work] += 1
        return self._spoiled[work] > self.work.heals_after

    def _requeue(self, job: Job) -> None:
        job.state = JobState.HELD if self._happens(self._lies.held) else JobState.PENDING
        job.started_at = job.started_by_clock = job.ended_by_clock = None
        job.epoch += 1
        epoch = job.epoch
        self._time.note(f"job {job.id} is requeued")
        if not self._lies.silent_requeue:
            self._note(job, jobdir.EXIT_CODE, f"143 {self._node_now()}\n")
        if job.state is JobState.HELD:
            self._time.at(60.0, lambda: self._release(job, epoch))
        else:
            self._time.at(20.0, lambda: self._start(job, epoch))

    def _release(self, job: Job, epoch: int) -> None:
        if job.state is JobState.HELD and job.epoch == epoch:
            job.state = JobState.PENDING
            self._start(job, epoch)

    def _ended_by_system(self, job: Job, state: JobState) -> None:
        """At its time limit a job is told, and can still say so; without memory it cannot."""
        if state in (JobState.TIMEOUT, JobState.PREEMPTED):
            self._note(job, jobdir.SIGNAL, "TERM\n")
            self._note(job, jobdir.EXIT_CODE, f"143 {self._node_now()}\n")
        self._end(job, state, None)

    def _killed(self, job: Job, epoch: int) -> None:
        if job.state is JobState.RUNNING and job.epoch == epoch:
            self._note(job, jobdir.SIGNAL, "TERM\n")
            self._note(job, jobdir.EXIT_CODE, f"143 {self._node_now()}\n")
            self._end(job, JobState.CANCELLED, None)

    def _note(self, job: Job, name: str, text: str) -> None:
        self._files.write(jobdir.protocol_path(job.directory, name), text.encode(), late=True)

    def _end(self, job: Job, state: JobState, code: int | None) -> None:
        if job.state.is_final:
            return
        job.state, job.exit_code, job.ended_at = state, code, self._time.passed
        job.ended_by_clock = self._time.now()
        self._time.note(f"job {job.id} is {state} {code}")
        job.queue_forgets_at = self._time.passed + _QUEUE_KEEPS_S
        job.history_from = self._time.passed + self._time.random.uniform(0.0, self._lies.history_late_s)
        if self._lies.history_keeps_s:
            job.history_until = job.history_from + self._lies.history_keeps_s
