"""The simulated world itself: what it claims to do to the engine, it does."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, schema
from dagster_hpc.engine.ledger.rows import to_columns
from tests.simulation.cluster import Cluster, Lies, Work
from tests.simulation.database import Storage
from tests.simulation.files import Files, SimulatedHost
from tests.simulation.histories import Actor, History, Plan, plan_of, shrink, unusual
from tests.simulation.time import Process, SimulatedClock, Time

SCRIPT = "/scratch/a/tok/.job/script.sim"


class World:
    """A cluster, its files, and one process that does what a test wants."""

    def __init__(self, lies: Lies | None = None, work: Work | None = None) -> None:
        self.time = Time(1)
        self.files = Files(self.time)
        self.cluster = Cluster(self.time, self.files, lies or Lies(waits_s=0.0))
        self.cluster.work = work or Work(10.0, 0)
        self.files.write(SCRIPT, b"#SBATCH --job-name=a_tok\n")

    def do(self, work: Callable[[Process], None], host: str = "h1") -> Process:
        """Let a process do this, and time pass until it has."""
        process = self.time.start(f"p{len(self.time.processes)}", host, work)
        self.time.run(lambda: process.over, limit=self.time.passed + 1e6)
        return process

    def ask(self, *argv: str, timeout_s: float = 60.0) -> Answer:
        answers: list[Answer] = []
        self.do(lambda process: answers.append(self.cluster.execute(process, Call(argv, timeout_s))))
        return answers[0]

    def pass_time(self, seconds: float) -> None:
        end = self.time.passed + seconds
        self.do(lambda process: process.pause(end - self.time.passed))

    def note(self, name: str) -> bytes | None:
        return self.files.contents.get(jobdir.protocol_path("/scratch/a/tok", name))


# ---------------------------------------------------------------------- time


def test_an_hour_passes_at_once_and_never_steps_back() -> None:
    world = World()
    seen: list[float] = []

    def sleeper(process: Process) -> None:
        clock = SimulatedClock(process)
        seen.append(clock.monotonic())
        clock.sleep(3600.0)
        seen.append(clock.monotonic())

    world.do(sleeper)
    assert seen[1] - seen[0] == 3600.0


def test_the_time_of_day_steps_and_differs_between_hosts() -> None:
    world = World()
    world.time.stepped, world.time.skew = -5.0, {"h2": 90.0}
    told: dict[str, float] = {}
    for host in ("h1", "h2"):
        world.do(lambda process: told.update({process.host: SimulatedClock(process).now()}), host)
    assert told["h2"] - told["h1"] == 90.0


def test_a_process_dies_at_its_point_and_cleans_nothing_up() -> None:
    world, done = World(), []

    def work(process: Process) -> None:
        process.dies_at = ("here", 2)
        for number in range(3):
            process.passes("here")
            done.append(number)

    assert world.do(work).dead
    assert done == [0]


def test_a_process_that_stalls_goes_on_when_others_have_long_overtaken_it() -> None:
    world = World()

    def work(process: Process) -> None:
        process.stalls_at = ("here", 1, 500.0)
        process.passes("here")

    world.do(work)
    assert world.time.passed == 500.0


def test_an_interrupt_arrives_once() -> None:
    world, heard = World(), []

    def work(process: Process) -> None:
        process.interrupt()
        try:
            process.pause()
        except KeyboardInterrupt:
            heard.append(True)
        process.pause()

    world.do(work)
    assert heard == [True]


# ---------------------------------------------------------------------- files


def test_a_file_from_a_node_is_seen_late_and_its_old_content_until_then() -> None:
    world = World()
    world.files.write("/scratch/x", b"old")
    world.files.delay, world.files.lag = 0.0, {"h2": 30.0}
    world.pass_time(100.0)
    world.files.write("/scratch/x", b"new", late=True)
    assert (world.files.visible("/scratch/x", "h1"), world.files.visible("/scratch/x", "h2")) == (b"new", b"old")
    world.pass_time(31.0)
    assert world.files.visible("/scratch/x", "h2") == b"new"


def test_what_is_created_exclusively_is_created_once() -> None:
    world, made = World(), []
    world.files.make("/scratch/a/tok/.job")
    for host in ("h1", "h2"):
        world.do(
            lambda process: made.append(
                SimulatedHost(process, world.files, world.cluster.execute).create("/scratch/a/tok/.job/lock", b"closed\n")
            ),
            host,
        )
    assert made == [True, False]


def test_a_host_may_be_unable_to_see() -> None:
    world, errors = World(), []
    world.files.unreadable_until, world.files.error = 10.0, errno.EIO

    def look(process: Process) -> None:
        try:
            SimulatedHost(process, world.files, world.cluster.execute).read(SCRIPT)
        except OSError as error:
            errors.append(error.errno)

    world.do(look)
    world.pass_time(11.0)
    world.do(look)
    assert errors == [errno.EIO]


# ---------------------------------------------------------------------- the batch system


def test_a_job_lives_as_its_script_does() -> None:
    world = World()
    job_id = world.ask("submit", SCRIPT).stdout
    world.pass_time(1.0)
    assert world.note(jobdir.LOCK) == f"{job_id}\n".encode()
    world.pass_time(20.0)
    assert (world.note(jobdir.EXIT_CODE) or b"").startswith(b"0 ")
    assert json.loads(world.ask("history", job_id).stdout)["jobs"][job_id][:2] == ["COMPLETED", 0]


def test_of_two_copies_one_runs() -> None:
    world = World(Lies(waits_s=0.0, doubled=1.0))
    world.ask("submit", SCRIPT)
    world.pass_time(60.0)
    assert sorted((job.runs, job.exit_code) for job in world.cluster.jobs) == [(0, jobdir.DUPLICATE_EXIT_CODE), (1, 0)]


def test_a_closed_submission_does_not_run() -> None:
    world = World()
    world.files.write(jobdir.protocol_path("/scratch/a/tok", jobdir.LOCK), b"closed\n")
    world.ask("submit", SCRIPT)
    world.pass_time(60.0)
    assert [job.runs for job in world.cluster.jobs] == [0]


def test_a_reply_is_lost_after_the_job_was_taken() -> None:
    world = World(Lies(lost_after=1.0))
    assert world.ask("submit", SCRIPT).code != 0
    assert len(world.cluster.jobs) == 1


def test_a_slow_command_takes_effect_though_nobody_waits_for_it_any_more() -> None:
    world = World(Lies(slow_s=400.0))
    world.time.random.seed(4)
    answers = [world.ask("submit", SCRIPT) for _ in range(20)]
    world.pass_time(500.0)
    assert any(answer.timed_out for answer in answers)
    assert len(world.cluster.jobs) == 20


def test_a_requeued_job_runs_again_under_its_id_and_leaves_the_old_exit_code_until_then() -> None:
    world = World(Lies(waits_s=0.0, requeue=1.0))
    world.ask("submit", SCRIPT)
    world.pass_time(11.5)
    assert (world.note(jobdir.EXIT_CODE) or b"").startswith(b"143 ")
    world.cluster._lies.stop()
    world.pass_time(60.0)
    assert [(job.state, job.runs) for job in world.cluster.jobs] == [(JobState.COMPLETED, 2)]


def test_ids_come_round_again_but_not_while_the_queue_shows_them() -> None:
    world = World(Lies(waits_s=0.0, wraps=3))
    first = world.ask("submit", SCRIPT).stdout
    world.pass_time(100.0)
    ids = [world.ask("submit", SCRIPT).stdout for _ in range(3)]
    assert first in ids
    assert len(set(ids)) == 3


def test_a_queue_may_be_empty_and_a_controller_may_forget() -> None:
    world = World(Lies(waits_s=100.0, forgets=1.0))
    job_id = world.ask("submit", SCRIPT).stdout
    world.cluster.empty_until = 5.0
    assert json.loads(world.ask("queue", job_id).stdout)["jobs"] == {}
    world.pass_time(30.0)
    assert [job.forgotten for job in world.cluster.jobs] == [True]
    assert json.loads(world.ask("queue", job_id).stdout)["jobs"] == {}


@pytest.mark.parametrize("end", [JobState.TIMEOUT, JobState.OOM, JobState.PREEMPTED])
def test_the_system_may_end_a_job(end: JobState) -> None:
    world = World(Lies(waits_s=0.0), Work(10.0, 0, end))
    job_id = world.ask("submit", SCRIPT).stdout
    world.pass_time(20.0)
    assert json.loads(world.ask("queue", job_id).stdout)["jobs"][job_id][0] == end.value
    assert (world.note(jobdir.EXIT_CODE) is None) is (end is JobState.OOM)


@pytest.mark.parametrize(("absence", "unknown", "whole"), [("named", ["999"], False), ("listed", [], True),
                                                            ("not at all", [], False)])  # fmt: skip
def test_a_queue_says_of_a_job_that_is_not_there_what_its_kind_says(
    absence: str, unknown: list[str], whole: bool
) -> None:
    world = World(Lies(waits_s=0.0, absence=absence))
    job_id = world.ask("submit", SCRIPT).stdout
    told = json.loads(world.ask("queue", job_id, "999").stdout)
    assert (list(told["jobs"]), told["unknown"], told["whole"]) == ([job_id], unknown, whole)
    assert json.loads(world.ask("look", "999").stdout)["unknown"] == ["999"]


def test_an_answer_about_several_jobs_leaves_some_out_and_names_none_of_them() -> None:
    world = World(Lies(waits_s=100.0, left_out="all but the first"))
    ids = [world.ask("submit", SCRIPT).stdout for _ in range(3)]
    told = json.loads(world.ask("queue", *ids).stdout)
    assert (list(told["jobs"]), told["unknown"]) == (ids[:1], [])
    assert list(json.loads(world.ask("look", ids[2]).stdout)["jobs"]) == [ids[2]]


# ---------------------------------------------------------------------- the database


def test_the_answer_to_a_commit_may_be_lost_though_it_was_committed() -> None:
    storage, world = Storage(), World()
    storage.clear(None)
    storage.process, storage.loses = (lambda: world.time.current), lambda: True
    errors = []

    def write(process: Process) -> None:
        row = {"token": "t", "run_id": "r", "step_key": "s", "returned_at": 1.0}
        try:
            with storage.transaction():
                storage.connection.execute(schema.DELIVERIES.insert(), row)
        except sa.exc.OperationalError as error:
            errors.append(error)

    world.do(write)
    storage.process = lambda: None
    assert len(storage.connection.execute(sa.select(schema.DELIVERIES)).all()) == len(errors) == 1


def test_what_goes_straight_to_the_driver_is_answered_as_by_sqlalchemy() -> None:
    storage = Storage()
    row = JobRow("t", "t", "x", "sim", "{}", "/x", JobState.PENDING, created_at=1.0, cancel_requested=True)
    storage.connection.execute(schema.JOBS.insert(), [to_columns(row)])
    query = sa.select(schema.JOBS).where(schema.JOBS.c.token == sa.bindparam("token"))
    answers = [storage.connection.execute(query, {"token": "t"}).one()._asdict() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert [answer["cancel_requested"] is True for answer in answers] == [True] * 3
    change = schema.JOBS.update().where(schema.JOBS.c.token == sa.bindparam("of")).values(state=sa.bindparam("now"))
    counts = [storage.connection.execute(change, {"of": of, "now": "HELD"}).rowcount for of in ("t", "t", "u", "t")]
    assert counts == [1, 1, 0, 1]


# ---------------------------------------------------------------------- histories


def test_a_seed_is_one_history() -> None:
    told: list[list[str]] = [[], []]
    storage = Storage()
    for words in told:
        History(Plan(5, (Actor("array", "a", "h1"), Actor("run", "a", "h2", begins=5.0))), storage, words.append).live()
    assert told[0] == told[1]
    assert told[0]


def test_a_plan_is_made_small() -> None:
    plan = plan_of(11)
    small = shrink(plan, lambda candidate: candidate.work_s == plan.work_s)
    assert len(small.actors) == 1
    assert unusual(small.lies).count("=") <= 2  # what the system is, and no fault of it
