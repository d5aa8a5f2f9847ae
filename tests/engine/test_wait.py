"""Waiting without burdening the scheduler: how often it is asked, by whom, and what is made of its answers."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobLost, JobSpec, JobState, Request, WaitTimeout
from dagster_hpc.engine.ledger import Change, JobRow, Ledger
from dagster_hpc.engine.process import new_owner
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.target import Listener, Patience, Target
from dagster_hpc.engine.upkeep import Upkeep
from dagster_hpc.engine.wait import Waiter
from dagster_hpc.engine.workplace import Workplace
from tests.engine.pretend import TARGET, Heard, PretendSlurm, eventually, put_job, quick, target_on

FORK = multiprocessing.get_context("fork")


class Watching(Waiter):
    """One who waits, as one process has it, with the upkeep that it does for all."""

    def __init__(self, target: Target, ledger: Ledger, listener: Listener) -> None:
        work = Workplace(target, ledger, listener)
        self.upkeep = Upkeep(work)
        self.tick = self.upkeep.tick
        self.heard = listener
        super().__init__(work, self.upkeep)

    def wait_for(self, row: JobRow, timeout_s: float | None = None, listener: Listener | None = None) -> JobRow:
        return self.wait([row.token], listener or self.heard, timeout_s=timeout_s)[0]


def watcher(host: PretendSlurm, ledger: Ledger, heard: Heard | None = None, **more: Any) -> Watching:
    return Watching(target_on(host, **more), ledger, (heard or Heard()).listener)


def due_now(ledger: Ledger) -> float:
    """Let the next poll be due at once; the interval that would have held."""
    with ledger._database._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE dagster_hpc_leases SET next_due = 0, polled_at = 0")
        interval_s: float = connection.exec_driver_sql("SELECT interval_s FROM dagster_hpc_leases").scalar() or 0.0
    return interval_s


# -- how often


def test_one_command_asks_for_all_jobs(host: PretendSlurm, ledger: Ledger) -> None:
    # the predecessor asked for each job by a command of its own
    for number in range(50):
        put_job(host, ledger, number)
    watcher(host, ledger).tick()
    assert [argv[0] for argv in host.asked] == ["squeue"]
    assert {row.state for row in ledger.jobs()} == {JobState.RUNNING}


def test_a_second_watcher_does_not_ask_again(host: PretendSlurm, ledger: Ledger) -> None:
    put_job(host, ledger, 1)
    watcher(host, ledger).tick()
    watcher(host, ledger).tick()
    assert len(host.asked) == 1


def test_nothing_is_asked_when_no_job_lives(host: PretendSlurm, ledger: Ledger) -> None:
    watcher(host, ledger).tick()
    assert host.asked == []


def test_nothing_is_asked_about_a_job_whose_id_is_not_known(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1)
    fresh = JobRow("fresh", "fresh", "x", TARGET, row.scheduler, "/x", JobState.SUBMITTING, time.time())
    ledger.claims.claim([replace(fresh, owner=new_owner())], room=None)
    watcher(host, ledger).tick()
    assert "1001" in host.asked[0][host.asked[0].index("-j") + 1]
    assert ledger.job("fresh").state is JobState.SUBMITTING


def _tick_for(seconds: float, folder: Path, url: str, start: Any) -> None:
    ledger = Ledger(url)
    mine = watcher(PretendSlurm(folder), ledger, poll_interval_s=0.4)
    start.wait()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        mine.tick()
        time.sleep(0.01)
    ledger.close()


def test_the_load_does_not_grow_with_the_processes_that_wait(host: PretendSlurm, ledger: Ledger) -> None:
    for number in range(20):
        put_job(host, ledger, number)
    start = FORK.Barrier(4)
    processes = [FORK.Process(target=_tick_for, args=(1.2, host.folder, ledger.url, start)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert 1 <= host.count("squeue") <= 4


def test_many_ids_are_cut_into_command_lines_of_a_bearable_length(
    host: PretendSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slurm, "ids_per_call", 20)
    for number in range(50):
        put_job(host, ledger, number)
    watcher(host, ledger).tick()
    assert [len(argv[argv.index("-j") + 1].split(",")) for argv in host.asked] == [20, 20, 10]
    assert {row.state for row in ledger.jobs()} == {JobState.RUNNING}


def test_an_array_is_asked_for_once(host: PretendSlurm, ledger: Ledger) -> None:
    first = put_job(host, ledger, 1)
    rows = [
        JobRow(f"arr.{n}", "arr", "x", TARGET, first.scheduler, f"/x/{n}", JobState.SUBMITTING, 1.0, array_index=n)
        for n in range(30)
    ]
    ledger.claims.claim(rows, room=None)
    ledger.claims.submitted({row.token: f"77_{row.array_index}" for row in rows}, "", TARGET, poll_within_s=2)
    for n in range(30):
        host.put(f"77_{n}", "x_arr")
    watcher(host, ledger).tick()
    asked = host.asked[0][host.asked[0].index("-j") + 1].split(",")
    assert sorted(set(asked)) == ["1001", "77"]
    assert {row.state for row in ledger.jobs(batch="arr")} == {JobState.RUNNING}


def test_the_interval_grows_while_nothing_changes_up_to_a_limit(host: PretendSlurm, ledger: Ledger) -> None:
    put_job(host, ledger, 1)
    mine = watcher(host, ledger, poll_interval_s=4.0, patience=quick(slowest_poll_s=10.0))
    intervals = []
    for _ in range(6):
        mine.tick()
        intervals.append(due_now(ledger))
    assert intervals == [4.0, 6.0, 9.0, 10.0, 10.0, 10.0]


def test_the_interval_is_short_again_after_a_change(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1)
    mine = watcher(host, ledger, poll_interval_s=4.0)
    for _ in range(4):
        mine.tick()
        due_now(ledger)
    host.put(row.job_id or "", f"x_{row.token}", "SUSPENDED")
    mine.tick()
    assert due_now(ledger) == 4.0


def test_a_jobs_own_end_is_noticed_long_before_the_next_poll_is_due(host: PretendSlurm, ledger: Ledger) -> None:
    # the predecessor looked every five to ten seconds
    row = put_job(host, ledger, 1)
    mine = watcher(host, ledger, poll_interval_s=3600.0)
    mine.tick()
    threading.Timer(0.3, host.end, [row]).start()
    began = time.monotonic()
    assert mine.wait_for(row, timeout_s=20).state is JobState.COMPLETED
    assert time.monotonic() - began < 5
    assert len(host.asked) <= 4


def test_many_that_end_together_are_asked_about_together(host: PretendSlurm, ledger: Ledger) -> None:
    rows = [put_job(host, ledger, number) for number in range(40)]
    mine = watcher(host, ledger, poll_interval_s=5.0)
    mine.tick()
    for row in rows:
        host.end(row)
    ended = mine.wait([row.token for row in rows], Listener(), timeout_s=30)
    assert {row.state for row in ended} == {JobState.COMPLETED}
    assert [row.token for row in ended] == [row.token for row in rows]
    assert len(host.asked) <= 6


def test_many_that_are_waited_for_one_after_the_other_are_told_together(host: PretendSlurm, ledger: Ledger) -> None:
    rows = [put_job(host, ledger, number) for number in range(40)]
    mine = watcher(host, ledger, poll_interval_s=3600.0)
    mine.tick()
    for row in rows:
        host.end(row)
    assert {mine.wait_for(row, timeout_s=60).state for row in rows} == {JobState.COMPLETED}
    assert len(host.asked) <= 6


def test_of_a_job_in_which_nobody_has_seen_an_end_a_quick_question_tells_only_a_good_one(
    host: PretendSlurm, ledger: Ledger
) -> None:
    rows = [put_job(host, ledger, number) for number in range(4)]
    mine = watcher(host, ledger, poll_interval_s=3600.0)
    mine.tick()
    host.end(rows[0])
    host.end(rows[1])
    host.put(rows[2].job_id or "", f"x_{rows[2].token}", "NODE_FAIL")  # it may be about to be requeued
    assert mine.wait_for(rows[0], timeout_s=20).state is JobState.COMPLETED
    assert [ledger.job(row.token).state for row in rows[1:]] == [JobState.COMPLETED, JobState.RUNNING, JobState.RUNNING]


def test_one_source_that_is_down_and_another_that_answers_are_told_of_apart(
    host: PretendSlurm, ledger: Ledger, heard: Heard
) -> None:
    # the controller is stopped, the accounting is not, and jobs end meanwhile
    rows = [put_job(host, ledger, number) for number in range(4)]
    host.down = {"squeue": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"}
    mine = watcher(host, ledger, heard)
    for row in rows:
        due_now(ledger)
        mine.tick()
        host.end(row)
        due_now(ledger)
        mine.tick(hurry=True)
    assert len(heard.warnings) == 1


# -- what is made of the answers


def test_a_query_that_fails_changes_nothing_and_is_told_once_and_once_when_it_is_over(
    host: PretendSlurm, ledger: Ledger, heard: Heard
) -> None:
    # the predecessor let the flow fail, and the job ran on
    row = put_job(host, ledger, 1)
    mine = watcher(host, ledger, heard)
    mine.tick()
    before = ledger.job(row.token)
    host.down = {"squeue": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"}
    for _ in range(3):
        due_now(ledger)
        mine.tick()
    during = ledger.job(row.token)
    host.down = {}
    for _ in range(3):
        due_now(ledger)
        mine.tick()
    assert (during.state, during.absent_since, during.job_id) == (before.state, None, before.job_id)
    assert [words.partition(",")[0] for words in heard.warnings] == [
        "slurm@lab cannot be asked just now",
        "slurm@lab answers again.",
    ]
    assert "Unable to contact slurm controller" in heard.warnings[0]


def test_a_scheduler_whose_commands_are_gone_is_a_failed_query(
    host: PretendSlurm, ledger: Ledger, heard: Heard
) -> None:
    row = put_job(host, ledger, 1)
    host.missing = True
    watcher(host, ledger, heard).tick()
    assert not ledger.job(row.token).state.is_final
    assert "`squeue` is not on PATH" in heard.warnings[0]


def test_a_job_that_the_scheduler_forgot_is_absent_and_not_finished(host: PretendSlurm, ledger: Ledger) -> None:
    # header-only answers let the predecessor loop for ever, absent ones let others call a job completed
    row = put_job(host, ledger, 1)
    mine = watcher(host, ledger)
    mine.tick()
    (host.folder / "jobs.json").write_text("{}")
    due_now(ledger)
    mine.tick()
    after = ledger.job(row.token)
    assert after.state is JobState.RUNNING
    assert after.absent_since is not None


def test_it_is_given_up_as_lost_after_the_grace(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1)
    (host.folder / "jobs.json").write_text("{}")
    mine = watcher(host, ledger, poll_interval_s=0.1, patience=quick(lost_after_s=0.3))
    ended = mine.wait_for(row, timeout_s=20)
    assert ended.state is JobState.LOST
    assert "no trace of it" in ended.reason


def test_an_id_that_came_round_again_is_not_our_job(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1)
    host.put(row.job_id or "", "somebody_elses_job", "COMPLETED")
    watcher(host, ledger).tick()
    after = ledger.job(row.token)
    assert after.state is JobState.PENDING
    assert after.absent_since is not None


def test_accounting_that_a_site_does_not_have_is_asked_for_once(host: PretendSlurm, ledger: Ledger) -> None:
    host.accounting = False
    mine = watcher(host, ledger, poll_interval_s=0.05)
    for number in range(3):
        row = put_job(host, ledger, number)
        host.end(row)
        assert mine.wait_for(row, timeout_s=20).state is JobState.COMPLETED
    assert host.count("sacct") == 1


def test_accounting_that_is_down_does_not_hold_up_an_ended_job_for_ever(host: PretendSlurm, ledger: Ledger) -> None:
    host.down = {"sacct": "sacct: error: Problem talking to the database: Connection refused"}
    row = put_job(host, ledger, 1)
    host.end(row, 3)
    mine = watcher(host, ledger, poll_interval_s=0.05, patience=quick(epilogue_s=0.3))
    ended = mine.wait_for(row, timeout_s=20)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 3)


def test_a_job_that_can_never_start_is_cancelled_and_has_failed(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1, state="PENDING", reason="PartitionTimeLimit")
    mine = watcher(host, ledger, poll_interval_s=0.05, patience=quick(stuck_after_s=0.2))
    ended = mine.wait_for(row, timeout_s=20)
    assert ended.state is JobState.FAILED
    assert "can never start: it asks for more time than the partition allows" in ended.reason
    assert ["scancel", row.job_id] in host.asked


def test_a_warning_of_the_system_reaches_the_one_who_waits_once_for_each_change(
    host: PretendSlurm, ledger: Ledger, heard: Heard
) -> None:
    row = put_job(host, ledger, 1, state="PENDING", reason="Priority")
    mine = watcher(host, ledger, poll_interval_s=0.05, patience=quick(slowest_poll_s=0.1))

    def life() -> None:
        eventually(lambda: len(heard.states) == 2)
        host.put(row.job_id or "", f"x_{row.token}", "RUNNING")
        eventually(lambda: len(heard.states) == 3)
        host.end(row)

    thread = threading.Thread(target=life)
    thread.start()
    mine.wait_for(row, timeout_s=20, listener=heard.listener)
    thread.join()
    assert heard.states == [
        (JobState.PENDING, ""),
        (JobState.PENDING, "waits its turn behind jobs of higher priority (Priority)"),
        (JobState.RUNNING, ""),
        (JobState.COMPLETED, ""),
    ]


def test_each_line_of_output_is_passed_on_once_the_last_without_its_end_too(
    host: PretendSlurm, ledger: Ledger, heard: Heard
) -> None:
    row = put_job(host, ledger, 1)
    log = Path(row.work_dir) / "stdout.log"
    log.write_bytes(b"first\nhal")

    def write_on() -> None:
        eventually(lambda: heard.lines)
        with log.open("ab") as file:
            file.write("f\nß\xff last".encode("latin-1"))
        (Path(row.work_dir) / "stderr.log").write_text("problem\n")
        host.end(row)

    thread = threading.Thread(target=write_on)
    thread.start()
    watcher(host, ledger, poll_interval_s=0.05).wait_for(row, timeout_s=20, listener=heard.listener)
    thread.join()
    assert [line for stream, line in heard.lines if stream == "stdout"] == ["first", "half", "\ufffd\ufffd last"]
    assert [line for stream, line in heard.lines if stream == "stderr"] == ["problem"]


def test_a_given_up_wait_leaves_the_job_alone(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1)
    with pytest.raises(WaitTimeout) as given_up:
        watcher(host, ledger).wait_for(row, timeout_s=0.1)
    assert given_up.value.handle == row.handle()
    assert not ledger.job(row.token).state.is_final
    assert host.count("scancel") == 0


def test_a_wait_for_a_job_that_is_over_asks_nothing(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1)
    ledger.observations.record([Change(row.token, JobState.CANCELLED, "why")])
    assert watcher(host, ledger).wait_for(row).state is JobState.CANCELLED
    assert host.asked == []


def test_a_watcher_whose_query_breaks_gives_the_lease_back(host: PretendSlurm, ledger: Ledger) -> None:
    put_job(host, ledger, 1)

    class Breaking(PretendSlurm):
        def run(self, call: Any) -> Any:
            raise KeyboardInterrupt

    breaking = Watching(replace(target_on(host), host=Breaking(host.folder)), ledger, Listener())
    breaking.upkeep._is_our_cluster = True
    with pytest.raises(KeyboardInterrupt):
        breaking.tick()
    due_now(ledger)
    assert ledger.leases.take(TARGET, "other").taken


# -- what broke in version 0.1.0


def counted_statements(ledger: Ledger) -> Counter[str]:
    count: Counter[str] = Counter()

    @sa.event.listens_for(ledger._database._engine, "before_cursor_execute")
    def _count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        count[statement.split()[0]] += 1

    return count


class Patient(Clock):
    """A clock on which an hour of waiting takes a moment."""

    passed = 0.0

    def now(self) -> float:
        return time.time() + self.passed

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


class Counting(PretendSlurm):
    """Counts the look-ups of files."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.looks: list[str] = []

    def size(self, path: str) -> int | None:
        self.looks.append(path)
        return super().size(path)

    def read(self, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        self.looks.append(path)
        return super().read(path, offset, limit)


def test_who_waits_for_a_queued_job_costs_next_to_nothing(tmp_path: Path) -> None:
    """14 file look-ups and 20 statements a second, for ever, for one job in a queue of three days."""
    host, clock = Counting(tmp_path / "slurm"), Patient()
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", clock)
    row = put_job(host, ledger, 1, state="PENDING", reason="Priority")
    runner = Runner(target_on(host), ledger, clock=clock)
    with pytest.raises(WaitTimeout):
        runner.wait([row.handle()], timeout_s=30.0)
    statements, host.looks = counted_statements(ledger), []
    with pytest.raises(WaitTimeout):
        runner.wait([row.handle()], timeout_s=600.0)
    assert len(host.looks) / 600.0 <= 2
    assert sum(statements.values()) / 600.0 <= 2
    ledger.close()


def test_a_poll_of_jobs_that_have_not_changed_writes_and_touches_nothing(tmp_path: Path) -> None:
    """Each poll rewrote every row and looked into every directory."""
    host = Counting(tmp_path / "slurm")
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    rows = [put_job(host, ledger, number) for number in range(30)]
    mine = watcher(host, ledger)
    mine.tick()
    before, statements, host.looks = ledger.rows([row.token for row in rows]), counted_statements(ledger), []
    due_now(ledger)
    mine.tick()
    assert host.looks == []
    assert statements["UPDATE"] <= 4  # the lease, and `due_now` of this test
    assert ledger.rows([row.token for row in rows]) == before
    ledger.close()


@pytest.mark.parametrize("news", ["next_token = 'b'", "again_at = 1.0", "again_at = NULL"])
def test_of_two_changes_in_one_moment_a_wait_misses_none(host: PretendSlurm, ledger: Ledger, news: str) -> None:
    """A simulated wait never ended: it had read the row between the end of an attempt and the name of the next."""
    row = put_job(host, ledger, 1)
    with ledger._database._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE dagster_hpc_jobs SET state = 'FAILED', again_at = 2.0")
    known = ledger.job(row.token)
    assert ledger.changed([known]) == []
    with ledger._database._engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE dagster_hpc_jobs SET {news}")
    assert ledger.changed([known]) == [ledger.job(row.token)]


def test_one_that_has_ended_among_many_is_found_without_touching_the_others(tmp_path: Path) -> None:
    host = Counting(tmp_path / "slurm")
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    rows = [put_job(host, ledger, number) for number in range(30)]
    mine = watcher(host, ledger)
    mine.tick()
    host.end(rows[7])
    ledger.observations.saw_end([rows[7].token])
    time.sleep(0.2)
    host.looks = []
    mine.tick(hurry=True)
    assert ledger.job(rows[7].token).state is JobState.COMPLETED
    assert {path for path in host.looks if rows[7].work_dir not in path} == set()
    ledger.close()


def test_a_late_file_is_waited_for_as_long_as_a_network_file_system_may_take(tmp_path: Path) -> None:
    """Slurm said COMPLETED, the exit code came 12 s later, and the job was FAILED for ever."""
    host, clock = PretendSlurm(tmp_path / "slurm"), Patient()
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", clock)
    row = put_job(host, ledger, 1)
    host.put(row.job_id or "", f"x_{row.token}", "COMPLETED")
    runner = Runner(target_on(host, patience=Patience()), ledger, clock=clock)
    with pytest.raises(WaitTimeout):
        runner.wait([row.handle()], timeout_s=60.0)
    host.leave_exit_code(row)
    assert runner.wait([row.handle()], timeout_s=60.0)[0].state is JobState.COMPLETED
    ledger.close()


def test_a_witness_that_fails_for_a_moment_ends_nobodys_wait(
    host: PretendSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One failed SELECT, one ESTALE, or one directory of somebody else was the end of a wait."""
    mine, theirs = put_job(host, ledger, 1), put_job(host, ledger, 2)
    failures = [0]

    @sa.event.listens_for(ledger._database._engine, "before_cursor_execute")
    def _fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if failures[0] in (3, 4, 5, 9):
            failures[0] += 1
            raise sa.exc.OperationalError(statement, {}, Exception("server closed the connection unexpectedly"))
        failures[0] += 1

    size, read = LocalHost.size, LocalHost.read

    def unreadable(path: str) -> bool:
        return theirs.token in path or (mine.token in path and 5 < failures[0] < 20)

    def stale_size(self: LocalHost, path: str) -> int | None:
        if unreadable(path):
            raise OSError(116, "Stale file handle", path)
        return size(self, path)

    def stale_read(self: LocalHost, path: str, offset: int = 0, limit: int | None = None) -> bytes | None:
        if unreadable(path):
            raise PermissionError(13, "Permission denied", path)
        return read(self, path, offset, limit)

    monkeypatch.setattr(LocalHost, "size", stale_size)
    monkeypatch.setattr(LocalHost, "read", stale_read)
    host.end(theirs)
    threading.Timer(0.5, host.end, [mine]).start()
    assert watcher(host, ledger, poll_interval_s=0.1).wait_for(mine, timeout_s=30).state is JobState.COMPLETED
    assert not ledger.job(theirs.token).state.is_final  # what cannot be read is judged by nobody who cannot read it


@pytest.mark.parametrize("silent", ["scheduler", "ledger"])
def test_a_timeout_holds_whatever_else_goes_on(
    host: PretendSlurm, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """wait(timeout_s=2) came back when the scheduler did, up to 900 s later."""
    row = put_job(host, ledger, 1)
    mine = watcher(host, ledger, poll_interval_s=0.1)
    if silent == "scheduler":
        monkeypatch.setattr(PretendSlurm, "run", lambda self, call: time.sleep(20))
    else:

        @sa.event.listens_for(ledger._database._engine, "before_cursor_execute")
        def _fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if time.monotonic() > began + 0.3:
                raise sa.exc.OperationalError(statement, {}, Exception("down"))

    began = time.monotonic()
    with pytest.raises(WaitTimeout):
        mine.wait_for(row, timeout_s=2.0)
    assert time.monotonic() - began < 5.0


def test_a_cancellation_that_failed_is_sent_again_by_whoever_polls(host: PretendSlurm, ledger: Ledger) -> None:
    """A scancel that met a restarting controller was forgotten, and the job ran to its end."""
    row = put_job(host, ledger, 1)
    host.down = {"scancel": "scancel: error: Unable to contact slurm controller"}
    runner = Runner(target_on(host, poll_interval_s=0.1), ledger)
    with pytest.raises(SchedulerUnavailable, match="Unable to contact"):
        runner.cancel([row.handle()])
    host.down = {}
    other = watcher(host, ledger, poll_interval_s=0.1)
    eventually(lambda: other.tick() and ledger.job(row.token).state is JobState.CANCELLED)
    assert host.jobs[row.job_id or ""]["state"].startswith("CANCELLED")


class Stubborn(PretendSlurm):
    """Its jobs take their time to end."""

    def _scancel(self, argv: list[str]) -> tuple[int, str, str]:
        return 0, "", ""


def test_an_order_to_cancel_that_was_taken_is_given_its_time(tmp_path: Path) -> None:
    """It was sent again at every poll, to a system that needs ten seconds and more to obey."""
    host, clock = Stubborn(tmp_path / "slurm"), Patient()
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", clock)
    row = put_job(host, ledger, 1)
    runner = Runner(target_on(host, patience=quick(cancel_s=1.0)), ledger, clock=clock)
    assert not runner.cancel([row.handle()])
    for _ in range(5):
        due_now(ledger)
        runner.tick()
    assert host.count("scancel") == 1
    clock.passed += 61
    for _ in range(5):
        due_now(ledger)
        runner.tick()
    assert host.count("scancel") == 2
    ledger.close()


def test_who_was_interrupted_while_it_took_the_lease_sees_the_job_end(
    host: PretendSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was terminated in that moment: its job was cancelled, and RUNNING in the ledger for 90 seconds."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", clock := Patient())
    row = put_job(host, ledger, 1)
    runner = Runner(target_on(host), ledger, clock=clock)
    take = ledger.leases.take

    def interrupted(*args: Any, **options: Any) -> None:
        take(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledger.leases, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runner.tick()
    assert runner.cancel([row.handle()])
    assert ledger.job(row.token).state is JobState.CANCELLED
    ledger.close()


def test_a_whole_array_is_cancelled_by_one_command(host: PretendSlurm, ledger: Ledger, tmp_path: Path) -> None:
    """An open array of 200 took 400 commands."""
    runner = Runner(target_on(host, poll_interval_s=0.1), ledger)
    spec = JobSpec(name="many", shell="true", elements=tuple((str(n),) for n in range(200)))
    handles = runner.submit(Request(spec, str(tmp_path / "work")))
    batch = handles[0].token.partition(".")[0]
    array = (handles[0].job_id or "").partition("_")[0]
    for number in range(200):
        host.put(f"{array}_{number}", f"many_{batch}", "CANCELLED by 0")
    runner.cancel(handles)
    assert host.count("scancel") == 1
    assert ["scancel", array] in host.asked


def test_an_array_that_was_taken_twice_is_followed_through_its_locks(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    """One element ran as 200_1, 100_1 stepped aside with 94, and the ledger said FAILED."""
    runner = Runner(target_on(host, poll_interval_s=0.1), ledger)
    spec = JobSpec(name="many", shell="true", elements=(("a",), ("b",)))
    first, second = runner.submit(Request(spec, str(tmp_path / "work")))
    name = f"many_{first.token.partition('.')[0]}"
    host.put("100_0", name, "COMPLETED")
    host.leave_exit_code(ledger.job(first.token))
    Path(second.work_dir, ".job", "lock").write_text("200_1\n")
    host.put("100_1", name, "FAILED", code="94:0")
    host.put("200_1", name, "COMPLETED")
    other = replace(ledger.job(second.token), job_id="200_1")
    host.leave_exit_code(other)
    results = runner.wait([first, second], timeout_s=30)
    assert [(one.state, ledger.job(one.handle.token).job_id) for one in results] == [
        (JobState.COMPLETED, "100_0"),
        (JobState.COMPLETED, "200_1"),
    ]


def test_jobs_of_another_cluster_on_the_same_ledger_are_left_alone(
    host: PretendSlurm, ledger: Ledger, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other cluster's Slurm knew nothing of them, and they were LOST."""
    row = put_job(host, ledger, 1)
    monkeypatch.setattr(PretendSlurm, "_scontrol", lambda self, argv: (0, "ClusterName             = other\n", ""))
    monkeypatch.setattr(PretendSlurm, "_known", lambda self, argv: {})
    mine = watcher(host, ledger, heard, patience=quick(lost_after_s=0.0))
    for _ in range(3):
        mine.tick()
        if host.asked:
            due_now(ledger)
    assert ledger.job(row.token).state is JobState.PENDING
    assert any("'lab'" in words and "'other'" in words for words in heard.warnings)


def test_a_lost_job_that_turns_up_is_alive_again_and_was_never_submitted_twice(
    host: PretendSlurm, ledger: Ledger, tmp_path: Path
) -> None:
    """300 s without a trace freed the identity, and days of work ran twice."""
    target = target_on(host, poll_interval_s=0.05, patience=quick(lost_after_s=0.3, unavailable_s=1.0))
    runner = Runner(target, ledger)
    request = Request(JobSpec(name="count", shell="true"), str(tmp_path / "work"), identity="same")
    (handle,) = runner.submit(request)
    queue = host.jobs
    (host.folder / "jobs.json").write_text("{}")
    assert runner.wait([handle], timeout_s=20)[0].state is JobState.LOST
    with pytest.raises(JobLost, match=f"dagster-hpc release {handle.token}"):
        runner.submit(request)
    (host.folder / "jobs.json").write_text(json.dumps(queue))
    due_now(ledger)
    (again,) = runner.submit(request)
    assert (again.token, again.joined, host.count("sbatch")) == (handle.token, True, 1)
