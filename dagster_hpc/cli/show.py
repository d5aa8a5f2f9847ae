"""`dagster-hpc show`: everything about one job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dagster_hpc.cli.completion import complete_job
from dagster_hpc.cli.lookup import NotFound, find_jobs, is_array, open_ledger, owed, target_of
from dagster_hpc.cli.options import json_option

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow


@click.command()
@click.argument("word", shell_complete=complete_job)
@click.option("--script", is_flag=True, help="Print its job script, as it was submitted, and nothing else.")
@json_option
@click.pass_obj
def show(url: str | None, word: str, script: bool, as_json: bool) -> None:
    """Show everything about one job.

    WORD is its token as `dagster-hpc jobs` lists it, the first letters of that, or the scheduler's job id.
    """
    from dagster_hpc.cli.display import attempt_table, job_page, job_record, job_table, to_json

    ledger = open_ledger(url)
    rows = find_jobs(ledger, word)
    unreceived = owed(ledger, rows)
    attempts = ledger.attempts([rows[0].chain])[rows[0].chain] if len(rows) == 1 else []
    if script:
        click.echo(_script(rows[0]), nl=False)
    elif is_array(rows):
        if as_json:
            elements = [job_record(row, owed=row.token in unreceived) for row in rows]
            click.echo(to_json({"batch": rows[0].batch, "elements": elements}))
        else:
            click.echo(f"array job {rows[0].batch} with {len(rows)} elements")
            click.echo(job_table(rows, owed=unreceived))
    elif as_json:
        chain = {"attempts": [job_record(row) for row in attempts]} if len(attempts) > 1 else {}
        click.echo(to_json({**job_record(rows[0], owed=bool(unreceived)), **chain}))
    else:
        click.echo(job_page(rows[0], ledger.deliveries.recipients(rows[0].token)))
        if len(attempts) > 1:
            click.echo(f"\n{attempt_table(attempts)}")


def _script(row: JobRow) -> str:
    from dagster_hpc.engine.collect import read_script

    text = read_script(row, target_of(row).host)
    if not text:
        raise NotFound(f"the script of {row.token} is no longer in {row.work_dir}")
    return text
