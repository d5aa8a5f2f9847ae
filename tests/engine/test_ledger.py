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

from dagster_hpc.engine.clock import Clock
from dagster_hpc.engine.errors import LedgerError, LedgerUnavailable
from dagster_hpc.engine.filesystem import network_filesystem
from dagster_hpc.engine.job import FINAL_STATES, JobMetrics, JobState
from dagster_hpc.engine.ledger import Change, JobRow, Ledger, Recipient, database, schema
from dagster_hpc.engine.ledger.database import Database
from dagster_hpc.engine.ledger.leases import CLOSEST_S, Lease
from dagster_hpc.engine.ledger.schema import LEASES
from dagster_hpc.engine.ledger.schema import VERSION as SCHEMA_VERSION
from dagster_hpc.engine.process import NOBODY, new_owner, process_lives, this_process

T = TypeVar("T")
CONTENDERS = 6
PATIENCE_S = 60
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    address: str = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        for table in schema.METADATA.tables:
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
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


OWNER = "here 1 2 3"


def claim(ledger: Ledger, rows: list[JobRow]) -> JobState | None:
    return ledger.claims.claim(rows, room=None)


def submitted(ledger: Ledger, token: str = "abcd2345", job_id: str = "42", **more: Any) -> JobRow:
    claim(ledger, [a_job(token, **more)])
    owner = ledger.job(token).owner
    assert ledger.claims.submitted({token: job_id}, owner, "slurm", poll_within_s=2.0)
    return ledger.job(token)


def _contend(function: Callable[..., Any], url: str, number: int, start: Any, results: Any) -> None:
    ledger = Ledger(url)
    start.wait()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            results.put(function(ledger, number))
            break
        except LedgerUnavailable:  # on a machine that stalls, the others' turns take longer than one call waits
            if time.monotonic() > deadline:
                raise
    ledger.close()


def all_at_once(url: str, function: Callable[[Ledger, int], T]) -> list[T]:
    """What each of several real processes gets that do this in the same moment."""
    start, results = FORK.Barrier(CONTENDERS), FORK.Queue()
    processes = [FORK.Process(target=_contend, args=(function, url, n, start, results)) for n in range(CONTENDERS)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=PATIENCE_S) for _ in processes]
    for process in processes:
        process.join()
    return answers


# -- claim


def test_what_is_claimed_is_there_for_everybody_before_anything_is_submitted(ledger: Ledger, url: str) -> None:
    row = a_job(identity="same", outputs={"a": "a.txt"}, asset_key="bits", partition_key="2026", run_id="r1")
    assert claim(ledger, [row])
    other = Ledger(url)
    there = other.job("abcd2345")
    assert there == replace(row, updated_at=1000.0, held_identity="same", heartbeat_at=there.heartbeat_at)
    other.close()


def test_one_identity_has_one_live_job(ledger: Ledger) -> None:
    assert claim(ledger, [a_job("aaaa2222", identity="same")])
    assert not claim(ledger, [a_job("bbbb3333", identity="same")])
    assert [row.token for row in ledger.jobs()] == ["aaaa2222"]


def test_jobs_without_identity_are_as_many_as_one_likes(ledger: Ledger) -> None:
    assert all(claim(ledger, [a_job(f"aaaa222{n}")]) for n in range(5))


def test_an_identity_is_held_until_the_result_was_delivered(ledger: Ledger) -> None:
    submitted(ledger, "aaaa2222", identity="same")
    ledger.observations.record([Change("aaaa2222", JobState.COMPLETED)])
    assert [row.token for row in ledger.claims.holders(["same"]).values()] == ["aaaa2222"]
    assert claim(ledger, [a_job("bbbb3333", identity="same")]) is None
    ledger.deliveries.returned(["aaaa2222"], None)
    assert ledger.claims.holders(["same"]) == {}
    assert claim(ledger, [a_job("bbbb3333", identity="same")])


def test_a_result_that_reached_its_step_is_given_up_by_the_claim_that_finds_out(ledger: Ledger) -> None:
    submitted(ledger, "aaaa2222", identity="same")
    ledger.observations.record([Change("aaaa2222", JobState.COMPLETED)])
    ledger.deliveries.returned(["aaaa2222"], Recipient("run", "step"))
    ledger.deliveries.returned(["aaaa2222"], Recipient("run", "step"))  # may be said twice
    assert ledger.deliveries.recipients("aaaa2222") == [Recipient("run", "step")]
    assert claim(ledger, [a_job("bbbb3333", identity="same")]) is None
    assert ledger.claims.claim([a_job("bbbb3333", identity="same")], room=None, delivered=["aaaa2222"])
    assert ledger.job("aaaa2222").delivered_at is not None


def test_a_job_that_ended_badly_gives_its_identity_up_and_a_lost_one_keeps_it(ledger: Ledger) -> None:
    for token, state in (("aaaa2222", JobState.FAILED), ("bbbb3333", JobState.LOST)):
        submitted(ledger, token, identity=token)
        ledger.observations.record([Change(token, state)])
    assert set(ledger.claims.holders(["aaaa2222", "bbbb3333"])) == {"bbbb3333"}
    assert ledger.claims.release("bbbb3333")
    assert not ledger.claims.release("bbbb3333")
    assert ledger.claims.holders(["bbbb3333"]) == {}


def test_a_live_job_cannot_be_released(ledger: Ledger) -> None:
    submitted(ledger, identity="same")
    assert not ledger.claims.release("abcd2345")


