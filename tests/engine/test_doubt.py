"""Answers that leave a job out, or that nobody understands: what is concluded from them, and how often is asked again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.job import JobState, JobStatus, WaitTimeout
from dagster_hpc.engine.ledger import Change, JobRow, Ledger
from dagster_hpc.engine.runner import Runner
from dagster_hpc.engine.schedulers.base import Report
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from tests.engine.pretend import Heard, PretendSlurm, put_job, quick, target_on
from tests.engine.test_wait import Patient, due_now, watcher

NEVER_LATE = quick(lost_after_s=0.0)


@dataclass
class Forgetful(PretendSlurm):
    """Its squeue leaves jobs out when it is asked for several, and names none of them: as one build of qstat does."""

    left_out: set[str] = field(default_factory=set)
    nonsense: str = ""

    def _squeue(self, argv: list[str]) -> tuple[int, str, str]:
        if self.nonsense:
            return 0, self.nonsense, ""
        code, out, err = super()._squeue(argv)
        if "-j" in argv and "," in argv[argv.index("-j") + 1]:
            out = "".join(line for line in out.splitlines(True) if line.partition("|")[0] not in self.left_out)
        return code, out, err

    def _sacct(self, argv: list[str]) -> tuple[int, str, str]:
        return (0, self.nonsense, "") if self.nonsense else super()._sacct(argv)

    def asked_alone(self) -> list[str]:
        return [argv[-1] for argv in self.asked if argv[0] == "scontrol"]


@pytest.fixture
def host(tmp_path: Path) -> Forgetful:
    return Forgetful(tmp_path / "slurm")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield ledger
    ledger.close()


def begun(row: JobRow) -> None:
    Path(row.work_dir, ".job", "started").write_text(f"1 {row.job_id} node1\n")


def test_a_running_job_that_the_answer_leaves_out_is_asked_for_alone_and_never_lost(
    host: Forgetful, ledger: Ledger
) -> None:
    """A running job was LOST after 315 s, its identity free, and it ran twice."""
    shown, hidden = put_job(host, ledger, 1), put_job(host, ledger, 2)
    begun(hidden)
    host.left_out = {hidden.job_id or ""}
    mine = watcher(host, ledger, patience=NEVER_LATE)
    for _ in range(3):
        mine.tick()
        due_now(ledger)
    assert [ledger.job(row.token).state for row in (shown, hidden)] == [JobState.RUNNING, JobState.RUNNING]
    assert host.asked_alone() == [hidden.job_id] * 3


def test_a_job_that_the_system_denies_when_it_is_asked_alone_is_lost_in_the_end(
    host: Forgetful, ledger: Ledger
) -> None:
    shown, gone = put_job(host, ledger, 1), put_job(host, ledger, 2)
    begun(gone)
    host.forget(gone.job_id or "")
    mine = watcher(host, ledger, patience=NEVER_LATE)
    mine.tick()
    assert ledger.job(gone.token).state is JobState.LOST
    assert ledger.job(shown.token).state is JobState.RUNNING


def test_one_that_is_only_absent_for_a_while_is_asked_for_alone_when_that_begins_and_before_it_ends(
    host: Forgetful, ledger: Ledger
) -> None:
    gone, _ = put_job(host, ledger, 1), put_job(host, ledger, 2)
    host.forget(gone.job_id or "")
    mine = watcher(host, ledger)
    for _ in range(5):
        mine.tick()
        due_now(ledger)
    assert host.asked_alone() == [gone.job_id]
    assert ledger.job(gone.token).absent_since is not None


def test_of_many_in_doubt_a_few_are_asked_for_at_each_poll(host: Forgetful, ledger: Ledger) -> None:
    rows = [put_job(host, ledger, number) for number in range(12)]
    for row in rows:
        host.forget(row.job_id or "")
    mine = watcher(host, ledger)
    for polls in (1, 2, 3):
        mine.tick()
        due_now(ledger)
        assert len(host.asked_alone()) == 4 * polls
    assert sorted(host.asked_alone()) == sorted(row.job_id or "" for row in rows)


def test_a_list_of_all_jobs_denies_one_that_never_began_and_not_one_that_has(
    host: Forgetful, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Slurm.read_queue
    monkeypatch.setattr(Slurm, "read_queue", lambda self, answer: Report(read(self, answer).jobs, whole=True))
    waiting, running = put_job(host, ledger, 1, state="PENDING"), put_job(host, ledger, 2)
    begun(running)
    host.left_out = {waiting.job_id or "", running.job_id or ""}
    watcher(host, ledger, patience=NEVER_LATE).tick()
    assert host.asked_alone() == [running.job_id]
    assert [ledger.job(row.token).state for row in (waiting, running)] == [JobState.LOST, JobState.RUNNING]


def test_a_system_that_is_not_understood_in_any_words_is_asked_no_more_often_than_agreed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against Miyabi's answers a job was never seen to end, and qstat was called 18 times a second."""
    host, clock, heard = Forgetful(tmp_path / "slurm"), Patient(), Heard()
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", clock)

    def not_understood(self: Slurm, answer: Answer) -> Report:
        return Report(failed=f"not understood: {answer.stdout}")

    monkeypatch.setattr(Slurm, "read_queue", not_understood)
    monkeypatch.setattr(Slurm, "read_history", not_understood)
    host.nonsense = "Welcome to the machine\n" * 50
    row = put_job(host, ledger, 1)
    host.leave_exit_code(row, 3)
    runner = Runner(target_on(host, poll_interval_s=10.0), ledger, clock=clock)
    with pytest.raises(WaitTimeout):
        runner.wait([row.handle()], timeout_s=4.0, listener=heard.listener)
    early = len(host.asked)
    with pytest.raises(WaitTimeout):
        runner.wait([row.handle()], timeout_s=600.0, listener=heard.listener)
    assert early <= 4  # the queue and the accounting, when it is due and once more when the job has ended
    assert len(host.asked) - early <= 2 * 600 / 10
    told = [words for words in heard.warnings if "Welcome" in words]
    assert len(told) == 2  # of the queue and of the accounting, once each
    assert all("dagster-hpc doctor" in words and words.count("Welcome") <= 10 for words in told)
    ledger.close()


