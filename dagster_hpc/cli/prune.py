"""`dagster-hpc prune`: the ledger forgets old jobs that nobody needs any more, and their directories go if one says so."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from dagster_hpc.cli.lookup import open_ledger, owed
from dagster_hpc.engine import jobdir
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger
from dagster_hpc.engine.ledger.rows import decode_rows
from dagster_hpc.engine.schedulers import from_json
from dagster_hpc.engine.units import parse_walltime

_SHOWN = 20


@dataclass(frozen=True)
class Pruning:
    """Which jobs are old enough: those to be forgotten, an array as a whole; and those that are still needed."""

    submissions: list[list[JobRow]]
    needed: list[JobRow]

    @property
    def rows(self) -> list[JobRow]:
        return [row for rows in self.submissions for row in rows]


@click.command()
@click.option("--older-than", default="30d", show_default=True, metavar="TIME", help="Over for so long: 30d, 12h.")
@click.option(
    "--state",
    type=click.Choice([state.value for state in JobState if state.is_final], case_sensitive=False),
    help="Only jobs in this state.",
)
@click.option("--keep-failed", is_flag=True, help="Keep those that did not end well.")
@click.option("--directories", is_flag=True, help="Remove the jobs' directories too, with all that lies in them.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@click.pass_obj
def prune(
    url: str | None, older_than: str, state: str | None, keep_failed: bool, directories: bool, yes: bool, dry_run: bool
) -> None:
    """Forget old jobs that are over. They are listed, and forgotten if you say yes.

    A live job, a lost one, and one whose result is still owed are kept: forgetting them would let the same work run
    twice (`dagster-hpc release` gives them up). An array is forgotten as a whole, or kept; so are all attempts at one
    piece of work. A forgotten job is no longer
    found by reuse="succeeded".
    """
    from dagster_hpc.cli.display import job_table

    ledger = open_ledger(url)
    pruning = choose(ledger, older_than, JobState(state) if state else None, keep_failed=keep_failed)
    rows = pruning.rows
    if rows:
        click.echo(job_table(rows[:_SHOWN]))
        if len(rows) > _SHOWN:
            click.echo(f"… and {len(rows) - _SHOWN} more")
    if pruning.needed:
        click.echo(f"{len(pruning.needed)} jobs are kept: they are lost, or their results are owed", err=True)
    also = ", and their directories removed" if directories else ""
    if not rows or dry_run or not (yes or sys.stdin.isatty()):
        click.echo(f"{len(rows)} jobs would be forgotten{also}; --yes does it")
        return
    if not yes:
        click.confirm(f"Shall these {len(rows)} jobs be forgotten{also}?", abort=True)
    failed = _prune(ledger, pruning, directories)
    if failed:
        sys.exit(1)


def choose(ledger: Ledger, older_than: str, state: JobState | None, *, keep_failed: bool) -> Pruning:
    """The jobs that are over for so long."""
    try:
        age_s = parse_walltime(older_than)
    except ValueError as error:
        raise ConfigurationError(f"--older-than: {str(error).replace('walltime ', '', 1)}") from error
    limit = time.time() - age_s
    together: dict[str, list[JobRow]] = {}  # an array, and all attempts at its elements
    for row in ledger.jobs():
        together.setdefault(_origin(row), []).append(row)

    def fits(row: JobRow) -> bool:
        old = row.state.is_final and row.again_at is None and (row.metrics.ended_at or row.updated_at) < limit
        if row.next_token:
            return old  # the last attempt says how it ended
        return old and state in (None, row.state) and not (keep_failed and not row.state.is_success)

    old = [rows for rows in together.values() if all(fits(row) for row in rows)]
    unreceived = owed(ledger, [row for rows in old for row in rows])
    needed = [
        row
        for rows in old
        for row in rows
        if row.token in unreceived or (row.state is JobState.LOST and row.held_identity is not None)
    ]
    kept = {_origin(row) for row in needed}
    submissions: dict[str, list[JobRow]] = {}
    for row in (row for rows in old for row in rows if _origin(row) not in kept):
        submissions.setdefault(row.batch, []).append(row)
    return Pruning(list(submissions.values()), needed)


def _origin(row: JobRow) -> str:
    """The submission that this one belongs to: its own, or that of the first attempt at the same work."""
    return row.chain.partition(".")[0]


def _prune(ledger: Ledger, pruning: Pruning, directories: bool) -> int:
    """Do it: a directory goes before its row, so that none is left of which nobody knows. How many could not go."""
    submissions, removed, failed = pruning.submissions, 0, 0
    if directories:
        submissions = []
        for rows in pruning.submissions:
            try:
                removed += remove_directory(rows)
            except (OSError, ValueError) as error:
                failed += 1
                click.echo(f"{rows[0].batch_dir} is not removed, and its job is kept: {error}", err=True)
            else:
                submissions.append(rows)
    count = ledger.delete([row.token for rows in submissions for row in rows])
    also = f", and {removed} directories are removed" if directories else ""
    click.echo(f"{count} jobs are forgotten{also}")
    return failed


def remove_directory(rows: Sequence[JobRow]) -> bool:
    """Remove the directory of one submission. False: it is gone already. `ValueError`: it is not surely ours."""
    folder = Path(rows[0].batch_dir)
    if not os.path.lexists(folder):
        return False
    if folder.is_symlink() or not folder.is_dir() or folder.name != rows[0].batch:
        raise ValueError("it is not a directory with the name of the job")
    if not _is_of(folder, rows):
        raise ValueError("neither the job's .job/row.json nor its script is in it")
    # What proves that it is ours goes last: a removal that breaks off can be repeated.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == jobdir.PROTOCOL_DIR):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    folder.rmdir()
    return True


def _is_of(folder: Path, rows: Sequence[JobRow]) -> bool:
    """Whether this directory was made for this submission: by the rows in it, or by its script."""
    row = rows[0]
    try:
        return decode_rows(Path(jobdir.protocol_path(str(folder), jobdir.ROW)).read_bytes())[0].batch == row.batch
    except (OSError, ValueError, IndexError):
        pass  # version 0.1.0 left no rows
    suffix = from_json(row.scheduler).suffix
    scripts = (jobdir.script_path(str(folder), suffix), jobdir.script_path_of_0_1(str(folder), row.name, suffix))
    return any(
        hashlib.sha256(Path(path).read_bytes()).hexdigest() == row.script_sha256
        for path in scripts
        if os.path.isfile(path)
    )