def test_a_claim_without_room_waits_in_the_ledger_and_those_after_it_too(ledger: Ledger) -> None:
    states = [ledger.claims.claim([a_job(f"aaaa222{n}", created_at=float(n))], room=2) for n in range(4)]
    assert states == ["SUBMITTING", "SUBMITTING", "READY", "READY"]
    assert [row.token for row in ledger.claims.next_ready("slurm")] == ["aaaa2222"]
    assert not ledger.claims.admit(ledger.claims.next_ready("slurm"), "me", room=2)
    assert ledger.claims.admit(ledger.claims.next_ready("slurm"), "me", room=3)
    assert ledger.job("aaaa2222").state is JobState.SUBMITTING


def test_a_claim_that_was_committed_and_whose_answer_was_lost_is_ones_own(ledger: Ledger) -> None:
    row = a_job("aaaa2222", identity="same")
    assert claim(ledger, [row]) is claim(ledger, [row]) is JobState.SUBMITTING


def test_an_array_is_claimed_as_a_whole_or_not_at_all(ledger: Ledger) -> None:
    first = [a_job(f"aaaa2222.{n}", identity=f"same.{n}", array_index=n) for n in range(3)]
    second = [a_job(f"bbbb3333.{n}", identity=f"same.{n + 2}", array_index=n) for n in range(5)]
    assert claim(ledger, first)
    assert not claim(ledger, second)
    assert [row.token for row in ledger.jobs()] == ["aaaa2222.0", "aaaa2222.1", "aaaa2222.2"]


def test_a_token_that_is_there_twice_is_no_claim(ledger: Ledger) -> None:
    claim(ledger, [a_job("aaaa2222")])
    assert claim(ledger, [a_job("aaaa2222", owner="somebody else")]) is None


def _claim(ledger: Ledger, number: int) -> bool:
    return claim(ledger, [a_job(f"aaaa222{number}", identity="same", owner=f"host {number}")]) is not None


def test_of_many_processes_that_claim_at_once_one_gets_it(url: str) -> None:
    # the predecessor wrote nothing down, and a retry submitted a second job
    assert sum(all_at_once(url, _claim)) == 1
    assert len(Ledger(url).jobs()) == 1


def test_many_processes_that_open_a_new_ledger_at_once_all_can_use_it(url: str) -> None:
    assert len(all_at_once(url, lambda ledger, number: claim(ledger, [a_job(f"aaaa222{number}")]) is not None)) == CONTENDERS
    assert len(Ledger(url).jobs()) == CONTENDERS


def test_a_new_token_is_short_plain_and_unused(ledger: Ledger) -> None:
    tokens = {ledger.claims.new_token() for _ in range(20)}
    assert len(tokens) == 20
    assert all((len(token) == 8 and token.isalnum() and token.islower()) or token.isdigit() for token in tokens)


# -- submission


def test_id_and_state_are_stored_together(ledger: Ledger) -> None:
    row = submitted(ledger)
    assert (row.job_id, row.state) == ("42", JobState.PENDING)


def test_an_id_comes_too_late_for_one_who_was_overtaken_and_is_told_so(ledger: Ledger) -> None:
    claim(ledger, [a_job(owner=OWNER)])
    assert ledger.claims.take_over(ledger.job("abcd2345"), "other")
    assert not ledger.claims.submitted({"abcd2345": "42"}, OWNER, "slurm", poll_within_s=2.0)
    assert (ledger.job("abcd2345").state, ledger.job("abcd2345").job_id) == (JobState.SUBMITTING, None)
    ledger.claims.add_copies({"abcd2345": ["42"]})
    assert ledger.job("abcd2345").ids == ("42",)


def test_only_the_owner_refuses(ledger: Ledger) -> None:
    claim(ledger, [a_job(owner=OWNER)])
    assert not ledger.claims.refuse("abcd2345", "somebody else", "no")
    assert ledger.claims.refuse("abcd2345", OWNER, "no")
    assert ledger.job("abcd2345").state is JobState.REFUSED


def test_a_cancelled_submission_begins_no_further_command(ledger: Ledger) -> None:
    claim(ledger, [a_job(owner=OWNER)])
    assert ledger.claims.begin_attempt("abcd2345", OWNER)
    ledger.observations.request_cancel(["abcd2345"])
    assert not ledger.claims.begin_attempt("abcd2345", OWNER)
    assert ledger.job("abcd2345").attempts == 1


def test_what_was_absent_before_it_was_to_be_cancelled_is_not_gone_for_that(ledger: Ledger) -> None:
    claim(ledger, [a_job(owner=OWNER)])
    absent = Change("abcd2345", JobState.PENDING, absent_since=5.0)
    ledger.observations.record([absent])
    ledger.observations.request_cancel(["abcd2345"])
    assert ledger.job("abcd2345").absent_since is None
    ledger.observations.record([absent])
    ledger.observations.request_cancel(["abcd2345"])  # the same wish again
    assert ledger.job("abcd2345").absent_since == 5.0


def test_a_full_queue_gives_the_submission_back(ledger: Ledger) -> None:
    claim(ledger, [a_job(owner=OWNER)])
    assert ledger.claims.give_back("abcd2345", OWNER, "no room", after_s=100.0, certain=True)
    waiting = ledger.claims.next_ready("slurm")
    assert (waiting[0].state, waiting[0].owner) == (JobState.READY, NOBODY)
    assert not ledger.claims.admit(waiting, "me", room=None)  # not yet


