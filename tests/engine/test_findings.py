"""What broke in version 0.1.0, one test for each: lost, doubled, hung and rewritten jobs.

Time is a clock of the tests' own, on which an hour of waiting takes a moment. Some that broke as well are tried where
their part is: late files, arrays taken twice, unchanged polls and one that ended among many in `test_wait.py`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.errors import HPCError, LedgerUnavailable, SubmitRefused
from dagster_hpc.engine.hosts.base import Names
from dagster_hpc.engine.job import (
    JobHandle,
    JobLost,
    JobMetrics,
    JobSpec,
    JobState,
    OutputMissing,
    Request,
    WaitTimeout,
    failure_of,
)
from dagster_hpc.engine.ledger import Change, JobRow, Ledger, Recipient
from dagster_hpc.engine.process import NOBODY
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.target import Patience, Target
from tests.engine.pretend import LOST_REPLY, REFUSED, Heard, PretendSlurm, eventually, put_job, quick, target_on

HOUR = 3600.0
SPEC = JobSpec(name="count", shell="true", outputs=(("result", "result.txt"),))
ARRAY = JobSpec(name="many", shell="true", elements=tuple((str(number),) for number in range(200)))
DEAD = f"{socket.gethostname()} 1 0 an-earlier-boot"


class Died(BaseException):
    """The process is gone at this point."""


class Hours(Clock):
    """A clock on which an hour passes in a moment, and on which something may be planned for later."""

    def __init__(self) -> None:
        self.passed = self.stepped = 0.0
        self.deadly = ""  # the point at which the process dies
        self._plans: list[tuple[float, Callable[[], object]]] = []
        self._began = time.time()

    def now(self) -> float:
        return self._began + self.passed + self.stepped

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        until = self.passed + seconds
        while due := [plan for plan in self._plans if plan[0] <= until]:
            first = min(due, key=lambda plan: plan[0])
            self._plans.remove(first)
            self.passed = max(self.passed, first[0])
            first[1]()
        self.passed = max(self.passed, until)

    def within(self, seconds: float | None, work: Callable[[], None]) -> None:
        work()

    def point(self, name: str) -> None:
        if name == self.deadly:
            raise Died(name)

    def later(self, seconds: float, plan: Callable[[], object]) -> None:
        self._plans.append((self.passed + seconds, plan))


@dataclass
class Watched(PretendSlurm):
    """Counts what is asked of the file system, which does not answer for what is `unreadable`."""

    unreadable: Callable[[str], Exception | None] = lambda path: None
    looks: list[str] = field(default_factory=list)

    def size(self, path: str) -> int | None:
        self._look(path)
        return super().size(path)

    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        self._look(path)
        return super().read(path, offset, limit)

    def list(self, path: str) -> Names:
        self._look(path)
        return super().list(path)

    def _look(self, path: str) -> None:
        self.looks.append(path)
        if error := self.unreadable(path):
            raise error


class World:
    """A Slurm, one ledger for all, and as many processes as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.heard = folder, Hours(), Heard()
        self.host = Watched(folder / "slurm", now=self.clock.now)
        self.ledger = self.opened()

    def opened(self) -> Ledger:
        return Ledger(f"sqlite:///{self.folder}/ledger.db", self.clock)

    def target(self, host: PretendSlurm | None = None, **patience: Any) -> Target:
        return Target("slurm", Slurm(), host or self.host, 10.0, cluster="lab", patience=quick(**patience))

    def process(self, ledger: Ledger | None = None, *, max_jobs: int | None = None, **patience: Any) -> Runner:
        """Another process, as far as the engine can tell."""
        target = replace(self.target(**patience), max_jobs=max_jobs)
        return Runner(target, ledger or self.opened(), self.heard.listener, self.clock)

    def request(self, **more: Any) -> Request:
        return Request(more.pop("spec", SPEC), str(self.folder / "work"), **{"identity": "same", **more})

    def row(self, handle: JobHandle) -> JobRow:
        return self.ledger.job(handle.token)

    def run_to_its_end(self, handle: JobHandle, code: int = 0) -> None:
        row = self.row(handle)
        Path(row.work_dir, "result.txt").write_text("42")
        self.host.end(row, code)

    def somebody_else_looks(
        self, handle: JobHandle, *states: JobState, within_s: float = HOUR, **patience: Any
    ) -> None:
        """Until that one sees one of these states."""
        other, deadline = self.process(**patience), self.clock.monotonic() + within_s
        while self.row(handle).state not in states:
            assert self.clock.monotonic() < deadline, f"still {self.row(handle)}"
            other.tick()
            self.clock.sleep(1.0)

    def look_for(self, seconds: float, **patience: Any) -> None:
        other, deadline = self.process(**patience), self.clock.monotonic() + seconds
        while self.clock.monotonic() < deadline:
            other.tick()
            self.clock.sleep(1.0)

    def queue(self) -> dict[str, str]:
        return {job_id: job["state"] for job_id, job in self.host.jobs.items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def silence(ledger: Ledger, is_silent: Callable[[str], object]) -> None:
    """The database does not answer these statements."""

    @sa.event.listens_for(ledger._database._engine, "before_cursor_execute")
    def _fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if is_silent(statement):
            raise sa.exc.OperationalError(statement, {}, Exception("server closed the connection unexpectedly"))


# -- 1: owed results


def test_a_job_that_ended_while_its_owner_was_dead_is_taken_not_run_again(world: World) -> None:
    """Anybody who looked at it meanwhile freed its identity, and its retry ran it a second time."""
    (first,) = world.process().submit(world.request())  # and this process dies
    world.run_to_its_end(first)
    world.somebody_else_looks(first, JobState.COMPLETED)
    retry = world.process()
    (again,) = retry.submit(world.request())
    assert (again.token, again.joined, len(world.host.jobs)) == (first.token, True, 1)
    assert retry.wait([again], timeout_s=HOUR)[0].state is JobState.COMPLETED
    (new,) = retry.submit(world.request())  # that one was delivered: this is a new wish
    assert (new.joined, len(world.host.jobs)) == (False, 2)


@pytest.mark.parametrize(("received", "taken"), [(False, True), (True, False), (None, False)])
def test_a_result_whose_step_died_before_dagster_had_it_is_taken_again(
    world: World, received: bool | None, taken: bool
) -> None:
    runner = world.process()
    (first,) = runner.submit(world.request())
    world.run_to_its_end(first)
    runner.wait([first], timeout_s=HOUR, recipient=Recipient("run", "step"))
    asked: list[tuple[str, str]] = []

    def has_received(run_id: str, step_key: str) -> bool | None:
        asked.append((run_id, step_key))
        return received

    (again,) = world.process().submit(world.request(received=has_received))
    assert (again.token == first.token) is again.joined is taken
    assert asked == [("run", "step")]


# -- 2: room


def test_a_retry_on_a_full_target_joins_its_job_and_waits_for_no_room(world: World) -> None:
    """It waited for room, which came when its own job ended, and then submitted that again."""
    (first,) = world.process(max_jobs=1).submit(world.request())
    before = world.clock.monotonic()
    (retry,) = world.process(max_jobs=1).submit(world.request())
    world.run_to_its_end(first)
    world.somebody_else_looks(first, JobState.COMPLETED)
    (later,) = world.process(max_jobs=1).submit(world.request())
    assert (retry.token, retry.joined, later.token, later.joined) == (first.token, True, first.token, True)
    assert (len(world.host.jobs), len(world.ledger.jobs())) == (1, 1)
    assert world.clock.monotonic() - before < HOUR


# -- 5: a reply that was lost


def answers(world: World, second: str, *, late: bool) -> None:
    """The first sbatch is accepted and its reply lost. Slurm shows the job when it answers the second, or still later."""
    names: list[str] = []

    def sbatch(argv: list[str]) -> tuple[int, str, str]:
        name = next(line for line in Path(argv[-1]).read_text().splitlines() if "--job-name=" in line).partition("=")[2]
        names.append(name)
        if len(names) == 1:
            return 1, "", LOST_REPLY
        if not late:
            world.host.put("100", name, "PENDING", "Priority")
        return 1, "", second

    world.host._sbatch = sbatch  # type: ignore[method-assign]


@pytest.mark.parametrize("words", [REFUSED, "sbatch: error: QOSMaxSubmitJobPerUserLimit"])
def test_what_is_refused_after_a_lost_reply_may_be_there_already_and_is_adopted(world: World, words: str) -> None:
    """The ledger said REFUSED, the job stood in the queue, and a second one was submitted beside it."""
    answers(world, words, late=False)
    (handle,) = world.process().submit(world.request())
    assert (handle.job_id, world.row(handle).state) == ("100", JobState.PENDING)
    (again,) = world.process().submit(world.request())
    assert (again.token, list(world.queue())) == (handle.token, ["100"])


def test_what_is_refused_after_a_lost_reply_cannot_start_later(world: World) -> None:
    answers(world, REFUSED, late=True)
    with pytest.raises(SubmitRefused, match="Invalid account"):
        world.process().submit(world.request())
    (row,) = world.ledger.jobs()
    script = jobdir.script_path(row.work_dir, ".slurm")
    late = subprocess.run(["bash", script], env={**os.environ, "SLURM_JOB_ID": "100"}, capture_output=True)
    assert (row.state, late.returncode) == (JobState.REFUSED, jobdir.DUPLICATE_EXIT_CODE)


# -- 6: cancelled meanwhile


def test_a_job_that_is_cancelled_while_its_submit_command_runs_leaves_the_queue(world: World) -> None:
    """The ledger said CANCELLED without an id, and the job stayed in the queue for ever."""

    def cancel() -> None:
        world.process().cancel([world.ledger.jobs()[0].handle()])
        world.host.down = {"scancel": "scancel: error: Unable to contact slurm controller"}

    world.host.before_submit = cancel
    (handle,) = world.process().submit(world.request())
    assert world.queue() == {"100": "PENDING"}  # it could not be told
    world.host.down = {}
    world.somebody_else_looks(handle, JobState.CANCELLED)
    assert world.queue()["100"].startswith("CANCELLED")


# -- 7: taken twice


def test_a_copy_that_stepped_aside_is_never_the_end_of_an_element(world: World) -> None:
    """Exit code 94 was FAILED, before the lock of the element that runs could even be seen here."""
    spec = replace(ARRAY, elements=(("a",), ("b",)))
    first, second = world.process().submit(world.request(spec=spec))
    name = f"many_{first.token.partition('.')[0]}"
    world.host.put("100_0", name, "RUNNING")
    world.host.put("100_1", name, "FAILED", "NonZeroExitCode", "94:0")
    world.host.put("200_1", name, "RUNNING")
    world.look_for(HOUR)
    assert not world.row(second).state.is_final
    Path(second.work_dir, ".job", "lock").write_text("200_1\n")
    world.look_for(HOUR)
    assert (world.row(second).state, world.row(second).job_id) == (JobState.RUNNING, "200_1")
    assert (world.row(first).state, world.row(first).job_id) == (JobState.RUNNING, "100_0")


# -- 8, 9: witnesses that fail


@pytest.mark.parametrize("for_s", [3.0, 8.0, HOUR])
def test_a_ledger_that_is_silent_when_the_id_comes_loses_no_job_of_a_living_process(world: World, for_s: float) -> None:
    """A notebook's job stayed SUBMITTING, all who joined it hung; nor may a job that was taken be called refused."""
    ledger = world.opened()
    back_at: list[float] = []
    silence(ledger, lambda statement: back_at and world.clock.monotonic() < back_at[0])
    world.host.before_submit = lambda: back_at.append(world.clock.monotonic() + for_s)
    notebook = world.process(ledger)
    try:
        notebook.submit(world.request())
    except LedgerUnavailable:
        world.clock.sleep(HOUR)
    world.host.before_submit = lambda: None
    (again,) = notebook.submit(world.request())
    assert again.joined
    Path(again.work_dir, "result.txt").write_text("42")
    world.host.end(replace(world.row(again), job_id="100"))
    (result,) = notebook.wait([again], timeout_s=HOUR)
    assert (result.state, result.handle.job_id, world.host.count("sbatch")) == (JobState.COMPLETED, "100", 1)


def test_a_database_that_restarts_ends_nobodys_wait(world: World) -> None:
    """One failed SELECT was the end of it."""
    ledger = world.opened()
    runner = world.process(ledger)
    (handle,) = runner.submit(world.request())
    began = world.clock.monotonic()
    silence(ledger, lambda statement: 20 < world.clock.monotonic() - began < 80)
    world.clock.later(40.0, lambda: world.run_to_its_end(handle))
    (result,) = runner.wait([handle], timeout_s=HOUR)
    assert result.state is JobState.COMPLETED
    told = [words for words in world.heard.warnings if "ledger" in words]
    assert ["does not answer" in words for words in told] == [True, *[False] * (len(told) - 1)]


def test_a_database_that_restarts_does_not_end_a_wait_for_room(world: World) -> None:
    """Nor for the id that a dependent job needs."""
    ledger = world.opened()
    first, second = (world.process(max_jobs=1).submit(world.request(identity=None))[0] for _ in range(2))
    began = world.clock.monotonic()
    silence(ledger, lambda statement: 20 < world.clock.monotonic() - began < 80)
    world.clock.later(40.0, lambda: world.run_to_its_end(first))
    assert world.process(ledger, max_jobs=1, unavailable_s=900.0).wait_for_id(second) == "101"


def test_a_stale_file_handle_ends_nobodys_wait_and_no_job(world: World) -> None:
    """One ESTALE at the exit code was the end of it."""
    runner = world.process()
    (handle,) = runner.submit(world.request())
    world.host.put("100", f"count_{handle.token}", "RUNNING")
    began = world.clock.monotonic()

    def stale(path: str) -> Exception | None:
        return OSError(116, "Stale file handle", path) if 20 < world.clock.monotonic() - began < 600 else None

    world.host.unreadable = stale
    world.clock.later(100.0, lambda: world.run_to_its_end(handle))
    (result,) = runner.wait([handle], timeout_s=HOUR)
    assert (result.state, result.reason) == (JobState.COMPLETED, "")


def test_the_directory_of_another_user_ends_nobodys_wait(world: World) -> None:
    """On a shared ledger every poll read every job's files."""
    runner = world.process()
    (mine,) = runner.submit(world.request())
    theirs = put_job(world.host, world.ledger, 7)
    world.run_to_its_end(theirs.handle())
    world.host.unreadable = lambda path: PermissionError(13, "Permission denied") if theirs.token in path else None
    world.clock.later(100.0, lambda: world.run_to_its_end(mine))
    assert runner.wait([mine], timeout_s=HOUR)[0].state is JobState.COMPLETED
    assert not world.row(theirs.handle()).state.is_final  # it is for those to judge who can see it


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_job_that_finds_its_disk_full_comes_to_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Nothing that is written with an end, like the lock that is closed then, may be in the way of that end."""
    runner = world.process()
    (handle,) = runner.submit(world.request())
    world.host.put("100", f"count_{handle.token}", "FAILED", "NonZeroExitCode", "73:0")

    def full(path: str, content: bytes) -> bool:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(world.host, "create", full)
    (result,) = runner.wait([handle], timeout_s=HOUR)
    assert result.state is JobState.FAILED
    assert "is the disk full" in result.reason


# -- 10: history


def test_a_result_is_looked_at_once_and_later_looks_rewrite_nothing(world: World) -> None:
    """A scratch that was purged, or a second host that does not see it, made COMPLETED jobs FAILED."""
    runner = world.process()
    (handle,) = runner.submit(world.request())
    world.run_to_its_end(handle)
    assert runner.wait([handle], timeout_s=HOUR)[0].state is JobState.COMPLETED
    before = world.row(handle)
    Path(handle.work_dir, "result.txt").unlink()
    world.host.looks.clear()
    (later,) = world.process().wait([handle], timeout_s=HOUR)
    assert (later.state, world.row(handle)) == (
        JobState.COMPLETED,
        replace(before, updated_at=world.row(handle).updated_at),
    )
    assert not [path for path in world.host.looks if path.endswith("result.txt")]


def test_that_a_poll_saw_a_job_end_well_does_not_say_that_its_outputs_are_there(world: World) -> None:
    runner = world.process()
    (handle,) = runner.submit(world.request())
    world.host.end(world.row(handle))
    world.somebody_else_looks(handle, JobState.COMPLETED)
    (result,) = runner.wait([handle], timeout_s=HOUR)
    assert (result.state, result.missing) == (JobState.FAILED, ("result (result.txt)",))
    assert isinstance(failure_of(result), OutputMissing)
    assert world.ledger.claims.holders(["same"]) == {}  # and it may be run again


# -- 11: overtaken


@pytest.mark.parametrize("stored", [True, False])
def test_one_who_was_overtaken_does_not_refuse_the_job_of_the_other(world: World, stored: bool) -> None:
    """B's job stood in the queue, or was about to, and A's late refusal stood in the ledger."""
    other, claims = "hostb 1 2 3", world.ledger.claims

    def store() -> bool:
        (row,) = world.ledger.jobs()
        return claims.submitted({row.token: "500"}, other, row.target, poll_within_s=1)

    def sbatch(argv: list[str]) -> tuple[int, str, str]:
        (row,) = world.ledger.jobs()
        assert claims.take_over(row, other)
        world.host.put("500", f"count_{row.batch}", "PENDING")
        if stored:
            assert store()
        return 1, "", REFUSED

    world.host._sbatch = sbatch  # type: ignore[method-assign]
    with contextlib.suppress(SubmitRefused):
        world.process().submit(world.request())
    if not stored:
        assert store()
    (row,) = world.ledger.jobs()
    assert (row.state, row.job_id, row.held_identity) == (JobState.PENDING, "500", "same")


# -- 12: two clusters


def test_two_clusters_on_one_ledger_lose_none_of_each_others_jobs(world: World) -> None:
    """Each Slurm was called slurm, knew nothing of the other's jobs, and they were LOST."""
    sites = [world.host, PretendSlurm(world.folder / "other", now=world.clock.now, cluster="other")]
    runners = [
        Runner(replace(world.target(host), cluster=""), world.opened(), world.heard.listener, world.clock)
        for host in sites
    ]
    handles = [runner.submit(world.request(identity=None))[0] for runner in runners]
    for host, handle in zip(sites, handles, strict=True):
        host.put(handle.job_id or "", f"count_{handle.token}", "RUNNING")
    for _ in range(1000):
        for runner in runners:
            runner.tick()
        world.clock.sleep(3.0)
    assert [(handle.target, world.row(handle).state) for handle in handles] == [
        ("slurm@lab", JobState.RUNNING),
        ("slurm@other", JobState.RUNNING),
    ]


def test_who_waits_to_learn_which_cluster_it_is_hears_of_it_and_submits_once(world: World) -> None:
    world.host.down = {"scontrol": "Unable to contact slurm controller (connect failure)"}
    target = replace(world.target(unavailable_s=900.0), cluster="")
    world.clock.later(100.0, world.host.down.clear)
    Runner(target, world.opened(), world.heard.listener, world.clock).submit(world.request())
    (words,) = world.heard.warnings
    assert "Unable to contact slurm controller" in words
    assert [(row.target, row.state) for row in world.ledger.jobs()] == [("slurm@lab", JobState.PENDING)]


# -- 13: LOST


def test_a_job_that_was_lost_and_turns_up_runs_on_to_its_end_and_its_identity_was_never_free(world: World) -> None:
    """After 300 s without a trace the same work was submitted again."""
    (handle,) = world.process().submit(world.request())
    (world.host.folder / "jobs.json").write_text("{}")
    world.somebody_else_looks(handle, JobState.LOST)
    with pytest.raises(JobLost):
        world.process().submit(world.request())
    world.host.put("100", f"count_{handle.token}", "RUNNING")
    world.somebody_else_looks(handle, JobState.RUNNING)
    assert world.row(handle).absent_since is None
    world.run_to_its_end(handle)
    world.somebody_else_looks(handle, JobState.COMPLETED)
    runner = world.process()
    (again,) = runner.submit(world.request())
    assert (again.token, runner.wait([again], timeout_s=HOUR)[0].state, world.host.count("sbatch")) == (
        handle.token,
        "COMPLETED",
        1,
    )


# -- 14: orphans


@pytest.mark.parametrize("placed", [True, False])
def test_an_orphan_that_nobody_wants_any_more_blocks_no_full_target(world: World, placed: bool) -> None:
    """It took the only place for ever."""
    world.clock.deadly = "send: before the command" if placed else "claim: after the row"
    with pytest.raises(Died):
        world.process(max_jobs=1).submit(world.request(identity="unwanted"))
    world.clock.deadly = ""
    (orphan,) = world.ledger.jobs()
    with world.ledger._database._engine.begin() as connection:  # its process is gone
        connection.execute(sa.text("UPDATE dagster_hpc_jobs SET owner = :dead"), {"dead": DEAD})
    runner = world.process(max_jobs=1)
    (handle,) = runner.submit(world.request())
    assert world.row(handle).state is JobState.READY
    if placed:
        world.clock.later(100.0, lambda: world.run_to_its_end(orphan.handle()))
    world.clock.later(1000.0, lambda: world.run_to_its_end(handle))
    assert runner.wait([handle], timeout_s=HOUR)[0].state is JobState.COMPLETED
    assert world.row(orphan.handle()).state is (JobState.COMPLETED if placed else JobState.REFUSED)


# -- 15: cancellations


@pytest.mark.parametrize("point", ["cancel: after the wish", "cancel: before the command"])
def test_a_cancellation_outlives_the_process_that_wished_it(world: World, point: str) -> None:
    """A scancel that did not go through was never sent again."""
    runner = world.process()
    (handle,) = runner.submit(world.request())
    world.host.put("100", f"count_{handle.token}", "RUNNING")
    world.clock.deadly = point
    with pytest.raises(Died):
        runner.cancel([handle])
    world.clock.deadly = ""
    world.somebody_else_looks(handle, JobState.CANCELLED, within_s=60.0)
    assert world.queue()["100"].startswith("CANCELLED")


# -- 17: clocks


@pytest.mark.parametrize("step_s", [-HOUR, HOUR])
def test_a_clock_that_is_set_stops_no_poll(world: World, step_s: float) -> None:
    """An hour back meant no polls for an hour."""
    (handle,) = world.process().submit(world.request())
    world.host.put("100", f"count_{handle.token}", "RUNNING")
    world.somebody_else_looks(handle, JobState.RUNNING)
    world.clock.stepped = step_s
    world.run_to_its_end(handle)
    world.somebody_else_looks(handle, JobState.COMPLETED, within_s=120.0)


# -- 18: requeued


def test_a_requeued_job_is_not_judged_by_the_exit_code_of_its_first_run(world: World) -> None:
    """Its second run was in its prolog, and it was FAILED, killed by SIGTERM."""
    runner = world.process()
    (handle,) = runner.submit(world.request())
    row, name = world.row(handle), f"count_{handle.token}"
    world.host.leave_exit_code(row, 143)
    world.clock.sleep(HOUR)
    again = datetime.fromtimestamp(world.clock.now()).strftime("%Y-%m-%dT%H:%M:%S")
    world.host.put("100", name, "RUNNING", start=again)
    with pytest.raises(WaitTimeout):
        runner.wait([handle], timeout_s=600.0)
    assert world.row(handle).state is JobState.RUNNING
    world.run_to_its_end(handle)
    assert runner.wait([handle], timeout_s=HOUR)[0].state is JobState.COMPLETED


# -- scale, and what cost too much


def test_a_timeout_holds_while_an_orphan_is_looked_for(tmp_path: Path) -> None:
    """wait(timeout_s=2) came back when the scheduler did, after 900 s."""
    host = PretendSlurm(tmp_path / "slurm", before_submit=lambda: (_ for _ in ()).throw(Died()))
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    target = Target("slurm", Slurm(), host, 0.1, cluster="lab", patience=quick(recheck_s=0.5, unavailable_s=900.0))
    runner = Runner(target, ledger)
    with pytest.raises(Died):
        runner.submit(Request(SPEC, str(tmp_path / "work")))
    host.down = {"squeue": "slurm_load_jobs error: Unable to contact slurm controller"}
    began = time.monotonic()
    with pytest.raises(WaitTimeout):
        runner.wait([ledger.jobs()[0].handle()], timeout_s=1.0)
    took_s = time.monotonic() - began
    host.before_submit, host.down = lambda: None, {}  # what goes on in the background comes to its end
    deadline = time.monotonic() + 30
    while ledger.jobs()[0].job_id is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert took_s < 4.0
    assert (ledger.jobs()[0].job_id, ledger.jobs()[0].owner) == ("100", NOBODY)


@pytest.mark.parametrize(("state", "jobs", "most"), [("PENDING", 1, 2), ("RUNNING", 1, 2), ("PENDING", 40, 2),
                                                      ("RUNNING", 40, 6)])  # fmt: skip
def test_one_who_waits_asks_files_and_ledger_twice_a_second_at_most(
    world: World, state: str, jobs: int, most: float
) -> None:
    """192 files were opened each second for 20 running jobs, and 20 statements executed for one that was queued.

    Of many jobs that run, three are looked at in turn: for the end of each, and for what it writes.
    """
    rows = [put_job(world.host, world.ledger, number, state=state) for number in range(jobs)]
    ledger, statements = world.opened(), Counter[str]()
    seen: list[tuple[int, int]] = []

    @sa.event.listens_for(ledger._database._engine, "before_cursor_execute")
    def _count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements[statement.split()[0]] += 1

    for moment in (30.0, 60.0, 600.0):
        world.clock.later(moment, lambda: seen.append((len(world.host.looks), sum(statements.values()))))
    with pytest.raises(WaitTimeout):
        world.process(ledger).wait([row.handle() for row in rows], timeout_s=700.0)
    young, old = ([later - before for before, later in zip(*pair, strict=True)] for pair in (seen[0:2], seen[1:3]))
    assert max(young) / 30.0 <= most, dict(statements)
    assert max(old) / 540.0 <= most / 2, dict(statements)
    assert max(old) / 540.0 < max(young) / 30.0  # and ever less


def test_a_poll_of_jobs_that_have_not_changed_writes_no_row_and_opens_no_directory(world: World) -> None:
    """15.7 MB were written and 10,000 directories listed at each tick."""
    for number in range(40):
        put_job(world.host, world.ledger, number)
    ledger, written = world.opened(), []
    other = world.process(ledger)
    other.tick()

    @sa.event.listens_for(ledger._database._engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("SELECT", "BEGIN")):
            written.append(statement)

    world.host.looks.clear()
    before = world.host.count("squeue")
    for _ in range(5):
        world.clock.sleep(100.0)
        other.tick()
    assert world.host.count("squeue") - before == 5
    assert world.host.looks == []
    assert {statement.split()[1] for statement in written} == {"dagster_hpc_leases"}


def test_one_that_ended_among_many_is_all_that_is_touched(world: World) -> None:
    rows = [put_job(world.host, world.ledger, number) for number in range(40)]
    other = world.process()
    other.tick()
    world.host.end(rows[7])
    world.host.looks.clear()
    world.clock.sleep(100.0)
    other.tick()
    world.clock.sleep(100.0)
    other.tick()
    assert world.row(rows[7].handle()).state is JobState.COMPLETED
    assert {path for path in world.host.looks if not path.startswith(rows[7].work_dir)} == set()


@pytest.mark.parametrize(("fate", "commands"), [("lost", 2), ("not taken", 4)])
def test_an_array_whose_submission_is_open_is_cancelled_as_a_whole(world: World, fate: str, commands: int) -> None:
    """400 commands, two for each element. What was taken is found and cancelled; what was not is looked for twice."""
    world.host.submissions, world.host.down = [fate], {"squeue": "slurm_load_jobs error: down"}
    with pytest.raises(HPCError):
        world.process().submit(world.request(spec=ARRAY))
    world.host.down = {}
    runner, before = world.process(cancel_s=0.0), len(world.host.asked)
    rows = world.ledger.jobs(live=True)
    assert (len(rows), {row.state for row in rows}) == (200, {JobState.SUBMITTING})
    runner.cancel([row.handle() for row in rows])
    assert len(world.host.asked) - before <= commands
    if fate == "lost":
        assert ["scancel", "100"] in world.host.asked
    else:
        assert {row.state for row in world.ledger.jobs()} == {JobState.CANCELLED}


def test_a_claim_whose_rival_ends_in_the_same_moment_is_no_error(world: World) -> None:
    """A raw IntegrityError."""
    (rival,) = world.process().submit(world.request())
    late = world.process()
    claims, refused = late.ledger.claims, list[bool]()
    holders, claim = claims.holders, claims.claim

    def blind(identities: Any) -> Any:  # it looked before the rival was there
        return holders(identities) if refused else {}

    def beaten(*args: Any, **options: Any) -> JobState | None:
        state = claim(*args, **options)
        if state is None:
            refused.append(True)
            world.ledger.observations.record([Change(rival.token, JobState.FAILED, "it ended just now")])
        return state

    claims.holders, claims.claim = blind, beaten  # type: ignore[method-assign]
    (handle,) = late.submit(world.request())
    assert refused == [True]
    assert (handle.joined, handle.token != rival.token) == (False, True)


def test_two_who_claim_in_the_same_moment_share_one_job(world: World) -> None:
    one, other = world.process(), world.process()
    claim = one.ledger.claims.claim
    theirs: list[JobHandle] = []

    def after_the_other(*args: Any, **options: Any) -> JobState | None:
        if not theirs:
            theirs.extend(other.submit(world.request()))
        return claim(*args, **options)

    one.ledger.claims.claim = after_the_other  # type: ignore[method-assign]
    (mine,) = one.submit(world.request())
    assert (mine.token, mine.joined, world.host.count("sbatch")) == (theirs[0].token, True, 1)


class Metered(Slurm):
    """Leaves a file with figures beside each job, as some systems do."""

    def statistics_of(self, work_dir: str, index: int | None) -> str | None:
        return f"{work_dir}/energy"

    def read_statistics(self, text: str) -> JobMetrics:
        return JobMetrics(energy_j=float(text))


def test_figures_that_come_after_the_end_are_kept(world: World) -> None:
    """They were written for rows that were final, and so never."""
    runner = Runner(replace(world.target(), scheduler=Metered()), world.opened(), clock=world.clock)
    (handle,) = runner.submit(world.request())
    world.run_to_its_end(handle)
    world.somebody_else_looks(handle, JobState.COMPLETED)
    assert world.row(handle).metrics.energy_j is None
    Path(handle.work_dir, "energy").write_text("42.5")
    assert runner.wait([handle], timeout_s=HOUR)[0].metrics.energy_j == 42.5
    assert world.row(handle).metrics.energy_j == 42.5


# -- figures that come late


@dataclass(frozen=True)
class Figuring(Slurm):
    """A Slurm that leaves a job's figures in a file beside it, as PJM does."""

    def statistics_of(self, work_dir: str, index: int | None) -> str | None:
        return f"{work_dir}/stats"

    def read_statistics(self, text: str) -> JobMetrics:
        return JobMetrics(energy_j=float(text), raw={"ENERGY": text})


def a_job_without_accounts(tmp_path: Path, patience: Patience) -> tuple[Runner, Ledger, JobRow]:
    host = PretendSlurm(tmp_path / "slurm", accounting=False)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    row = put_job(host, ledger, 1)
    host.end(row)
    return Runner(replace(target_on(host, 0.1, patience), scheduler=Figuring()), ledger), ledger, row


def test_figures_that_come_soon_after_the_end_are_in_the_result(tmp_path: Path) -> None:
    runner, ledger, row = a_job_without_accounts(tmp_path, quick(accounting_delay_s=10.0))
    threading.Timer(1.0, lambda: Path(row.work_dir, "stats").write_text("250.0")).start()
    (result,) = runner.wait([row.handle()], timeout_s=20)
    assert result.metrics.energy_j == 250.0
    ledger.close()


def test_figures_that_come_after_the_result_was_collected_are_kept(tmp_path: Path) -> None:
    runner, ledger, row = a_job_without_accounts(tmp_path, quick())
    (result,) = runner.wait([row.handle()], timeout_s=20)
    assert (result.metrics.energy_j, result.metrics.raw) == (None, {})
    Path(row.work_dir, "stats").write_text("250.0")
    other = Runner(runner.target, ledger)
    eventually(lambda: other.tick() or ledger.job(row.token).metrics.energy_j == 250.0)
    assert ledger.job(row.token).state is JobState.COMPLETED
    ledger.close()
