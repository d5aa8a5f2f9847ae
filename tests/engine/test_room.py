"""Room that is asked for: jobs beyond it wait in the ledger, and go on as some appears, whoever lives to see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.job import JobHandle, JobSpec, JobState, Request
from dagster_hpc.engine.ledger import Ledger
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.submit.room import RARELY_S
from tests.engine.pretend import Heard, PretendSlurm, target_on
from tests.engine.test_wait import Patient, due_now


@dataclass(frozen=True)
class Telling(Slurm):
    """A Slurm that says how much it takes."""

    elements: ClassVar[int | None] = None

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return [Call(("room", user, queue, project))]

    def read_room(self, answers: list[Answer]) -> Room:  # type: ignore[override]
        free = int(answers[0].stdout) if answers[0].code == 0 else None
        return Room(free, self.elements)


class Limited(PretendSlurm):
    """It takes only so many jobs at once, of everybody: `others` has some."""

    most, others = 5, 0

    def live(self) -> int:
        over = ("COMPLETED", "FAILED", "CANCELLED")
        counts = [self._size(job_id) for job_id, job in self.jobs.items() if not job["state"].startswith(over)]
        return sum(counts) + self.others

    def _size(self, job_id: str) -> int:
        return self.sizes.get(job_id, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sizes: dict[str, int] = {}
        self.refusals = 0

    def _room(self, argv: list[str]) -> tuple[int, str, str]:
        return 0, str(self.most - self.live()), ""

    def _sbatch(self, argv: list[str]) -> tuple[int | None, str, str]:
        array = next((line for line in Path(argv[-1]).read_text().splitlines() if "--array=" in line), "")
        count = int(array.rpartition("-")[2].partition("%")[0]) + 1 if array else 1
        if self.live() + count > self.most:
            self.refusals += 1
            self.submissions = ["full"]
        answer = super()._sbatch(argv)
        self.sizes[str(answer[1]).strip()] = count
        return answer


@pytest.fixture
def host(tmp_path: Path) -> Limited:
    return Limited(tmp_path / "slurm")


@pytest.fixture
def clock() -> Patient:
    return Patient()


@pytest.fixture
def ledger(tmp_path: Path, clock: Patient) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", clock)
    yield ledger
    ledger.close()


def runner_on(host: Limited, ledger: Ledger, clock: Patient, scheduler: Slurm | None = None) -> Runner:
    return Runner(replace(target_on(host), scheduler=scheduler or Telling()), ledger, clock=clock)


def submitted(runner: Runner, host: Limited, count: int = 1, *, elements: int = 0, **spec: object) -> list[JobHandle]:
    parts = tuple((str(n),) for n in range(elements))
    handles: list[JobHandle] = []
    for _ in range(count):
        job = JobSpec(name="x", shell="true", elements=parts, **spec)  # type: ignore[arg-type]
        handles += runner.submit(Request(job, str(host.folder / "work")))
    return handles


def states(ledger: Ledger, handles: list[JobHandle]) -> list[str]:
    return [ledger.job(handle.token).state.value for handle in handles]


def look(runner: Runner, ledger: Ledger) -> None:
    due_now(ledger)
    runner.tick()


def end(host: Limited, ledger: Ledger, handles: list[JobHandle]) -> None:
    for handle in handles:
        host.end(ledger.job(handle.token))


def test_jobs_beyond_the_room_wait_in_the_ledger_and_say_why(host: Limited, ledger: Ledger, clock: Patient) -> None:
    handles = submitted(runner_on(host, ledger, clock), host, 7)
    assert states(ledger, handles) == ["PENDING"] * 5 + ["READY"] * 2
    assert ledger.job(handles[5].token).reason == "waits for room: the scheduler takes 5 jobs at once just now"
    assert ledger.job(handles[6].token).reason.startswith("waits for room")
    assert host.refusals == 0


def test_they_are_submitted_as_room_appears_by_whoever_polls(host: Limited, ledger: Ledger, clock: Patient) -> None:
    first = runner_on(host, ledger, clock)
    handles = submitted(first, host, 7)
    another = runner_on(host, ledger, clock)
    look(another, ledger)
    assert states(ledger, handles[5:]) == ["READY", "READY"]
    end(host, ledger, handles[:1])
    look(another, ledger)
    assert states(ledger, handles[5:]) == ["PENDING", "READY"]
    assert ledger.job(handles[5].token).reason in (
        "",
        "Priority",
        "waits its turn behind jobs of higher priority (Priority)",
    )
    assert host.refusals == 0


def test_others_who_share_the_limit_take_their_part_of_it(host: Limited, ledger: Ledger, clock: Patient) -> None:
    host.others = 3
    handles = submitted(runner := runner_on(host, ledger, clock), host, 4)
    assert states(ledger, handles) == ["PENDING"] * 2 + ["READY"] * 2
    host.others = 0
    clock.passed += 61  # while jobs wait, the scheduler is asked anew every minute
    look(runner, ledger)
    assert states(ledger, handles) == ["PENDING"] * 4
    assert host.refusals == 0


def test_elements_count_one_each(host: Limited, ledger: Ledger, clock: Patient) -> None:
    runner = runner_on(host, ledger, clock)
    array, single = submitted(runner, host, elements=4), submitted(runner, host, 2)
    assert states(ledger, array + single) == ["PENDING"] * 5 + ["READY"]


def test_an_array_larger_than_the_system_takes_goes_in_parts(
    host: Limited, ledger: Ledger, clock: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Telling, "elements", 10)
    host.most = 1000
    handles = submitted(runner_on(host, ledger, clock), host, elements=25)
    assert len(handles) == 25
    assert [len(ledger.jobs(batch=batch)) for batch in dict.fromkeys(h.token.partition(".")[0] for h in handles)] == [
        10,
        10,
        5,
    ]
    assert states(ledger, handles) == ["PENDING"] * 25


def test_an_array_larger_than_all_the_room_goes_in_parts_that_fit(
    host: Limited, ledger: Ledger, clock: Patient
) -> None:
    runner = runner_on(host, ledger, clock)
    handles = submitted(runner, host, elements=12)
    for _ in range(3):
        live = [handle for handle in handles if ledger.job(handle.token).state.is_submitted]
        assert 0 < len(live) <= 5
        for handle in live:
            row = ledger.job(handle.token)
            host.put(row.job_id or "", f"x_{row.batch}", "COMPLETED")
            host.leave_exit_code(row)
        for job_id in {(ledger.job(handle.token).job_id or "").partition("_")[0] for handle in live}:
            host.put(job_id, host.jobs[job_id]["name"], "COMPLETED")
        look(runner, ledger)
        look(runner, ledger)
    assert states(ledger, handles) == ["COMPLETED"] * 12
    assert host.refusals == 0


def test_parts_of_an_array_with_a_limit_follow_each_other_so_that_it_holds(
    host: Limited, ledger: Ledger, clock: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Telling, "elements", 2)
    runner = runner_on(host, ledger, clock)
    handles = submitted(runner, host, elements=4, element_limit=1)
    assert states(ledger, handles) == ["PENDING"] * 2 + ["READY"] * 2
    look(runner, ledger)
    assert states(ledger, handles[2:]) == ["READY"] * 2
    for handle in handles[:2]:
        row = ledger.job(handle.token)
        host.put(row.job_id or "", f"x_{row.batch}", "COMPLETED")
        host.leave_exit_code(row)
    look(runner, ledger)
    assert states(ledger, handles) == ["COMPLETED"] * 2 + ["PENDING"] * 2


def test_a_queue_that_is_full_holds_up_no_other(host: Limited, ledger: Ledger, clock: Patient) -> None:
    runner = runner_on(host, ledger, clock)
    full = submitted(runner, host, 6, queue="cpu")
    host.most = 10
    free = submitted(runner, host, queue="gpu")
    host.submissions = []
    assert states(ledger, full[5:] + free) == ["READY", "PENDING"]


def test_for_the_targets_own_room_an_array_is_not_overtaken_by_smaller_jobs_of_another_queue(
    host: Limited, ledger: Ledger, clock: Patient
) -> None:
    host.most = 100
    runner = Runner(replace(target_on(host), scheduler=Telling(), max_jobs=3), ledger, clock=clock)
    first = submitted(runner, host, queue="cpu")
    array = submitted(runner, host, queue="cpu", elements=3)
    later = submitted(runner, host, queue="gpu")
    look(runner, ledger)
    assert states(ledger, first + array + later) == ["PENDING"] + ["READY"] * 4
    end(host, ledger, first)
    look(runner, ledger)
    assert states(ledger, array + later) == ["PENDING"] * 3 + ["READY"]


def test_a_scheduler_that_hangs_is_asked_one_question_of_its_room(
    host: Limited, ledger: Ledger, clock: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of six would take its minute, before the job is even in the ledger."""
    calls = [Call(("room", str(number))) for number in range(6)]
    monkeypatch.setattr(Telling, "room", lambda *_: calls)
    monkeypatch.setattr(Limited, "_room", lambda *_: (None, "", ""))
    handles = submitted(runner_on(host, ledger, clock), host)
    assert host.count("room") == 1
    assert states(ledger, handles) == ["PENDING"]


