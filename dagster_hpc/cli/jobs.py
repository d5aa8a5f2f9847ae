"""`dagster-hpc jobs` and `export`: which jobs there are."""

from __future__ import annotations

from typing import Any

import click

from dagster_hpc.cli.asking import Asking
from dagster_hpc.cli.lookup import NotFound, open_ledger, owed
from dagster_hpc.cli.options import Filter, filter_options, json_option


@click.command()
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=30, show_default=True, help="At most so many jobs.")
@click.option("--refresh", is_flag=True, help="First ask the schedulers once for all live jobs, as squeue would.")
@json_option
@click.pass_obj
def jobs(url: str | None, /, limit: int, refresh: bool, as_json: bool, **filters: Any) -> None:
    """List jobs, newest first.

    The states are those that were last seen: by the Dagster step that waits for the job, or by --refresh.
    """
    from dagster_hpc.cli.display import job_record, job_table, to_json

    try:
        ledger = open_ledger(url)
    except NotFound as nothing_yet:
        click.echo(nothing_yet.message, err=True)
        if as_json:
            click.echo("[]")
        return
    if refresh:
        Asking(ledger).ask([*ledger.jobs(live=True), *ledger.steps_without_figures()], now=True)
    rows = Filter(**filters).choose(ledger, limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    unreceived = owed(ledger, rows)
    if as_json:
        click.echo(to_json([job_record(row, owed=row.token in unreceived) for row in rows]))
        return
    if rows:
        click.echo(job_table(rows, owed=unreceived))
    else:
        click.echo(f"no such jobs in the ledger {ledger.public_url}", err=True)
    if more:
        click.echo(f"the newest {limit}; --limit shows more", err=True)


@click.command(short_help="Print jobs as JSON lines, the oldest first.")
@filter_options
@click.pass_obj
def export(url: str | None, /, **filters: Any) -> None:
    """Print jobs as JSON lines, one for each, the oldest first: for other programs, and for safe keeping."""
    from dagster_hpc.cli.display import job_line

    ledger = open_ledger(url)
    rows = Filter(**filters).choose(ledger)
    unreceived = owed(ledger, rows)
    for row in reversed(rows):
        click.echo(job_line(row, owed=row.token in unreceived))