def test_of_many_that_would_settle_a_broken_submission_one_does(url: str, ledger: Ledger) -> None:
    claim(ledger, [a_job(owner="elsewhere 1 2 3")])
    seen = ledger.job("abcd2345")

    def take_over(mine: Ledger, number: int) -> bool:
        return mine.claims.take_over(seen, f"host {number}")

    assert sum(all_at_once(url, take_over)) == 1


def test_a_submission_that_went_through_cannot_be_taken_over(ledger: Ledger) -> None:
    row = submitted(ledger)
    assert not ledger.claims.take_over(row, "me")


def test_an_abandoned_submission_has_no_living_owner(ledger: Ledger) -> None:
    claim(ledger, [a_job(owner=OWNER)])
    assert ledger.claims.let_go("abcd2345", OWNER)
    assert ledger.job("abcd2345").owner == NOBODY
    assert process_lives(NOBODY) is False


def test_this_process_lives_one_that_ended_does_not_and_one_elsewhere_nobody_can_tell() -> None:
    child = FORK.Process(target=time.sleep, args=(0,))
    child.start()
    mine = this_process()
    host, pid, start, boot = mine.split(" ")
    child.join()
    assert process_lives(mine) is True
    assert process_lives(new_owner()) is True
    assert new_owner() != new_owner()
    assert process_lives(f"{host} {child.pid} {start} {boot}") is False
    assert process_lives(f"{host} {pid} {int(start) + 1} {boot}") is False  # the number came round again
    assert process_lives(f"not-{host} {pid} {start} {boot}") is None


# -- each of these touches its own submission, and nobody else's


class Hands(Clock):
    """A clock whose hands a test sets."""

    def __init__(self) -> None:
        self.shows = 5000.0

    def now(self) -> float:
        return self.shows


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def timed(tmp_path: Path, hands: Hands) -> Iterator[Ledger]:
    """A ledger whose time a test sets; SQLite, as PostgreSQL has a clock of its own."""
    opened = Ledger(f"sqlite:///{tmp_path}/timed.db", hands)
    yield opened
    opened.close()


def changed(before: list[JobRow], after: list[JobRow]) -> dict[str, dict[str, Any]]:
    """What is new in which row."""
    known = {row.token: row for row in before}
    return {
        row.token: {name: value for name, value in vars(row).items() if value != getattr(known[row.token], name)}
        for row in after
        if row != known[row.token]
    }


def test_what_an_owner_does_touches_his_own_submission_only_and_shows_that_he_lives(timed: Ledger, hands: Hands) -> None:
    for token in ("aaaa2222", "bbbb2222"):
        claim(timed, [a_job(token, owner=OWNER)])
    claims, now = timed.claims, hands.shows
    assert {row.heartbeat_at for row in timed.jobs()} == {now}
    for act, learned in (
        (claims.beat, {"heartbeat_at": now + 10}),
        (claims.begin_attempt, {"heartbeat_at": now + 20, "attempts": 1}),
        (claims.let_go, {"owner": NOBODY}),
    ):
        hands.shows += 10
        before = timed.jobs()
        assert not act("aaaa2222", "other")
        assert not act("cccc2222", OWNER)
        assert timed.jobs() == before
        assert act("aaaa2222", OWNER)
        assert changed(before, timed.jobs()) == {"aaaa2222": learned}
    assert not claims.beat("aaaa2222", OWNER)  # who has let go owns it no more


def test_each_command_is_counted(ledger: Ledger) -> None:
    claim(ledger, [a_job(owner=OWNER)])
    for _ in range(3):
        assert ledger.claims.begin_attempt("abcd2345", OWNER)
    assert ledger.job("abcd2345").attempts == 3


def test_a_claim_is_no_sign_of_life_of_anybody_else(timed: Ledger, hands: Hands) -> None:
    claim(timed, [a_job("aaaa2222")])
    hands.shows += 100.0
    claim(timed, [a_job("bbbb2222")])
    assert timed.job("aaaa2222").heartbeat_at == hands.shows - 100.0


def test_a_take_over_needs_the_row_as_it_was_seen(timed: Ledger, hands: Hands) -> None:
    for token in ("aaaa2222", "bbbb2222"):
        claim(timed, [a_job(token, owner=OWNER)])
    seen, before = timed.job("aaaa2222"), timed.jobs()
    hands.shows += 10.0
    for other in ({"owner": "another"}, {"heartbeat_at": 1.0}, {"batch": "cccc2222"}):
        assert not timed.claims.take_over(replace(seen, **other), "me")  # type: ignore[arg-type]
    assert timed.jobs() == before
    assert timed.claims.take_over(seen, "me")
    assert changed(before, timed.jobs()) == {"aaaa2222": {"owner": "me", "heartbeat_at": hands.shows}}
    timed.claims.give_back("aaaa2222", "me", "no room", after_s=0.0, certain=True)
    assert timed.claims.take_over(timed.job("aaaa2222"), "me")  # also one that waits for room