def test_the_scheduler_is_asked_seldom_whoever_submits(host: Limited, ledger: Ledger, clock: Patient) -> None:
    host.most = 100
    for _ in range(4):
        submitted(runner_on(host, ledger, clock), host)
    assert host.count("room") == 1
    clock.passed += RARELY_S + 1
    submitted(runner_on(host, ledger, clock), host)
    assert host.count("room") == 2
    assert host.asked[0][1:] == [host.user, "", ""]


def test_a_scheduler_that_does_not_tell_sets_no_limit(host: Limited, ledger: Ledger, clock: Patient) -> None:
    host.most, host.down = 100, {"room": "not today"}
    assert states(ledger, submitted(runner_on(host, ledger, clock), host, 6)) == ["PENDING"] * 6
    assert states(ledger, submitted(runner_on(host, ledger, clock, Slurm()), host, 2)) == ["PENDING"] * 2


def test_room_that_was_misjudged_is_waited_for(host: Limited, ledger: Ledger, clock: Patient) -> None:
    runner = runner_on(host, ledger, clock)
    submitted(runner, host)
    host.others = 4  # since it was asked
    (waiting,) = submitted(runner, host)
    assert host.refusals == 1
    row = ledger.job(waiting.token)
    assert (row.state, row.reason.partition(":")[0]) == (JobState.READY, "waits for room")
    host.others = 0
    clock.passed += 61
    look(runner, ledger)
    assert ledger.job(waiting.token).state is JobState.PENDING