def test_an_end_is_not_told_while_the_question_for_one_job_alone_is_not_answered(host: Forgetful, ledger: Ledger) -> None:
    """It had been sent back to the queue, which left it out; whoever was asked for it alone was down."""
    row, _ = put_job(host, ledger, 1), put_job(host, ledger, 2)
    host.accounting = False
    mine = watcher(host, ledger, patience=quick(epilogue_s=0.0, accounting_delay_s=0.0))
    mine.tick()
    assert ledger.job(row.token).state is JobState.RUNNING
    due_now(ledger)
    host.left_out = {row.job_id or ""}
    host.leave_exit_code(row, 143)
    host.down = {"scontrol": "slurm_load_jobs error: Unable to contact slurm controller"}
    mine.tick()
    assert not ledger.job(row.token).state.is_final
    host.down = {}
    host.forget(row.job_id or "")
    due_now(ledger)
    mine.tick()
    assert ledger.job(row.token).state is JobState.FAILED


def test_bad_ends_for_which_nobody_has_asked_alone_yet_wait_their_turn(host: Forgetful, ledger: Ledger) -> None:
    rows = [put_job(host, ledger, number) for number in range(6)]
    host.accounting = False
    mine = watcher(host, ledger, patience=quick(epilogue_s=0.0, accounting_delay_s=0.0))
    mine.tick()
    for row in rows:
        host.leave_exit_code(row, 3)
        host.forget(row.job_id or "")
    for over in (4, 6):
        due_now(ledger)
        mine.tick()
        assert [ledger.job(row.token).state for row in rows].count(JobState.FAILED) == over


def test_the_copy_that_has_written_that_it_began_is_followed_at_once(host: Forgetful, ledger: Ledger) -> None:
    """One was taken twice. It was cancelled under the id of the other, which had gone, and ran on."""
    row = put_job(host, ledger, 1)
    host.forget(row.job_id or "")
    host.put("1777", f"x_{row.token}")
    Path(row.work_dir, ".job", "started").write_text("1 1777 node1\n")
    watcher(host, ledger).tick()
    assert (ledger.job(row.token).job_id, ledger.job(row.token).copies) == ("1777", (row.job_id,))
    assert not ledger.job(row.token).state.is_final


@pytest.mark.parametrize(("code", "state"), [(143, JobState.TIMEOUT), (0, JobState.COMPLETED)])
def test_without_a_history_of_jobs_the_systems_own_log_tells_why_one_was_ended(
    host: Forgetful, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, code: int, state: JobState
) -> None:
    """A job that had run into its walltime was `killed by signal 15`, while its scheduler.log said why."""

    def read_log(self: Slurm, text: str) -> JobStatus | None:
        return JobStatus(JobState.TIMEOUT, "ran into its walltime") if "exceeded limit" in text else None

    monkeypatch.setattr(Slurm, "read_log", read_log)
    host.accounting = False
    row, other = put_job(host, ledger, 1), put_job(host, ledger, 2)
    for each in (row, other):
        host.leave_exit_code(each, code)
        host.forget(each.job_id or "")
    Path(row.work_dir, "scheduler.log").write_text("=>> PBS: job killed: walltime 11 exceeded limit 8\n")
    mine = watcher(host, ledger, poll_interval_s=0.1)
    ended = mine.wait_for(row, timeout_s=20)
    assert (ended.state, ended.exit_code) == (state, code)
    if code:  # it was never shown, and may have been sent back to the queue
        assert ledger.job(other.token).state is JobState.PENDING
    ledger.observations.record([Change(other.token, JobState.RUNNING)])
    assert mine.wait_for(other, timeout_s=20).reason.startswith("its program was killed" if code else "")


def test_a_system_that_wants_to_be_asked_in_ever_other_words_is_left_alone_after_some(
    host: Forgetful, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slurm, "read_queue", lambda self, answer: Report(instead=self))
    row = put_job(host, ledger, 1)
    watcher(host, ledger).tick()
    assert host.count("squeue") == 4
    assert not ledger.job(row.token).state.is_final
