"""A batch system in this process: it runs nothing, and does to each job what the test has said."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobMetrics, JobSpec, JobState
from dagster_hpc.engine.ledger.rows import decode_rows
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.resolve import read_inputs
from dagster_hpc.testing.play import Play, Player
from dagster_hpc.testing.played_clock import PlayedClock
from dagster_hpc.testing.submitted import Submitted

if TYPE_CHECKING:
    from dagster_pipes import PipesContext

_A_LOOK_S = 0.5  # of real time between two looks of one who waits, at most
_IN_VAIN_S = 10.0  # of real time, for which a job that goes on is waited for while nothing happens
_BY_ITSELF = (JobState.COMPLETED, JobState.FAILED)  # its script comes to its end
_NEVER_BEGAN = (JobState.PENDING, JobState.HELD, JobState.LOST)


class _Asked(NamedTuple):
    """What the caller of a runner said of one job."""

    command: Command
    profile: str


@dataclass
class _Job:
    """One job of this system, and where it stands."""

    submitted: Submitted
    batch_name: str
    directory: str  # where it speaks of itself; a job that is resumed runs in another
    state: JobState = JobState.PENDING
    reason: str = ""
    exit_code: int | None = None
    metrics: JobMetrics = field(default_factory=JobMetrics)

    def told(self) -> dict[str, object]:
        """As the queue shows it."""
        return {
            "state": self.state.value,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "name": self.batch_name,
            "metrics": self.metrics.to_dict(),
        }


class PlayedSystem:
    """All that one played runner remembers: what was said, what was submitted, how each job stands."""

    def __init__(self) -> None:
        self.clock = PlayedClock(self.check_that_something_happens)
        self.submitted: list[Submitted] = []
        self._plans: list[tuple[str, deque[Player]]] = []
        self._specs: dict[str, tuple[JobSpec, str]] = {}  # directory → what its script was rendered from, and its name
        self._asked: dict[tuple[object, ...], _Asked] = {}
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.RLock()
        self._happened_at, self._looked_at, self._in_vain_s = 0.0, 0.0, 0.0
        self._happens()

    # -- what the test says

    def plan(self, pattern: str, plays: Sequence[Player]) -> None:
        """From now on these plays, one after the other; the last one for all jobs that follow."""
        if not plays:
            raise ConfigurationError(f"nothing is said of {pattern!r}", advice="give at least one Play.")
        with self._lock:
            self._plans.insert(0, (pattern, deque(plays)))
            self._happens()

    def end(self, pattern: str, player: Player) -> int:
        """End the jobs that still go on; how many there were."""
        with self._lock:
            live = [job for job in self._jobs.values() if not job.state.is_final and _fits(pattern, job.submitted)]
            for job in live:
                self._perform(job, _play_of(player, job.submitted))
            return len(live)

    def note(self, spec: JobSpec, commands: Sequence[Command], profile: str) -> None:
        """What was asked for, so that a submission shows the command itself."""
        with self._lock:
            for index, alone in enumerate(_each(spec)):
                self._asked[_work(alone)] = _Asked(commands[index if len(commands) > 1 else 0], profile)

    def rendered(self, spec: JobSpec, directory: str, job_name: str) -> None:
        """The script in this directory is that of this request."""
        with self._lock:
            self._specs[directory] = (spec, job_name)

    def check_that_something_happens(self) -> float:
        """How long ago anything did. A job that nobody ends would be waited for for ever: that is an error."""
        with self._lock:
            now, live = time.monotonic(), [job.submitted.name for job in self._jobs.values() if not job.state.is_final]
            self._in_vain_s += min(now - self._looked_at, _A_LOOK_S)  # what the test does between two waits is not waiting
            self._looked_at = now
            if live and self._in_vain_s > _IN_VAIN_S:
                raise ConfigurationError(
                    f"{', '.join(live)}: played as going on, and nothing in this test has ended it for {_IN_VAIN_S:g} s",
                    advice="end it with hpc.end(…), from another thread if this one waits; or wait with a timeout.",
                )
            return self.clock.monotonic() - self._happened_at

    # -- what the engine asks

    def answer(self, call: Call) -> Answer:
        """The answer to one command of the played scheduler."""
        verb, *words = call.argv
        with self._lock:
            code, out, err = {"submit": self._submit, "queue": self._queue, "find": self._find, "cancel": self._cancel}[
                verb
            ](words)
        return Answer(call.argv, code, out, err, call.about)

    def _submit(self, words: Sequence[str]) -> tuple[int, str, str]:
        directory = jobdir.directory_of_script(words[0])
        spec, job_name = self._specs[directory]
        whole = self._submission(Path(words[0]), directory, spec)
        self.submitted.append(whole)
        count = len(whole.elements)
        places = [jobdir.element_directory(directory, index) for index in range(count)] if count else [directory]
        jobs = [_Job(one, job_name, place) for one, place in zip(whole.elements or (whole,), places, strict=True)]
        plays = []
        for job in jobs:
            player = self._next(job.submitted)
            if player is None:
                return 1, "", _unplayed(job.submitted)
            plays.append(_play_of(player, job.submitted))
        refused = next((play.refused for play in plays if play.refused), "")
        if refused:
            return 1, "", refused
        for job, play in zip(jobs, plays, strict=True):
            self._jobs[job.submitted.job_id] = job
            self._perform(job, play)
        return 0, whole.job_id, ""

    def _queue(self, ids: Sequence[str]) -> tuple[int, str, str]:
        asked = set(ids)
        jobs = {
            job_id: job.told()
            for job_id, job in self._jobs.items()
            if asked & {job_id, job_id.partition("_")[0]} and job.state is not JobState.LOST
        }
        known = {each for job_id in jobs for each in (job_id, job_id.partition("_")[0])}
        lost = {job_id for job_id, job in self._jobs.items() if job.state is JobState.LOST}
        return 0, json.dumps({"jobs": jobs, "unknown": sorted((asked - known) | lost)}), ""

    def _find(self, words: Sequence[str]) -> tuple[int, str, str]:
        found = {job_id.partition("_")[0] for job_id, job in self._jobs.items() if job.batch_name == words[0]}
        return 0, json.dumps(sorted(found)), ""

    def _cancel(self, ids: Sequence[str]) -> tuple[int, str, str]:
        for job_id, job in self._jobs.items():
            if {job_id, job_id.partition("_")[0]} & set(ids) and not job.state.is_final:
                self._perform(job, Play(state="CANCELLED"))
        return 0, "", ""

    # -- how it is done

    def _happens(self) -> None:
        self._happened_at, self._looked_at, self._in_vain_s = self.clock.monotonic(), time.monotonic(), 0.0

    def _submission(self, script: Path, directory: str, spec: JobSpec) -> Submitted:
        rows = decode_rows(Path(jobdir.protocol_path(directory, jobdir.ROW)).read_bytes())
        number = str(len(self.submitted) + 1)
        text = script.read_text(encoding="utf-8", errors="surrogateescape")
        jobs = []
        for row, alone in zip(rows, _each(spec), strict=True):
            asked = self._asked.get(_work(alone)) or _Asked(Command(alone.executable or "bash", alone.args), "")
            jobs.append(
                Submitted(
                    name=row.name,
                    command=asked.command,
                    args=alone.args,
                    profile=asked.profile,
                    spec=alone,
                    script=text,
                    inputs=_files(Path(row.work_dir)),
                    outputs={name: os.path.relpath(os.path.join(row.work_dir, path), row.runs_in)
                             for name, path in row.outputs.items()},
                    asset_key=row.asset_key,
                    partition_key=row.partition_key,
                    run_id=row.run_id,
                    job_id=number if row.array_index is None else f"{number}_{row.array_index}",
                    work_dir=row.runs_in,
                )
            )
        if not spec.is_array:
            return jobs[0]
        inputs = {name: text for name, text in _files(Path(directory)).items() if name.split("/")[0] not in _numbers(rows)}
        whole = replace(jobs[0], args=spec.args, spec=spec, inputs=inputs, job_id=number, work_dir=directory)
        return replace(whole, partition_key=None, elements=tuple(jobs))

    def _next(self, job: Submitted) -> Player | None:
        plays = next((plays for pattern, plays in self._plans if _fits(pattern, job)), None)
        if plays is None:
            return None
        return plays.popleft() if len(plays) > 1 else plays[0]

    def _perform(self, job: _Job, play: Play) -> None:
        """Do to the job what is played: its files first, then what the queue says."""
        self._happens()
        submitted, end, now = job.submitted, play.end, self.clock.now()
        place, own = Path(submitted.work_dir), Path(job.directory)
        for name, content in read_inputs({submitted.outputs.get(n, n): text for n, text in play.files.items()}).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        for stream, text in ((jobdir.STDOUT, play.stdout), (jobdir.STDERR, play.stderr)):
            with open(own / stream, "a", encoding="utf-8", errors="surrogateescape") as log:
                log.write(text if not text or text.endswith("\n") else f"{text}\n")
        began_at = now - (play.metrics.elapsed_s or 0.0)
        began = end not in _NEVER_BEGAN
        if began:
            _write(own, jobdir.STARTED, f"{began_at:.6f} {submitted.job_id} played")
        if play.pipes is not None:
            _report(own, f"{began_at:.6f}", play.pipes)
        job.state, job.reason = end, play.reason
        job.exit_code = (play.exit_code or int(end is JobState.FAILED)) if end in _BY_ITSELF else None
        job.metrics = play.metrics.or_else(_figures(submitted.spec, began_at, now, ran=began and end.is_final))
        if job.exit_code is not None:
            _write(own, jobdir.EXIT_CODE, f"{job.exit_code} {now:.6f}")


def _each(spec: JobSpec) -> list[JobSpec]:
    """Each job of this request by itself."""
    return [spec.alone(index) for index in range(len(spec.elements))] if spec.is_array else [spec]


def _work(alone: JobSpec) -> tuple[object, ...]:
    """What a job does, however and wherever it runs: a second attempt with more memory is of the same command."""
    return (alone.name, alone.executable, alone.shell, alone.stdin, alone.args)


def _fits(pattern: str, job: Submitted) -> bool:
    """Whether the words of a test mean this job: its program, the name that the queue shows, or its asset."""
    executable = job.command.executable
    names = [executable, PurePath(executable).name, job.name, *(job.asset_key or "").split(",")]
    return any(fnmatchcase(name, pattern) for name in names)


def _play_of(player: Player, job: Submitted) -> Play:
    return player if isinstance(player, Play) else player(job)


def _unplayed(job: Submitted) -> str:
    outputs = f"outputs={{{', '.join(f'{path!r}: …' for path in job.outputs.values())}}}" if job.outputs else ""
    name = PurePath(job.command.executable).name if job.command.script is None else job.name
    return (
        f"nothing is played for {name!r} ({job.name}). Say in the test what becomes of it: "
        f"hpc.play({name!r}, Play({outputs})); or hpc.play('*', Play()), and every job ends well"
    )


def _figures(spec: JobSpec, began_at: float, now: float, *, ran: bool) -> JobMetrics:
    if not ran:
        return JobMetrics()
    return JobMetrics(started_at=began_at, ended_at=now, nodes=spec.nodes, cores=spec.nodes * spec.cores_per_node)


def _report(place: Path, life: str, program: Callable[[PipesContext], object]) -> None:
    """Let this stand for the program, with Pipes opened as in the job."""
    from dagster_pipes import PipesMappingParamsLoader, encode_param, open_dagster_pipes

    paths = {
        "DAGSTER_PIPES_CONTEXT": str(place / jobdir.pipes_name(jobdir.PIPES_CONTEXT)),
        "DAGSTER_PIPES_MESSAGES": jobdir.messages_path(str(place), life),
    }
    if not os.path.exists(paths["DAGSTER_PIPES_CONTEXT"]):
        raise ConfigurationError(f"{place} has no Dagster Pipes: a Play with `pipes` is for jobs of PipesHPCClient.")
    loader = PipesMappingParamsLoader({name: encode_param({"path": path}) for name, path in paths.items()})
    with open_dagster_pipes(params_loader=loader) as pipes:
        program(pipes)


def _write(place: Path, name: str, text: str) -> None:
    Path(jobdir.protocol_path(str(place), name)).write_text(f"{text}\n")


def _files(folder: Path) -> Mapping[str, str]:
    """The files placed here for the job to read."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {str(path.relative_to(folder)): path for path in paths}
    return {
        name: path.read_text(encoding="utf-8", errors="surrogateescape")
        for name, path in named.items()
        if not {jobdir.PROTOCOL_DIR, jobdir.PIPES_DIR} & set(PurePath(name).parts)
    }


def _numbers(rows: Iterable[object]) -> set[str]:
    return {str(index) for index, _ in enumerate(rows)}
