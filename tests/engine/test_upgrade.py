"""A ledger of version 0.1.0 becomes one of this version where it lies, on SQLite and on a real PostgreSQL.

The old tables are made by the statements that version 0.1.0 itself sent, taken from its code.
"""

from __future__ import annotations

import json
import multiprocessing
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dagster_hpc.engine.errors import LedgerError
from dagster_hpc.engine.job import JobMetrics, JobState
from dagster_hpc.engine.ledger import Change, JobRow, Ledger, Recipient, schema
from dagster_hpc.engine.process import NOBODY, new_owner

LONG = "x" * 300
CONTENDERS = 6

_old = sa.MetaData()
OLD_JOBS = sa.Table(
    "dagster_hpc_jobs",
    _old,
    sa.Column("token", sa.String(32), primary_key=True),
    sa.Column("batch", sa.String(16), nullable=False, index=True),
    sa.Column("array_index", sa.Integer),
    sa.Column("identity", sa.String(64), index=True),
    sa.Column("live_identity", sa.String(64), unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("target", sa.String(255), nullable=False),
    sa.Column("scheduler", sa.Text, nullable=False),
    sa.Column("queue", sa.Text, nullable=False, default=""),
    sa.Column("project", sa.Text, nullable=False, default=""),
    sa.Column("work_dir", sa.Text, nullable=False),
    sa.Column("script_sha256", sa.String(64), nullable=False),
    sa.Column("outputs", sa.Text, nullable=False, default="{}"),
    sa.Column("asset_key", sa.Text),
    sa.Column("partition_key", sa.Text),
    sa.Column("run_id", sa.String(64)),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("job_id", sa.String(64)),
    sa.Column("exit_code", sa.Integer),
    sa.Column("metrics", sa.Text, nullable=False, default="{}"),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("absent_since", sa.Float),
    sa.Column("ending_since", sa.Float),
    sa.Column("stuck_since", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Index("dagster_hpc_jobs_live", "target", "state"),
    sa.Index("dagster_hpc_jobs_created", "created_at"),
)
OLD_LEASES = sa.Table(
    "dagster_hpc_leases",
    _old,
    sa.Column("target", sa.String(255), primary_key=True),
    sa.Column("holder", sa.String(128)),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("polled_at", sa.Float, nullable=False),
    sa.Column("interval_s", sa.Float, nullable=False),
)
OLD_SCHEMA = sa.Table("dagster_hpc_schema", _old, sa.Column("version", sa.Integer, primary_key=True))


def old_row(
    token: str, state: str, *, index: int | None = None, identity: str | None = None, **more: Any
) -> dict[str, Any]:
    """A row as version 0.1.0 wrote it: live ones hold an identity, an element's with its index behind it."""
    live = state in ("SUBMITTING", "PENDING", "RUNNING")
    held = None if identity is None or not live else identity if index is None else f"{identity}.{index}"
    return {
        "token": token, "batch": token.partition(".")[0], "array_index": index, "identity": identity,
        "live_identity": held, "name": "count", "target": "slurm", "scheduler": '{"kind": "slurm", "cluster": ""}',
        "work_dir": f"/scratch/{token}", "script_sha256": "0" * 64, "owner": "login1 17 4711 boot", "state": state,
        "created_at": 1000.0, "updated_at": 1000.0, "job_id": None, "exit_code": None, "metrics": "{}", "outputs": "{}",
        "reason": "", "queue": "", "project": "", "asset_key": None, "partition_key": None, "run_id": None,
        "cancel_requested": False, "absent_since": None, "ending_since": None, "stuck_since": None, **more,
    }  # fmt: skip


ROWS = [
    old_row("live2222", "RUNNING", identity="a", job_id="42", asset_key="bits", run_id="r1"),
    old_row("sending2", "SUBMITTING", identity="b"),
    old_row("array222.0", "COMPLETED", index=0, identity="c", job_id="43_0"),
    old_row("array222.1", "PENDING", index=1, identity="c", job_id="43_1"),
    old_row("array222.2", "RUNNING", index=2, identity="c", job_id="43_2", cancel_requested=True),
    old_row("done2222", "COMPLETED", identity="a", job_id="41", exit_code=0, outputs=json.dumps({"x": "x.txt"}),
            metrics=json.dumps({"elapsed_s": 3.5})),
    old_row("failed22", "FAILED", job_id="40", exit_code=3, reason="its program ended with exit code 3"),
    old_row("lost2222", "LOST", identity="d", job_id="39"),
]  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A ledger that version 0.1.0 has left."""
    address = f"sqlite:///{tmp_path}/ledger.db"
    if request.param == "postgres":
        address = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(address)
    schema.METADATA.drop_all(engine)
    _old.create_all(engine)
    with engine.begin() as connection:
        connection.execute(OLD_JOBS.insert(), ROWS)
        connection.execute(
            OLD_LEASES.insert(), {"target": "slurm", "expires_at": 9e9, "polled_at": 9e9, "interval_s": 9.0}
        )
        connection.execute(OLD_SCHEMA.insert(), {"version": 1})
    engine.dispose()
    yield address
    engine = sa.create_engine(address)
    schema.METADATA.drop_all(engine)
    engine.dispose()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger(url)
    yield opened
    opened.close()


def version(url: str) -> list[int]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = list(connection.execute(sa.text("SELECT version FROM dagster_hpc_schema")).scalars())
    engine.dispose()
    return found


def test_all_that_was_in_it_is_there(ledger: Ledger, url: str) -> None:
    assert version(url) == [schema.VERSION]
    assert {row.token for row in ledger.jobs()} == {row["token"] for row in ROWS}
    done = ledger.job("done2222")
    assert (done.state, done.exit_code, done.outputs, done.metrics) == (
        JobState.COMPLETED,
        0,
        {"x": "x.txt"},
        JobMetrics(elapsed_s=3.5),
    )
    assert ledger.job("failed22").reason == "its program ended with exit code 3"
    assert ledger.job("live2222").asset_key == "bits"


def test_live_jobs_hold_their_identities_and_finished_ones_do_not(ledger: Ledger) -> None:
    held = {row.token: row.held_identity for row in ledger.jobs() if row.held_identity}
    assert held == {"live2222": "a", "sending2": "b", "array222.1": "c.1", "array222.2": "c.2"}
    assert {row.token: row.identity for row in ledger.jobs(batch="array222")} == {
        f"array222.{index}": f"c.{index}" for index in range(3)
    }
    assert ledger.latest(["a", "c.0"], JobState.COMPLETED).keys() == {"a", "c.0"}


def test_what_may_have_reached_the_scheduler_is_looked_up_before_it_is_sent(ledger: Ledger) -> None:
    assert {row.token: row.attempts for row in ledger.jobs()} == {row["token"]: 1 for row in ROWS}


def test_it_works_like_a_new_one(ledger: Ledger) -> None:
    owner = new_owner()
    row = JobRow(
        "new22222", "new22222", "x", "slurm@lab", "{}", "/x", JobState.SUBMITTING, 2000.0, identity="e", owner=owner
    )
    assert ledger.leases.take("slurm", "me").taken  # whatever lease the old version held
    assert ledger.claims.claim([row], room=1) is JobState.SUBMITTING
    assert ledger.claims.submitted({"new22222": "7"}, owner, "slurm@lab", poll_within_s=2.0)
    ledger.observations.record([Change("new22222", JobState.COMPLETED), Change("live2222", JobState.FAILED)])
    ledger.deliveries.returned(["new22222"], Recipient("r1", "s" * 300))
    assert ledger.claims.holders(["a", "e"]).keys() == {"e"}
    ledger.claims.name_cluster("slurm", "slurm@lab", "lab")
    assert {found.target for found in ledger.jobs()} == {"slurm@lab"}


@pytest.mark.parametrize("which", ["job_id", "token", "target", "run_id", "step_key", "identity"])
def test_names_and_ids_are_as_long_as_they_are(ledger: Ledger, which: str) -> None:
    row = JobRow("new22222", "new22222", "x", "slurm", "{}", "/x", JobState.RUNNING, 2000.0, owner=NOBODY)
    values = {"token": "new22222", which: LONG}
    added = JobRow(**{**vars(row), **values, "held_identity": values.get("identity")})
    assert ledger.insert_missing([added]) == [added]
    assert getattr(ledger.job(values["token"]), which) == LONG


def test_a_new_ledger_has_the_same_columns(url: str, tmp_path: Path) -> None:
    Ledger(url).close()
    Ledger(f"sqlite:///{tmp_path}/new.db").close()

    def columns(address: str) -> dict[str, set[str]]:
        engine = sa.create_engine(address)
        inspected = sa.inspect(engine)
        found = {table: {column["name"] for column in inspected.get_columns(table)} for table in schema.METADATA.tables}
        indexes = {
            index["name"]
            for index in inspected.get_indexes("dagster_hpc_jobs")
            if not index.get("duplicates_constraint")
        }
        engine.dispose()
        return {**found, "indexes": {str(name) for name in indexes}}

    assert columns(url) == columns(f"sqlite:///{tmp_path}/new.db")


def _open(url: str, start: Any, results: Any) -> None:
    start.wait()
    try:
        ledger = Ledger(url)
        results.put(len(ledger.jobs()))
        ledger.close()
    except BaseException as error:  # noqa: BLE001 - the test tells it
        results.put(repr(error))


def test_several_processes_may_upgrade_it_at_the_same_moment(url: str) -> None:
    fork = multiprocessing.get_context("fork")
    start, results = fork.Barrier(CONTENDERS), fork.Queue()
    processes = [fork.Process(target=_open, args=(url, start, results)) for _ in range(CONTENDERS)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    with pytest.raises(queue.Empty):
        results.get_nowait()
    assert answers == [len(ROWS)] * CONTENDERS
    assert version(url) == [schema.VERSION]


def test_an_upgrade_that_breaks_off_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(connection: sa.Connection) -> None:
        schema._from_1(connection)
        raise ConnectionError("the orchestrator was switched off")

    monkeypatch.setitem(schema._STEPS, 1, breaks)
    with pytest.raises(ConnectionError):
        Ledger(url)
    monkeypatch.undo()
    assert version(url) == [1]
    ledger = Ledger(url)
    assert len(ledger.jobs()) == len(ROWS)
    ledger.close()


def test_a_newer_ledger_is_refused_with_a_sentence(url: str) -> None:
    Ledger(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE dagster_hpc_schema SET version = {schema.VERSION + 1}"))
    engine.dispose()

    with pytest.raises(LedgerError) as refused:
        Ledger(url)

    assert f"was written by a newer version (schema {schema.VERSION + 1}, this one knows {schema.VERSION})" in str(
        refused.value
    )
    assert "upgrade dagster_hpc here too" in str(refused.value)