def test_where_an_array_is_one_job_to_the_system_it_takes_the_room_of_one(
    host: Limited, ledger: Ledger, clock: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_room(self: Telling, answers: list[Answer]) -> Room:
        return Room(jobs=2 - len(self_jobs()), arrays_are_one=True)

    def self_jobs() -> list[str]:
        return [job_id for job_id in host.jobs if "_" not in job_id]

    monkeypatch.setattr(Telling, "read_room", read_room)
    host.most = 1000
    runner = runner_on(host, ledger, clock)
    arrays = [submitted(runner, host, elements=30) for _ in range(3)]
    assert [set(states(ledger, array)) for array in arrays] == [{"PENDING"}, {"PENDING"}, {"READY"}]


def test_the_reason_for_waiting_is_warned_of_once(host: Limited, ledger: Ledger, clock: Patient) -> None:
    host.down = {"room": "not today"}
    heard = Heard()
    runner = Runner(replace(target_on(host), scheduler=Telling()), ledger, heard.listener, clock)
    host.others = 5
    (handle,) = submitted(runner, host)
    for _ in range(3):
        clock.passed += 61
        look(runner, ledger)
    assert host.refusals >= 4
    assert len([words for words in heard.warnings if "waits in the ledger" in words]) == 1
    assert ledger.job(handle.token).state is JobState.READY
