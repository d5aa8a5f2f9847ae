"""Waiting without burdening the scheduler: how often it is asked, by whom, and what is made of its answers."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc.engine.job import JobState, WaitTimeout
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.observe.poll import Poller
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.target import Listener, Target
from dagster_hpc.engine.wait import Watcher
from tests.engine.pretend import Heard, PretendSlurm, eventually, put_job, quick, target_on

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def host(tmp_path: Path) -> PretendSlurm:
    return PretendSlurm(tmp_path / "slurm")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


def nobody_submits(row: JobRow) -> None:
    raise AssertionError(f"{row.token} is no unfinished submission")


class Watching(Watcher):
    """A watcher as one process has it, with its poller."""

    def __init__(self, target: Target, ledger: Ledger, listener: Listener) -> None:
        super().__init__(target, ledger, Poller(target, ledger, listener), nobody_submits)
        self.tick = self.poller.tick
        self.heard = listener

    def wait_for(self, row: JobRow, timeout_s: float | None = None, listener: Listener | None = None) -> JobRow:
        return self.wait([row.token], listener or self.heard, timeout_s=timeout_s)[0]


def watcher(host: PretendSlurm, ledger: Ledger, heard: Heard | None = None, **more: Any) -> Watching:
    return Watching(target_on(host, **more), ledger, (heard or Heard()).listener)


def due_now(ledger: Ledger) -> float:
    """Let the next poll be due at once; the interval that would have held."""
    interval_s = ledger.take_poll_lease("slurm", "test", ttl_s=60, early_after_s=0.0)
    assert interval_s is not None
    ledger.release_poll_lease("slurm", "test", interval_s=0.0)
    return interval_s


# -- how often


def test_one_command_asks_for_all_jobs(host: PretendSlurm, ledger: Ledger) -> None:
    # the predecessor asked for each job by a command of its own
    for number in range(50):
        put_job(host, ledger, number)
    assert watcher(host, ledger).tick()
    assert [argv[0] for argv in host.asked] == ["squeue"]
    assert {row.state for row in ledger.jobs()} == {JobState.RUNNING}


def test_a_second_watcher_does_not_ask_again(host: PretendSlurm, ledger: Ledger) -> None:
    put_job(host, ledger, 1)
    assert watcher(host, ledger).tick()
    assert not watcher(host, ledger).tick()
    assert len(host.asked) == 1


def test_nothing_is_asked_when_no_job_lives(host: PretendSlurm, ledger: Ledger) -> None:
    watcher(host, ledger).tick()
    assert host.asked == []


def test_nothing_is_asked_about_a_job_whose_id_is_not_known(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1)
    ledger.claim([JobRow("fresh", "fresh", "x", "slurm", row.scheduler, "/x", JobState.SUBMITTING, time.time())])
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
        JobRow(f"arr.{n}", "arr", "x", "slurm", first.scheduler, f"/x/{n}", JobState.SUBMITTING, 1.0, array_index=n)
        for n in range(30)
    ]
    ledger.claim(rows)
    ledger.submitted({row.token: f"77_{row.array_index}" for row in rows}, "slurm", poll_within_s=2)
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
        interval_s = ledger.take_poll_lease("slurm", "test", ttl_s=60, early_after_s=0.0)
        assert interval_s is not None
        ledger.release_poll_lease("slurm", "test", interval_s=interval_s)
        intervals.append(interval_s)
        with ledger._engine.begin() as connection:  # the interval passes
            connection.exec_driver_sql("UPDATE dagster_hpc_leases SET polled_at = 0")
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
        mine.poller.nudge(0, 1)
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
        assert mine.tick()
    during = ledger.job(row.token)
    host.down = {}
    for _ in range(3):
        due_now(ledger)
        mine.tick()
    assert (during.state, during.absent_since, during.job_id) == (before.state, None, before.job_id)
    assert [words.partition(",")[0] for words in heard.warnings] == [
        "slurm cannot be asked just now",
        "slurm answers again.",
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
    assert ledger.job(row.token).state is JobState.RUNNING
    assert host.count("scancel") == 0


def test_a_wait_for_a_job_that_is_over_asks_nothing(host: PretendSlurm, ledger: Ledger) -> None:
    row = put_job(host, ledger, 1)
    ledger.settle(row.token, JobState.CANCELLED, "why")
    assert watcher(host, ledger).wait_for(row).state is JobState.CANCELLED
    assert host.asked == []


def test_a_watcher_whose_query_breaks_gives_the_lease_back(host: PretendSlurm, ledger: Ledger) -> None:
    put_job(host, ledger, 1)

    class Breaking(PretendSlurm):
        def run(self, call: Any) -> Any:
            raise KeyboardInterrupt

    breaking = Poller(Target("slurm", Slurm(), Breaking(host.folder)), ledger)
    with pytest.raises(KeyboardInterrupt):
        breaking.tick()
    assert ledger.take_poll_lease("slurm", "other", ttl_s=60, early_after_s=0.0) is not None
