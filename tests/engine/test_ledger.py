"""The durable table of jobs, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from dagster_hpc.engine.errors import LedgerError
from dagster_hpc.engine.filesystem import network_filesystem
from dagster_hpc.engine.job import FINAL_STATES, JobMetrics, JobState
from dagster_hpc.engine.ledger import Change, JobRow, Ledger, database
from dagster_hpc.engine.ledger.database import JOBS, LEASES, SCHEMA_VERSION
from dagster_hpc.engine.process import NOBODY, process_lives, this_process

T = TypeVar("T")
CONTENDERS = 6
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    address: str = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(address)
    JOBS.metadata.drop_all(engine)
    engine.dispose()
    return address


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger(url)
    yield opened
    opened.close()


def a_job(token: str = "abcd2345", **more: Any) -> JobRow:
    values: dict[str, Any] = {"owner": this_process(), "created_at": 1000.0, "state": JobState.SUBMITTING, **more}
    return JobRow(token, values.pop("batch", token.partition(".")[0]), "x", "slurm", "{}", "/x", **values)


def submitted(ledger: Ledger, token: str = "abcd2345", job_id: str = "42", **more: Any) -> JobRow:
    ledger.claim([a_job(token, **more)])
    ledger.submitted({token: job_id}, "slurm", poll_within_s=2.0)
    return ledger.job(token)


def _contend(function: Callable[..., Any], url: str, number: int, start: Any, results: Any) -> None:
    ledger = Ledger(url)
    start.wait()
    results.put(function(ledger, number))
    ledger.close()


def all_at_once(url: str, function: Callable[[Ledger, int], T]) -> list[T]:
    """What each of several real processes gets that do this in the same moment."""
    start, results = FORK.Barrier(CONTENDERS), FORK.Queue()
    processes = [FORK.Process(target=_contend, args=(function, url, n, start, results)) for n in range(CONTENDERS)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    return answers


# -- claim


def test_what_is_claimed_is_there_for_everybody_before_anything_is_submitted(ledger: Ledger, url: str) -> None:
    row = a_job(identity="same", outputs={"a": "a.txt"}, asset_key="bits", partition_key="2026", run_id="r1")
    assert ledger.claim([row])
    other = Ledger(url)
    assert other.job("abcd2345") == replace(row, updated_at=1000.0)
    other.close()


def test_one_identity_has_one_live_job(ledger: Ledger) -> None:
    assert ledger.claim([a_job("aaaa2222", identity="same")])
    assert not ledger.claim([a_job("bbbb3333", identity="same")])
    assert [row.token for row in ledger.jobs()] == ["aaaa2222"]


def test_jobs_without_identity_are_as_many_as_one_likes(ledger: Ledger) -> None:
    assert all(ledger.claim([a_job(f"aaaa222{n}")]) for n in range(5))


def test_an_identity_is_free_again_when_its_job_is_over(ledger: Ledger) -> None:
    submitted(ledger, "aaaa2222", identity="same")
    ledger.record([Change("aaaa2222", JobState.COMPLETED)])
    assert ledger.live_job("same") is None
    assert ledger.claim([a_job("bbbb3333", identity="same")])


def test_an_array_is_claimed_as_a_whole_or_not_at_all(ledger: Ledger) -> None:
    first = [a_job(f"aaaa2222.{n}", identity="same", array_index=n) for n in range(3)]
    second = [a_job(f"bbbb3333.{n}", identity="same", array_index=n) for n in range(5)]
    assert ledger.claim(first)
    assert not ledger.claim(second)
    assert [row.token for row in ledger.jobs()] == ["aaaa2222.0", "aaaa2222.1", "aaaa2222.2"]


def test_a_token_that_is_there_twice_is_an_error_and_no_joined_job(ledger: Ledger) -> None:
    ledger.claim([a_job("aaaa2222")])
    with pytest.raises(sa.exc.IntegrityError):
        ledger.claim([a_job("aaaa2222")])


def _claim(ledger: Ledger, number: int) -> bool:
    return ledger.claim([a_job(f"aaaa222{number}", identity="same")])


def test_of_many_processes_that_claim_at_once_one_gets_it(url: str) -> None:
    # the predecessor wrote nothing down, and a retry submitted a second job
    assert sum(all_at_once(url, _claim)) == 1
    assert len(Ledger(url).jobs()) == 1


def test_many_processes_that_open_a_new_ledger_at_once_all_can_use_it(url: str) -> None:
    assert len(all_at_once(url, lambda ledger, number: ledger.claim([a_job(f"aaaa222{number}")]))) == CONTENDERS
    assert len(Ledger(url).jobs()) == CONTENDERS


def test_a_new_token_is_short_plain_and_unused(ledger: Ledger) -> None:
    tokens = {ledger.new_token() for _ in range(20)}
    assert len(tokens) == 20
    assert all((len(token) == 8 and token.isalnum() and token.islower()) or token.isdigit() for token in tokens)


# -- submission


def test_id_and_state_are_stored_together(ledger: Ledger) -> None:
    row = submitted(ledger)
    assert (row.job_id, row.state) == ("42", JobState.PENDING)


def test_an_id_comes_too_late_for_a_job_that_was_given_up(ledger: Ledger) -> None:
    ledger.claim([a_job()])
    ledger.settle("abcd2345", JobState.CANCELLED, "cancelled")
    ledger.submitted({"abcd2345": "42"}, "slurm", poll_within_s=2.0)
    assert (ledger.job("abcd2345").state, ledger.job("abcd2345").job_id) == (JobState.CANCELLED, None)


def test_of_many_that_would_settle_a_broken_submission_one_does(url: str, ledger: Ledger) -> None:
    ledger.claim([a_job(owner="elsewhere 1 2 3")])

    def take_over(mine: Ledger, number: int) -> bool:
        return mine.take_over(a_job(owner="elsewhere 1 2 3"), f"host {number}")

    assert sum(all_at_once(url, take_over)) == 1


def test_a_submission_that_went_through_cannot_be_taken_over(ledger: Ledger) -> None:
    row = submitted(ledger)
    assert not ledger.take_over(row, "me")


def test_an_abandoned_submission_has_no_living_owner(ledger: Ledger) -> None:
    ledger.claim([a_job()])
    ledger.abandon("abcd2345")
    assert ledger.job("abcd2345").owner == NOBODY
    assert process_lives(NOBODY) is False


def test_this_process_lives_one_that_ended_does_not_and_one_elsewhere_nobody_can_tell() -> None:
    child = FORK.Process(target=time.sleep, args=(0,))
    child.start()
    mine = this_process()
    host, pid, start, boot = mine.split(" ")
    child.join()
    assert process_lives(mine) is True
    assert process_lives(f"{host} {child.pid} {start} {boot}") is False
    assert process_lives(f"{host} {pid} {int(start) + 1} {boot}") is False  # the number came round again
    assert process_lives(f"not-{host} {pid} {start} {boot}") is None


# -- what became of it


def test_what_was_learned_is_kept_with_its_figures(ledger: Ledger) -> None:
    submitted(ledger)
    metrics = JobMetrics(elapsed_s=3.5, nodes=2, raw={"State": "COMPLETED"})
    ledger.record([Change("abcd2345", JobState.FAILED, "why", 3, metrics)])
    row = ledger.job("abcd2345")
    assert (row.state, row.reason, row.exit_code, row.metrics) == (JobState.FAILED, "why", 3, metrics)


@pytest.mark.parametrize("final", [JobState(state) for state in FINAL_STATES])
def test_final_stays_final_whatever_a_late_poll_says(ledger: Ledger, final: JobState) -> None:
    submitted(ledger)
    ledger.record([Change("abcd2345", final, "first")])
    ledger.record([Change("abcd2345", JobState.RUNNING, "late")])
    ledger.record([Change("abcd2345", JobState.COMPLETED, "later")])
    row = ledger.job("abcd2345")
    assert (row.state, row.reason) == (final, "first")


def test_a_completed_job_without_its_outputs_can_be_settled_as_failed(ledger: Ledger) -> None:
    submitted(ledger, identity="same")
    ledger.record([Change("abcd2345", JobState.COMPLETED)])
    ledger.settle("abcd2345", JobState.FAILED, "declared output missing: a")
    assert ledger.finished_job("same") is None
    assert ledger.job("abcd2345").state is JobState.FAILED


# -- reading


def test_jobs_come_newest_first_and_by_what_one_asks_for(ledger: Ledger) -> None:
    submitted(ledger, "aaaa2222", created_at=1.0, asset_key="a", run_id="r1")
    submitted(ledger, "bbbb3333", created_at=2.0, asset_key="b", run_id="r1")
    submitted(ledger, "cccc4444", created_at=3.0, asset_key="b", run_id="r2")
    ledger.record([Change("cccc4444", JobState.FAILED)])

    def found(**wanted: Any) -> list[str]:
        return [row.token[0] for row in ledger.jobs(**wanted)]

    assert found() == ["c", "b", "a"]
    assert found(limit=2) == ["c", "b"]
    assert found(live=True) == ["b", "a"]
    assert found(live=False) == ["c"]
    assert found(asset_key="b") == ["c", "b"]
    assert found(run_id="r1", asset_key="b") == ["b"]
    assert found(state=JobState.FAILED) == ["c"]
    assert found(target="elsewhere") == []
    assert ledger.live_count("slurm") == 2


def test_a_job_is_looked_up_by_token_by_its_beginning_or_by_id(ledger: Ledger) -> None:
    submitted(ledger, "aaaa2222", "42")
    submitted(ledger, "aaab3333", "43")
    for n in range(2):
        submitted(ledger, f"cccc4444.{n}", f"44_{n}", array_index=n)

    def found(word: str) -> list[str]:
        return sorted(row.token for row in ledger.look_up(word))

    assert found("aaaa2222") == ["aaaa2222"]
    assert found("43") == ["aaab3333"]
    assert found("aaa") == ["aaaa2222", "aaab3333"]
    assert found("cccc4444") == ["cccc4444.0", "cccc4444.1"]
    assert found("44_1") == ["cccc4444.1"]
    assert found("zzz") == []
    assert found("%") == []  # no wildcard


def test_a_token_that_nobody_knows_is_an_error_that_names_the_ledger(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="no job 'nope'"):
        ledger.job("nope")


# -- the poll lease


def take(ledger: Ledger, holder: str = "me", **more: Any) -> float | None:
    return ledger.take_poll_lease("slurm", holder, **{"ttl_s": 90.0, "early_after_s": None, **more})


def test_the_first_poll_is_due_at_once_and_the_next_after_its_interval(ledger: Ledger) -> None:
    assert take(ledger) == 0.0
    ledger.release_poll_lease("slurm", "me", interval_s=100.0)
    assert take(ledger) is None


def test_while_one_polls_nobody_else_does(ledger: Ledger) -> None:
    assert take(ledger) is not None
    assert take(ledger, "other", early_after_s=0.0) is None


def test_targets_are_polled_independently(ledger: Ledger) -> None:
    take(ledger)
    assert ledger.take_poll_lease("local", "other", ttl_s=90.0, early_after_s=None) is not None


def test_one_who_has_reason_to_hurry_polls_before_the_interval_is_over(ledger: Ledger) -> None:
    take(ledger)
    ledger.release_poll_lease("slurm", "me", interval_s=100.0)
    assert take(ledger, early_after_s=50.0) is None
    assert take(ledger, early_after_s=0.0) == 100.0


def test_haste_never_means_later(ledger: Ledger) -> None:
    take(ledger)
    ledger.release_poll_lease("slurm", "me", interval_s=0.0)
    assert take(ledger, early_after_s=100.0) is not None


def test_a_new_job_brings_the_next_poll_forward(ledger: Ledger) -> None:
    take(ledger)
    ledger.release_poll_lease("slurm", "me", interval_s=60.0)
    submitted(ledger)
    assert take(ledger, early_after_s=0.0) == 2.0


def test_the_lease_of_a_holder_that_died_expires(ledger: Ledger) -> None:
    assert take(ledger, "dead", ttl_s=0.0) is not None
    assert take(ledger, "other") is not None


def test_one_whose_lease_expired_cannot_release_anothers(ledger: Ledger) -> None:
    take(ledger, "slow", ttl_s=0.0)
    take(ledger, "other")
    ledger.release_poll_lease("slurm", "slow", interval_s=0.0)
    assert take(ledger, "third") is None


def test_of_many_processes_that_would_poll_at_once_one_does(url: str) -> None:
    # the predecessor asked once for each job: 200 jobs, 40 questions a second
    taken = all_at_once(url, lambda ledger, number: take(ledger, f"holder {number}"))
    assert sum(interval is not None for interval in taken) == 1


def test_the_lease_goes_by_the_clock_of_the_database(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    take(ledger)
    ledger.release_poll_lease("slurm", "me", interval_s=100.0)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # a host whose clock is far ahead
    assert take(ledger) is None


# -- opening it


def test_a_ledger_of_another_version_is_left_alone(ledger: Ledger, url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE dagster_hpc_schema SET version = {SCHEMA_VERSION + 1}"))
    engine.dispose()
    with pytest.raises(LedgerError, match=rf"schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}"):
        Ledger(url)


def test_a_ledger_is_opened_again_with_all_that_was_in_it(ledger: Ledger, url: str) -> None:
    submitted(ledger)
    ledger.close()
    assert Ledger(url).job("abcd2345").job_id == "42"


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("server:/home /home nfs4 rw 0 0\n/dev/sda / ext4 rw 0 0", "nfs4"),
        ("/dev/sda / ext4 rw 0 0\n10.0.0.1@o2ib:/scratch /home lustre rw 0 0", "lustre"),
        ("/dev/sda / ext4 rw 0 0\ngpfs0 /home/me gpfs rw 0 0", "gpfs"),
        ("me@host: /home/me fuse.sshfs rw 0 0", "fuse.sshfs"),
        ("/dev/sda / ext4 rw 0 0", None),
        ("server:/other /other nfs rw 0 0\n/dev/sda / ext4 rw 0 0", None),
        ("server:/homes /hom nfs rw 0 0\n/dev/sda / ext4 rw 0 0", None),  # a name that is only a beginning
        ("server:/home /home nfs rw 0 0\n/dev/sdb /home/me ext4 rw 0 0", None),  # a local disk mounted inside
        ("", None),
    ],
)
def test_the_file_system_of_a_path_is_that_of_its_innermost_mount(mounts: str, kind: str | None) -> None:
    assert network_filesystem(Path("/home/me/ledger.db"), mounts) == kind


def test_a_mount_point_with_a_blank_is_understood() -> None:
    assert network_filesystem(Path("/my data/ledger.db"), "server:/x /my\\040data nfs rw 0 0") == "nfs"


def test_sqlite_on_a_network_file_system_is_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"server:/x {tmp_path} nfs4 rw 0 0\n"
    monkeypatch.setattr(database, "network_filesystem", lambda path: network_filesystem(path, mounts))
    with pytest.raises(LedgerError, match="nfs4, a network file system") as refused:
        Ledger(f"sqlite:///{tmp_path}/ledger.db")
    assert "PostgreSQL" in refused.value.advice


def test_a_folder_that_cannot_be_made_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be made"):
        Ledger(f"sqlite:///{tmp_path}/file/ledger.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable_is_an_error_that_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db")


def test_a_folder_in_the_place_of_the_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"these are the wrong bytes" * 100)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db")


@pytest.mark.parametrize("url", ["nonsense", "nonsense://x/y", "postgresql+nodriver://x/y"])
def test_a_url_that_is_none_is_an_error_that_says_so(url: str) -> None:
    with pytest.raises(LedgerError, match="ledger"):
        Ledger(url)


@pytest.mark.needs("postgres")
def test_a_server_that_is_not_there_is_an_error_that_hides_the_password() -> None:
    with pytest.raises(LedgerError) as refused:
        Ledger("postgresql+psycopg2://me:secret@127.0.0.1:9/x")
    assert "cannot be used" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DAGSTER_HPC_LEDGER": "postgresql://host/db"}, "postgresql://host/db"),
        ({"DAGSTER_HPC_LEDGER": "/disk/l.db"}, "sqlite:////disk/l.db"),
        ({"DAGSTER_HOME": "/dagster"}, "sqlite:////dagster/dagster_hpc/ledger.db"),
        ({"XDG_STATE_HOME": "/state"}, "sqlite:////state/dagster_hpc/ledger.db"),
    ],
)
def test_where_the_ledger_lies_when_nobody_says(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert database.default_url() == expected


def test_the_lease_table_holds_one_row_for_each_target(ledger: Ledger, url: str) -> None:
    for _ in range(3):
        take(ledger)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert len(connection.execute(sa.select(LEASES)).all()) == 1
    engine.dispose()