def test_a_refusal_says_why_and_frees_its_own_identity_only(timed: Ledger, hands: Hands) -> None:
    for token in ("aaaa2222", "bbbb2222"):
        claim(timed, [a_job(token, owner=OWNER, identity=token)])
    before = timed.jobs()
    hands.shows += 10.0
    assert timed.claims.refuse("aaaa2222", OWNER, "no", JobState.CANCELLED)
    assert changed(before, timed.jobs()) == {
        "aaaa2222": {"state": JobState.CANCELLED, "reason": "no", "held_identity": None, "updated_at": hands.shows}
    }
    assert not timed.claims.refuse("aaaa2222", OWNER, "no")  # it is over


def test_what_is_given_back_waits_its_time_and_keeps_its_attempts_unless_none_can_have_arrived(
    timed: Ledger, hands: Hands
) -> None:
    for token in ("aaaa2222", "bbbb2222"):
        claim(timed, [a_job(token, owner=OWNER)])
        timed.claims.begin_attempt(token, OWNER)
        before = timed.jobs()
        certain = token == "bbbb2222"
        assert timed.claims.give_back(token, OWNER, "no room", after_s=100.0, certain=certain)
        expected: dict[str, Any] = {"state": JobState.READY, "owner": NOBODY, "not_before": hands.shows + 100.0,
                                    "reason": "no room", "updated_at": hands.shows}  # fmt: skip
        assert changed(before, timed.jobs()) == {token: {**expected, **({"attempts": 0} if certain else {})}}
    (first,) = timed.claims.next_ready("slurm")
    hands.shows += 99.0
    assert not timed.claims.admit([first], "me", room=None)
    hands.shows += 1.0
    before = timed.jobs()
    assert timed.claims.admit([first], "me", room=None)
    assert changed(before, timed.jobs()) == {
        "aaaa2222": {"state": JobState.SUBMITTING, "owner": "me", "heartbeat_at": hands.shows}
    }
    assert not timed.claims.admit([first], "other", room=None)  # somebody has begun


def test_what_somebody_has_begun_to_submit_and_let_go_is_not_begun_anew(ledger: Ledger) -> None:
    ledger.claims.claim([a_job("aaaa2222", owner=NOBODY)], room=0)
    (seen,) = ledger.claims.next_ready("slurm")
    assert ledger.claims.admit([seen], "quicker", room=1)
    assert ledger.claims.let_go("aaaa2222", "quicker")  # its command may have arrived: it is looked for first
    assert not ledger.claims.admit([seen], "me", room=None)


@pytest.mark.parametrize("ready", [False, True])
def test_a_submission_is_whole_from_when_its_owner_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: bool
) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    at(0.0, monkeypatch)
    claim(ledger, [a_job("aaaa2222", owner=OWNER)])
    at(100.0, monkeypatch)
    assert not ledger.claims.placed("aaaa2222", "somebody else", "sum", ready=ready)
    assert ledger.job("aaaa2222").script_sha256 == ""
    assert ledger.claims.placed("aaaa2222", OWNER, "sum", ready=ready)
    row = ledger.job("aaaa2222")
    assert (row.script_sha256, row.owner) == ("sum", NOBODY if ready else OWNER)
    assert row.heartbeat_at == row.updated_at == time.time()  # its files may be seen late from then on
    ledger.close()


def test_one_whose_files_are_still_written_is_not_admitted_by_another(ledger: Ledger) -> None:
    claim(ledger, [a_job("aaaa2222")])
    ledger.claims.claim([a_job("bbbb2222", owner=OWNER)], room=1)
    (ready,) = ledger.claims.next_ready("slurm")
    assert not ledger.claims.admit([replace(ready, owner=NOBODY)], "me", room=None)
    assert ledger.claims.admit([ready], "me", room=2)


def test_an_id_is_stored_in_its_own_row_and_while_it_is_submitted_only(timed: Ledger, hands: Hands) -> None:
    polled(timed, 60.0)
    for token in ("aaaa2222", "bbbb2222"):
        claim(timed, [a_job(token, owner=OWNER)])
    before = timed.jobs()
    hands.shows += 10.0
    assert timed.claims.submitted({"aaaa2222": "42"}, OWNER, "slurm", poll_within_s=2.0)
    assert changed(before, timed.jobs()) == {
        "aaaa2222": {"job_id": "42", "state": JobState.PENDING, "owner": NOBODY, "updated_at": hands.shows}
    }
    assert take(timed).due_in_s == 2.0
    assert not timed.claims.submitted({"aaaa2222": "43"}, NOBODY, "slurm", poll_within_s=2.0)
    assert timed.claims.submitted({"aaaa2222": "42"}, OWNER, "slurm", poll_within_s=2.0)  # the answer was lost
    timed.claims.give_back("bbbb2222", OWNER, "no room", after_s=0.0, certain=False)
    assert not timed.claims.submitted({"bbbb2222": "44"}, NOBODY, "slurm", poll_within_s=2.0)


def test_a_submission_brings_quick_questions_along(timed: Ledger) -> None:
    polled(timed, 1000.0)
    with timed._database._engine.begin() as connection:
        connection.execute(LEASES.update().values(quick=0.0))
    submitted(timed)
    with timed._database._engine.begin() as connection:
        assert connection.execute(sa.select(LEASES.c.quick)).scalar_one() == 3.0


def test_copies_are_kept_once_each_in_their_order_and_without_the_id_itself(ledger: Ledger) -> None:
    submitted(ledger, "aaaa2222", job_id="1")
    submitted(ledger, "bbbb2222", job_id="2")
    ledger.claims.add_copies({"aaaa2222": ["4", "1"], "bbbb2222": ["5"]})
    ledger.claims.add_copies({"aaaa2222": ["3", "4"]})
    assert (ledger.job("aaaa2222").copies, ledger.job("bbbb2222").copies) == (("4", "3"), ("5",))


