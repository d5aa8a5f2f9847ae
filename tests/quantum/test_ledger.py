"""The quantum jobs of a ledger: one of each content, one owner of each submission; on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger, schema
from dagster_hpc.engine.ledger.quantum import QuantumJobs, QuantumRow, QuantumState
from dagster_hpc.engine.process import new_owner

FORK = multiprocessing.get_context("fork")
CONTENDERS = 6


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    address: str = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(address)
    schema.METADATA.drop_all(engine)
    engine.dispose()
    return address


@pytest.fixture
def jobs(url: str) -> Iterator[QuantumJobs]:
    ledger = Ledger(url)
    yield ledger.quantum
    ledger.close()


def a_row(token: str, key: str = "k", **more: Any) -> QuantumRow:
    return QuantumRow(token, key, "ibm", "x", 10, new_owner(), **more)


def test_a_ledger_of_version_3_is_used_where_it_lies(url: str) -> None:
    old = Ledger(url)
    row = JobRow("abcd2345", "abcd2345", "x", "slurm", "{}", "/x", JobState.SUBMITTING, 1000.0, owner=new_owner())
    assert old.claims.claim([row], room=None) is JobState.SUBMITTING
    old.close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        schema.QUANTUM.drop(connection)
        connection.execute(schema.SCHEMA.update().values(version=3))
    engine.dispose()

    ledger = Ledger(url)

    assert ledger.job("abcd2345").name == "x"
    assert ledger.quantum.claim(a_row("a")) is not None
    ledger.close()


def test_a_content_is_held_until_its_job_has_failed(jobs: QuantumJobs) -> None:
    first = a_row("a", circuits=({"qubits": 3},), asset_key="bell", run_id="r1")
    held = jobs.claim(first)
    assert held is not None
    assert jobs.submitted("a", first.owner, "job-1", "ibm_x", first.circuits)
    assert jobs.done("a", {"quantum_s": 2.5})

    kept = jobs.claim(a_row("b"))

    assert kept is not None
    assert (kept.token, kept.reference, kept.state, kept.backend) == ("a", "job-1", QuantumState.DONE, "ibm_x")
    assert (kept.circuits, kept.times, kept.asset_key, kept.run_id) == (
        ({"qubits": 3},), {"quantum_s": 2.5}, "bell", "r1",
    )  # fmt: skip
    assert jobs.failed("a", "its samples are gone")
    assert not jobs.done("a", {})  # a late word brings nothing back
    again = jobs.claim(a_row("c"))
    assert again is not None
    assert again.token == "c"
    assert [row.token for row in jobs.recent(10)] == ["c", "a"]


def test_a_claim_whose_answer_was_lost_is_the_claimants(jobs: QuantumJobs) -> None:
    row = a_row("a")
    first, repeated = jobs.claim(row), jobs.claim(row)
    assert first == repeated
    assert first is not None
    assert first.owner == row.owner


def test_only_the_owner_writes_how_a_submission_went(jobs: QuantumJobs) -> None:
    first, other = a_row("a"), new_owner()
    seen = jobs.claim(first)
    assert seen is not None
    assert not jobs.take_over(replace(seen, owner="somebody else"), other)
    assert jobs.take_over(seen, other)
    assert not jobs.take_over(seen, new_owner())
    assert not jobs.beat("a", first.owner)
    assert not jobs.submitted("a", first.owner, "job-1", "x", ())
    assert not jobs.let_go("a", first.owner, "trouble")
    assert jobs.beat("a", other)
    assert jobs.submitted("a", other, "job-2", "x", ())
    assert jobs.submitted("a", other, "job-2", "x", ())  # repeated, as its answer was lost
    assert not jobs.take_over(seen, new_owner())
    jobs.add_copy("a", "job-1")
    jobs.add_copy("a", "job-1")
    kept = jobs.row("a")
    assert kept is not None
    assert (kept.reference, kept.copies) == ("job-2", ("job-1",))


def _claim(url: str, token: str, start: Any, answers: Any) -> None:
    start.wait()
    ledger = Ledger(url)
    held = ledger.quantum.claim(a_row(token))
    answers.put(held.token if held else None)
    ledger.close()


def test_of_many_claims_at_the_same_moment_one_holds(url: str) -> None:
    Ledger(url).close()
    start, answers = FORK.Barrier(CONTENDERS), FORK.Queue()
    processes = [FORK.Process(target=_claim, args=(url, str(n), start, answers)) for n in range(CONTENDERS)]
    for process in processes:
        process.start()
    held = {answers.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(held) == 1
    assert held <= {str(n) for n in range(CONTENDERS)}
