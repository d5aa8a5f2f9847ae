"""`dagster-hpc runs`: the Dagster runs that have jobs."""

from __future__ import annotations

import time

import click

from dagster_hpc.cli.lookup import open_ledger
from dagster_hpc.cli.options import json_option, moment_option, read_moment

_STATUSES = ("running", "failed", "succeeded")
_ID = 8  # so many letters tell runs apart, as Dagster's own pages show them


@click.command(short_help="List the Dagster runs that have jobs.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="At most so many, the newest.")
@moment_option("--since", None, "Only runs whose jobs were asked for since then: 7d, 12h, 2026-11-01.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only runs whose jobs stand so.")
@json_option
@click.pass_obj
def runs(url: str | None, last: int, since: str | None, status: str | None, as_json: bool) -> None:
    """List the Dagster runs that have jobs, newest first: how the jobs stand, and their node hours.

    A run is `running` while a job of it is under way, `failed` if one has failed for good, else `succeeded`. That is from
    the ledger: Dagster may know of steps that had no job. `dagster-hpc jobs --run ID` lists the jobs.
    """
    from dagster_hpc.cli.display import subject_of_many, to_json
    from dagster_hpc.cli.tables import printed
    from dagster_hpc.engine.units import duration
    from dagster_hpc.usage.runs import runs_of
    from dagster_hpc.usage.words import hours

    now, ledger = time.time(), open_ledger(url)
    found = runs_of(ledger.jobs(since=read_moment(since, now) if since else None), now)
    chosen = [run for run in found if status in (None, run.status)]
    if as_json:
        click.echo(to_json([run.to_dict() for run in chosen[:last]]))
        return
    if not chosen:
        click.echo(f"no such runs in the ledger {ledger.public_url}", err=True)
        return
    lines = [
        [
            run.run_id[:_ID],
            run.status,
            ", ".join(f"{many} {state}" for state, many in run.states.items()),
            hours(run.node_hours),
            f"{duration(now - run.began_at)} ago",
            subject_of_many(run.assets),
        ]
        for run in chosen[:last]
    ]
    headings = ["RUN", "STATUS", "JOBS", "NODE HOURS", "STARTED", "ASSETS"]
    click.echo(printed(headings, lines, words=("STATUS", "JOBS", "ASSETS")))
    if len(chosen) > last:
        click.echo(f"the newest {last}; --last shows more", err=True)