def test_a_release_frees_one_identity_and_says_when(timed: Ledger, hands: Hands) -> None:
    for token in ("aaaa2222", "bbbb2222"):
        submitted(timed, token, identity=token)
        timed.observations.record([Change(token, JobState.LOST)])
    before = timed.jobs()
    hands.shows += 10.0
    assert timed.claims.release("aaaa2222")
    assert changed(before, timed.jobs()) == {"aaaa2222": {"held_identity": None, "updated_at": hands.shows}}


# -- room, and the order of those who wait for it


def test_room_is_that_of_one_target_and_for_what_is_neither_over_nor_waiting(ledger: Ledger) -> None:
    elsewhere = replace(a_job("aaaa2222"), target="other")
    claim(ledger, [elsewhere])
    ledger.claims.claim([replace(elsewhere, token="aaaa3333", batch="aaaa3333")], room=1)  # it waits, elsewhere
    for number, state in enumerate((JobState.FAILED, JobState.COMPLETED)):
        submitted(ledger, f"bbbb222{number}")
        ledger.observations.record([Change(f"bbbb222{number}", state)])
    submitted(ledger, "cccc2222")
    assert ledger.claims.claim([a_job("dddd2222")], room=2) is JobState.SUBMITTING
    assert ledger.claims.claim([a_job("eeee2222")], room=2) is JobState.READY
    assert ledger.claims.claim([a_job("ffff2222")], room=9) is JobState.READY  # behind the one that waits
    assert [row.token for row in ledger.claims.next_ready("other")] == ["aaaa3333"]
    assert [row.token for row in ledger.claims.next_ready("slurm")] == ["eeee2222"]


def test_of_many_processes_that_claim_at_once_as_many_begin_as_there_is_room_for(url: str) -> None:
    assert sorted(all_at_once(url, _claim_with_room)) == ["READY"] * (CONTENDERS - 2) + ["SUBMITTING"] * 2


def test_of_many_processes_that_would_begin_what_waits_as_many_do_as_there_is_room_for(url: str, ledger: Ledger) -> None:
    for number in range(CONTENDERS):
        assert ledger.claims.claim([a_job(f"aaaa222{number}")], room=0) is JobState.READY
    assert sum(all_at_once(url, _admit_with_room)) == 2


def _admit_with_room(ledger: Ledger, number: int) -> bool:
    return ledger.claims.admit([ledger.job(f"aaaa222{number}")], f"host {number}", room=2)


def _claim_with_room(ledger: Ledger, number: int) -> JobState | None:
    return ledger.claims.claim([a_job(f"aaaa222{number}")], room=2)


def test_an_array_needs_room_for_all_its_elements(ledger: Ledger) -> None:
    rows = [a_job(f"aaaa2222.{n}", array_index=n) for n in range(3)]
    assert ledger.claims.claim(rows, room=2) is JobState.READY
    waiting = ledger.claims.next_ready("slurm")
    assert not ledger.claims.admit(waiting, "me", room=2)
    assert ledger.claims.admit(waiting, "me", room=3)
    assert {row.state for row in ledger.jobs()} == {JobState.SUBMITTING}


def test_those_who_wait_come_in_the_order_of_their_claims_and_elements_in_theirs(ledger: Ledger) -> None:
    claim(ledger, [a_job("zzzz2222")])
    places = [a_job(f"bbbb2222.{n}", array_index=n, created_at=7.0) for n in (1, 0)]
    later = [a_job("aaaa2222", created_at=8.0)], [a_job("cccc2222", created_at=7.0)]
    for rows in (*later, places):
        assert ledger.claims.claim(rows, room=1) is JobState.READY
    assert [row.token for row in ledger.claims.next_ready("slurm")] == ["bbbb2222.0", "bbbb2222.1"]
    assert ledger.claims.admit(ledger.claims.next_ready("slurm"), "me", room=None)
    assert [row.token for row in ledger.claims.next_ready("slurm")] == ["cccc2222"]


# -- who holds what


def test_the_holders_of_more_identities_than_one_statement_takes_are_all_found(ledger: Ledger) -> None:
    identities = [f"same.{number}" for number in range(1001)]
    held = [identities[number] for number in (0, 499, 500, 999, 1000)]
    for number, identity in enumerate(held):
        claim(ledger, [a_job(f"aaaa222{number}", identity=identity)])
    assert sorted(ledger.claims.holders(identities)) == sorted(held)


def test_only_what_ended_well_gives_its_identity_up_to_a_claim(timed: Ledger, hands: Hands) -> None:
    submitted(timed, "aaaa2222", identity="lives")
    submitted(timed, "bbbb2222", identity="same")
    submitted(timed, "cccc2222", identity="owed")
    timed.observations.record([Change(token, JobState.COMPLETED) for token in ("bbbb2222", "cccc2222")])
    new = a_job("dddd2222", identity="same")
    assert timed.claims.claim([new], room=None, delivered=["aaaa2222", "bbbb2222"])
    assert set(timed.claims.holders(["lives", "same", "owed"])) == {"lives", "same", "owed"}
    assert timed.job("bbbb2222").delivered_at == hands.shows
    assert [timed.job(token).delivered_at for token in ("aaaa2222", "cccc2222")] == [None, None]
    assert timed.claims.claim([a_job("eeee2222", identity="lives")], room=None, delivered=["aaaa2222"]) is None


