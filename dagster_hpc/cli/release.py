"""`dagster-hpc release`: a person says that a job's place may be taken, because only a person can know it."""

from __future__ import annotations

import sys

import click

from dagster_hpc.cli.completion import complete_job
from dagster_hpc.cli.lookup import find_jobs, open_ledger
from dagster_hpc.engine import jobdir, lock
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobState
from dagster_hpc.engine.ledger import JobRow, Ledger


@click.command(short_help="Let work be submitted again, though its job is LOST.")
@click.argument("word", metavar="TOKEN", shell_complete=complete_job)
@click.pass_obj
def release(url: str | None, word: str) -> None:
    """Let the same work be submitted again, though its job is lost or its result was never received.

    A job keeps its place until it has ended badly or its result was received, so that no work is done twice. A LOST job
    may still run: release it when you know from the scheduler that it does not. A live job is not released. The token
    of an array means all its elements; that of a job that was tried again, its last attempt.
    """
    ledger = open_ledger(url)
    meant = ledger.last_attempts([row.token for row in find_jobs(ledger, word)])
    done = [_release(ledger, row) for row in meant.values()]
    if not all(done):
        sys.exit(1)


def _release(ledger: Ledger, row: JobRow) -> bool:
    """Release this one and say what that means. False for a live one."""
    if not row.state.is_final:
        click.echo(f"{row.token} is {row.state}: it is not released; cancel it first, or wait for its end", err=True)
        return False
    if not row.is_over:
        click.echo(f"{row.token} is to be tried again: it is not released; cancel it first", err=True)
        return False
    if not ledger.claims.release(row.token):
        click.echo(f"{row.token} is {row.state} and holds no place: nothing to release")
        return True
    click.echo(f"{row.token} is released: the same request makes a new job now. {_meaning(row)}")
    return True


def _meaning(row: JobRow) -> str:
    if row.state is not JobState.LOST:
        return f"Its result stays in {row.work_dir}, and is not taken any more."
    try:
        runs_as = lock.holder(LocalHost(), row.work_dir)
    except OSError as error:
        return f"Whether it ever began cannot be seen ({error}): if it still runs, the work is done twice."
    if runs_as == jobdir.CLOSED:
        return "It had not begun, and cannot begin any more."
    if runs_as:
        return f"It had begun, as job {runs_as}: if that still runs, the work is done twice."
    return "No sign of its beginning is seen; should it begin after all, the work is done twice."
