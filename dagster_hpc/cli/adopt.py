"""`dagster-hpc adopt`: a ledger that was lost is rebuilt from what lies in the jobs' own directories.

Beside each job lie its rows as they were before it was submitted, so without an id. The id of one that has begun is in
its lock, and that it has ended in its exit code: such a job is asked for by its id like any other. One without a lock
is an open submission that nobody is at: it is looked up by its token. Nothing is ever submitted by adopting: a row
without the hash of its script is only looked up, see `engine/submit/recover.py`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import click

from dagster_hpc.engine import jobdir, lock
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.ledger.rows import decode_rows
from dagster_hpc.engine.observe.sentinel import read_sentinel
from dagster_hpc.engine.process import NOBODY
from dagster_hpc.engine.schedulers import from_json

_CLOSED = "it was cancelled or given up before it began"
_WORDS = {
    JobState.RUNNING: "have begun",
    JobState.PENDING: "are elements of an array that has begun",
    JobState.SUBMITTING: "have not begun, and are looked up by their names",
    JobState.CANCELLED: "were cancelled or given up before they began",
}


@click.command(short_help="Rebuild a lost ledger from the jobs' directories.")
@click.argument("work_root", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--delivered", is_flag=True, help="The results of jobs that have ended were received: the same requests run anew."
)
@click.pass_obj
def adopt(url: str | None, work_root: str, delivered: bool) -> None:
    """Rebuild a ledger that was lost, from the jobs' own directories below WORK_ROOT.

    Each directory holds what the ledger knew of its job, in .job/row.json. The same request joins an adopted job, and
    what became of it is asked at the next poll. Nothing is submitted: a job that never began, and that the scheduler
    does not know, ends as REFUSED, and one that ends badly is not tried again. Whether a result was received is not
    in the directories: the same request takes the result of a job that has ended, unless you say --delivered.
    """
    found: list[JobRow] = []
    for path in _row_files(work_root):
        try:
            found += _rows_of(path, delivered)
        except (OSError, ValueError, KeyError, TypeError) as error:
            click.echo(f"{click.style('warning:', fg='yellow')} {path} cannot be used: {error}", err=True)
    found = _chained(found)
    found.sort(key=lambda row: row.created_at, reverse=True)  # the newest of one identity holds it
    ledger = Ledger(url)
    added = ledger.insert_missing(found)
    click.echo(
        f"{len(added)} of {len(found)} jobs were not in the ledger, and are now; `dagster-hpc jobs --refresh` asks"
    )
    for state, number in Counter(row.state for row in added).items():
        click.echo(f"  {number} {_WORDS[state]}")


def _row_files(work_root: str) -> Iterator[Path]:
    for folder, folders, _ in os.walk(work_root):
        path = Path(jobdir.protocol_path(os.path.abspath(folder), jobdir.ROW))
        if path.is_file():
            folders.clear()  # an array's elements are in the file of their batch
            yield path


def _rows_of(path: Path, delivered: bool) -> list[JobRow]:
    """The rows of one submission as the new ledger gets them. `ValueError` with the reason if it gets none."""
    owner = path.stat().st_uid
    if os.geteuid() not in (0, owner):
        raise ValueError(f"it belongs to another user (uid {owner}), who could make something run as you")
    rows = decode_rows(path.read_bytes())
    if not rows:
        raise ValueError("there is no row in it")
    return _as_found(_in_place(rows, str(path.parent.parent)), delivered)


def _in_place(rows: list[JobRow], folder: str) -> list[JobRow]:
    """Where they say they are; or here, where the folder was moved."""
    own = rows[0].batch_dir
    if os.path.realpath(own) == os.path.realpath(folder):
        return rows
    if os.path.exists(own):
        raise ValueError(f"this directory is a copy of {own}, which is there too")
    return [
        replace(row, work_dir=folder if row.array_index is None else jobdir.element_directory(folder, row.array_index))
        for row in rows
    ]


def _as_found(rows: Sequence[JobRow], delivered: bool) -> list[JobRow]:
    """What the locks tell: which have begun, under which id; which cannot begin any more; which are still open."""
    scheduler, host = from_json(rows[0].scheduler), LocalHost()
    holders = [lock.holder(host, row.work_dir) for row in rows]
    begun = next((holder for holder in holders if holder not in ("", jobdir.CLOSED)), None)
    rows = [
        replace(row, owner=NOBODY, attempts=max(1, row.attempts), held_identity=row.identity, updated_at=time.time(),
                retry=row.retry and row.retry.closed)
        for row in rows
    ]  # fmt: skip
    if begun is None and jobdir.CLOSED in holders:
        return [replace(row, state=JobState.CANCELLED, reason=_CLOSED, held_identity=None) for row in rows]
    if begun is None:
        return [replace(row, state=JobState.SUBMITTING, script_sha256="") for row in rows]
    array = scheduler.array_id(begun)
    adopted = []
    for row, holder in zip(rows, holders, strict=True):
        job_id = begun if row.array_index is None else scheduler.element_id(array, row.array_index)
        row = replace(row, job_id=job_id, state=JobState.RUNNING if holder else JobState.PENDING)
        adopted.append(_ended(row, host, delivered))
    return adopted


def _chained(rows: Sequence[JobRow]) -> list[JobRow]:
    """With the attempts at one piece of work linked again: whose place was taken holds no identity any more."""
    chains: dict[str, list[JobRow]] = {}
    for row in rows:
        chains.setdefault(row.chain, []).append(row)
    linked = []
    for attempts in chains.values():
        attempts.sort(key=lambda row: row.retry_number)
        linked += [
            replace(row, next_token=later.token, held_identity=None) for row, later in pairwise(attempts)
        ] + attempts[-1:]  # fmt: skip
    return linked


def _ended(row: JobRow, host: LocalHost, delivered: bool) -> JobRow:
    """With the time of its end, if its own files know one: then its state need not wait for a queue that forgot it."""
    sentinel = read_sentinel(host, row.work_dir)
    if sentinel.exit_code is None:
        return row
    now = time.time()
    row = replace(row, ending_since=min(sentinel.ended_at or now, now))
    return replace(row, held_identity=None, delivered_at=now) if delivered else row