def test_a_claim_whose_answer_was_lost_is_told_apart_from_those_of_others(ledger: Ledger) -> None:
    claim(ledger, [a_job("aaaa2222", owner="somebody else", identity="other")])
    row = a_job("bbbb2222", identity="same", owner=OWNER)
    assert ledger.claims.claim([row], room=1) is ledger.claims.claim([row], room=1) is JobState.READY


def test_a_token_that_is_in_the_ledger_is_not_given_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(ledger, [a_job(f"aaaaaaaa.{n}", array_index=n, batch="aaaaaaaa") for n in range(2)])
    letters = iter("a" * 8 + "b" * 8)
    monkeypatch.setattr("dagster_hpc.engine.ledger.claims.secrets.choice", lambda _: next(letters))
    assert ledger.claims.new_token() == "bbbbbbbb"


def test_only_jobs_that_knew_no_cluster_get_the_name_of_theirs(ledger: Ledger) -> None:
    for token, target, cluster in (("aaaa2222", "slurm", ""), ("bbbb2222", "slurm", "lab"), ("cccc2222", "other", "")):
        claim(ledger, [replace(a_job(token), target=target, cluster=cluster)])
    ledger.claims.name_cluster("slurm", "slurm", "lab")  # a system that has no name
    assert ledger.job("aaaa2222").cluster == ""
    ledger.claims.name_cluster("slurm", "slurm@far", "far")
    rows = [(row.token, row.target, row.cluster) for row in sorted(ledger.jobs(), key=lambda row: row.token)]
    assert rows == [("aaaa2222", "slurm@far", "far"), ("bbbb2222", "slurm", "lab"), ("cccc2222", "other", "")]


# -- what became of it


def test_what_was_learned_is_kept_with_its_figures(ledger: Ledger) -> None:
    submitted(ledger)
    metrics = JobMetrics(elapsed_s=3.5, nodes=2, raw={"State": "COMPLETED"})
    ledger.observations.record([Change("abcd2345", JobState.FAILED, "why", 3, metrics)])
    row = ledger.job("abcd2345")
    assert (row.state, row.reason, row.exit_code, row.metrics) == (JobState.FAILED, "why", 3, metrics)


@pytest.mark.parametrize("final", [JobState(state) for state in FINAL_STATES if state != "LOST"])
def test_final_stays_final_whatever_a_late_poll_says(ledger: Ledger, final: JobState) -> None:
    submitted(ledger)
    ledger.observations.record([Change("abcd2345", final, "first")])
    ledger.observations.record([Change("abcd2345", JobState.RUNNING, "late")])
    ledger.observations.record([Change("abcd2345", JobState.COMPLETED, "later")])
    row = ledger.job("abcd2345")
    assert (row.state, row.reason) == (final, "first")


def test_a_lost_job_that_turns_up_is_alive_again(ledger: Ledger) -> None:
    submitted(ledger)
    ledger.observations.record([Change("abcd2345", JobState.LOST)])
    ledger.observations.record([Change("abcd2345", JobState.RUNNING)])
    assert ledger.job("abcd2345").state is JobState.RUNNING


def test_a_result_is_collected_once(ledger: Ledger) -> None:
    submitted(ledger, identity="same")
    ledger.observations.record([Change("abcd2345", JobState.COMPLETED)])
    assert ledger.observations.collected("abcd2345", [], JobMetrics(energy_j=1.0))
    assert not ledger.observations.collected("abcd2345", ["a"], None)  # a scratch that was purged changes nothing
    row = ledger.job("abcd2345")
    assert (row.state, row.metrics.energy_j, row.held_identity) == (JobState.COMPLETED, 1.0, "same")


def test_a_job_without_its_declared_outputs_has_failed(ledger: Ledger) -> None:
    submitted(ledger, identity="same")
    ledger.observations.record([Change("abcd2345", JobState.COMPLETED)])
    assert ledger.observations.collected("abcd2345", ["a (a.txt)"], None)
    row = ledger.job("abcd2345")
    assert (row.state, row.missing, row.held_identity) == (JobState.FAILED, ("a (a.txt)",), None)
    assert ledger.latest(["same"], JobState.COMPLETED) == {}


# -- reading


def test_jobs_come_newest_first_and_by_what_one_asks_for(ledger: Ledger) -> None:
    submitted(ledger, "aaaa2222", created_at=1.0, asset_key="a", run_id="r1")
    submitted(ledger, "bbbb3333", created_at=2.0, asset_key="b", run_id="r1")
    submitted(ledger, "cccc4444", created_at=3.0, asset_key="b", run_id="r2")
    ledger.observations.record([Change("cccc4444", JobState.FAILED)])

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


