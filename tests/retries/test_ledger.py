"""Chains in the ledger: each attempt is followed once, whoever comes; and what the command line makes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from dagster_hpc import Command, HPCJobRunner, JobState, RetryRule
from dagster_hpc.cli.main import main
from dagster_hpc.engine import job
from dagster_hpc.engine.job import RetryPlan
from dagster_hpc.engine.ledger import Change, JobRow, Ledger, schema
from dagster_hpc.engine.process import new_owner

PLAN = RetryPlan((job.RetryRule(on=("TIMEOUT",), walltime=2),), None, 60)
NEW = ("retry", "again", "again_at", "retry_number", "first_token", "next_token")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/chains.db")
    yield opened
    opened.close()


def row_of(token: str, **more: Any) -> JobRow:
    values = {"identity": "work", "retry": PLAN, "owner": new_owner(), **more}
    return JobRow(token, token, "x", "local", "{}", f"/x/{token}", JobState.SUBMITTING, time.time(), **values)


def timed_out(ledger: Ledger, token: str = "first222", **more: Any) -> JobRow:
    """A job that has run into its walltime, and is to be tried again."""
    row = row_of(token)
    ledger.claims.claim([row], room=None)
    ledger.claims.submitted({token: "7"}, row.owner, "local", poll_within_s=1.0)
    ledger.observations.record([Change(token, JobState.TIMEOUT, "its walltime", again=PLAN, **more)])
    return ledger.job(token)


def successor(before: JobRow, token: str) -> JobRow:
    row = replace(row_of(token), state=JobState.READY, retry_number=1, first_token=before.chain)
    return replace(row, held_identity=before.held_identity)


def test_what_is_to_be_tried_again_keeps_its_identity_until_its_place_is_taken(ledger: Ledger) -> None:
    before = timed_out(ledger)
    assert before.held_identity == "work"
    assert ledger.claims.claim([row_of("equal222")], room=None) is None

    assert ledger.claims.take_place([successor(before, "second22")], [before.token])

    assert ledger.job("first222").held_identity is None
    assert ledger.job("second22").held_identity == "work"
    assert ledger.claims.holders(["work"])["work"].token == "second22"


def test_only_one_attempt_follows_another(ledger: Ledger) -> None:
    before = timed_out(ledger)
    assert ledger.claims.take_place([successor(before, "second22")], [before.token])
    assert not ledger.claims.take_place([successor(before, "third222")], [before.token])
    assert {row.token for row in ledger.jobs()} == {"first222", "second22"}


def test_who_has_not_heard_that_it_has_taken_the_place_has_taken_it(ledger: Ledger) -> None:
    before = timed_out(ledger)
    attempt = [successor(before, "second22")]
    ledger.claims.take_place(attempt, [before.token])
    assert ledger.claims.take_place(attempt, [before.token])


def test_an_array_takes_all_places_or_none(ledger: Ledger) -> None:
    one, other = timed_out(ledger), row_of("other222", identity="other")
    ledger.claims.claim([other], room=None)
    first = replace(successor(one, "array222"), held_identity=None)
    attempts = [replace(first, token=f"array222.{place}", array_index=place) for place in (0, 1)]
    assert not ledger.claims.take_place(attempts, [one.token, other.token])
    assert ledger.job(one.token).again_at is not None


def test_the_last_attempt_is_found_from_each(ledger: Ledger) -> None:
    before = timed_out(ledger)
    ledger.claims.take_place([successor(before, "second22")], [before.token])
    assert {token: row.token for token, row in ledger.last_attempts(["first222", "second22"]).items()} == {
        "first222": "second22", "second22": "second22",
    }  # fmt: skip
    assert [row.token for row in ledger.attempts(["first222"])["first222"]] == ["first222", "second22"]


def test_what_is_to_be_tried_again_is_live(ledger: Ledger) -> None:
    timed_out(ledger, delay_s=3600)
    assert [row.token for row in ledger.jobs(live=True)] == ["first222"]
    assert ledger.jobs(live=False) == []
    assert not ledger.claims.release("first222")


def test_a_cancellation_stops_the_chain_wherever_it_is(ledger: Ledger) -> None:
    before = timed_out(ledger)
    ledger.claims.take_place([successor(before, "second22")], [before.token])
    assert ledger.observations.request_cancel(["first222"]) == ["first222", "second22"]
    assert ledger.job("second22").cancel_requested


def test_an_attempt_is_not_made_once_the_chain_is_cancelled(ledger: Ledger) -> None:
    before = timed_out(ledger)
    ledger.observations.request_cancel(["first222"])
    assert not ledger.claims.take_place([successor(before, "second22")], [before.token])
    now = ledger.job("first222")
    assert (now.state, now.again_at, now.held_identity) == (JobState.TIMEOUT, None, None)
    assert now.reason == "its walltime; cancelled before that"


def test_a_ledger_of_version_4_is_upgraded_where_it_lies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    engine = sa.create_engine(url)
    schema.METADATA.create_all(engine)
    with engine.begin() as connection:
        for statement in (
            "DROP INDEX dagster_hpc_jobs_again", "DROP INDEX ix_dagster_hpc_jobs_first_token",
            *(f"ALTER TABLE dagster_hpc_jobs DROP COLUMN {name}" for name in NEW),
            "DROP TABLE dagster_hpc_reports", "INSERT INTO dagster_hpc_schema VALUES (4)",
            "INSERT INTO dagster_hpc_jobs (token, batch, name, target, scheduler, work_dir, script_sha256, owner, state, "
            "cancel_requested, created_at, updated_at) VALUES ('old22222', 'old22222', 'x', 'local', '{}', '/x', '', '', "
            "'RUNNING', 0, 1, 1)",
        ):  # fmt: skip
            connection.exec_driver_sql(statement)
    engine.dispose()

    upgraded = Ledger(url)

    old = upgraded.job("old22222")
    assert (old.retry, old.again_at, old.retry_number, old.chain, old.is_over) == (None, None, 0, "old22222", False)
    inspected = sa.inspect(sa.create_engine(url))
    names = {str(index["name"]) for index in inspected.get_indexes("dagster_hpc_jobs")}
    assert {"dagster_hpc_jobs_again", "ix_dagster_hpc_jobs_first_token"} <= names
    assert upgraded.to_be_tried_again("local") == []
    upgraded.close()


# -- the command line


@pytest.fixture
def chain(hpc: HPCJobRunner, tmp_path: Path) -> list[JobRow]:
    """A job that was tried twice, and ended well."""
    command = Command.shell(f"test -e {tmp_path}/mark || {{ touch {tmp_path}/mark; exit 7; }}")
    hpc.run(command, profile="small", key="k", retry=[RetryRule(exit_codes=[7], count=2)])
    return sorted(hpc.jobs(), key=lambda row: row.retry_number)


def dagster_hpc(hpc: HPCJobRunner, *words: str) -> Result:
    return CliRunner().invoke(main, ["--ledger", str(hpc.ledger_url), *words])


def test_show_prints_the_chain(hpc: HPCJobRunner, chain: list[JobRow]) -> None:
    said = dagster_hpc(hpc, "show", chain[0].token).output
    assert f"it goes on as {chain[1].token}" in said
    table = said[said.index("ATTEMPT") :].splitlines()
    assert [line.split()[:4] for line in table[1:]] == [
        [str(number), row.token, str(row.job_id), str(row.state)] for number, row in enumerate(chain, 1)
    ]
    told = json.loads(dagster_hpc(hpc, "show", chain[1].token, "--json").output)
    assert [one["token"] for one in told["attempts"]] == [row.token for row in chain]


def test_cancel_of_a_chain_that_is_over_says_so(hpc: HPCJobRunner, chain: list[JobRow]) -> None:
    assert f"{chain[1].token} (job 2): was over already: COMPLETED" in dagster_hpc(hpc, "cancel", chain[0].token).output


def test_cancel_stops_what_is_to_be_tried_again(hpc: HPCJobRunner) -> None:
    handle = hpc.submit(Command.shell("exit 7"), profile="small", retry=[RetryRule(exit_codes=[7], delay=3600)])
    while not hpc.jobs(state=JobState.FAILED):
        hpc._engine().tick()
    assert "is to be tried again: it is not released" in dagster_hpc(hpc, "release", handle.token).output
    assert "had ended as FAILED; it is not tried again" in dagster_hpc(hpc, "cancel", handle.token).output
    assert hpc.jobs(live=True) == []


def test_a_chain_is_forgotten_as_a_whole(hpc: HPCJobRunner, chain: list[JobRow]) -> None:
    assert "0 jobs" in dagster_hpc(hpc, "prune", "--older-than", "1h", "--yes").output
    time.sleep(1.1)
    said = dagster_hpc(hpc, "prune", "--older-than", "1s", "--keep-failed", "--directories", "--yes").output
    assert "2 jobs are forgotten, and 2 directories are removed" in said


def test_a_lost_ledger_learns_of_the_chain_again(hpc: HPCJobRunner, chain: list[JobRow], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/found.db"
    Ledger(url).close()
    CliRunner().invoke(main, ["--ledger", url, "adopt", hpc.folder])
    found = {row.token: row for row in Ledger(url).jobs()}
    first, last = (found[row.token] for row in chain)
    assert (first.next_token, first.held_identity) == (last.token, None)
    assert (last.chain, last.held_identity) == (first.token, chain[1].identity)
    assert last.retry is not None
    assert last.retry.rules == ()  # nothing is submitted by adopting
