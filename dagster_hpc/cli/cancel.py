"""`dagster-hpc cancel`: end jobs, and say what became of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from dagster_hpc.cli.completion import complete_job
from dagster_hpc.cli.lookup import by_target, find_jobs, open_ledger, target_of
from dagster_hpc.cli.options import json_option
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import JobState

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow, Ledger


@click.command(short_help="Cancel jobs, and say what became of them.")
@click.argument("words", nargs=-1, required=True, metavar="WORD…", shell_complete=complete_job)
@json_option
@click.pass_obj
def cancel(url: str | None, words: tuple[str, ...], as_json: bool) -> None:
    """Cancel jobs, as scancel would, and say what became of them.

    WORD is a token, the first letters of one, or a scheduler's job id; that of an array means all its elements. Any
    of several attempts at one piece of work means the last: it ends, and no further one is made. Nothing is cancelled
    unless each WORD is known and means one job only. A job that is over stays as it is.
    """
    from dagster_hpc.cli.display import to_json

    ledger = open_ledger(url)
    meant = [row.token for word in words for row in find_jobs(ledger, word)]
    rows = {row.token: row for row in ledger.last_attempts(meant).values()}
    refused = _cancel(ledger, [row for row in rows.values() if not row.is_over])
    reports = []
    for was in rows.values():
        now = ledger.job(was.token)
        reports.append({**_outcome(was, now, refused.get(was.token, "")), "reason": now.reason})
    if as_json:
        click.echo(to_json(reports))
    else:
        for report in reports:
            click.echo(f"{report['token']} (job {report['job_id'] or 'not submitted'}): {report['outcome']}")
    if refused:
        sys.exit(1)


def _outcome(was: JobRow, now: JobRow, refusal: str) -> dict[str, Any]:
    if was.is_over:
        outcome = f"was over already: {was.state}"
    elif refusal:
        outcome = f"not cancelled: {refusal}"
    elif was.state.is_final:
        outcome = f"had ended as {was.state}; it is not tried again"
    elif now.state.is_final:
        outcome = "cancelled" if now.state is JobState.CANCELLED else f"ended meanwhile as {now.state}"
    else:
        outcome = f"told to stop; still {now.state} when last seen"
    return {
        "token": now.token,
        "job_id": now.job_id,
        "was": was.state.value,
        "state": now.state.value,
        "cancelled": now.state is JobState.CANCELLED and not was.state.is_final,
        "outcome": outcome,
    }


def _cancel(ledger: Ledger, rows: Sequence[JobRow]) -> dict[str, str]:
    """Cancel these jobs, all of one target together; the tokens of those that could not be told, with the reason."""
    from dagster_hpc.engine.runner import Runner

    refused: dict[str, str] = {}
    for some in by_target(rows).values():
        try:
            Runner(target_of(some[0]), ledger).cancel([row.handle() for row in some])
        except HPCError as error:
            refused |= {row.token: str(error) for row in some}
    return refused