@pytest.mark.parametrize(("word", "tokens"), [
    ("3068", ["single11"]), ("3068.pbshost", ["single11"]), ("3068.pbshost.site", ["single11"]),
    ("62", ["array222.0", "array222.1"]), ("62[]", ["array222.0", "array222.1"]),
    ("62[].pbshost", ["array222.0", "array222.1"]), ("62[1]", ["array222.1"]), ("62[1].pbshost", ["array222.1"]),
    ("77.opbs", ["short333"]), ("77.3", []), ("28", []), ("6", []), ("62[].elsewhere", []), ("306", []),
])  # fmt: skip
def test_an_id_is_understood_as_the_system_prints_it_short_or_long(
    ledger: Ledger, word: str, tokens: list[str]
) -> None:
    """`cancel '62[].pbshost'` found nothing, and `show 28` found the jobs whose tokens begin so."""
    submitted(ledger, "single11", "3068.pbshost.site" if word.endswith(".site") else "3068.pbshost")
    submitted(ledger, "short333", "77")
    submitted(ledger, "28h76263", "99.pbshost")
    for n in range(2):
        submitted(ledger, f"array222.{n}", f"62[{n}].pbshost", array_index=n)
    assert sorted(row.token for row in ledger.look_up(word)) == tokens


def test_a_token_that_nobody_knows_is_an_error_that_names_the_ledger(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="no job 'nope'"):
        ledger.job("nope")


# -- the poll lease


def take(ledger: Ledger, holder: str = "me", *, hurry: bool = False) -> Lease:
    return ledger.leases.take("slurm", holder, hurry=hurry)


def polled(ledger: Ledger, interval_s: float, holder: str = "me") -> None:
    assert take(ledger, holder).taken
    ledger.leases.release("slurm", holder, interval_s=interval_s)


def at(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much later (on SQLite: PostgreSQL has a clock of its own)."""
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + seconds)


def test_the_first_poll_is_due_at_once_and_the_next_after_its_interval(ledger: Ledger) -> None:
    polled(ledger, 100.0)
    lease = take(ledger)
    assert not lease.taken
    assert lease.due_in_s == pytest.approx(100.0, abs=5.0)


def test_while_one_polls_nobody_else_does(ledger: Ledger) -> None:
    assert take(ledger).taken
    assert not take(ledger, "other", hurry=True).taken


def test_who_was_interrupted_takes_its_own_lease_again(ledger: Ledger) -> None:
    assert take(ledger).taken  # and the process went on elsewhere before it knew
    assert take(ledger).taken
    assert not take(ledger, "other").taken


def test_targets_are_polled_independently(ledger: Ledger) -> None:
    assert take(ledger).taken
    assert ledger.leases.take("local", "other").taken


def test_quick_questions_come_out_of_a_budget_that_all_share(ledger: Ledger, url: str) -> None:
    polled(ledger, 1000.0)
    others = [Ledger(url) for _ in range(3)]
    quick = 0
    for turn in range(30):
        lease = take(others[turn % 3], f"holder {turn % 3}", hurry=True)
        if lease.taken:
            assert lease.early
            quick += 1
            others[turn % 3].leases.release("slurm", f"holder {turn % 3}", interval_s=1000.0, due=False)
        time.sleep(0.16)
    assert quick == 6
    assert take(ledger).due_in_s > 900  # they do not put the usual question off


def test_who_comes_too_soon_with_a_quick_question_is_told_when_it_may_be_asked(ledger: Ledger) -> None:
    polled(ledger, 1000.0)
    soon = take(ledger, hurry=True)
    assert not soon.taken
    assert 0.0 < soon.due_in_s <= CLOSEST_S
    time.sleep(soon.due_in_s)
    assert take(ledger, hurry=True).early


def test_a_new_job_brings_the_next_poll_forward_and_quick_questions_along(ledger: Ledger) -> None:
    polled(ledger, 60.0)
    submitted(ledger)
    assert take(ledger).due_in_s <= 2.0


def test_the_lease_of_a_process_that_is_gone_is_free_at_once(ledger: Ledger) -> None:
    """Where a process was killed while it asked, nobody asked for 90 seconds."""
    host, pid, start, boot = this_process().split(" ")
    gone = f"{host} {pid} {int(start) + 1} {boot}"  # the number came round again
    assert take(ledger, gone).taken
    assert take(ledger, "other").taken


def test_the_lease_of_a_holder_that_died_elsewhere_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    assert take(ledger, "dead").taken
    at(100.0, monkeypatch)
    assert take(ledger, "other").taken


def test_a_clock_that_steps_back_does_not_stop_the_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    polled(ledger, 60.0)
    at(-3600.0, monkeypatch)
    assert take(ledger).taken


def test_a_row_that_is_a_little_younger_than_the_look_at_the_clock_is_no_step_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one had read the clock, another took the lease, and the first took it from him: two asked at once
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    at(0.0, monkeypatch)
    assert take(ledger, "other").taken
    at(-0.01, monkeypatch)
    assert not take(ledger).taken
    ledger.leases.release("slurm", "other", interval_s=60.0)
    at(-0.02, monkeypatch)
    assert not take(ledger).taken


def test_one_whose_lease_was_taken_cannot_release_it(ledger: Ledger) -> None:
    assert take(ledger, "other").taken
    ledger.leases.release("slurm", "slow", interval_s=0.0)
    assert not take(ledger, "third").taken


def test_of_many_processes_that_would_poll_at_once_one_does(url: str) -> None:
    # the predecessor asked once for each job: 200 jobs, 40 questions a second
    assert sum(all_at_once(url, lambda ledger, number: take(ledger, f"holder {number}").taken)) == 1


def test_a_connection_that_breaks_while_it_is_given_back_is_as_one_that_breaks_before(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # psycopg2's own OperationalError went through all patience, when PostgreSQL restarted in that moment
    submitted(ledger)
    driver = ledger._database._engine.dialect.loaded_dbapi
    answers, read = iter([driver.OperationalError("server closed the connection unexpectedly")]), Database._read_once

    def broken_once(database: Database, work: Callable[[sa.Connection], Any]) -> Any:
        answer = read(database, work)
        if error := next(answers, None):
            raise error
        return answer

    monkeypatch.setattr(Database, "_read_once", broken_once)
    assert ledger.job("abcd2345").job_id == "42"


# -- opening it


def test_a_ledger_of_a_newer_version_is_left_alone(ledger: Ledger, url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE dagster_hpc_schema SET version = {SCHEMA_VERSION + 1}"))
    engine.dispose()
    with pytest.raises(LedgerError, match=f"newer version .schema {SCHEMA_VERSION + 1}"):
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


def test_on_a_network_file_system_the_ledger_is_one_hosts_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"server:/x {tmp_path} nfs4 rw 0 0\n"
    monkeypatch.setattr(database, "network_filesystem", lambda path: network_filesystem(path, mounts))
    with pytest.warns(UserWarning, match="nfs4 and can be used from .* only; set DAGSTER_HPC_LEDGER"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db").close()
    Ledger(f"sqlite:///{tmp_path}/ledger.db").close()  # said once
    monkeypatch.setattr(database.socket, "gethostname", lambda: "login2")
    with pytest.raises(LedgerError, match="is in use on") as refused:
        Ledger(f"sqlite:///{tmp_path}/ledger.db")
    assert "PostgreSQL" in refused.value.advice


def test_the_ledger_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        Ledger(f"sqlite:///{tmp_path}/new/ledger.db").close()
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new/ledger.db").stat().st_mode & 0o777 == 0o600


OLD = """
CREATE TABLE dagster_hpc_jobs (token VARCHAR(32) NOT NULL PRIMARY KEY, batch VARCHAR(16) NOT NULL, array_index INTEGER,
 identity VARCHAR(64), live_identity VARCHAR(64) UNIQUE, name TEXT NOT NULL, target VARCHAR(255) NOT NULL,
 scheduler TEXT NOT NULL, queue TEXT NOT NULL, project TEXT NOT NULL, work_dir TEXT NOT NULL,
 script_sha256 VARCHAR(64) NOT NULL, outputs TEXT NOT NULL, asset_key TEXT, partition_key TEXT, run_id VARCHAR(64),
 owner TEXT NOT NULL, state VARCHAR(16) NOT NULL, reason TEXT NOT NULL, job_id VARCHAR(64), exit_code INTEGER,
 metrics TEXT NOT NULL, cancel_requested BOOLEAN NOT NULL, absent_since FLOAT, ending_since FLOAT, stuck_since FLOAT,
 created_at FLOAT NOT NULL, updated_at FLOAT NOT NULL);
CREATE INDEX dagster_hpc_jobs_live ON dagster_hpc_jobs (target, state);
CREATE TABLE dagster_hpc_leases (target VARCHAR(255) NOT NULL PRIMARY KEY, holder VARCHAR(128), expires_at FLOAT NOT NULL,
 polled_at FLOAT NOT NULL, interval_s FLOAT NOT NULL);
CREATE TABLE dagster_hpc_schema (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO dagster_hpc_schema VALUES (1);
"""
OLD_ROW = (
    "INSERT INTO dagster_hpc_jobs VALUES ('{token}', '{batch}', {index}, 'id', {live}, 'x', 'slurm', '{{}}', '', '', '/w',"
    " '', '{{}}', NULL, NULL, NULL, 'nobody', '{state}', '', {job_id}, NULL, '{{}}', false, NULL, NULL, NULL, 1.0, 1.0)"
)


def test_a_ledger_of_version_0_1_0_is_upgraded_where_it_is(url: str) -> None:
    engine = sa.create_engine(url)
    rows = [
        OLD_ROW.format(token="aaaa2222", batch="aaaa2222", index="NULL", live="'id'", state="RUNNING", job_id="'42'"),
        OLD_ROW.format(token="bbbb3333.1", batch="bbbb3333", index=1, live="'id.1'", state="PENDING", job_id="'43_1'"),
        OLD_ROW.format(token="cccc4444", batch="cccc4444", index="NULL", live="NULL", state="COMPLETED", job_id="'44'"),
    ]
    with engine.begin() as connection:
        for statement in [*OLD.strip().rstrip(";").split(";"), *rows]:
            connection.execute(sa.text(statement))
    engine.dispose()
    ledger = Ledger(url)
    live, element, done = (ledger.job(token) for token in ("aaaa2222", "bbbb3333.1", "cccc4444"))
    assert (live.held_identity, live.identity, live.attempts) == ("id", "id", 1)
    assert (element.held_identity, element.identity) == ("id.1", "id.1")
    assert (done.held_identity, done.state) == (None, JobState.COMPLETED)
    assert take(ledger).taken
    submitted(ledger, "dddd5555", "x" * 300)
    assert ledger.job("dddd5555").job_id == "x" * 300
    ledger.claims.name_cluster("slurm", "slurm@lab", "lab")
    assert {row.target for row in ledger.jobs()} == {"slurm@lab"}
    ledger.close()
    Ledger(url).close()  # the second time there is nothing to do


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
def test_a_server_that_is_not_there_is_an_error_that_hides_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PASSES", {"Connection refused": 0.3})
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
